"""The scatter of runs, asked of no law."""

import numpy as np
import pytest

from flops_fit_core.noise import slice_scatter


def slices(noise, seeds=1, budgets=200, seed=0, uneven=0.0):
    """Parabolas of seven sizes, off by normal noise."""
    even = np.linspace(-1.0, 1.0, 7)
    x = np.tile(np.repeat(even + uneven * even**2, seeds), budgets)
    budget = np.repeat(np.arange(1.0, budgets + 1), 7 * seeds)
    rng = np.random.default_rng(seed)
    return x, 0.7 / budget + 0.2 * x**2 - 0.1 * x + noise * rng.standard_normal(len(x)), budget


@pytest.mark.parametrize("seeds", [1, 3])
def test_it_is_the_noise(seeds):
    assert slice_scatter(*slices(0.01, seeds)) == pytest.approx(0.01, rel=0.1)
    assert slice_scatter(*slices(0.0, seeds)) == pytest.approx(0.0, abs=1e-14)


def test_sizes_with_more_seeds_than_others_show_the_same_noise():
    x, y, budget = slices(0.01, seeds=5)
    some = np.tile(np.arange(5) < np.array([1, 5, 1, 1, 3, 1, 2])[:, None], (200, 1)).ravel()
    assert slice_scatter(x[some], y[some], budget[some]) == pytest.approx(0.01, rel=0.1)


def test_order_and_uneven_sizes_do_not_matter():
    x, y, budget = slices(0.01)
    order = np.random.default_rng(1).permutation(len(x))
    assert slice_scatter(x[order], y[order], budget[order]) == pytest.approx(slice_scatter(x, y, budget), rel=1e-12)
    assert slice_scatter(*slices(0.01, uneven=0.3)) == pytest.approx(0.01, rel=0.1)


def test_one_bad_run_in_a_budget_is_not_the_usual_run():
    x, y, budget = slices(0.01, budgets=20)
    y[::35] += 1.0
    assert slice_scatter(x, y, budget) < 0.02


def test_three_sizes_have_no_scatter_to_see():
    assert slice_scatter(np.array([0.0, 1.0, 2.0]), np.zeros(3), np.ones(3)) is None

"""The cost model gives way where FLOPs per token are off as a function of N, and not where budgets only scatter."""

import numpy as np
import pytest

import published
from flops_fit_core.data import CostModel, Runs
from flops_fit_lmfit.budget_cost import cost_of_budgets
from known_laws import SIX_ND


def sweep(cost_per_6nd=lambda x: np.ones_like(x), scatter=0.0, budgets=5, sizes=7, seed=0):
    """Runs whose true cost is 6ND times a function of x = ln(N / 1e9), and their stated budgets, which scatter."""
    c = np.repeat(np.geomspace(1e19, 1e21, budgets), sizes)
    n = 1e9 * np.sqrt(c / 1e20) * np.tile(np.geomspace(0.25, 4, sizes), budgets)
    noise = scatter * np.random.default_rng(seed).standard_normal(len(n))
    d = c / (6 * n * cost_per_6nd(np.log(n / 1e9))) * np.exp(noise)
    return Runs(n_params=n, n_tokens=d, loss=np.full(len(n), 3.0), budget=c)


def cost_of(runs, asked=SIX_ND):
    return cost_of_budgets(runs, runs.budget, asked)


@pytest.mark.parametrize("budgets", [2, 5])
@pytest.mark.parametrize("scatter", [0.0, 0.05, 0.3])
def test_budgets_that_only_scatter_keep_the_cost_model(scatter, budgets):
    for seed in range(20):
        assert cost_of(sweep(scatter=scatter, budgets=budgets, seed=seed)) == (SIX_ND, ())


def test_runs_at_the_nearest_of_nominal_budgets_keep_it():
    assert cost_of(published.chinchilla_epoch()) == (SIX_ND, ())
    assert cost_of(published.chinchilla_isoflops()) == (SIX_ND, ())
    nothing = Runs.empty()
    assert cost_of_budgets(nothing, np.empty(0), SIX_ND) == (SIX_ND, ())


@pytest.mark.parametrize(
    "law",
    [
        lambda x: np.full_like(x, 1.2),  # 1.2 times at every size
        lambda x: np.exp(-0.05 * x),  # a trend about a median that is right
        lambda x: 1 + 0.05 * np.exp(-x / 2),  # attention and embeddings, which weigh in small models
    ],
)
@pytest.mark.parametrize("scatter", [0.0, 0.01])
def test_flops_per_token_that_are_off_are_taken_from_the_runs(law, scatter):
    runs = sweep(law, scatter)
    own, (note,) = cost_of(runs)
    truth = 6 * runs.n_params * law(np.log(runs.n_params / 1e9))
    assert own.per_token(runs.n_params) == pytest.approx(truth, rel=0.02)
    assert "times their budgets" in note
    assert cost_of(runs, own) == (own, ())
    assert cost_of(runs, CostModel.measured(runs.n_params, truth))[1] == ()


def test_a_difference_within_the_tolerance_is_none():
    assert cost_of(sweep(lambda x: np.full_like(x, 1.015))) == (SIX_ND, ())


def test_a_published_sweep_that_counts_otherwise_is_followed():
    runs = published.marin_comma()
    own, (note,) = cost_of(runs)
    assert own.flops(runs.n_params, runs.n_tokens) == pytest.approx(runs.budget, rel=0.05)
    assert "cost 0.927" in note
    assert "to 1.34" in note

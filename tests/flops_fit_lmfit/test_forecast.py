"""How far off a true law's forecasts are, against how far they say they may be."""

import math

import numpy as np
import pytest

from flops_fit_core.data import Runs
from flops_fit_lmfit import additive, forecast
from flops_fit_lmfit.solve import additive_start, fit_additive
from known_laws import ADDITIVE, additive_sweep


def errors_and_spreads(law, *, budgets, sizes, noise, sweeps):
    """Of the mean error of the largest budget's forecast from those below it, (sweeps, 2)."""
    found = []
    for seed in range(sweeps):
        runs, _ = additive_sweep(law, noise=noise, budgets=budgets, sizes=sizes, seed=seed)
        top = runs.budget == runs.budget.max()
        fit, ahead = additive_start(runs.where(~top)), runs.where(top)
        error = np.log(additive.loss(fit.params, ahead.n_params, ahead.n_tokens) / ahead.loss)
        found.append((error.mean(), forecast.spread(fit, runs.where(~top), ahead)))
    return np.array(found)


@pytest.mark.parametrize("law", ADDITIVE)
def test_a_true_laws_forecasts_are_off_by_their_spread(law):
    error, spread = errors_and_spreads(ADDITIVE[law], budgets=6, sizes=7, noise=0.005, sweeps=24).T
    assert math.sqrt(np.mean((error / spread) ** 2)) == pytest.approx(1.0, abs=0.3)
    assert abs(np.mean(error / spread)) < 0.5


def test_spread_is_proportional_to_the_noise_and_grows_with_distance():
    runs, _ = additive_sweep(ADDITIVE["chinchilla"], noise=0.003, budgets=6)
    exact = additive.loss(ADDITIVE["chinchilla"], runs.n_params, runs.n_tokens)
    twice = Runs(n_params=runs.n_params, n_tokens=runs.n_tokens, loss=exact * (runs.loss / exact) ** 2)
    near, far = (
        [
            forecast.spread(additive_start(of), of, Runs(n_params=[n], n_tokens=[20 * n], loss=[2.0]))
            for of in (runs, twice)
        ]
        for n in (1e9, 1e11)
    )
    assert near[1] / near[0] == pytest.approx(2.0, rel=0.05)
    assert far[0] > 1.5 * near[0]


def test_law_without_irreducible_loss_has_a_spread_too():
    law = {"E": -0.2, "A": 30.0, "B": 40.0, "alpha": 0.2, "beta": 0.2}
    runs, _ = additive_sweep(law, noise=0.01, budgets=5)
    fit = fit_additive(runs.n_params, runs.n_tokens, runs.loss, delta="adaptive")
    assert fit.params["E"] == 0.0
    alone = 0.01 / math.sqrt(len(runs))  # the noise of as many runs, and what those fitted do not tell: about as much
    assert alone < forecast.spread(fit, runs, runs) < 2 * alone


def test_known_standard_errors_of_the_runs_ahead_count():
    runs, _ = additive_sweep(ADDITIVE["chinchilla"], noise=0.003, budgets=6)
    top = runs.budget == runs.budget.max()
    below, fit = runs.where(~top), additive_start(runs.where(~top))
    spreads = []
    for times in (1.0, 10.0):
        stderr = 0.003 * runs.loss * np.where(top, times, 1.0)
        known = Runs(**{**runs.columns(), "loss_stderr": stderr})
        spreads.append(forecast.spread(fit, known.where(~top), known.where(top)))
    assert spreads[0] == pytest.approx(forecast.spread(fit, below, runs.where(top)), rel=0.1)
    assert spreads[1] == pytest.approx(0.03 / math.sqrt(top.sum()), rel=0.1)

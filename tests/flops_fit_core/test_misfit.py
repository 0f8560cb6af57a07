"""Runs that no fit describes are said; clean ones, noisy or not, are not."""

import attrs
import numpy as np
import pytest

import flops_fit
from flops_fit_core.data import Runs
from flops_fit_core.diagnostics import diagnose


def sweep(noise=0.003, short=0.0, seed=0):
    """Five budgets of seven sizes on a law; at the three largest, models above the optimum lose `short` times N / N_opt."""
    budget = np.repeat(np.geomspace(1e15, 1e17, 5), 7)
    near = np.tile(np.geomspace(1 / 4, 4, 7), 5)
    n = 1.37 * (budget / 6) ** (0.28 / 0.62) * near
    d = budget / 6 / n
    loss = 1.7 + 400 / n**0.34 + 410 / d**0.28
    loss *= 1 + short * near * ((near > 1.2) & (budget > 9e15))
    loss *= np.exp(noise * np.random.default_rng(seed).standard_normal(len(n)))
    return Runs(n_params=n, n_tokens=d, loss=loss, budget=budget, flops=budget)


def said(runs, fitter="surface"):
    fit = flops_fit.fit(runs, flops_fit.fitter(fitter, bootstrap=60))
    return [d.message for d in diagnose([], runs, [fit], "standard") if d.kind == "misfit"]


def test_large_models_that_were_trained_too_briefly_are_said():
    (text,) = said(sweep(0.001, short=0.1))
    assert text.startswith(
        "surface does not describe these runs: at 3 of 5 budgets the lowest trained loss lies beyond"
    )
    assert "by up to -" in text
    assert "(at 1e17 FLOPs)" in text
    assert text.endswith("Train other sizes or at other rates")


def test_what_to_leave_out_is_advised_where_there_is_something():
    runs = sweep(0.001, short=0.1)
    flagged = attrs.evolve(runs, flags=[("undercooled",) if row % 7 > 4 else () for row in range(len(runs))])
    (text,) = said(flagged)
    assert "exclude_undercooled=True, or train other sizes" in text


@pytest.mark.parametrize("fitter", ["surface", "isoflop"])
@pytest.mark.parametrize("noise", [0.0, 0.001, 0.01])
def test_a_clean_sweep_says_nothing(noise, fitter):
    assert said(sweep(noise), fitter) == []


def test_a_held_out_loss_that_is_not_known_better_excuses_the_miss():
    runs = sweep(0.001, short=0.1)
    assert said(attrs.evolve(runs, loss_stderr=np.full(len(runs), 0.2))) == []


def test_seeds_and_few_sizes_do_not_disturb_it():
    runs = sweep(0.001, short=0.1)
    again = np.repeat(np.arange(len(runs)), 2)
    assert len(said(attrs.evolve(runs.where(again), seed=np.tile([0, 1], len(runs))))) == 1
    fit = flops_fit.fit(sweep(), flops_fit.fitter("surface", bootstrap=60))
    assert diagnose([], sweep().where(np.arange(3)), [fit], "mup")[0].kind != "misfit"

"""What a run costs and to which budget it belongs: stated, recovered from C, or neither."""

import numpy as np
import pytest

import flops_fit
from flops_fit_core.budgets import budgets_of, flops_of
from flops_fit_core.data import Runs
from flops_fit_core.errors import FitError
from known_laws import ADDITIVE, additive_sweep


def runs(**columns):
    n = len(columns.get("loss", [3.0, 2.9, 2.8]))
    start = {"n_params": [1e6] * n, "n_tokens": np.arange(1, n + 1) * 1e8, "loss": [3.0, 2.9, 2.8][:n]}
    return Runs(**{**start, **columns})


def test_flops_that_are_none_are_6nd():
    assert flops_of(runs(flops=[0.0, -1.0, 7e14])) == pytest.approx([6e14, 1.2e15, 7e14])
    assert flops_of(runs(flops=[np.nan, np.inf, 7e14])) == pytest.approx([6e14, 1.2e15, 7e14])


def test_budgets_stated_recovered_or_both():
    stated, notes = budgets_of(runs(budget=[1e15, 1e15 * (1 + 1e-12), 2e15]))
    assert stated.tolist() == [1e15, 1e15, 2e15]
    assert notes == ()
    recovered, notes = budgets_of(runs(loss=[3.0] * 6, flops=[1e15, 1.01e15, 1.005e15, 2e15, 2e15, 2e15]))
    assert len(set(recovered[:3])) == len(set(recovered[3:])) == 1
    assert "2 budgets recovered from C" in notes[0]
    partly, _ = budgets_of(runs(flops=[1e15, 1e16, 1e17], budget=[1e15, np.nan, np.nan]), bands=False)
    assert partly == pytest.approx([1e15, 1e16, 1e17])
    none, _ = budgets_of(Runs.empty())
    assert len(none) == 0


def test_runs_that_do_not_group_are_held_out_by_bands():
    c = np.logspace(15, 18, 60)
    table = runs(loss=[3.0] * 60, flops=c)
    bands, notes = budgets_of(table)
    assert len(set(bands)) == 10
    assert np.all(np.abs(np.log2(bands / c)) < 1)
    assert np.all(np.diff(bands) >= 0)
    assert "does not group" in notes[0]
    with pytest.raises(FitError, match="C of 60 usable runs, 1e15 to 1e18 FLOPs, does not group into budgets"):
        budgets_of(table, bands=False)


@pytest.mark.parametrize(("count", "decades"), [(1000, 3), (1000, 6), (200, 2), (60, 3)])
def test_scattered_runs_have_no_budgets(count, decades):
    c = 1e15 * 10 ** np.random.default_rng(0).uniform(0, decades, count)
    table = runs(loss=[3.0] * count, flops=c)
    with pytest.raises(FitError, match=r"does not group into budgets: .* State them in a column 'budget'"):
        budgets_of(table, bands=False)
    stated = runs(loss=[3.0] * count, flops=c, budget=[1e15, *[np.nan] * (count - 1)])
    alone, notes = budgets_of(stated, bands=False)
    near = np.abs(np.log(c / 1e15)) <= np.log(1.03)
    assert alone[1:] == pytest.approx(np.where(near, 1e15, c)[1:], rel=1e-5)
    assert "does not group into budgets where none is stated" in notes[-1]
    bands, notes = budgets_of(table)
    assert len(set(bands)) < 25
    assert "bands of C" in notes[0]


def test_a_budget_column_that_holds_each_runs_own_c_is_grouped():
    clean, _ = additive_sweep(ADDITIVE["chinchilla"], noise=0.003)
    missed = np.exp(np.random.default_rng(0).uniform(-0.004, 0.004, len(clean)))
    loss = clean.loss.copy()
    loss[[3, 20]] *= 1.45
    d = clean.n_tokens * missed
    own = Runs(n_params=clean.n_params, n_tokens=d, loss=loss, budget=clean.budget * missed)
    groups, notes = budgets_of(own)
    assert groups == pytest.approx(clean.budget, rel=0.01)
    assert len(set(groups)) == 5
    assert "taken for the runs' own C: 5 budgets recovered" in notes[0]
    fit = flops_fit.fit(own, flops_fit.fitter("ensemble", bootstrap=0))
    assert [item.run for item in fit.excluded] == ["row 4", "row 21"]
    assert not any("no budget" in note for note in fit.notes)


def test_runs_without_a_budget_take_a_stated_one_that_is_near_and_that_is_said():
    near, notes = budgets_of(runs(flops=[1e15, 1.02e15, 0.98e15], budget=[1e15, np.nan, np.nan]))
    assert near.tolist() == [1e15] * 3
    assert "2 runs without a budget were given the stated one nearest in C" in notes[0]
    c = [1e15] * 3 + [1.05e15] * 3
    apart, notes = budgets_of(runs(loss=[3.0] * 6, flops=c, budget=[1e15] * 3 + [np.nan] * 3))
    assert apart == pytest.approx(c)
    assert "1e15 and 1.05e15 are 5.00% apart and were kept as two budgets" in notes[0]


def test_budgets_of_one_run_each_stay_as_stated():
    budget = np.geomspace(1e15, 1e18, 8)
    alone, notes = budgets_of(runs(loss=[3.0] * 8, budget=budget))
    assert alone.tolist() == budget.tolist()
    assert notes == ()

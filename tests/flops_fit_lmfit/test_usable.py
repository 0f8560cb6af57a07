"""Which rows can be fitted, what is said of the others, and when a law cannot be fitted at all."""

import numpy as np
import pytest

from flops_fit_core.data import CurvePoint, Run, RunRecord, Runs
from flops_fit_core.errors import FitError
from flops_fit_lmfit.usable import NO_FLAGS, Selection, require_points


def runs(**columns):
    n = len(columns.get("loss", [3.0, 2.9, 2.8]))
    start = {"n_params": [1e6] * n, "n_tokens": np.arange(1, n + 1) * 1e8, "loss": [3.0, 2.9, 2.8][:n]}
    return Runs(**{**start, **columns})


def test_every_row_left_out_has_its_reason_and_kinds_are_counted():
    table = runs(
        loss=[3.0, np.nan, 2.8, np.inf, 2.5, np.nan],
        n_params=[1e6, 1e6, -1, 1e6, 1e6, 1e6],
        status=["done", "diverged", "done", "done", "failed", "diverged"],
        label=list("abcdef"),
    )
    found = Selection().usable(table)
    assert found.rows.tolist() == [0]
    assert found.runs.label == ("a",)
    reasons = {e.run: e.reason for e in found.excluded}
    assert reasons == {
        "b": "diverged",
        "c": "N not a positive number: -1",
        "d": "loss not a positive number: inf",
        "e": "failed",
        "f": "diverged",
    }
    assert "2 of 6 runs left out, diverged: b, f" in found.notes


def test_below_minimum_compute_and_undercooled_runs_are_left_out_on_request_only():
    table = runs(flops=[1e14, 2e14, 3e14], flags=[(), ("undercooled",), ()], label=list("abc"))
    assert len(Selection().usable(table).rows) == 3
    found = Selection(min_flops=1.5e14, exclude_undercooled=True).usable(table)
    assert found.runs.label == ("c",)
    assert "1 of 3 runs left out, undercooled: b" in found.notes
    assert "1 of 3 runs left out, below the minimum compute: a" in found.notes
    by_6nd = Selection(min_flops=6 * 1e6 * 1.5e8).usable(runs(label=list("abc")))
    assert by_6nd.runs.label == ("b", "c")


def test_a_run_too_short_for_its_schedule_is_undercooled():
    run = Run(budget=1e15, size=1, n_params=10, n_tokens=100, flops=6e3)
    point = CurvePoint(n_tokens=100, loss=2.0)
    records = [
        RunRecord(run=run, loss=2.0, n_tokens=100, flops=6e3, recipe={"too_short": "5 of 10 steps"}, curve=(point,)),
        RunRecord(run=run, loss=2.0, n_tokens=100, flops=6e3, recipe={"too_short": ""}),
    ]
    assert Selection(exclude_undercooled=True).usable(Runs.from_records(records)).rows.tolist() == [1]


def test_schedules_are_not_mixed_unless_told_to():
    table = runs(schedule=["cosine", "wsd", "cosine"])
    with pytest.raises(FitError, match=r"cosine \(2 runs\), wsd \(1 runs\).*mix_schedules=True"):
        Selection().usable(table)
    assert len(Selection(mix_schedules=True).usable(table).rows) == 3
    failed = runs(schedule=["cosine", "", "cosine"], status=["done", "failed", "done"])
    assert len(Selection().usable(failed).rows) == 2


def test_what_the_table_says_of_itself_is_passed_on():
    assert Selection().usable(runs(notes=["3 budgets recovered"])).notes == ("3 budgets recovered",)
    assert len(Selection().usable(Runs.empty()).rows) == 0


def test_too_few_points_one_size_one_amount_of_data_one_budget():
    n, d = np.logspace(6, 8, 6), np.logspace(8, 10, 6)
    with pytest.raises(FitError, match=r"has 5 parameters and there are 3 different points .* among 6 usable runs"):
        require_points(runs(n_params=[1e6, 2e6, 3e6] * 2, n_tokens=[1e8] * 6, loss=[3.0] * 6), 5, "the law")
    with pytest.raises(FitError, match=r"all 6 usable runs have N = 1e\+06.*different sizes"):
        require_points(runs(n_params=[1e6] * 6, n_tokens=d, loss=[3.0] * 6), 5, "the law")
    with pytest.raises(FitError, match=r"all 6 usable runs have D = 1e\+08.*amounts of data"):
        require_points(runs(n_params=n, n_tokens=[1e8] * 6, loss=[3.0] * 6), 5, "the law")
    with pytest.raises(FitError, match=r"all 6 usable runs cost about C = 6e\+15.*two or more compute budgets"):
        require_points(runs(n_params=n, n_tokens=1e15 / n, loss=[3.0] * 6), 5, "the law")
    require_points(runs(n_params=n, n_tokens=d, loss=[3.0] * 6), 5, "the law")


def test_rows_keep_their_names_when_others_are_left_out():
    table = runs(loss=[3.0, np.nan, 2.8])
    assert Selection().usable(table).runs.label == ("row 1", "row 3")


def test_one_budget_that_runs_miss_by_a_little_is_one_all_the_same():
    n = np.geomspace(1e6, 1e8, 20)
    missed = 1e18 * np.exp(np.random.default_rng(0).uniform(-0.04, 0.04, 20))
    sweep = {"n_params": n, "n_tokens": missed / (6 * n), "loss": [3.0] * 20}
    for budget in ([1e18] * 20, None):
        with pytest.raises(FitError, match=r"all 20 usable runs cost about C = .*two or more compute budgets"):
            require_points(runs(**sweep, budget=budget), 5, "the law")
    require_points(runs(**sweep, budget=[1e18] * 10 + [1.1e18] * 10), 5, "the law")


def test_runs_without_flags_cannot_be_undercooled_and_that_is_said():
    assert NO_FLAGS in Selection(exclude_undercooled=True).usable(runs()).notes
    assert Selection(exclude_undercooled=True).usable(runs(flags=[(), ("undercooled",), ()])).runs.flags == ((), ())
    assert NO_FLAGS not in Selection().usable(runs()).notes

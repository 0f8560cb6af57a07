"""Budgets that a table does not state: recovered from C, and said to be."""

import numpy as np
import pytest

from flops_fit_core.clusters import cluster_budgets, nearest_stated
from flops_fit_core.data import Runs
from flops_fit_core.tables import read_runs


def test_budgets_near_each_other_are_neither_merged_nor_split_in_silence(table):
    close = "".join(
        f"{n},{c / (6 * n)!r},{3 + i / 10}\n" for i, (n, c) in enumerate([(1e3, 1e8), (2e3, 1e8), (3e3, 1e8)])
    )
    other = "".join(f"{n},{1.05e8 / (6 * n)!r},{2 + i / 10}\n" for i, n in enumerate([1e3, 2e3, 3e3]))
    with pytest.warns(UserWarning, match=r"1e8 and 1.05e8 are 5.00% apart and were kept as two budgets") as said:
        runs = Runs.from_csv(table("n_params,n_tokens,loss\n" + close + other))
    assert said[0].filename == __file__
    assert runs.budget == pytest.approx([1e8] * 3 + [1.05e8] * 3)
    assert any("2 budgets recovered" in note and "within 0.03" in note for note in runs.notes)


def test_stated_budgets_are_kept_and_missing_ones_found(table):
    missing = "".join(f"{n}e6,{1e9 / n!r},3,\n" for n in (2, 3, 4))
    runs = read_runs(table("n_params,n_tokens,loss,budget\n1e6,1e8,3,6.1e14\n2e6,5e7,3,\n" + missing))
    assert runs.budget == pytest.approx([6.1e14, 6.1e14, 6e15, 6e15, 6e15])


def half_stated(others):
    """A table of three runs at a stated 1e8, and of three at each of these C that state no budget."""
    rows = [f"{n},{1e8 / (6 * n)!r},3,1e8" for n in (1e3, 2e3, 3e3)]
    rows += [f"{n},{c / (6 * n)!r},2," for c in others for n in (1e3, 2e3, 3e3)]
    return "n_params,n_tokens,loss,budget\n" + "\n".join(rows) + "\n"


@pytest.mark.parametrize(("others", "said"), [
    ([1.02e8], "3 runs without a budget were given the stated one nearest in C, within 0.03: 1e8 (3 runs, C 1.02e8)"),
    ([0.98e8, 1.02e8], "6 runs without a budget were given the stated one nearest in C, within 0.03: "
     "1e8 (6 runs, C 9.8e7 to 1.02e8)"),
])  # fmt: skip
def test_runs_that_a_stated_budget_takes_in_are_noted(table, others, said):
    runs = read_runs(table(half_stated(others)))
    assert set(runs.budget) == {1e8}
    assert said in runs.notes


def test_one_run_given_a_stated_budget_is_one_run(table):
    runs = read_runs(table("n_params,flops,loss,budget\n1e3,1e8,3,1e8\n2e3,1.01e8,3,\n4e3,9e8,3,9e8\n"))
    assert runs.budget.tolist() == [1e8, 1e8, 9e8]
    said = "1 run without a budget was given the stated one nearest in C, within 0.03: 1e8 (1 run, C 1.01e8)"
    assert said in runs.notes


@pytest.mark.parametrize(("c", "said"), [
    (1.05e8, "1e8 and 1.05e8 are 5.00% apart and were kept as two budgets"),
    (0.95e8, "9.5e7 and 1e8 are 5.26% apart and were kept as two budgets"),
])  # fmt: skip
def test_a_recovered_budget_near_a_stated_one_is_doubted(table, c, said):
    with pytest.warns(UserWarning, match=said) as caught:
        runs = Runs.from_csv(table(half_stated([c])))
    assert caught[0].filename == __file__
    assert runs.budget == pytest.approx([1e8] * 3 + [c] * 3)
    (note,) = [note for note in runs.notes if "recovered" in note]
    assert note.startswith("1 budget recovered from C")
    assert note.endswith(said)
    assert not any("were given" in note for note in runs.notes)


def test_a_recovered_budget_far_from_a_stated_one_is_not_doubted(table):
    (note,) = [note for note in read_runs(table(half_stated([1.1e8]))).notes if "recovered" in note]
    assert "apart" not in note


def test_a_few_runs_that_neither_group_nor_lie_at_a_stated_budget_are_said(table):
    runs = read_runs(table("n_params,flops,loss,budget\n1e3,1e8,3,1e8\n2e3,1.05e8,3,\n4e3,1.05e8,2,\n"))
    assert np.isnan(runs.budget[1:]).all()
    assert (
        "C does not group into budgets where none is stated (2 runs, C 1.05e8): these are no IsoFLOP slices"
        in runs.notes
    )


def test_stated_budgets_are_two_however_near():
    near = cluster_budgets([2e8] * 3, stated=[1e8, 1.02e8])
    assert near.doubts == ()
    between = cluster_budgets([0.95e8] * 3 + [1.05e8] * 3, stated=[1e8])
    assert [doubt.split(" are ")[0] for doubt in between.doubts] == ["9.5e7 and 1e8", "1e8 and 1.05e8"]


def test_the_nearest_stated_budget_is_that_in_ratio():
    stated = [1e8, 1.04e8, 1e300]
    c = [0.96e8, 0.98e8, 1.019e8, 1.021e8, 1.06e8, 1.08e8, np.nan, 0.99e300]
    budget, (note,) = nearest_stated(c, stated)
    nan = np.nan
    assert np.array_equal(budget, [nan, 1e8, 1e8, 1.04e8, 1.04e8, nan, nan, 1e300], equal_nan=True)
    assert note.endswith(
        ": 1e8 (2 runs, C 9.8e7 to 1.019e8), 1.04e8 (2 runs, C 1.021e8 to 1.06e8), 1e300 (1 run, C 9.9e299)"
    )
    assert np.isnan(nearest_stated(c, [])[0]).all()
    assert nearest_stated(c, [3.0])[1] == nearest_stated([], stated)[1] == ()


def test_many_budgets_are_counted():
    stated = 10.0 ** np.arange(20)
    (note,) = nearest_stated(stated, stated)[1]
    assert note.startswith("20 runs")
    assert note.count("(1 run, C") == 12
    assert note.endswith(" and 8 more")


def test_cluster_budgets_at_its_edges():
    assert cluster_budgets([]).clusters == ()
    assert cluster_budgets([np.nan, 1.0]).clusters == ((1.0, 1.0, 1.0, 1),)
    chained = cluster_budgets([1.0, 1.02, 1.04, 1.06])
    assert len(chained.clusters) == 1
    assert "spread over 6.00%" in str(chained)
    planned = np.repeat([1e18, 3e18, 1e19], 7) * np.exp(np.random.default_rng(0).uniform(-0.004, 0.004, 21))
    clusters = cluster_budgets(planned)
    assert [count for *_, count in clusters.clusters] == [7, 7, 7]
    assert clusters.doubts == ()
    order = np.random.default_rng(1).permutation(21)
    assert cluster_budgets(planned[order]).budget == pytest.approx(clusters.budget[order])


@pytest.mark.parametrize(
    ("count", "decades"), [(50, 0.5), (100, 1), (200, 2), (500, 4), (1000, 1), (1000, 3), (1000, 6)]
)
def test_scattered_runs_do_not_group(count, decades):
    for seed in range(20):
        c = 10 ** np.random.default_rng(seed).uniform(18, 18 + decades, count)
        assert not cluster_budgets(c).grouped(), seed


@pytest.mark.parametrize("factor", [1.5, 2.0, 10.0])
@pytest.mark.parametrize("budgets", [1, 2, 5])
def test_budgets_that_runs_miss_by_a_few_percent_group(factor, budgets):
    planned = np.repeat(1e18 * factor ** np.arange(budgets), 7)
    for seed in range(20):
        spent = planned * np.exp(np.random.default_rng(seed).uniform(-0.03, 0.03, len(planned)))
        assert cluster_budgets(spent).grouped(), seed

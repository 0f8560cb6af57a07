"""Budgets that a table does not state: recovered from C, and said to be."""

import numpy as np
import pytest

from flops_fit_core.clusters import cluster_budgets
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

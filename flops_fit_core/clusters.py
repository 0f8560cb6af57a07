"""Compute budgets recovered from the runs' own C, for runs that state none.

In: C of every run, and the budgets that others state. Out: each run's budget, and what was merged or split in words:
by the stated budgets (`nearest_stated`), and by clusters of C (`BudgetClusters`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise

import attrs
import numpy as np
from numpy.typing import ArrayLike, NDArray

from flops_fit_core.text import si

Floats = NDArray[np.float64]

TOLERANCE = 0.03
"""Runs next to each other in C that differ by less than this belong to one budget."""

_DOUBT = 3.0
"""Gaps up to this many tolerances between clusters, and clusters this wide, are pointed out."""

_WIDEST = 1.2
"""Largest over smallest C of runs that can still be of one budget."""

_FULLEST = 0.25
"""Share of the range of ln C that clusters may cover; where runs scatter it is more, and budgets leave it empty."""

_SHOWN = 12


@attrs.frozen(kw_only=True)
class BudgetClusters:
    """Budgets recovered from the runs' compute; prints as the list of clusters.

    Attributes:
        budget: each run's budget (the geometric mean of its cluster), FLOPs, shape (n,).
        tolerance: neighbours in C that differ by less (relative) share a cluster.
        clusters: of each, ascending: budget, smallest C, largest C, number of runs.
        doubts: clusters that are nearly one, nearly two, or nearly a stated budget, in words.
    """

    budget: Floats
    tolerance: float
    clusters: tuple[tuple[float, float, float, int], ...]
    doubts: tuple[str, ...] = ()

    def grouped(self) -> bool:
        """Whether these look like IsoFLOP budgets: half of the clusters or more hold three runs or more, and all are narrow.

        Where many runs scatter in C, each has a neighbour within the tolerance: they chain into clusters that are wide,
        or that leave little of the range between them empty.
        """
        if not self.clusters:
            return True
        _, low, high, runs = np.array(self.clusters).T
        widths = np.log(high / low)
        apart = len(widths) == 1 or widths.sum() <= _FULLEST * np.log(high[-1] / low[0])
        return bool(2 * (runs >= 3).sum() >= len(runs) and widths.max() <= np.log(_WIDEST) and apart)

    def __str__(self) -> str:
        count = len(self.clusters)
        text = f"{count} budget{_s(count)} recovered from C, neighbours within {self.tolerance:.3g} sharing one: "
        shown = [f"{si(c, 6)} ({runs} run{_s(runs)})" for c, _, _, runs in self.clusters]
        return "; ".join([text + _first(shown), *self.doubts])


def nearest_stated(flops: ArrayLike, stated: ArrayLike, tolerance: float = TOLERANCE) -> tuple[Floats, tuple[str, ...]]:
    """The stated budget that is nearest in C, for runs that state none.

    Args:
        flops: C of each of these runs, positive, shape (n,); NaN is near to no budget.
        stated: budgets that other runs state.
        tolerance: relative; a run that is farther from every stated budget gets none.

    Returns:
        Budgets, shape (n,), NaN where none is near; a note of who got which, empty where nobody did.
    """
    c, budgets = np.asarray(flops, dtype=np.float64).reshape(-1), np.unique(np.asarray(stated, dtype=np.float64))
    if not len(budgets):
        return np.full_like(c, np.nan), ()
    logs = np.log(budgets)
    nearest = np.searchsorted((logs[1:] + logs[:-1]) / 2, np.log(c))
    near = np.abs(np.log(c) - logs[nearest]) <= np.log1p(tolerance)
    budget = np.where(near, budgets[nearest], np.nan)
    if not near.any():
        return budget, ()
    given = [f"{si(b, 6)} ({runs_at(c[budget == b])})" for b in np.unique(budget[near])]
    count = int(near.sum())
    who = f"{count} run{_s(count)} without a budget {'was' if count == 1 else 'were'}"
    return budget, (f"{who} given the stated one nearest in C, within {tolerance:.3g}: {_first(given)}",)


def runs_at(c: Floats) -> str:
    """How many runs there are at these C, in words: ``"3 runs, C 9.8e7 to 1.02e8"``."""
    low, high = si(float(c.min()), 6), si(float(c.max()), 6)
    return f"{len(c)} run{_s(len(c))}, C {low}" + (f" to {high}" if low != high else "")


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _first(texts: Sequence[str]) -> str:
    """The first texts, and how many more there are."""
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def cluster_budgets(flops: ArrayLike, tolerance: float = TOLERANCE, stated: Collection[float] = ()) -> BudgetClusters:
    """Group runs into compute budgets: sorted by C, a gap wider than `tolerance` starts a new one.

    Args:
        flops: C of every run, positive, shape (n,); NaN (a run that crashed early) belongs to no budget.
        tolerance: relative.
        stated: budgets that other runs state; clusters near one of them are doubted.
    """
    c = np.asarray(flops, dtype=np.float64).reshape(-1)
    order = np.argsort(c, kind="stable")[: int((~np.isnan(c)).sum())]  # NaN sorts last
    log_c = np.log(c[order])
    gaps = np.diff(log_c)
    group = np.concatenate([np.zeros(min(len(order), 1), dtype=int), np.cumsum(gaps > np.log1p(tolerance))])
    means = np.bincount(group, log_c) / np.bincount(group) if len(order) else np.empty(0)
    budget = np.full_like(c, np.nan)
    budget[order] = np.exp(means)[group]
    first, last = (np.searchsorted(group, np.arange(len(means)), side) for side in ("left", "right"))
    clusters = tuple(
        (float(mean), float(low), float(high), int(runs))
        for mean, low, high, runs in zip(
            np.exp(means), np.exp(log_c[first]), np.exp(log_c[last - 1]), last - first, strict=True
        )
    )
    doubts = _doubts(clusters, stated, tolerance)
    return BudgetClusters(budget=budget, tolerance=tolerance, clusters=clusters, doubts=doubts)


def merge_rounding(budget: Floats) -> Floats:
    """Give budgets that differ by less than one part in 1e6 (printed and read again) one value."""
    order = np.argsort(budget, kind="stable")
    steps = np.diff(np.log(budget[order]), prepend=np.log(budget[order[:1]]))
    group = np.cumsum(steps > 1e-6)
    merged = np.empty_like(budget)
    merged[order] = budget[order][np.searchsorted(group, group)]
    return merged


def _doubts(
    clusters: tuple[tuple[float, float, float, int], ...], stated: Collection[float], tolerance: float
) -> tuple[str, ...]:
    """Clusters near each other or near a stated budget, and wide ones; two stated budgets are two, however near."""
    known = [(float(c), float(c), float(c), 0) for c in stated]
    pairs = [(low, high) for low, high in pairwise(sorted([*clusters, *known])) if low[3] or high[3]]
    close = [(low, high) for low, high in pairs if high[1] / low[2] - 1 < _DOUBT * tolerance]
    wide = [(c, low, high) for c, low, high, _ in clusters if high / low - 1 > tolerance]
    if len(close) + len(wide) > _SHOWN:
        return (f"{len(close)} pairs of budgets are close to each other, {len(wide)} budgets are wide",)
    return (
        *(
            f"{si(low[0], 6)} and {si(high[0], 6)} are {high[1] / low[2] - 1:.2%} apart and were kept as two budgets"
            for low, high in close
        ),
        *(
            f"the runs at {si(c, 6)} spread over {high / low - 1:.2%} and were taken as one budget"
            for c, low, high in wide
        ),
    )

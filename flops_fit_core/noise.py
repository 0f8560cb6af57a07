"""How much runs scatter, asked of no law: each budget's neighbouring sizes against a curve of their own.

In: ln N, ln loss and budget of runs. Out: a standard deviation of ln loss, or the distances
that it is taken of. The diagnostics ask whether a law's misses are more than that, the outlier rule whether a law's
scatter is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NEIGHBOURS = 4
"""Sizes that share a parabola: whole budgets are not one where large models were trained too briefly."""


def slice_scatter(log_n: Floats, log_loss: Floats, budget: Floats) -> float | None:
    """Robust standard deviation of ln loss about parabolas through four neighbouring sizes of a budget.

    Args:
        log_n: ln N of the runs, shape (k,).
        log_loss: ln loss, shape (k,).
        budget: what each run's budget is, shape (k,); NaN for a run at none.

    Returns:
        1.4826 times the median of `slice_misses`; ``None`` where no budget has four sizes.
    """
    misses = slice_misses(log_n, log_loss, budget)
    return float(1.4826 * np.median(misses)) if len(misses) else None


def slice_misses(log_n: Floats, log_loss: Floats, budget: Floats) -> Floats:
    """How far every four neighbouring sizes of a budget are from their parabola, in units of a single run's scatter.

    Args:
        log_n, log_loss, budget: as for `slice_scatter`.

    Returns:
        one a window of four sizes, shape (m,), none of them negative.
    """
    known = np.flatnonzero(np.isfinite(budget))
    order = known[np.lexsort((log_n[known], budget[known]))]
    new = np.ones(len(order), dtype=bool)  # the first run of a size
    new[1:] = (np.diff(budget[order]) != 0) | (np.diff(log_n[order]) != 0)
    size = np.cumsum(new) - 1
    seeds = np.bincount(size)
    of, x, y = budget[order][new], log_n[order][new], np.bincount(size, log_loss[order]) / np.maximum(seeds, 1)
    first = np.flatnonzero(of[: 1 - NEIGHBOURS] == of[NEIGHBOURS - 1 :])  # of neighbours within a budget
    windows = first[:, None] + np.arange(NEIGHBOURS)
    return _off_parabolas(x[windows], y[windows], seeds[windows])


def _off_parabolas(x: Floats, y: Floats, seeds: NDArray[np.intp]) -> Floats:
    """How far four points (m, 4) are from their least-squares parabola, in units of a single run's scatter.

    Their third divided difference, over the root of the squares of its weights; a mean of several seeds scatters less
    than a run.
    """
    apart = x[:, :, None] - x[:, None, :] + np.eye(NEIGHBOURS)
    weights = 1.0 / apart.prod(axis=2)
    return np.asarray(np.abs((weights * y).sum(axis=1)) / np.sqrt((weights**2 / seeds).sum(axis=1)))

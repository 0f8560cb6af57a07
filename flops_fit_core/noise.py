"""How much runs scatter, asked of no law: each budget's neighbouring sizes against a curve of their own.

In: ln N, ln loss and budget of runs. Out: a standard deviation of ln loss. The diagnostics ask whether a law's misses are
more than that, the outlier rule whether a law's scatter is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NEIGHBOURS = 4
"""Sizes that share a parabola: whole budgets are not one where large models were trained too briefly."""


def slice_scatter(log_n: Floats, log_loss: Floats, budget: Floats) -> float | None:
    """Robust standard deviation of ln loss about parabolas through four neighbouring sizes of a budget.

    Args:
        log_n: ln N of the runs, shape (k,).
        log_loss: ln loss, shape (k,).
        budget: what each run's budget is, shape (k,); NaN for a run at none.

    Returns:
        1.4826 times the median distance from those parabolas; ``None`` where no budget has four sizes.
    """
    found = []
    for value in np.unique(budget[np.isfinite(budget)]):
        here = budget == value
        x, rows = np.unique(log_n[here], return_inverse=True)
        if len(x) >= _NEIGHBOURS:
            y = np.bincount(rows, log_loss[here]) / np.bincount(rows)
            seeds = len(rows) / len(x)  # a mean of several scatters less than a run
            windows = np.arange(len(x) - _NEIGHBOURS + 1)[:, None] + np.arange(_NEIGHBOURS)
            found.append(np.sqrt(seeds) * _off_parabolas(x[windows], y[windows]))
    return float(1.4826 * np.median(np.concatenate(found))) if found else None


def _off_parabolas(x: Floats, y: Floats) -> Floats:
    """How far four points (m, 4) are from their least-squares parabola: their third divided difference, of unit length."""
    apart = x[:, :, None] - x[:, None, :] + np.eye(_NEIGHBOURS)
    weights = 1.0 / apart.prod(axis=2)
    return np.asarray(np.abs((weights * y).sum(axis=1)) / np.linalg.norm(weights, axis=1))

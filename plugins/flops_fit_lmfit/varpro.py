"""Starts for a fit of the additive law: variable projection on a grid of alpha and beta.

In: an `Objective` and run weights. Out: a handful of coordinates, one in each valley of the grid.
For given alpha and beta the law is linear in E, A and B, which are solved for with E, A, B >= 0
(Golub and Pereyra 1973), so that only two dimensions are left to search.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from flops_fit_lmfit.objective import Objective

Floats = NDArray[np.float64]

GRID = np.geomspace(0.03, 2.4, 14)
_SUBSETS = [np.array(s) for k in (3, 2, 1) for s in itertools.combinations(range(3), k)]


def starts(objective: Objective, weights: Floats, count: int = 6) -> Floats:
    """Coordinates (at most `count`, 5), the most promising first."""
    alpha, beta = (g.reshape(-1) for g in np.meshgrid(GRID, GRID, indexing="ij"))
    p, q = np.exp(-alpha[:, None] * objective.x), np.exp(-beta[:, None] * objective.y)
    columns = np.stack([np.ones_like(p), p, q], axis=1)  # (m, 3, k)
    base = weights / objective.loss**2 if objective.is_log else weights
    if objective.scale is not None:
        base = base * objective.scale**2
    irls = np.broadcast_to(base, p.shape)
    for _ in range(4 if objective.is_huber else 1):
        linear = _nonnegative(columns, irls, objective.loss)
        theta = np.column_stack([np.log(np.maximum(linear, 1e-12 * objective.loss.mean())), alpha, beta])
        if objective.is_huber:
            r = np.abs(objective.residuals(theta))
            irls = base * np.minimum(1.0, max(objective.delta, float(np.median(r.min(axis=0)))) / np.maximum(r, 1e-300))
    value = objective.value(theta, weights).reshape(len(GRID), len(GRID))
    order = np.argsort(value, axis=None, kind="stable")
    around = np.pad(value, 1, constant_values=np.inf)
    neighbours = [around[1 + i : 1 + i + len(GRID), 1 + j : 1 + j + len(GRID)] for i in (-1, 0, 1) for j in (-1, 0, 1)]
    valley = (value <= np.min(neighbours, axis=0)).reshape(-1)
    chosen = [i for i in order if valley[i]][:count]
    chosen += [i for i in order if i not in chosen][: count - len(chosen)]
    return theta[chosen]


def _nonnegative(columns: Floats, weights: Floats, target: Floats) -> Floats:
    """Weighted least squares with three non-negative coefficients, (m, 3): the best of all supports."""
    weighted = columns * weights[:, None, :]
    gram = weighted @ columns.transpose(0, 2, 1)
    moment = weighted @ target
    best, best_value = np.zeros(moment.shape), np.zeros(len(moment))
    for support in _SUBSETS:
        g = gram[:, support[:, None], support] * (1 + 1e-12 * np.eye(len(support)))
        c = np.linalg.solve(g + 1e-300 * np.eye(len(support)), moment[:, support, None])[..., 0]
        value = -(c * moment[:, support]).sum(axis=1)  # the minimum, less a constant
        better = (c >= 0).all(axis=1) & (value < best_value)
        best_value = np.where(better, value, best_value)
        full = np.zeros(moment.shape)
        full[:, support] = c
        best = np.where(better[:, None], full, best)
    return best

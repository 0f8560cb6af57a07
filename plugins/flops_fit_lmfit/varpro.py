"""Starts for a fit of the additive law: variable projection on a grid of alpha and beta.

In: an `Objective` and run weights. Out: a handful of coordinates, one in each valley of the grid.
For given alpha and beta the law is linear in E, A and B, which are solved for with E, A, B >= 0
(Golub and Pereyra 1973), so that only two dimensions are left to search.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flops_fit_lmfit.objective import Objective

Floats = NDArray[np.float64]

GRID = np.geomspace(0.04, 2.0, 10)
_SUPPORTS = tuple(np.array(s) for s in ([0, 1, 2], [0, 1], [0, 2], [1, 2], [0], [1], [2]))


def starts(objective: Objective, weights: Floats, count: int = 4) -> Floats:
    """Coordinates (at most `count`, 5), the most promising first.

    Robust objectives are approached by a few rounds of iteratively reweighted least squares.
    """
    size = len(GRID)
    p = np.repeat(np.exp(-GRID[:, None] * objective.x), size, axis=0)
    q = np.tile(np.exp(-GRID[:, None] * objective.y), (size, 1))
    columns = np.stack([np.ones_like(p), p, q], axis=1)  # (size², 3, k)
    inverse = 1.0 / objective.loss if objective.is_log else np.ones_like(objective.loss)
    if objective.scale is not None:
        inverse = inverse * objective.scale
    base = weights * inverse**2  # log residuals are relative ones to first order
    reweighted = np.broadcast_to(base, p.shape)
    for _ in range(3 if objective.is_huber else 1):
        linear = _nonnegative(columns, reweighted, objective.loss)
        if objective.is_huber:
            r = np.abs((np.einsum("mj,mjk->mk", linear, columns) - objective.loss) * inverse)
            reweighted = base / np.maximum(r, max(objective.delta, 0.1 * float(r.mean(axis=1).min())))
    least = 1e-9 * objective.loss.mean()
    alpha, beta = np.repeat(GRID, size), np.tile(GRID, size)
    theta = np.column_stack([np.log(np.maximum(linear, least)), alpha, beta])
    value = objective.value(theta, weights)
    order = np.argsort(value, kind="stable")
    valley = _is_valley(value.reshape(size, size)).reshape(-1)
    return np.concatenate([theta[order[valley[order]]], theta[order[~valley[order]]]])[:count]


def _is_valley(value: Floats) -> NDArray[np.bool_]:
    """Which cells of a grid are no higher than their eight neighbours."""
    around = np.pad(value, 1, constant_values=np.inf)
    rows, cols = value.shape
    neighbours = [around[i : i + rows, j : j + cols] for i in range(3) for j in range(3)]
    return np.asarray(value <= np.min(neighbours, axis=0))


def _nonnegative(columns: Floats, weights: Floats, target: Floats) -> Floats:
    """Weighted least squares with three non-negative coefficients, (m, 3): the best of all supports."""
    weighted = columns * weights[:, None, :]
    gram = weighted @ columns.transpose(0, 2, 1)
    moment = weighted @ target
    ridge = 1e-13 * np.einsum("mii->m", gram)[:, None, None]
    best, least = np.zeros(moment.shape), np.zeros(len(moment))
    for support in _SUPPORTS:
        g = gram[:, support[:, None], support] + ridge * np.eye(len(support))
        c = np.linalg.solve(g, moment[:, support, None])[..., 0]
        value = -np.einsum("mi,mi->m", c, moment[:, support])  # the sum of squares, less a constant
        better = (c >= 0).all(axis=1) & (value < least)
        least = np.where(better, value, least)
        full = np.zeros(moment.shape)
        full[:, support] = c
        best = np.where(better[:, None], full, best)
    return best

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

GRID = np.geomspace(0.02, 2.0, 8)
FEW_RUNS = 120
_CELLS = np.arange(len(GRID) ** 2).reshape(len(GRID), -1)


def _blocks(parts: int) -> list[NDArray[np.intp]]:
    """The grid's cells in `parts` by `parts` blocks."""
    rows = np.array_split(_CELLS, parts)
    return [block.reshape(-1) for row in rows for block in np.array_split(row, parts, axis=1)]


_QUARTERS, _SIXTEENTHS = _blocks(2), _blocks(4)
_SUPPORTS = np.array(list(itertools.product((True, False), repeat=3)))
"""Which of E, A and B are not 0, shape (8, 3)."""


def starts(objective: Objective, weights: Floats) -> Floats:
    """Coordinates (4 or 16, 5): the best of each block of the grid, the lowest first.

    Few runs leave more local minima, and make each start cheaper: they get more of them.
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
            r = np.abs(((linear[:, None] @ columns)[:, 0] - objective.loss) * inverse)
            reweighted = base / np.maximum(r, max(objective.delta, 0.1 * float(r.mean(axis=1).min())))
    scale = objective.center[2]
    terms = np.log(np.maximum(linear[:, 1:], 1e-9 * scale))
    theta = np.column_stack([linear[:, 0] / scale, terms, np.repeat(GRID, size), np.tile(GRID, size)])
    value = objective.value(theta, weights)
    blocks = _SIXTEENTHS if len(objective.loss) <= FEW_RUNS else _QUARTERS
    best = [block[np.argmin(value[block])] for block in blocks]
    return theta[sorted(best, key=lambda cell: value[cell])]


def _nonnegative(columns: Floats, weights: Floats, target: Floats) -> Floats:
    """Weighted least squares with three non-negative coefficients, (m, 3): the best of all supports."""
    weighted = columns * weights[:, None, :]
    gram = weighted @ columns.transpose(0, 2, 1)
    moment = weighted @ target
    ridge = 1e-13 * np.einsum("mii->m", gram)[:, None]
    inside = _SUPPORTS[:, None]
    each = gram * (inside[..., None] * inside[..., None, :])
    diagonal = np.einsum("smii->smi", each)  # a view
    diagonal += np.where(inside, ridge, 1.0)
    found = np.linalg.solve(each, (moment * inside)[..., None])[..., 0]  # (supports, m, 3)
    squares = -(found * moment).sum(axis=2)  # their sum, less a constant
    value = np.where((found >= 0).all(axis=2), squares, np.inf)
    return np.asarray(np.take_along_axis(found, value.argmin(axis=0)[None, :, None], axis=0)[0])

"""Damped Newton on a batch of independent small problems, in NumPy alone.

In: an `Objective`, one start and one row of run weights for each problem. Out: each problem's
minimum, and whether it was reached: the decrease a further step promises is nothing.
"""

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray

from flops_fit_lmfit.objective import Objective

Floats = NDArray[np.float64]

TOLERANCE = 1e-13  # relative decrease of the objective that a further Newton step promises
ROUNDING = 1e-15  # a residual's own rounding error


@attrs.frozen(kw_only=True)
class Minima:
    """What `minimise` found, one row a problem."""

    theta: Floats
    value: Floats
    decrease: Floats  # promised by a further step, relative to the value
    converged: NDArray[np.bool_]
    iterations: int


def minimise(objective: Objective, start: Floats, weights: Floats, *, max_iter: int = 200) -> Minima:
    """Minimise the objective from `start` (m, 5) with run weights (m, k) or (k,)."""
    theta = start.copy()
    weights = np.broadcast_to(weights, (len(theta), len(objective.x)))
    floor = ROUNDING**2 * weights.sum(axis=1)
    value, gradient, hessian = objective.derivatives(theta, weights)
    damping = np.full(len(theta), 1e-4)
    decrease = np.full(len(theta), np.inf)
    live = np.arange(len(theta))
    iteration = 0
    w = weights
    f, g, h = value.copy(), gradient, hessian
    while len(live) and iteration < max_iter:
        iteration += 1
        step, promised = _step(g, h, damping[live])
        trial = theta[live] + step
        f_new, g_new, h_new = objective.derivatives(trial, w)
        better = f_new <= f * (1 + 1e-14) + floor[live]
        gain = np.divide(f - f_new, promised, out=np.zeros_like(f), where=promised > 0)
        damping[live] = np.where(
            better, np.where(gain > 0.5, damping[live] * 0.1, damping[live]), damping[live] * 10 + 1e-6
        )
        damping[live] = np.clip(np.where(damping[live] < 1e-9, 0.0, damping[live]), 0.0, 1e12)
        done = promised <= TOLERANCE * f + floor[live]
        done &= better | (damping[live] <= 1.0)
        theta[live[better]] = trial[better]
        decrease[live] = promised / (f + floor[live])
        f = np.where(better, f_new, f)
        g = np.where(better[:, None], g_new, g)
        h = np.where(better[:, None, None], h_new, h)
        value[live] = f
        stuck = damping[live] >= 1e12
        keep = ~(done | stuck)
        if not keep.all():
            live, f, g, h, w = live[keep], f[keep], g[keep], h[keep], w[keep]
    converged = decrease <= 1e-9
    converged[live] = False
    return Minima(theta=theta, value=value, decrease=decrease, converged=converged, iterations=iteration)


def _step(g: Floats, h: Floats, damping: Floats) -> tuple[Floats, Floats]:
    """A descent step and the decrease it promises: Newton on |eigenvalues| of the scaled Hessian."""
    diagonal = np.abs(np.einsum("mii->mi", h))
    scale = 1.0 / np.sqrt(np.maximum(diagonal, 1e-12 * diagonal.max(axis=1, keepdims=True)) + 1e-300)
    values, vectors = np.linalg.eigh(h * scale[:, :, None] * scale[:, None, :])
    slopes = np.einsum("mij,mi->mj", vectors, g * scale)
    curves = np.abs(values) + 1e-14 + damping[:, None]
    along = -slopes / curves
    step = np.einsum("mij,mj->mi", vectors, along) * scale
    promised = 0.5 * (slopes**2 / curves).sum(axis=1)
    longest = np.maximum(np.abs(step).max(axis=1, keepdims=True) / 2.0, 1.0)
    return step / longest, promised

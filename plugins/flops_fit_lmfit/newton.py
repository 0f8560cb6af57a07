"""Damped Newton on many small independent problems at once, in NumPy alone.

In: an `Objective`, a start and a row of run weights for each problem. Out: each problem's minimum,
and whether it was reached: whether a further step promises no decrease.
"""

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray

from flops_fit_lmfit.objective import Objective

Floats = NDArray[np.float64]

TOLERANCE = 1e-17  # relative decrease of the objective that a further step promises
ROUNDING = 1e-15  # a residual's own rounding error
LONGEST = 2.0  # no coordinate (all are logarithms or exponents) moves further in one step
FIRST_DAMPING = 1e-3
SLOTS = 256  # problems at work at once: their arrays stay in the processor's cache


@attrs.frozen(kw_only=True, eq=False)
class Minima:
    """What `minimise` found, one row a problem.

    Attributes:
        theta: coordinates, shape (m, 5).
        value: the objective there, shape (m,).
        decrease: what a further step promises, relative to `value`, shape (m,).
        converged: whether that is nothing, shape (m,).
    """

    theta: Floats
    value: Floats
    decrease: Floats
    converged: NDArray[np.bool_]


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # too long a step is no better: it is not taken
def minimise(objective: Objective, start: Floats, weights: Floats, *, max_steps: int = 300) -> Minima:
    """Minimise the objective with run weights (m, k) or (k,) from `start` (m, 5), or (5,) for all of them.

    Newton's step on the exact Hessian H under E >= 0, damped as H + mu·M by the metric M of the quadratic that
    majorises the objective (so that mu = 1 is about a step of iteratively reweighted least squares).
    """
    start, weights = np.atleast_2d(start), np.atleast_2d(weights)
    m = max(len(start), len(weights))
    metric = objective.metric(start, weights if len(start) > 1 else weights.mean(axis=0, keepdims=True))
    metric = np.broadcast_to(metric, (m, 5, 5))
    start, weights = np.broadcast_to(start, (m, 5)), np.broadcast_to(weights, (m, len(objective.x)))
    rounding = ROUNDING * objective.unit
    floor = rounding**2 * weights.sum(axis=1)
    found = Minima(
        theta=start.copy(), value=np.full(m, np.inf), decrease=np.full(m, np.inf), converged=np.zeros(m, dtype=bool)
    )

    at = np.arange(min(SLOTS, m))  # the problem in each slot; what follows holds one row a slot
    waiting = len(at)
    theta, w, metrics, small = start[at], weights[at], metric[at], floor[at]
    f, damping, steps = np.full(len(at), np.inf), np.full(len(at), FIRST_DAMPING), np.zeros(len(at), dtype=int)
    g, h = np.zeros((len(at), 5)), np.broadcast_to(np.eye(5), (len(at), 5, 5)).copy()
    while len(at):
        step, promised, mu = _step(g, h, metrics, damping, theta[:, 0])
        trial = theta + step
        np.maximum(trial[:, 0], 0.0, out=trial[:, 0])
        f_new, g_new, h_new = objective.derivatives(trial, w)
        better = f_new <= f * (1 + 1e-13) + small
        gain = (f - f_new) / promised
        if not better.all():  # rounding blurs f, which cannot judge a step of less than that: the gradient does
            blur = rounding * np.sqrt(2.0 * f)
            by_gradient = ~better & (promised < blur) & (f_new <= f + blur)
            better |= by_gradient
            gain[by_gradient] = 1.0
        mu *= np.where(better & (gain > 0.25), np.where(gain > 0.75, 0.1, 1.0), 5.0)
        there = (promised <= TOLERANCE * f + small) & (mu < 1.0)
        decrease = promised / (f + small)
        new = steps == 0  # its first step was none: it only evaluates the start
        if new.any():
            there &= ~new
            damping = np.where(new, damping, mu)
        else:
            damping = mu
        damping = np.minimum(np.maximum(damping, 1e-9), 1e9)
        if better.all():
            theta, f, g, h = trial, f_new, g_new, h_new
        else:
            for old, fresh in ((theta, trial), (f, f_new), (g, g_new), (h, h_new)):
                old[better] = fresh[better]
        steps += 1

        out = there | (steps >= max_steps)
        if not out.any():
            continue
        free = np.flatnonzero(out)
        done = at[free]
        found.theta[done], found.value[done] = theta[free], f[free]
        found.decrease[done], found.converged[done] = decrease[free], there[free]
        fill = free[: m - waiting]
        at[fill] = np.arange(waiting, waiting + len(fill))
        waiting += len(fill)
        theta[fill], w[fill], metrics[fill], small[fill] = (each[at[fill]] for each in (start, weights, metric, floor))
        f[fill], damping[fill], steps[fill], g[fill] = np.inf, FIRST_DAMPING, 0, 0.0
        empty = free[len(fill) :]
        if len(empty):
            slots = (at, theta, w, metrics, small, f, damping, steps, g, h)
            at, theta, w, metrics, small, f, damping, steps, g, h = (np.delete(each, empty, axis=0) for each in slots)
    return found


def _step(g: Floats, h: Floats, metric: Floats, damping: Floats, e: Floats) -> tuple[Floats, Floats, Floats]:
    """Steps (m, 5) that keep E >= 0, the decrease each promises, and the damping that it took.

    Each minimises the quadratic model with Hessian H + mu·M, mu raised until that is positive definite.
    """
    mu, model = damping.copy(), h + damping[:, None, None] * metric
    step, good = _solve(model, -g)
    todo = np.flatnonzero(~good)
    while len(todo):
        mu[todo] = np.maximum(10.0 * mu[todo], 0.1)
        model[todo] = h[todo] + mu[todo, None, None] * metric[todo]
        step[todo], good = _solve(model[todo], -g[todo])
        todo = todo[~good & (mu[todo] < 1e9)]
    below = np.flatnonzero(e + step[:, 0] < 0)
    if len(below):  # E moves to 0, the others to their best given that
        bound, right = model[below], -g[below]
        right += bound[:, :, 0] * e[below, None]
        bound[:, 0, :] = bound[:, :, 0] = 0.0
        bound[:, 0, 0], right[:, 0] = 1.0, -e[below]
        step[below] = _solve(bound, right)[0]
    longest = np.maximum(np.abs(step).max(axis=1, keepdims=True) / LONGEST, 1.0)
    step /= longest
    promised = -np.einsum("mi,mi->m", g + 0.5 * (model @ step[:, :, None])[:, :, 0], step)
    return step, promised, mu


def _solve(matrix: Floats, right: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Solve many symmetric 5×5 systems by elimination, and tell which matrices are positive definite."""
    size = matrix.shape[1]
    table = np.empty((size, size + 1, len(matrix)))
    table[:, :size], table[:, size] = matrix.transpose(1, 2, 0), right.T
    for j in range(size):
        row = table[j, j + 1 :] / table[j, j]
        table[:, j + 1 :] -= table[:, j, None] * row
        table[j, j + 1 :] = row
    pivots = np.einsum("jjm->jm", table[:, :size])  # what was left of the diagonal when its turn came
    good = (pivots > 1e-13 * np.einsum("mjj->m", matrix)).all(axis=0)
    return table[:, size].T, good

"""The additive law L(N, D) = E + A/N^alpha + B/D^beta: its loss and its compute optimum.

In: parameters (numbers, or arrays of bootstrap draws), N and D, or a cost model and a budget. Out:
the loss, or the N, D and loss that the budget buys; nothing here knows how the parameters were found.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flops_fit_core.data import CostModel

Floats = NDArray[np.float64]

NAMES = ("E", "A", "B", "alpha", "beta")
FORMULA = "L(N, D) = E + A/N^alpha + B/D^beta"


def loss(params: Mapping[str, ArrayLike], n: ArrayLike, d: ArrayLike) -> Floats:
    """Loss of N parameters after D units of data (Hoffmann et al. 2022, arXiv 2203.15556, equation 2).

    Args:
        params: E, A, B, alpha, beta: numbers, or arrays that broadcast with `n` and `d`.
        n: N, any shape.
        d: D in units of data, any shape.
    """
    e, a, b, alpha, beta = (np.asarray(params[name], dtype=np.float64) for name in NAMES)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # a draw's A or B may have run away
        of_n = np.exp(np.log(a) - alpha * np.log(n))
        of_d = np.exp(np.log(b) - beta * np.log(d))
    return np.asarray(e + of_n + of_d)


def exponents(params: Mapping[str, ArrayLike]) -> dict[str, Floats]:
    """The exponents of N_opt ~ C^a and D_opt ~ C^b where C = 6ND (Hoffmann et al. 2022, equation 4)."""
    alpha, beta = np.asarray(params["alpha"], dtype=np.float64), np.asarray(params["beta"], dtype=np.float64)
    return {"a": np.asarray(beta / (alpha + beta)), "b": np.asarray(alpha / (alpha + beta))}


def local_exponents(params: Mapping[str, Any], cost: CostModel, budget: float) -> dict[str, Floats]:
    """The exponents a and b at a budget: of C = 6ND the law's own, else the slopes from half to twice the budget."""
    if cost.name == "6nd":
        return exponents(params)
    (n0, d0, _), (n1, d1, _) = (optimum(params, cost, times * budget) for times in (0.5, 2.0))
    with np.errstate(all="ignore"):  # a draw may have no optimum
        return {"a": np.log(n1 / n0) / np.log(4.0), "b": np.log(d1 / d0) / np.log(4.0)}


def optimum(params: Mapping[str, Any], cost: CostModel, budget: float) -> tuple[Floats, Floats, Floats]:
    """N, D and loss that minimise the law under cost(N)·D = `budget`, exact for every cost model.

    Between two measured sizes the cost per token is a power law c·N^s, for which the optimum has the
    closed form ``(alpha + s·beta)·ln N = ln(alpha·A / (s·beta·B)) + beta·ln(C / c)``; so the answer
    is the best of the segments' optima, each held inside its segment.

    Args:
        params: numbers, or arrays of draws of one shape.
        cost: C as a function of N and D.
        budget: C, FLOPs.
    """
    a, b, alpha, beta = (np.asarray(params[name], dtype=np.float64) for name in NAMES[1:])
    low, high, log_c, slope = _segments(cost)
    a, b, alpha, beta = (value[..., None] for value in (a, b, alpha, beta))
    rises = slope > 0  # where more parameters cost no more per token, the segment's larger end is best
    s = np.where(rises, slope, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        balance = np.log(alpha * a) - np.log(s * beta * b)
        log_n = (balance + beta * (np.log(budget) - log_c)) / (alpha + s * beta)
    n = np.exp(np.clip(np.where(rises, log_n, np.inf), low, high))
    if n.shape[-1] > 1:
        losses = loss({"E": 0.0, "A": a, "B": b, "alpha": alpha, "beta": beta}, n, cost.tokens(n, budget))
        n = np.take_along_axis(n, np.argmin(losses, axis=-1)[..., None], axis=-1)
    n = n[..., 0]
    d = cost.tokens(n, budget)
    return n, d, loss(params, n, d)


def _segments(cost: CostModel) -> tuple[Floats, Floats, Floats, Floats]:
    """The stretches on which ln(FLOPs per token) = log_c + slope·ln N: their ends in ln N, log_c, slope."""
    knots = np.log(cost.n_params)
    if len(knots) == 0:
        knots = np.zeros(1)
    at = np.concatenate([[knots[0] - 1.0], knots, [knots[-1] + 1.0]])
    log_f = np.log(cost.per_token(np.exp(at)))
    slope = np.diff(log_f) / np.diff(at)
    log_c = log_f[1:] - slope * at[1:]
    low = np.concatenate([[-np.inf], knots])
    high = np.concatenate([knots, [np.inf]])
    if len(cost.n_params) < 2:  # one power law for every N
        return low[:1], high[-1:], log_c[:1], slope[:1]
    return low, high, log_c, slope

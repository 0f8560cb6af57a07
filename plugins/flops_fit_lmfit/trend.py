"""Power laws through the optima of several budgets: N_opt = k_n·C^a, D_opt = k_d·C^b, L_opt = E + k_l·C^c.

In: C, N, D and loss of each budget's optimum, for the data and for bootstrap draws at once. Out: the
laws' parameters. The two power laws are lines in logarithms; the loss is fitted in linear space, where
its irreducible part E is an additive constant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import lmfit
import numpy as np
from numpy.typing import NDArray

from flops_fit_core.data import CostModel

Floats = NDArray[np.float64]

NAMES = ("a", "k_n", "b", "k_d", "E", "k_l", "c")
FORMULA = "N_opt = k_n·C^a, D_opt = k_d·C^b, L_opt = E + k_l·C^c"

_STEEPEST, _FLATTEST = -3.0, -1e-4
_ZOOMS = 5
_ZERO = 1e-6


def line(log_c: Floats, y: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Weighted straight lines y = intercept + slope·ln C, many at once.

    Args:
        log_c: ln C of the budgets, shape (m,).
        y: shape (..., m); NaN where a draw has no optimum for a budget.
        weights: shape (m,).

    Returns:
        Intercept and slope, shape (...); NaN with fewer than two budgets.
    """
    w = np.where(np.isfinite(y), weights, 0.0)
    y = np.where(w > 0, y, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = w.sum(axis=-1)
        x_mean, y_mean = (w * log_c).sum(axis=-1) / total, (w * y).sum(axis=-1) / total
        x = log_c - x_mean[..., None]
        slope = (w * x * y).sum(axis=-1) / (w * x * x).sum(axis=-1)
    slope = np.where((w > 0).sum(axis=-1) >= 2, slope, np.nan)
    return y_mean - slope * x_mean, slope


def random_effects(log_c: Floats, y: Floats, variances: Floats) -> tuple[Floats, float]:
    """Weights of the budgets' optima: 1 / (own variance + variance between budgets beyond it).

    The second term is the moment estimate of DerSimonian and Laird (1986), zero where the optima lie
    as close to a line as their own errors allow. Without any error all weights are equal.

    Returns:
        Weights of mean one, shape (m,), and the variance between budgets.
    """
    if not np.all(variances > 0):
        return np.ones_like(y), 0.0
    if len(y) < 3:
        return variances.mean() / variances, 0.0
    w = 1 / variances
    intercept, slope = line(log_c, y, w)
    excess = float((w * (y - intercept - slope * log_c) ** 2).sum()) - (len(y) - 2)
    design = np.stack([np.ones_like(log_c), log_c - log_c.mean()], axis=-1)
    hat = np.linalg.solve((design * w[:, None]).T @ design, (design * w[:, None] ** 2).T @ design)
    between = max(0.0, excess / (w.sum() - float(np.trace(hat))))
    weights = 1 / (variances + between)
    return np.asarray(weights / weights.mean()), between


def saturating(log_c: Floats, losses: Floats, weights: Floats, floor: bool = True) -> tuple[Floats, Floats, Floats]:
    """Weighted least squares of loss = E + g·exp(c·z), z = ln C - mean, many at once.

    For each c the rest is linear, with E >= 0; c is searched on a grid that is refined around its best
    point (variable projection).

    Args:
        log_c: ln C - centre, shape (m,).
        losses: shape (..., m); NaN where a draw has no optimum for a budget.
        weights: shape (m,).
        floor: whether E is free; else it is zero.

    Returns:
        E, g and c, shape (...).
    """
    w = np.where(np.isfinite(losses), weights, 0.0)[..., None, :]
    y = np.where(np.isfinite(losses), losses, 0.0)[..., None, :]
    low, high = np.full(losses.shape[:-1], np.log(-_FLATTEST)), np.full(losses.shape[:-1], np.log(-_STEEPEST))
    for zoom in range(_ZOOMS):
        points = 60 if zoom == 0 else 15
        grid = low[..., None] + (high - low)[..., None] * np.linspace(0, 1, points)
        e, g, rss = _linear_part(-np.exp(grid), log_c, y, w, floor)
        best = np.argmin(rss, axis=-1)[..., None]
        e, g, centre = (np.take_along_axis(values, best, axis=-1)[..., 0] for values in (e, g, grid))
        width = (high - low) / (points - 1)
        low, high = centre - width, np.minimum(centre + width, np.log(-_STEEPEST))
    return e, g, -np.exp(centre)


def _linear_part(c: Floats, z: Floats, y: Floats, w: Floats, floor: bool) -> tuple[Floats, Floats, Floats]:
    """E >= 0 and g of the best curve for every c (..., k), and its residual sum of squares."""
    f = np.exp(c[..., None] * z)
    total = w.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        f_mean, y_mean = (w * f).sum(axis=-1) / total, (w * y).sum(axis=-1) / total
        centred = f - f_mean[..., None]
        g = (w * centred * y).sum(axis=-1) / (w * centred * centred).sum(axis=-1)
        e = y_mean - g * f_mean
        through_zero = (w * f * y).sum(axis=-1) / (w * f * f).sum(axis=-1)
        flat = (e < 0) | (not floor)
        e, g = np.where(flat, 0.0, e), np.where(flat, through_zero, g)
        e, g = np.where(g < 0, y_mean, e), np.maximum(g, 0.0)
        rss = (w * (y - e[..., None] - g[..., None] * f) ** 2).sum(axis=-1)
    return e, g, np.where(np.isfinite(rss), rss, np.inf)


@attrs.frozen(kw_only=True)
class LossLaw:
    """loss = e + scale·exp(c·z) at its optimum.

    Attributes:
        e, scale, c: the parameters.
        objective: weighted sum of squares.
        converged: whether lmfit's optimizer met its criterion.
        gradient_norm: largest cosine between the residuals and a free parameter's derivative.
    """

    e: float
    scale: float
    c: float
    objective: float
    converged: bool
    gradient_norm: float


def polish(z: Floats, losses: Floats, weights: Floats, floor: bool = True) -> LossLaw:
    """Fit the loss law in linear space through lmfit, from the optimum that `saturating` finds.

    Args:
        z: ln C - centre, shape (m,).
        losses: shape (m,).
        weights: shape (m,).
        floor: whether E is free; else it is zero.
    """
    e, g, c = (float(value) for value in saturating(z, losses, weights, floor))
    start = lmfit.Parameters()
    start.add("e", value=max(e, 0.0), min=0.0, vary=floor)
    start.add("log_scale", value=np.log(max(g, 1e-12 * float(losses.max()))))
    start.add("c", value=c, min=_STEEPEST, max=_FLATTEST)
    root = np.sqrt(weights)

    def residuals(p: lmfit.Parameters) -> Floats:
        return np.asarray(root * (p["e"].value + np.exp(p["log_scale"].value + p["c"].value * z) - losses))

    with np.errstate(all="ignore"):  # lmfit works out standard errors that are 0/0 where nothing is left over
        result = lmfit.minimize(residuals, start, method="least_squares", xtol=1e-15, ftol=1e-15, gtol=1e-15)
    best = min((start, result.params), key=lambda p: float((residuals(p) ** 2).sum()))
    e, g, c = best["e"].value, float(np.exp(best["log_scale"].value)), best["c"].value
    if e < _ZERO * float(losses.min()):
        e = 0.0  # lmfit stops a hair inside the bound
    r, f = residuals(best), np.exp(c * z)
    free = [root * f * g] + [root] * (floor and e > 0) + [root * f * g * z] * (_STEEPEST < c < _FLATTEST)
    scale = float(np.linalg.norm(r))
    exact = scale <= 1e-12 * float(np.linalg.norm(root * losses))
    norm = 0.0 if exact else max(abs(float(r @ j)) / (scale * float(np.linalg.norm(j))) for j in free)
    return LossLaw(
        e=e, scale=g, c=c, objective=scale**2, converged=bool(result.success) and norm < 1e-4, gradient_norm=norm
    )


@attrs.frozen(kw_only=True, eq=False)
class Laws:
    """The laws through the budgets' optima, and what it takes to draw them through resampled optima.

    Attributes:
        log_c: ln C of the budgets, shape (m,).
        weights_n, weights_loss: weights of the budgets' N_opt and L_opt, shape (m,).
        between: variance of ln N_opt about its law beyond what the runs' noise explains.
        floor: whether E is free: with two budgets it is zero.
        params: a, k_n, b, k_d, E, k_l, c.
        loss: how the loss law was found.
    """

    log_c: Floats
    weights_n: Floats
    weights_loss: Floats
    between: float
    floor: bool
    params: dict[str, float]
    loss: LossLaw

    @classmethod
    def fit(cls, log_c: Floats, optima: tuple[Floats, Floats, Floats], variances: tuple[Floats, Floats]) -> Laws:
        """Fit the laws.

        Args:
            log_c: ln C of at least two budgets, shape (m,).
            optima: ln N, ln D and loss of the budgets' optima, each of shape (m,).
            variances: of ln N and of the loss there, shape (m,); zeros where there is no noise.
        """
        log_n, log_d, loss = optima
        weights_n, between = random_effects(log_c, log_n, variances[0])
        even = not np.all(variances[1] > 0)
        weights_loss = np.ones_like(loss) if even else variances[1].mean() / variances[1]
        z, floor = log_c - log_c.mean(), len(log_c) >= 3
        found = polish(z, loss, weights_loss, floor)
        powers = {name: float(value) for name, value in power_laws(log_c, log_n, log_d, weights_n).items()}
        k_l = float(found.scale * np.exp(-found.c * log_c.mean()))
        params = {**powers, "E": found.e, "k_l": k_l, "c": found.c}
        return cls(
            log_c=log_c,
            weights_n=weights_n,
            weights_loss=weights_loss,
            between=between,
            floor=floor,
            params=params,
            loss=found,
        )

    def draws(self, log_n: Floats, log_d: Floats, loss: Floats) -> dict[str, Floats]:
        """All parameters through resampled optima of shape (..., m); NaN where too few budgets have one."""
        enough = np.isfinite(loss).sum(axis=-1) >= (3 if self.floor else 2)
        e, g, c = saturating(self.log_c - self.log_c.mean(), loss, self.weights_loss, self.floor)
        law = {"E": e, "k_l": g * np.exp(-c * self.log_c.mean()), "c": c}
        law = {name: np.where(enough, values, np.nan) for name, values in law.items()}
        return {**power_laws(self.log_c, log_n, log_d, self.weights_n), **law}

    def notes(self) -> tuple[str, ...]:
        """What the loss law could not tell."""
        if not self.floor:
            return (
                "two budgets cannot tell the irreducible loss: E is set to 0, so beyond them the predicted loss is a "
                "lower bound; train a third budget",
            )
        if self.params["E"] == 0:
            return ("the budgets do not show the loss flattening: E came out at its bound 0 and is not identified",)
        return ()


def power_laws(log_c: Floats, log_n: Floats, log_d: Floats, weights: Floats) -> dict[str, Floats]:
    """a, k_n, b and k_d of N_opt = k_n·C^a and D_opt = k_d·C^b through optima of shape (..., m)."""
    at_n, a = line(log_c, log_n, weights)
    at_d, b = line(log_c, log_d, weights)
    return {"a": a, "k_n": np.exp(at_n), "b": b, "k_d": np.exp(at_d)}


def optimum(params: Mapping[str, Any], cost: CostModel, budget: float) -> tuple[Floats, Floats, Floats]:
    """N = k_n·C^a, the D that C buys for it, and loss; vectorised over arrays of draws.

    D comes from the cost model, so that cost(N)·D = C also where the two power laws drift apart.
    """
    get = {name: np.asarray(value, dtype=np.float64) for name, value in params.items()}
    n = np.exp(np.log(get["k_n"]) + get["a"] * np.log(budget))
    loss = get["E"] + get["k_l"] * np.exp(get["c"] * np.log(budget))
    return np.asarray(n), cost.tokens(n, budget), np.asarray(loss)

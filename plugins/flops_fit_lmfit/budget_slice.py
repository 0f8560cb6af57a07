"""One compute budget's runs, the curve through them, its minimum, and whether that may be used.

In: usable runs with their budgets. Out: `BudgetSlice` values, ascending in budget.
"""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from flops_fit_core.data import Runs
from flops_fit_lmfit import slices
from flops_fit_lmfit.slices import MIN_POINTS, PARABOLA, Shape
from flops_fit_lmfit.standard_errors import StandardErrors

Floats = NDArray[np.float64]

_LEAST_FREE = 1e-6


@attrs.frozen(kw_only=True, eq=False)
class BudgetSlice:
    """The runs of one budget.

    Attributes:
        budget: C, FLOPs.
        rows: the runs' rows in the usable table, shape (n,).
        centre: mean ln N; x = ln N - centre.
        x, log_d, loss: of the runs, shape (n,).
        weights: run weights, mean one, zero where the run is an outlier, shape (n,).
        labels: the runs' names.
        coefficients: of the parabola in x, shape (3,); NaN where there is none.
        reason: why the minimum is not used; empty where it is.
    """

    budget: float
    rows: NDArray[np.intp]
    centre: float
    x: Floats
    log_d: Floats
    loss: Floats
    weights: Floats
    labels: tuple[str, ...]
    coefficients: Floats
    reason: str = ""

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which runs the curve goes through."""
        return self.weights > 0

    def minima(self, shape: Shape, coefficients: Floats) -> tuple[Floats, Floats, Floats]:
        """Ln N, ln D and loss at the curves' minima; NaN outside the runs' sizes. Any number of curves."""
        x = shape.minimum(coefficients)
        with np.errstate(invalid="ignore"):
            x = np.where((x >= self.x.min()) & (x <= self.x.max()), x, np.nan)
        return x + self.centre, self.log_d_at(x), slices.curve(shape, coefficients, x)

    def log_d_at(self, x: Floats) -> Floats:
        """Ln D of this budget at x: a parabola through the runs' own D."""
        return slices.curve(PARABOLA, slices.solve(PARABOLA, self.x, self.log_d, np.ones_like(self.x)), x)

    def data_slope(self) -> float:
        """-d ln D / d ln N along the budget: 1 where C = 6ND."""
        spread = float((self.x**2).sum())
        return -float((self.x * self.log_d).sum()) / spread if spread > 0 else 0.0

    def shape(self, exponents: tuple[float, float] | None) -> Shape:
        """The additive law's slice along this budget; a parabola where it is unknown, or D rises with N."""
        if exponents is None or (slope := self.data_slope()) <= 0:
            return PARABOLA
        return Shape(alpha=exponents[0], decay=exponents[1] * slope)

    def residuals(self) -> Floats:
        """Relative residuals of the parabola, shape (n,)."""
        return (self.loss - slices.curve(PARABOLA, self.coefficients, self.x)) / self.loss

    def noise(self) -> Floats:
        """Relative residuals of the kept runs as they would be without the fit: over sqrt(1 - leverage), weight one."""
        basis, _ = np.linalg.qr(PARABOLA.basis(self.x) * np.sqrt(self.weights)[:, None])
        free = 1.0 - (basis**2).sum(axis=1)
        scaled = self.residuals() * np.sqrt(self.weights) / np.sqrt(np.maximum(free, _LEAST_FREE))
        return np.asarray(scaled[self.kept & (free > _LEAST_FREE)])

    def resampled(self, noise: Floats) -> tuple[Floats, Floats, Floats]:
        """Minima of parabolas through the fitted curve with other noise.

        Args:
            noise: relative, of weight one, shape (..., n).

        Returns:
            ln N, ln D and loss, shape (...); NaN where a curve has no minimum within the sizes.
        """
        fitted = slices.curve(PARABOLA, self.coefficients, self.x)
        away = np.divide(1.0, np.sqrt(self.weights), out=np.zeros_like(self.weights), where=self.kept)
        losses = fitted * (1.0 + noise * away)
        return self.minima(PARABOLA, slices.solve(PARABOLA, self.x, losses, self.weights))

    def plain(self, exact: dict[str, Any] | None) -> dict[str, Any]:
        """The budget as JSON values, as documented in `flops_fit_lmfit.isoflop`."""
        c0, c1, c2 = self.coefficients
        m = self.centre
        there = bool(np.isfinite(self.coefficients).all())
        return {
            "budget": self.budget,
            "n_points": len(self.x),
            "n_range": [float(np.exp(m + self.x.min())), float(np.exp(m + self.x.max()))],
            **self.minimum_plain(PARABOLA, self.coefficients),
            "parabola": [float(c0 - c1 * m + c2 * m * m), float(c1 - 2 * c2 * m), float(c2)] if there else None,
            "slice": exact,
            "outliers": [self.labels[i] for i in np.flatnonzero(~self.kept)],
            "used": not self.reason,
            "reason": self.reason,
        }

    def minimum_plain(self, shape: Shape, coefficients: Floats) -> dict[str, float | None]:
        """n_opt, d_opt and loss_opt; ``None`` where the curve has no minimum near the runs."""
        x = float(shape.minimum(coefficients))
        if not abs(x) < 20:
            return dict.fromkeys(("n_opt", "d_opt", "loss_opt"))
        loss = float(slices.curve(shape, coefficients, np.array(x)))
        d = float(np.exp(self.log_d_at(np.array(x))))
        return {"n_opt": float(np.exp(x + self.centre)), "d_opt": d, "loss_opt": loss}


def budget_slices(runs: Runs, budget: Floats, left_out: NDArray[np.bool_]) -> list[BudgetSlice]:
    """Group the runs by budget and fit a parabola to each group.

    Args:
        runs: usable runs.
        budget: their budgets, shape (n,), equal within a group.
        left_out: outliers, which stay in their group without weight, shape (n,).
    """
    weights = 1.0 - left_out
    rows = [np.flatnonzero(budget == c) for c in np.unique(budget)]
    groups = [_slice(runs, budget, r, weights[r]) for r in rows]
    errors = StandardErrors.of(runs.loss_stderr, runs.loss)  # of outliers too, which have no weight
    if errors is None:
        return groups
    weights = weights / errors.variances(math.sqrt(noise_variance(groups)))
    weights /= weights[weights > 0].mean()
    return [_slice(runs, budget, r, weights[r]) for r in rows]


def noise_variance(groups: list[BudgetSlice]) -> float:
    """Variance of one run's relative noise about the parabolas, all budgets together; 0 if none are left."""
    groups = [g for g in groups if np.isfinite(g.coefficients).all()]
    free = sum(int(g.kept.sum()) - 3 for g in groups)
    return sum(float((g.weights * g.residuals() ** 2).sum()) for g in groups) / free if free > 0 else 0.0


def _slice(runs: Runs, budget: Floats, rows: NDArray[np.intp], weights: Floats) -> BudgetSlice:
    log_n, loss = np.log(runs.n_params[rows]), runs.loss[rows]
    x = log_n - log_n.mean()
    sizes = len(np.unique(np.round(x[weights > 0], 9)))
    coefficients = slices.solve(PARABOLA, x, loss, weights) if sizes >= 3 else np.full(3, np.nan)
    found = BudgetSlice(
        budget=float(budget[rows[0]]),
        rows=rows,
        centre=float(log_n.mean()),
        x=x,
        log_d=np.log(runs.n_tokens[rows]),
        loss=loss,
        weights=weights,
        labels=tuple(runs.name(int(row)) for row in rows),
        coefficients=coefficients,
    )
    return attrs.evolve(found, reason=_reason(found, sizes))


def _reason(found: BudgetSlice, sizes: int) -> str:
    """Why a budget's minimum cannot be used; empty where it can."""
    if sizes < MIN_POINTS:
        return f"{sizes} different sizes where a minimum needs {MIN_POINTS}"
    if found.data_slope() <= 0:
        return "no IsoFLOP slice: larger models were trained on no less data; the budget must be shared between N and D"
    x, loss = found.x[found.kept], found.loss[found.kept]
    rows = np.unique(np.round(x, 9), return_inverse=True)[1]
    means = np.bincount(rows, loss) / np.bincount(rows)
    if means[1:-1].min() > min(means[0], means[-1]):  # a tie within, of losses that were rounded, is a minimum seen
        end, other = ("smallest", "smaller") if means[0] <= means[-1] else ("largest", "larger")
        return f"minimum at the edge: the lowest loss is at the {end} size; add {other} ones"
    vertex = float(PARABOLA.minimum(found.coefficients))
    if np.isnan(vertex):
        return "concave: the curve has no minimum"
    if not x.min() < vertex < x.max():
        return "the curve's vertex lies outside the sizes that were trained"
    return ""

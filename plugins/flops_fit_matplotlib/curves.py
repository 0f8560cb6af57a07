"""What there is to draw, as numbers: the runs by budget, a curve and an optimum for every budget.

In: a `Result`. Out: a `Sweep` of arrays and `Curve` values; nothing here knows how they will look.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Self

import attrs
import numpy as np
from numpy.typing import NDArray

from flops_fit_core.cells import best_of_cells
from flops_fit_core.data import Fit, Prediction, Result, Runs
from flops_fit_core.errors import FitError
from flops_fit_core.tables import cluster_budgets

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


REACH = 4.0
"""A curve goes on to its optimum where that is no more than so many times beyond the sizes that were trained."""

FEWEST = 3
"""Different sizes of a budget below which a law's slice is not drawn: scattered runs are no IsoFLOP curves."""


@attrs.frozen(kw_only=True, eq=False)
class Curve:
    """Loss against N at one budget, and its optimum.

    Attributes:
        budget: C, FLOPs.
        n_params, loss: the line, shape (k,); empty where the budget has none.
        n_opt, d_opt, loss_opt: a parabola's minimum, or the optimum that the fit answers with; ``None`` without one.
            An average of fits averages N_opt too, so that its optimum is the lowest point of its curve only nearly.
        used: whether the minimum went into the fit.
    """

    budget: float
    n_params: Floats
    loss: Floats
    n_opt: float | None = None
    d_opt: float | None = None
    loss_opt: float | None = None
    used: bool = True

    @property
    def holds_optimum(self) -> bool:
        """Whether the optimum lies on the line, and not far beyond its end."""
        return self.n_opt is not None and len(self.n_params) > 0 and self.n_params[0] <= self.n_opt <= self.n_params[-1]


@attrs.frozen(kw_only=True, eq=False)
class Sweep:
    """The runs of a result, sorted into budgets, with the curves through them.

    Attributes:
        runs: all runs.
        budget: C of every run's budget, FLOPs, shape (n,).
        budgets: the different ones, ascending.
        usable: runs that have a loss, shape (n,).
        left_out: usable runs that the first fit left out, shape (n,): the one that gives the answer and its path.
        flagged: usable runs that it called outliers and used all the same, shape (n,).
        beaten: usable runs of a cell (budget, size, seed) in which another recipe did better, shape (n,).
        curves: one for every budget that has one.
        source: what the curves are: ``"parabola"``, the name of a fitter, or empty without curves.
    """

    runs: Runs
    budget: Floats
    budgets: tuple[float, ...]
    usable: Bools
    left_out: Bools
    flagged: Bools
    beaten: Bools
    curves: tuple[Curve, ...]
    source: str

    @classmethod
    def of(cls, result: Result) -> Self:
        """Sort the runs and find the best curves there are: fitted parabolas, else slices of a law in N and D."""
        runs = result.runs
        budget = _budget_of(runs, result)
        usable = runs.usable()
        fit = result.fit
        curves, source = _curves(result, budget, usable)
        left_out = usable & _named(runs, _left_out(fit))
        flagged = usable & _named(runs, {item.run for item in fit.excluded if item.used} if fit else set())
        return cls(
            runs=runs,
            budget=budget,
            budgets=tuple(float(c) for c in np.unique(budget[np.isfinite(budget)])),
            usable=usable,
            left_out=left_out,
            flagged=flagged & ~left_out,
            beaten=usable & _beaten(runs),
            curves=curves,
            source=source,
        )

    @property
    def optimum(self) -> str:
        """What the curves' optima are, in words."""
        return "parabola minimum" if self.source == "parabola" else f"optimum, {self.source}"

    def at(self, budget: float) -> Bools:
        """Which runs belong to a budget."""
        return np.asarray(self.budget == budget)

    def best(self, budget: float) -> int | None:
        """The row of a budget's lowest loss among the runs that were not left out."""
        rows = np.flatnonzero(self.at(budget) & self.usable & ~self.left_out)
        return int(rows[np.argmin(self.runs.loss[rows])]) if len(rows) else None


def _budget_of(runs: Runs, result: Result) -> Floats:
    if runs.budget is not None and np.isfinite(runs.budget).all():
        return runs.budget
    if not len(runs):
        return np.empty(0)
    flops = runs.flops if runs.flops is not None else result.cost.flops(runs.n_params, runs.n_tokens)
    return np.asarray(cluster_budgets(flops).budget)


def _curves(result: Result, budget: Floats, usable: Bools) -> tuple[tuple[Curve, ...], str]:
    for fit in result.fits:
        if "budgets" in fit.details:
            return _parabolas(fit, np.unique(budget[usable])), "parabola"
    for fit, name in zip(result.fits, fit_names(result.fits), strict=True):
        try:
            return _slices(fit, result.runs, budget, usable), name
        except FitError:  # describes only the optimum
            continue
    return (), ""


def _parabolas(fit: Fit, budgets: Floats) -> tuple[Curve, ...]:
    """The curves that fitter ``isoflop`` keeps in its details, each under the budget that its runs state."""
    curves = []
    for row in fit.details["budgets"]:
        budget = float(budgets[np.argmin(np.abs(np.log(budgets / row["budget"])))])
        n = _span(*row["n_range"], row["n_opt"]) if row["parabola"] is not None else np.empty(0)
        loss = np.polynomial.polynomial.polyval(np.log(n), row["parabola"]) if len(n) else n
        minimum = {name: row[name] for name in ("n_opt", "d_opt", "loss_opt")}
        curves.append(Curve(budget=budget, n_params=n, loss=loss, used=row["used"], **minimum))
    return tuple(curves)


def _slices(fit: Fit, runs: Runs, budget: Floats, usable: Bools) -> tuple[Curve, ...]:
    curves = []
    for c in np.unique(budget[usable]):
        sizes = np.unique(runs.n_params[usable & (budget == c)])
        if len(sizes) < FEWEST:
            continue
        optimum = fit.predict(float(c))
        n = _span(sizes[0], sizes[-1], optimum.n_params.value)
        curves.append(
            Curve(
                budget=float(c),
                n_params=n,
                loss=np.asarray(fit.loss(n, fit.cost.tokens(n, c))),
                n_opt=optimum.n_params.value,
                d_opt=optimum.n_tokens.value,
                loss_opt=optimum.loss.value,
            )
        )
    return tuple(curves)


def _span(low: float, high: float, optimum: float | None) -> Floats:
    """Sizes a little beyond those that were trained, and as far as the optimum where that is near."""
    if optimum is not None and low / REACH <= optimum <= high * REACH:
        low, high = min(low, optimum), max(high, optimum)
    margin = max(0.04 * np.log(high / low), 0.02)
    return np.geomspace(low * np.exp(-margin), high * np.exp(margin), 120)


def _left_out(fit: Fit | None) -> set[str]:
    if fit is None:
        return set()
    names = {item.run for item in fit.excluded if not item.used}
    return names | {name for row in fit.details.get("budgets", ()) for name in row["outliers"]}


def _named(runs: Runs, names: set[str]) -> Bools:
    return np.array([runs.name(row) in names for row in range(len(runs))], dtype=bool)


def _beaten(runs: Runs) -> Bools:
    if runs.label is None or not any(runs.hparams or ()):
        return np.zeros(len(runs), dtype=bool)
    best = set(best_of_cells(runs).label or ())
    return np.array([label not in best for label in runs.label], dtype=bool)


def fit_names(fits: Sequence[Fit]) -> list[str]:
    """Fitters' names, as in the table that compares fits: numbered where one name comes twice."""
    names = [fit.fitter for fit in fits]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: i + 1].count(name)})" for i, name in enumerate(names)
    ]


def trajectory(fit: Fit, budgets: Floats) -> list[Prediction]:
    """The fit's optimum at each budget that it has one for."""
    predictions = []
    for budget in budgets:
        with contextlib.suppress(FitError):
            predictions.append(fit.predict(float(budget)))
    return predictions


def interval(predictions: Sequence[Prediction], name: str) -> tuple[Floats, Floats] | None:
    """Low and high of ``n_params``, ``n_tokens`` or ``loss`` along a trajectory, where the fit has them."""
    estimates = [getattr(prediction, name) for prediction in predictions]
    if any(estimate.low is None or estimate.high is None for estimate in estimates):
        return None
    return np.array([e.low for e in estimates]), np.array([e.high for e in estimates])

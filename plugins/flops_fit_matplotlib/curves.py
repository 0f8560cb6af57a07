"""What there is to draw, as numbers: the runs by budget, a curve and an optimum for every budget.

In: a `Result`. Out: a `Sweep` of arrays, `Curve` and `Optimum` values; nothing here knows how they will look.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Self

import attrs
import numpy as np
from numpy.typing import NDArray

from flops_fit_core.cells import best_of_cells
from flops_fit_core.compare import names_of
from flops_fit_core.data import Fit, Prediction, Result, Runs
from flops_fit_core.errors import FitError
from flops_fit_core.tables import cluster_budgets

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

REACH = 4.0
"""A curve goes on to its optimum where that is no more than so many times beyond the sizes that were trained."""

FEWEST = 3
"""Different sizes of a budget below which a law's slice is not drawn: scattered runs are no IsoFLOP curves."""


@attrs.frozen(kw_only=True)
class Optimum:
    """The N, D and loss that are best at one budget.

    Attributes:
        budget: C, FLOPs.
        n_params, n_tokens, loss: the best point.
        seen: whether there are runs on both sides of it; else it is extrapolated, or only the best that was tried.
    """

    budget: float
    n_params: float
    n_tokens: float
    loss: float
    seen: bool


@attrs.frozen(kw_only=True, eq=False)
class Curve:
    """Loss against N at one budget, and its optimum.

    Attributes:
        budget: C, FLOPs.
        n_params, loss: the line, shape (k,); empty where the budget has none.
        optimum: a parabola's minimum, or the optimum that the fit answers with; ``None`` without one.
            An average of fits averages N_opt too, so that its optimum is the lowest point of its curve only nearly.
    """

    budget: float
    n_params: Floats
    loss: Floats
    optimum: Optimum | None = None

    @property
    def shown(self) -> Optimum | None:
        """The optimum, where it lies on the line and not far beyond its end."""
        best, n = self.optimum, self.n_params
        return best if best is not None and len(n) and n[0] <= best.n_params <= n[-1] else None


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
        source: what the curves are: ``"parabola"``, the name of the first fit, or empty without curves.
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
        """Sort the runs and find the first fit's curves: slices of its law in N and D, else its parabolas."""
        runs = result.runs
        budget = _budget_of(runs, result)
        usable = runs.usable()
        fit = result.fit
        left_out = usable & _named(runs, _left_out(fit))
        curves, source = _curves(result, budget, usable, left_out)
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
    def line(self) -> str:
        """What the curves are, in words."""
        return "parabola through a budget's runs" if self.source == "parabola" else f"{self.source} fit at each budget"

    def optimum(self, *, seen: bool) -> str:
        """What the curves' optima are, in words."""
        if self.source == "parabola":
            return "parabola minimum" if seen else "parabola minimum, not used"
        return f"optimum, {self.source}" + ("" if seen else ", outside the sizes fitted")

    def at(self, budget: float) -> Bools:
        """Which runs belong to a budget."""
        return np.asarray(self.budget == budget)

    @property
    def fitted(self) -> Bools:
        """The runs that were fitted: usable, not left out, the best recipe of their cell."""
        return self.usable & ~self.left_out & ~self.beaten


def _budget_of(runs: Runs, result: Result) -> Floats:
    if runs.budget is not None and np.isfinite(runs.budget).all():
        return runs.budget
    if not len(runs):
        return np.empty(0)
    flops = runs.flops if runs.flops is not None else result.cost.flops(runs.n_params, runs.n_tokens)
    clusters = cluster_budgets(flops)
    return clusters.budget if clusters.grouped() else np.asarray(flops)


def _curves(result: Result, budget: Floats, usable: Bools, left_out: Bools) -> tuple[tuple[Curve, ...], str]:
    """The first fit's curves alone: another's would lie beside the path and the answer, which are the first one's."""
    fit = result.fit
    if fit is None:
        return (), ""
    with contextlib.suppress(FitError):  # describes only the optimum
        curves = _slices(fit, result.runs, budget, usable, left_out)
        if curves:
            return curves, names_of(result.fits)[0]
    return (parabolas(fit, np.unique(budget[usable])), "parabola") if "budgets" in fit.details else ((), "")


def parabolas(fit: Fit, budgets: Floats) -> tuple[Curve, ...]:
    """The curves that fitter ``isoflop`` keeps in its details, each under the budget that its runs state."""
    curves = []
    for row in fit.details["budgets"]:
        budget = float(budgets[np.argmin(np.abs(np.log(budgets / row["budget"])))])
        n = _span(*row["n_range"], row["n_opt"]) if row["parabola"] is not None else np.empty(0)
        loss = np.polynomial.polynomial.polyval(np.log(n), row["parabola"]) if len(n) else n
        best = None
        if row["n_opt"] is not None:
            best = Optimum(
                budget=budget, n_params=row["n_opt"], n_tokens=row["d_opt"], loss=row["loss_opt"], seen=row["used"]
            )
        curves.append(Curve(budget=budget, n_params=n, loss=loss, optimum=best))
    return tuple(curves)


def _slices(fit: Fit, runs: Runs, budget: Floats, usable: Bools, left_out: Bools) -> tuple[Curve, ...]:
    curves = []
    for c in np.unique(budget[usable]):
        here = usable & (budget == c)
        sizes = np.unique(runs.n_params[here])
        if len(sizes) < FEWEST:
            continue
        best = _answer(fit, float(c), runs.n_params[here & ~left_out])
        n = _span(sizes[0], sizes[-1], best.n_params)
        loss = np.asarray(fit.loss(n, fit.cost.tokens(n, c)))
        curves.append(Curve(budget=float(c), n_params=n, loss=loss, optimum=best))
    return tuple(curves)


def _answer(fit: Fit, budget: float, sizes: Floats) -> Optimum:
    """What the fit answers at a budget, seen where that lies within the sizes it was fitted to there."""
    answer = fit.predict(budget)
    n = answer.n_params.value
    seen = len(sizes) > 0 and bool(sizes.min() <= n <= sizes.max())
    return Optimum(budget=budget, n_params=n, n_tokens=answer.n_tokens.value, loss=answer.loss.value, seen=seen)


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


def titled(result: Result) -> str:
    """The study's name, and that its losses are simulated where they are."""
    simulated = any(diagnostic.kind == "simulated" for diagnostic in result.diagnostics)
    return f"{result.workload}, simulated" if simulated else result.workload

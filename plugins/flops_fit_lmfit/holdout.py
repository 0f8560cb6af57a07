"""Rolling hold-out: fit below a budget, predict above it, for every budget that leaves enough below.

In: usable runs, and a function that fits one or several `Law` to a table. Out: one `Held` for every pair of
an origin and a held-out budget, and what they add up to: loss error, bias, regret, model error.

A held-out budget is judged by its runs within 4× in N of its best run: those are the ones that an answer
is about. Means are over a budget's runs, then over budgets, then over origins, so that neither large
budgets nor early origins dominate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from flops_fit_core.budgets import budgets_of
from flops_fit_core.data import Fit, ModelError, Runs
from flops_fit_core.errors import FitError
from flops_fit_core.stages import Fitter
from flops_fit_lmfit.slices import MIN_POINTS, PARABOLA
from flops_fit_lmfit.slices import solve as fit_slice

Floats = NDArray[np.float64]

MIN_BUDGETS = 4
MIN_RUNS = 20
NEAR = 4.0
LEAST_STEP = 1.5
NORMAL_90 = 1.645
SHIPPED = ModelError(
    loss=0.012,
    n_params=0.35,
    source="shipped default",
)


@attrs.frozen(kw_only=True)
class Law:
    """What a hold-out asks of a fit.

    Attributes:
        loss: (N, D) to loss, or ``None`` where the law describes only the optimum.
        optimum: budget to (N, D, loss).
        spread: a held-out budget's runs to the standard deviation of the mean of their errors, were the law true;
            ``None`` where nobody asks.
    """

    loss: Callable[[Floats, Floats], Floats] | None
    optimum: Callable[[float], tuple[Floats, Floats, Floats]]
    spread: Callable[[Runs], float] | None = None

    @classmethod
    def of(cls, fitter: Fitter, fit: Fit) -> Law:
        """The law of a fit."""
        loss = fit.loss if hasattr(fitter, "loss") else None
        return cls(loss=loss, optimum=lambda budget: fitter.optimum(fit.values, fit.cost, budget))


@attrs.frozen(kw_only=True)
class Held:
    """One held-out budget, predicted from below.

    Attributes:
        origin: the largest budget that was fitted.
        budget: the held-out budget.
        distance: ln(budget / origin).
        errors: ln L_pred − ln L of the runs near its best; of the slice's minimum where the law has no L(N, D).
        log_n: predicted ln N_opt.
        log_n_error: that less the minimum of a parabola through the same runs; NaN where it has none.
        curvature: of that parabola, so that ln L = minimum + curvature·(ln N − ln N_min)².
        slice_loss: loss at its minimum; NaN where it has none.
        spread: standard deviation of the mean of the errors, were the law true; NaN where the law does not say.
    """

    origin: float
    budget: float
    distance: float
    errors: tuple[float, ...]
    log_n: float
    log_n_error: float
    curvature: float
    slice_loss: float
    spread: float = math.nan

    @property
    def regret(self) -> float:
        """Relative excess loss at the predicted N, on the budget's own slice."""
        with np.errstate(over="ignore"):  # of a slice that is none
            return float(np.expm1(self.curvature * self.log_n_error**2))

    @property
    def loss_error(self) -> float:
        """Mean absolute relative error of the loss."""
        return float(np.mean(np.abs(np.expm1(self.errors))))

    @property
    def bias(self) -> float:
        """Mean relative error of the loss."""
        return float(np.mean(np.expm1(self.errors)))


def grouping(runs: Runs) -> tuple[str, ...]:
    """How the runs were grouped to be held out, where the table does not state their budgets."""
    return budgets_of(runs)[1]


def near_best(runs: Runs, budget: Floats, factor: float = NEAR) -> NDArray[np.bool_]:
    """True for the runs within `factor` in N of their budget's best run, of a tie of its middle, shape (k,)."""
    near = np.zeros(len(runs), dtype=bool)
    for value in np.unique(budget):
        rows = np.flatnonzero(budget == value)
        log_n, loss = np.log(runs.n_params[rows]), runs.loss[rows]
        near[rows] = np.abs(log_n - log_n[loss == loss.min()].mean()) <= math.log(factor) * (1 + 1e-9)
    return near


def origins(
    budget: Floats, *, min_budgets: int = MIN_BUDGETS, min_runs: int = MIN_RUNS
) -> Iterator[tuple[float, NDArray[np.bool_]]]:
    """Every budget with enough at or below it and something above: the budget, and who is at or below."""
    values = np.unique(budget)
    for value in values[min_budgets - 1 : -1]:
        below = budget <= value
        if below.sum() >= min_runs:
            yield float(value), below


def late_origins(runs: Runs) -> frozenset[float]:
    """The origins with enough below them for their errors to be shown."""
    return frozenset(origin for origin, _ in origins(budgets_of(runs)[0]))


def rolling(
    runs: Runs,
    fit_laws: Callable[[Runs], Sequence[Law]],
    *,
    judges: NDArray[np.bool_] | None = None,
    fitted: NDArray[np.bool_] | None = None,
    min_budgets: int = MIN_BUDGETS,
    min_runs: int = MIN_RUNS,
) -> tuple[tuple[Held, ...], ...]:
    """Hold out every budget above every origin; one tuple of `Held` for each law, in step.

    Args:
        runs: usable runs, outliers and all, so that what is held out does not hang on how many there are.
        fit_laws: fits laws to the runs at or below an origin; where it raises `FitError`, the origin is
            passed over.
        judges: True for the runs that may judge a prediction, shape (k,): not those known to be bad. ``None``: all.
        fitted: True for the runs that may be fitted, shape (k,): not those that the fit whose errors these are leaves out.
            ``None``: all.
        min_budgets: budgets that an origin needs at or below it.
        min_runs: runs that it needs there.
    """
    budget, _ = budgets_of(runs)
    near = near_best(runs, budget)
    near &= True if judges is None else judges
    held = []
    for origin, below in origins(budget, min_budgets=min_budgets, min_runs=min_runs):
        try:
            laws = fit_laws(runs.where(below if fitted is None else below & fitted))
        except FitError:
            continue
        for value in np.unique(budget[~below]):
            rows = near & (budget == value)
            if rows.any():
                held.append([_held(law, runs.where(rows), origin, float(value)) for law in laws])
    return tuple(zip(*held, strict=True))


def _held(law: Law, runs: Runs, origin: float, budget: float) -> Held:
    n, _, loss = (float(value) for value in law.optimum(budget))
    x = np.log(runs.n_params)
    middle = float(x.mean())
    best, lowest, curvature = _slice(x - middle, np.log(runs.loss))
    if law.loss is None:
        errors = np.array([math.log(loss) - lowest if loss > 0 else math.nan])
    else:
        errors = np.log(law.loss(runs.n_params, runs.n_tokens)) - np.log(runs.loss)
    log_n = math.log(n) if math.isfinite(n) and n > 0 else math.nan
    return Held(
        origin=origin,
        budget=budget,
        distance=math.log(budget / origin),
        errors=tuple(float(error) for error in errors),
        log_n=log_n,
        log_n_error=log_n - middle - best,
        curvature=curvature,
        slice_loss=math.exp(lowest),
        spread=math.nan if law.spread is None else law.spread(runs),
    )


def _slice(x: Floats, log_loss: Floats) -> tuple[float, float, float]:
    """A parabola through a budget's own runs: where its minimum is, ln L there, and its curvature; NaN if it has none."""
    if len(np.unique(x)) >= MIN_POINTS:
        coefficients = fit_slice(PARABOLA, x, log_loss, np.ones_like(x))
        best = float(PARABOLA.minimum(coefficients))
        if x.min() <= best <= x.max():
            return best, float(PARABOLA.basis(np.array(best)) @ coefficients), float(coefficients[2])
    return math.nan, math.nan, math.nan


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan


def over_origins(held: Sequence[Held], value: Callable[[Held], float]) -> float:
    """Mean over an origin's budgets, then over origins; NaN where nothing was held out."""
    by_origin: dict[float, list[float]] = {}
    for one in held:
        by_origin.setdefault(one.origin, []).append(value(one))
    return _mean([_mean(values) for values in by_origin.values()])


_COUNTS = ("origins", "budgets")


def summary(held: Sequence[Held]) -> Mapping[str, float]:
    """What goes into `Fit.hold_out`; empty where nothing could be held out.

    ``loss_error`` (mean absolute relative error of the loss), ``bias`` (with its sign), ``regret``
    (relative excess loss at the predicted N), ``log_n_error`` (mean absolute error of ln N_opt),
    ``origins`` and ``budgets`` (how many pairs); what no slice could show is left out.
    """
    if not held:
        return {}
    values = {
        "loss_error": over_origins(held, lambda one: one.loss_error),
        "bias": over_origins(held, lambda one: one.bias),
        "regret": over_origins(held, lambda one: one.regret),
        "log_n_error": over_origins(held, lambda one: abs(one.log_n_error)),
        "origins": float(len({one.origin for one in held})),
        "budgets": float(len(held)),
    }
    known = {name: value for name, value in values.items() if math.isfinite(value)}
    return known if len(known) > len(_COUNTS) else {}  # counts alone would look like a hold-out


def model_error(held: Sequence[Held], shipped: ModelError = SHIPPED) -> ModelError:
    """Half-widths of a 90 % interval per unit of ln(C / C_max), by what the law missed when it was held out.

    The larger of 1.645 × the root mean square of this data set's own errors per unit of distance (a
    budget's mean error of ln L; its error of ln N_opt) and the shipped default: a few held-out budgets
    may have been hit by luck. Budgets nearer than 1.5 times their origin count not: per unit of so little
    distance, noise would look like an error of the law.
    """
    held = [one for one in held if one.distance >= math.log(LEAST_STEP)]
    loss = _per_distance(held, lambda one: float(np.mean(one.errors)))
    log_n = _per_distance(held, lambda one: one.log_n_error)
    own = [
        text
        for text, mine, default in (("loss", loss, shipped.loss), ("N_opt", log_n, shipped.n_params))
        if mine > default
    ]
    source = f"{shipped.source}; own rolling hold-out gave less" if loss > 0 or log_n > 0 else shipped.source
    if own:
        source = f"own rolling hold-out for {' and '.join(own)} ({len(held)} budgets held out)" + (
            "" if len(own) == 2 else f"; else {shipped.source}"
        )
    return ModelError(loss=max(loss, shipped.loss), n_params=max(log_n, shipped.n_params), source=source)


def judged(fit: Fit, held: Sequence[Held]) -> Fit:
    """The fit with what its law missed when it was held out."""
    return attrs.evolve(fit, hold_out=summary(held), model_error=model_error(held))


def _per_distance(held: Sequence[Held], error: Callable[[Held], float]) -> float:
    scaled = np.array([error(one) / one.distance for one in held])
    scaled = scaled[np.isfinite(scaled)]
    return NORMAL_90 * float(np.sqrt(np.mean(scaled**2))) if len(scaled) else 0.0

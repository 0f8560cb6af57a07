"""What a budget buys, by any fitter's law: point value, sampling interval, prediction interval.

In: a `Fit`, its law (any `Fitter`) and a budget in FLOPs. Out: a `Prediction`. NumPy only.

Two intervals, both at the fit's confidence. *Sampling* takes the law as true: the quantiles of the law's
optimum over the fit's bootstrap draws. *Prediction* adds the error of the law's form, which grows with the
distance ln(C / C_max) from the largest fitted budget: the two half-widths in quadrature, in logarithms.
A fit's `ModelError` is a 90 % half-width; at another confidence it is scaled as a normal error is. Where a fit averages
others (`Fit.members`), the error of its form is nowhere less than how far apart those lie: laws that fit the same runs
and differ are not both right, inside the sweep no more than beyond it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flops_fit_core.data.fit import Estimate, Fit, Prediction
from flops_fit_core.diagnostics import far_extrapolation
from flops_fit_core.errors import FitError, InputError
from flops_fit_core.text import si

if TYPE_CHECKING:
    from flops_fit_core.stages import Fitter

Floats = NDArray[np.float64]

FEWEST_DRAWS = 20
"""Finite draws below which quantiles say nothing."""

FAR_BELOW = 1e-4
"""Share of the largest budget below which a prediction is doubted: sweeps seldom reach so far down."""


def predict(fit: Fit, law: Fitter, compute_budget: float) -> Prediction:
    """Compute-optimal N, D and loss for a budget, D always such that cost(N)·D = C.

    The law is asked twice: with the parameters, and with the draws in place of the parameters they are
    draws of. Without draws there is no interval: the model's error alone would be too narrow a one.

    Args:
        fit: the fitted law.
        law: the fitter that knows the law's formula.
        compute_budget: C, FLOPs.

    Raises:
        InputError: the budget is not a positive finite number.
        FitError: the law has no finite optimum there.
    """
    budget = checked_budget(compute_budget)
    n, d, loss = _optimum(law, fit.values, fit, budget)
    if not (np.isfinite(n) and np.isfinite(loss) and n > 0):
        raise FitError(
            f"the law of fitter {fit.fitter!r} has no optimum at {budget:.6g} FLOPs, as N and loss there must be finite, and "
            f"N positive: N = {n:.6g}, loss = {loss:.6g}"
        )
    draws = _optimum(law, {**fit.values, **fit.draws}, fit, budget) if fit.draws else (None, None, None)
    beyond = max(0.0, math.log(budget / fit.largest_budget)) if fit.largest_budget else 0.0
    of_n, of_loss = _form_error(fit, budget, beyond)
    extrapolation = budget / fit.largest_budget if fit.largest_budget else math.nan
    far = far_extrapolation(budget, extrapolation)
    doubts = [] if far is None else [far.message]
    if extrapolation < FAR_BELOW:
        doubts.append(
            f"{si(budget)} FLOPs is {extrapolation:.3g} times the largest budget that was trained; so far below it the "
            "law's form is a guess unless runs were that small: train budgets near this one"
        )
    if fit.converged is False:
        doubts.append("the fit did not converge, or its runs do not tell its parameters: its notes say which")
    if n < 1 or d < 1:
        doubts.append(
            f"this optimum, {si(float(n), 3)} parameters and {si(float(d), 3)} units of data, cannot be trained: the runs do "
            "not show where it is"
        )
    if fit.model_error is None and fit.draws and beyond > 0:
        doubts.append(f"the interval is of sampling alone: fitter {fit.fitter!r} does not say how wrong its law may be")
    return Prediction(
        compute_budget=budget,
        n_params=_estimate(n, draws[0], of_n, fit.confidence),
        n_tokens=_estimate(d, draws[1], of_n, fit.confidence),
        loss=_estimate(loss, draws[2], of_loss, fit.confidence),
        extrapolation=extrapolation,
        confidence=fit.confidence,
        warning="; ".join(doubts),
    )


def _form_error(fit: Fit, budget: float, beyond: float) -> tuple[float, float]:
    """Half-widths of ln N_opt and ln L by the error of the law's form, at the fit's confidence."""
    error = fit.model_error
    grown = (error.n_params * beyond, error.loss * beyond) if error is not None else (0.0, 0.0)
    answers = [_optimum(member._law(), member.values, member, budget) for member in fit.members.values()]
    apart = [_apart([float(answer[i]) for answer in answers]) for i in (0, 2)]
    scale = NormalDist().inv_cdf((1.0 + fit.confidence) / 2.0) / NormalDist().inv_cdf((1.0 + 0.9) / 2.0)
    return max(grown[0], apart[0]) * scale, max(grown[1], apart[1]) * scale


def _apart(values: Sequence[float]) -> float:
    """How far apart in logarithms the values lie; those that have none count not."""
    logs = [math.log(value) for value in values if 0 < value < math.inf]
    return max(logs) - min(logs) if logs else 0.0


def checked_budget(budget: Any) -> float:
    """The budget as a float.

    Raises:
        InputError: it is not a positive finite number.
    """
    if isinstance(budget, bool | np.bool_) or not isinstance(budget, Real):
        raise InputError(f"compute budget {budget!r} is not a number: give FLOPs as a number, such as 1e21")
    value = float(budget)
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"compute budget {budget!r} must be positive and finite: give FLOPs, such as 1e21")
    return value


def _optimum(law: Fitter, params: Any, fit: Fit, budget: float) -> tuple[Any, Any, Any]:
    """N, D = C / cost(N), loss; a fitter that fits D_opt by itself still answers within the budget."""
    with np.errstate(all="ignore"):  # a draw may have no optimum: its infinities are left out
        n, _, loss = law.optimum(params, fit.cost, budget)
        return n, fit.cost.tokens(n, budget), loss


def _estimate(value: Any, draws: Any, half_width: float, confidence: float) -> Estimate:
    """The value with its sampling interval and, around that, the model's error (a half-width in logarithms)."""
    value = float(value)
    finite = np.empty(0) if draws is None else np.asarray(draws, dtype=np.float64).reshape(-1)
    finite = finite[np.isfinite(finite) & (finite > 0)]
    if len(finite) < FEWEST_DRAWS or value <= 0:
        return Estimate(value=value)
    tail = (1.0 - confidence) / 2.0
    low, high = (float(q) for q in np.quantile(finite, [tail, 1.0 - tail]))
    with np.errstate(over="ignore"):
        stderr = float(np.std(finite))
    # Bootstrap draws may lie to one side of the value: the interval holds it, and a half-width is never negative.
    wide_low, wide_high = min(low, value), max(high, value)
    if half_width:  # else exactly the sampling interval, which rounding would shift
        down, up = max(0.0, math.log(value / low)), max(0.0, math.log(high / value))
        wide_low = min(low, value * math.exp(-math.hypot(down, half_width)))
        wide_high = max(high, value * math.exp(math.hypot(up, half_width)))
    return Estimate(
        value=value,
        low=wide_low,
        high=wide_high,
        stderr=stderr if math.isfinite(stderr) else None,
        sampling_low=low,
        sampling_high=high,
    )

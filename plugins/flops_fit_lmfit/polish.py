"""The same fit through lmfit, so that any parameter can be fixed, bounded or tied to another.

In: an `Objective`, lmfit's own `Parameters` (E, A, B, alpha, beta and whatever ties name), and
coordinates to start from. Out: lmfit's own result at the best of the starts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import lmfit
import numpy as np
from numpy.typing import NDArray

from flops_fit_core.errors import FitError, InputError, nearest
from flops_fit_lmfit.additive import NAMES
from flops_fit_lmfit.objective import Objective

Floats = NDArray[np.float64]

PRECISION = 1e-12


def polish(problem: Objective, starts: Iterable[Floats], params: lmfit.Parameters | None = None) -> Any:
    """Minimise through lmfit's ``least_squares`` with the analytic Jacobian; the best of all starts.

    Standard errors are left out after Huber: lmfit takes the robust cost for a sum of squares and is
    wrong several times over.

    Args:
        problem: what is minimised.
        starts: coordinates, each (5,).
        params: which parameters to fix, bound or tie; ``None``: all free, E, A and B at least 0.

    Returns:
        lmfit's ``MinimizerResult``.

    Raises:
        InputError: a parameter that the law does not have and no tie names, or no parameter left free.
    """
    best = None
    for start in starts:
        at = _parameters(problem, start, params)
        minimizer = lmfit.Minimizer(
            lambda p: problem.residuals(_theta(problem, p))[0],
            at,
            calc_covar=not problem.is_huber,
            nan_policy="propagate",
        )
        result = minimizer.minimize(
            method="least_squares",
            jac=lambda p: _jacobian(problem, p),
            x_scale="jac",
            loss="huber" if problem.is_huber else "linear",
            f_scale=problem.delta,
            ftol=PRECISION,
            xtol=PRECISION,
            gtol=PRECISION,
            max_nfev=500,
        )
        result.objective = objective_of(problem, result)
        if best is None or result.objective < best.objective:
            best = result
    if best is None:
        raise FitError("nothing to start lmfit from")
    return best


def objective_of(problem: Objective, result: Any) -> float:
    """The objective at a result of lmfit."""
    return float(problem.value(_theta(problem, result.params), np.ones(len(problem.loss)))[0])


def theta_of(problem: Objective, result: Any) -> Floats:
    """Coordinates (5,) of a result of lmfit."""
    return _theta(problem, result.params)[0]


def check_params(params: lmfit.Parameters) -> None:
    """Refuse parameters that the law does not have.

    Raises:
        InputError: an unknown name that no tie uses, or nothing left to fit.
    """
    used = " ".join(par.expr for par in params.values() if par.expr)
    for name in params:
        if name not in NAMES and name not in used:
            raise InputError(
                f"params has {name!r}, which the law does not have and no tie uses; it has {', '.join(NAMES)}."
                f"{nearest(name, NAMES)}"
            )
    if all(name in params and not params[name].vary for name in NAMES):
        raise InputError("params fixes or ties every parameter of the law: leave at least one free")


def _parameters(problem: Objective, start: Floats, given: lmfit.Parameters | None) -> lmfit.Parameters:
    """The user's parameters with starting values; an exponent that is not free keeps the term at the data's centre."""
    params = lmfit.Parameters() if given is None else given.copy()
    for name in NAMES:
        if name not in params:
            params.add(name, value=1.0, min=-np.inf if name in ("alpha", "beta") else 0.0)
    theta = start.copy()
    for at, name in ((3, "alpha"), (4, "beta")):
        if params[name].vary:
            params[name].set(value=float(theta[at]))  # clipped to its bounds
        theta[at] = params[name].value
    for name in ("E", "A", "B"):
        if params[name].vary:
            params[name].set(value=float(problem.params(theta)[name]))
    return params


def _theta(problem: Objective, params: lmfit.Parameters) -> Floats:
    values = {name: max(params[name].value, 1e-300) if name in "EAB" else params[name].value for name in NAMES}
    return problem.theta(values)[None]


def _jacobian(problem: Objective, params: lmfit.Parameters) -> Floats:
    """Derivatives of the residuals by the free parameters, (k, free); through ties by the chain rule."""
    theta = _theta(problem, params)
    by_name = dict(zip(NAMES, _columns(problem, theta, params), strict=True))
    free = [name for name, par in params.items() if par.vary]
    tied = [name for name in NAMES if params[name].expr]
    columns = []
    for name in free:
        column = by_name.get(name, np.zeros_like(problem.loss))
        for other in tied:
            slope = _slope(params, other, name)
            if slope:
                column = column + slope * by_name[other]
        columns.append(column)
    return np.stack(columns, axis=1)


def _columns(problem: Objective, theta: Floats, params: lmfit.Parameters) -> list[Floats]:
    """Derivatives of the residuals by E, A, B, alpha, beta, each (k,)."""
    e, u, v = (term[0] for term in problem.terms(theta))
    outer = np.ones_like(u) if problem.scale is None else problem.scale
    if problem.is_log:
        outer = outer / (e + u + v)
    log_n, log_d = problem.x + problem.center[0], problem.y + problem.center[1]
    a, b = (max(params[name].value, 1e-300) for name in ("A", "B"))
    return [outer, outer * u / a, outer * v / b, -outer * u * log_n, -outer * v * log_d]


def _slope(params: lmfit.Parameters, tied: str, free: str) -> float:
    """Derivative of a tied parameter by a free one: central differences through lmfit's own expressions."""
    value = params[free].value
    step = 1e-6 * max(abs(value), 1e-6)
    ends = []
    for sign in (1.0, -1.0):
        params[free].value = value + sign * step
        params.update_constraints()
        ends.append(params[tied].value)
    params[free].value = value
    params.update_constraints()
    return float((ends[0] - ends[1]) / (2.0 * step))

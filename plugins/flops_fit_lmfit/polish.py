"""The same fit through lmfit, so that any parameter can be fixed, bounded or tied to another.

In: an `Objective`, lmfit's own `Parameters` (E, A, B, alpha, beta and whatever ties name), and
coordinates to start from. Out: lmfit's own result at the best of the starts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import lmfit
import numpy as np
from numpy.typing import NDArray

from flops_fit_core.errors import FitError, InputError, nearest
from flops_fit_lmfit.additive import NAMES
from flops_fit_lmfit.objective import Objective

Floats = NDArray[np.float64]

PRECISION = 1e-12
MOST_STEPS = 300
SEARCH = {"x_scale": "jac", "ftol": PRECISION, "xtol": PRECISION, "gtol": PRECISION, "max_nfev": MOST_STEPS}
"""How scipy's ``least_squares`` searches, here and for a profile."""


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
    known = None if params is not None else np.diag([1.0 / problem.center[2], 1.0, 1.0, 1.0, 1.0])
    for start in starts:
        at = _free(problem, start) if params is None else _parameters(problem, start, params)
        minimizer = lmfit.Minimizer(
            partial(_residuals, problem),
            at,
            calc_covar=not problem.is_huber,
            nan_policy="propagate",
        )
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # far too long a step: scipy takes it back
            result = minimizer.minimize(
                method="least_squares",
                jac=partial(_jacobian, problem, known),
                loss="huber" if problem.is_huber else "linear",
                f_scale=problem.delta,
                **SEARCH,
            )
        if problem.is_huber:
            for par in result.params.values():
                par.stderr = par.correl = None
        result.objective = objective_of(problem, result)
        if best is None or result.objective < best.objective:
            best = result
    if best is None:
        raise FitError("nothing to start lmfit from")
    if params is None:
        with np.errstate(over="ignore"):  # at N = 1 a steep term is beyond any number
            for at, name in enumerate(("A", "B")):
                best.params.add(name, expr=_raw(problem, at))
    return best


def _residuals(problem: Objective, params: lmfit.Parameters) -> Floats:
    return np.asarray(problem.residuals(_theta(problem, params))[0])


def _jacobian(problem: Objective, known: Floats | None, params: lmfit.Parameters) -> Floats:
    """Derivatives of the residuals by the free parameters, (k, free); `known`: those of the coordinates by them."""
    by_free = chain(problem, params) if known is None else known
    return problem.jacobian(_theta(problem, params)[0]) @ by_free


def objective_of(problem: Objective, result: Any) -> float:
    """The objective at a result of lmfit."""
    return float(problem.value(_theta(problem, result.params), np.ones(len(problem.loss)))[0])


def theta_of(problem: Objective, result: Any) -> Floats:
    """Coordinates (5,) of a result of lmfit."""
    return np.asarray(_theta(problem, result.params)[0])


def check_params(params: Any) -> None:
    """Refuse what is not lmfit's ``Parameters``, or holds parameters that the law does not have.

    Raises:
        InputError: another kind of object, an unknown name that no tie uses, a value that is no finite number or that
            the law cannot have, or nothing left to fit.
    """
    if not isinstance(params, lmfit.Parameters):
        raise InputError(
            f"params is {params!r}: give lmfit.Parameters, such as params = lmfit.Parameters(); "
            'params.add("E", value=1.8, vary=False)'
        )
    used = " ".join(par.expr for par in params.values() if par.expr)
    for name in params:
        if name not in NAMES and name not in used:
            raise InputError(
                f"params has {name!r}, which the law does not have and no tie uses; it has {', '.join(NAMES)}."
                f"{nearest(name, NAMES)}"
            )
    for name, par in params.items():
        unset = par.vary and name in NAMES and par.value == -math.inf  # it starts from the fit with all parameters free
        if not (par.expr or unset or math.isfinite(par.value)):
            raise InputError(
                f"params has {name} = {par.value:g}: give it a finite number, such as params[{name!r}].value = 0.3"
            )
    for name, lowest in (("E", "0 or more"), ("A", "above 0"), ("B", "above 0")):
        par = params.get(name)
        highest = math.inf if par is None or par.expr else par.max if par.vary else par.value
        if highest < 0 or (highest == 0 and name != "E"):
            raise InputError(f"params has {name} of {highest:g} at most: in this law {name} is {lowest}")
    if all(name in params and not params[name].vary for name in NAMES):
        raise InputError("params fixes or ties every parameter of the law: leave at least one free")


def _free(problem: Objective, start: Floats) -> lmfit.Parameters:
    """The coordinates as lmfit's parameters, in their order, all free."""
    params = lmfit.Parameters()
    params.add("E", value=float(start[0] * problem.center[2]), min=0.0)
    for name, value in zip(("ln_A_center", "ln_B_center", "alpha", "beta"), start[1:], strict=True):
        params.add(name, value=float(value))
    return params


def _raw(problem: Objective, at: int) -> str:
    """Expression for lmfit of A (0) or B (1) by its term's logarithm at the centre of the data."""
    name, exponent = (("A", "alpha"), ("B", "beta"))[at]
    return f"exp(ln_{name}_center + {exponent} * {problem.center[at]!r})"


def _parameters(problem: Objective, start: Floats, given: lmfit.Parameters) -> lmfit.Parameters:
    """The user's parameters with starting values; a free A or B is replaced by its term's logarithm at the centre.

    Raw A and alpha are hopelessly correlated: the data say how large A/N^alpha is where they lie, not at N = 1.
    """
    params = given.copy()
    for name in NAMES:
        if name not in params:
            params.add(name, value=1.0, min=-np.inf if name in ("alpha", "beta") else 0.0)
    theta = start.copy()
    for at, name in ((3, "alpha"), (4, "beta")):
        if params[name].vary:
            params[name].set(value=float(theta[at]))  # clipped to its bounds
        theta[at] = params[name].value
    values = problem.params(theta)
    if params["E"].vary:
        params["E"].set(value=float(values["E"]))
    for at, name in enumerate(("A", "B")):
        par = params[name]
        if par.vary and par.min <= 0 and np.isinf(par.max):
            params.add(f"ln_{name}_center", value=float(theta[1 + at]))
            par.set(expr=_raw(problem, at), min=-np.inf)  # lmfit squares a value with a bound: it might overflow
        elif par.vary:
            par.set(value=float(values[name]))
    return params


def _theta(problem: Objective, params: lmfit.Parameters) -> Floats:
    alpha, beta = params["alpha"].value, params["beta"].value
    terms = [
        params[f"ln_{name}_center"].value
        if f"ln_{name}_center" in params
        else float(np.log(max(params[name].value, 1e-300))) - exponent * center
        for name, exponent, center in (("A", alpha, problem.center[0]), ("B", beta, problem.center[1]))
    ]
    return np.array([[params["E"].value / problem.center[2], *terms, alpha, beta]])


def chain(problem: Objective, params: lmfit.Parameters) -> Floats:
    """Derivatives of the coordinates by the free parameters, (5, free)."""
    return np.stack([_by_free(problem, params, name) for name, par in params.items() if par.vary], axis=1)


def _by_free(problem: Objective, params: lmfit.Parameters, name: str) -> Floats:
    """Derivatives of the coordinates (5,) by a free parameter: central differences through lmfit's expressions."""
    value = params[name].value
    step = 1e-5 * max(abs(value), 1e-3)
    ends = []
    for shifted in (value + step, value - step):
        params[name].value = shifted
        params.update_constraints()
        ends.append((params[name].value, _theta(problem, params)[0]))
    params[name].value = value
    params.update_constraints()
    (high, above), (low, below) = ends
    return np.asarray((above - below) / (high - low))

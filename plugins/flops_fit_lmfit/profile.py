"""Profile likelihood of one parameter of the additive law: how far it can move before the fit gets clearly worse.

In: a fit and a parameter's name. Out: the ends of an interval, infinite where the runs leave that side open. Each
point is a fit of the other four parameters through lmfit, some milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import lmfit
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtri

from flops_fit_core.errors import InputError, nearest
from flops_fit_lmfit.additive import NAMES
from flops_fit_lmfit.polish import polish, theta_of
from flops_fit_lmfit.solve import AdditiveFit

Floats = NDArray[np.float64]

MOST_DOUBLINGS = 8
"""Of the first step, about two hundredths of the value: beyond, the side is open."""


def interval(fit: AdditiveFit, name: str, confidence: float) -> tuple[float, float]:
    """Ends of the profile-likelihood interval of a parameter.

    Let Q(v) be the least objective with the parameter held at v. Where the law is true, 2·(Q(v) − Q_min)·mean(rho'') /
    mean(rho'²) is about chi-squared with one degree of freedom (Schrader and Hettmansperger 1980, Biometrika 67, 93;
    for squared residuals it is the usual likelihood ratio), once the five parameters are taken off the runs.

    Args:
        fit: the fit with all parameters free.
        name: E, A, B, alpha or beta.
        confidence: of the interval.

    Raises:
        InputError: no such parameter.
    """
    if name not in NAMES:
        raise InputError(f"no parameter {name!r}: the law has {', '.join(NAMES)}.{nearest(name, NAMES)}")
    best = fit.params[name]
    if best <= 0:
        return (0.0 if name == "E" else -math.inf), math.inf
    rise = _rise(fit, name)
    limit = float(ndtri((1.0 + confidence) / 2.0)) ** 2
    # In factors of the value: A and B spread over orders of magnitude, and none of the five may be negative.
    low, high = (_crossing(lambda x: rise(best * math.exp(x)) - limit, way) for way in (-1.0, 1.0))
    return best * math.exp(low), best * math.exp(high)


def _rise(fit: AdditiveFit, name: str) -> Callable[[float], float]:
    """The likelihood-ratio statistic as a function of the parameter's value, each fit started at the one before."""
    problem, theta = fit.problem, fit.theta
    k = len(problem.loss)
    slope, curvature = problem.slopes(fit.theta)
    per_objective = 2.0 * curvature.mean() / max(np.mean(slope**2), 1e-300) * (k - len(NAMES)) / k

    def at(value: float) -> float:
        nonlocal theta
        held = lmfit.Parameters()
        held.add(name, value=value, vary=False)
        result = polish(problem, [theta, fit.theta], held)
        theta = theta_of(problem, result)
        return float(per_objective * (result.objective - fit.objective))

    return at


def _crossing(above: Callable[[float], float], way: float) -> float:
    """Where the function turns positive on one side of zero; infinite where it does not."""
    near, step = 0.0, 0.02
    for _ in range(MOST_DOUBLINGS):
        if above(way * step) > 0:
            return float(brentq(above, way * near, way * step, xtol=1e-6))
        near, step = step, 2.0 * step
    return way * math.inf

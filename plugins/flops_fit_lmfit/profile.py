"""Profile likelihood of one parameter of the additive law: how far it can move before the fit gets clearly worse.

In: a fit and a parameter's name. Out: the ends of an interval, infinite where the runs leave that side open. Each
point is a fit of the other four parameters, some milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import attrs
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, least_squares
from scipy.special import ndtri

from flops_fit_core.errors import FitError, InputError, nearest
from flops_fit_lmfit import identify
from flops_fit_lmfit.additive import NAMES
from flops_fit_lmfit.objective import Objective
from flops_fit_lmfit.polish import SEARCH
from flops_fit_lmfit.solve import AdditiveFit

Floats = NDArray[np.float64]

FIRST = 1.0 / 64.0
"""First step of the search for an end; each is twice the one before."""
FARTHEST = 16.0
"""Where the search for an end gives up and calls that side open: in mean losses for E, for exponents in their own size."""
FARTHEST_LN = 128.0
"""The same for ln A and ln B, terms at N = 1 and D = 1, far from the runs."""
EXACT = 1e-9
"""Residual of ln L that is taken as rounding: runs without noise have an interval of about this width, and not of none."""
GONE = -700.0
"""Logarithm of a term that is not there."""
_UNIT = np.eye(5)
_TERMS = {"A": (1, 3), "alpha": (1, 3), "B": (2, 4), "beta": (2, 4)}
"""Where among the coordinates the logarithm of a parameter's term and its exponent are."""


def interval(fit: AdditiveFit, name: str, confidence: float) -> tuple[float, float]:
    """Ends of the profile-likelihood interval of a parameter.

    Let Q(v) be the least objective with the parameter held at v. Where the law is true, 2·(Q(v) − Q_min)·mean(rho'') /
    mean(rho'²) is about chi-squared with one degree of freedom (Schrader and Hettmansperger 1980, Biometrika 67, 93;
    for squared residuals it is the usual likelihood ratio), once the five parameters are taken off the runs.

    Where a fit without any term in N is not clearly worse, every A and every alpha will do, as the term may lie below all
    that the runs show: A has the ends 0 and infinity, alpha minus and plus infinity. So it is with B, beta and D.

    Args:
        fit: the fit with all parameters free.
        name: E, A, B, alpha or beta.
        confidence: of the interval.

    Raises:
        InputError: no such parameter.
        FitError: the parameter is not identified: no value is best, so that there is nothing for an interval to be about.
    """
    if name not in NAMES:
        raise InputError(f"no parameter {name!r}: the law has {', '.join(NAMES)}.{nearest(name, NAMES)}")
    for gap in identify.gaps(fit, identify.everything(fit)):
        if name in gap.names and not gap.hardly:
            raise FitError(f"{name} has no interval: {gap}")
    limit = float(ndtri((1.0 + confidence) / 2.0))
    profile = _Profile(fit)
    if name == "E":
        return _ends_of_e(profile, limit)
    if profile.without(name) <= limit:
        return (0.0 if name in ("A", "B") else -math.inf), math.inf
    return (_ends_of_amplitude if name in ("A", "B") else _ends_of_exponent)(profile, name, limit)


def _ends_of_e(profile: _Profile, limit: float) -> tuple[float, float]:
    """E is 0 at least."""
    best, unit = profile.fit.params["E"], profile.fit.problem.center[2]
    low = _crossing(lambda t: profile.with_e(best * (1.0 - t)) - limit, 1.0)
    high = _crossing(lambda t: profile.with_e(best + unit * t) - limit, FARTHEST)
    return best * (1.0 - min(low, 1.0)), best + unit * high


def _ends_of_exponent(profile: _Profile, name: str, limit: float) -> tuple[float, float]:
    """One end lies between the best value and 0, where the term is a constant and so not there."""
    best = profile.fit.params[name]
    step = math.copysign(max(abs(best), 0.1), best)
    inner = _crossing(lambda t: profile.with_exponent(name, best * (1.0 - t)) - limit, 1.0)
    outer = _crossing(lambda t: profile.with_exponent(name, best + step * t) - limit, FARTHEST)
    ends = best * (1.0 - min(inner, 1.0)), best + step * outer
    return min(ends), max(ends)


def _ends_of_amplitude(profile: _Profile, name: str, limit: float) -> tuple[float, float]:
    """Both ends are sought in the logarithm: A and B spread over orders of magnitude."""
    best = float(profile.fit.problem.params(profile.fit.theta)[f"ln{name}"])
    low = best - _crossing(lambda t: profile.with_amplitude(name, best - t) - limit, FARTHEST_LN)
    high = best + _crossing(lambda t: profile.with_amplitude(name, best + t) - limit, FARTHEST_LN)
    with np.errstate(over="ignore", under="ignore"):
        return float(np.exp(low)), float(np.exp(high))


@attrs.define(eq=False)
class _Profile:
    """Fits with something held: each gives the root of the likelihood ratio, which is about linear in what is held.

    Each starts at the one before and at the fit with all parameters free.
    """

    fit: AdditiveFit
    scale: float = attrs.field(init=False)
    last: Floats = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.scale, self.last = _scale(self.fit), self.fit.theta

    def with_e(self, value: float) -> float:
        """E held. Where it falls, a term may rise by as much and keep its slope at the centre: two further starts."""
        e = value / self.fit.problem.center[2]
        return self._root(_others(0), e * _UNIT[0], more=_risen(self.fit, e))

    def with_exponent(self, name: str, value: float) -> float:
        """An exponent held."""
        exponent = _TERMS[name][1]
        return self._root(_others(exponent), value * _UNIT[exponent])

    def with_amplitude(self, name: str, ln_value: float) -> float:
        """A held, or B: its term's logarithm at the centre is that of A, less alpha times ln N.

        Two further starts turn the term about the centre: the exponent takes on all that is changed.
        """
        term, exponent = _TERMS[name]
        moves, center = _UNIT.copy(), self.fit.problem.center[term - 1]
        moves[exponent, term] = -center
        turned = np.array([self.last, self.fit.theta])
        with np.errstate(all="ignore"):  # about N = 1 there is no turning: no number, no start
            turned[:, exponent] = (ln_value - turned[:, term]) / center
        return self._root(_others(term), ln_value * _UNIT[term], moves, [*turned])

    def without(self, name: str) -> float:
        """No term in N, or in D; E sets out with what the term is at the centre."""
        term, exponent = _TERMS[name]
        start = self.fit.theta.copy()
        start[0] += np.exp(start[term]) / self.fit.problem.center[2]
        return self._root(_others(term, exponent), GONE * _UNIT[term], more=[start])

    def _root(self, free: list[int], held: Floats, moves: Floats = _UNIT, more: Sequence[Floats] = ()) -> float:
        starts = (self.last, self.fit.theta, *more)
        found = [_least(self.fit.problem, theta[free], held, moves[free], e_free=0 in free) for theta in starts]
        objective, self.last = min(found, key=lambda pair: pair[0])
        return math.sqrt(max(self.scale * (objective - self.fit.objective), 0.0))


def _least(problem: Objective, start: Floats, held: Floats, moves: Floats, *, e_free: bool) -> tuple[float, Floats]:
    """The least objective among the coordinates theta = `held` + phi·`moves`, and where it is.

    Args:
        problem: the objective.
        start: phi to begin with, shape (free,).
        held: shape (5,).
        moves: shape (free, 5).
        e_free: whether the first of phi is E, which is at least 0.

    Returns:
        the objective, infinite where `start` is none to begin with; theta (5,).
    """

    def residuals(phi: Floats) -> Floats:
        return np.asarray(problem.residuals((held + phi @ moves)[None])[0])

    lowest = np.full(len(start), -np.inf)
    lowest[0] = 0.0 if e_free else -np.inf
    with np.errstate(all="ignore"):  # far too long a step is no number: scipy takes it back
        if not np.isfinite(residuals(start)).all():
            return math.inf, held + start @ moves
        result = least_squares(
            residuals,
            start,
            jac=lambda phi: problem.jacobian(held + phi @ moves) @ moves.T,
            bounds=(lowest, np.inf),
            loss="huber" if problem.is_huber else "linear",
            f_scale=problem.delta,
            **SEARCH,
        )
        theta = held + result.x @ moves
        return float(problem.value(theta[None], np.ones(len(problem.loss)))[0]), theta


def _others(*held: int) -> list[int]:
    """The coordinates that are free."""
    return [at for at in range(5) if at not in held]


def _risen(fit: AdditiveFit, e: float) -> list[Floats]:
    """The fit with what its E is above `e` moved to one of the terms, where that leaves a term."""
    more = (fit.theta[0] - e) * fit.problem.center[2]
    starts = []
    for term, exponent in ((1, 3), (2, 4)):
        theta = fit.theta.copy()
        was = math.exp(theta[term])
        if was + more > 0:
            theta[[0, term]] = e, math.log(was + more)
            theta[exponent] *= was / (was + more)
            starts.append(theta)
    return starts


def _scale(fit: AdditiveFit) -> float:
    """The likelihood ratio by a difference of the objective; 0, so that all is open, where there is no run to spare.

    Of Huber's, mean(rho'') is the share of errors within delta. The count of residuals is too high where delta is small,
    as the fit goes through about five of the runs: it is taken from the scatter of the others, as of normal errors.
    """
    problem, k = fit.problem, len(fit.problem.loss)
    left, least = 1.0 - len(NAMES) / k, EXACT * problem.unit
    mean_square = float(np.mean(problem.slopes(fit.theta)[0] ** 2))
    if not problem.is_huber:
        return 4.0 * left / max(mean_square, (2.0 * least) ** 2)
    beyond = np.sort(np.abs(problem.residuals(fit.theta[None])[0]))[len(NAMES) :]
    sigma = max(1.4826 * float(np.median(beyond)), least) if len(beyond) else math.inf
    return 2.0 * left * math.erf(problem.delta / (math.sqrt(2.0) * sigma)) / max(mean_square, least**2)


def _crossing(above: Callable[[float], float], farthest: float) -> float:
    """How far from 0 the function turns positive; infinite where it does not up to there."""
    above = cache(above)  # a fit depends a little on the one before: at the ends of the bracket it must not
    if above(0.0) >= 0:
        return 0.0
    near, step = 0.0, FIRST
    while step <= farthest:
        if above(step) > 0:
            return float(brentq(above, near, step, xtol=1e-15, rtol=1e-6))
        near, step = step, 2.0 * step
    return math.inf

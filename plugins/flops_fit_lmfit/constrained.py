"""The additive law with the user's own lmfit parameters: fixed, bounded or tied.

In: a free fit of the same runs and lmfit's ``Parameters``. Out: the fit under them, and its bootstrap;
slower than the free ones by the cost of lmfit (some milliseconds a refit).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import lmfit
import numpy as np
from numpy.typing import NDArray

from flops_fit_lmfit import bootstrap
from flops_fit_lmfit.additive import NAMES
from flops_fit_lmfit.objective import Objective
from flops_fit_lmfit.polish import chain, polish, theta_of
from flops_fit_lmfit.solve import AdditiveFit
from flops_fit_lmfit.varpro import starts

Floats = NDArray[np.float64]

OPEN = 1e-7
"""Ratio of the least to the largest singular value of the free parameters' derivatives below which they are not told."""
ROUNDING = 1e-12
"""Difference between draws, relative or absolute, that is nothing but rounding."""


def fit(free: AdditiveFit, params: lmfit.Parameters) -> tuple[AdditiveFit, Any]:
    """Minimise under the user's parameters, from the free fit and the best four starts of the grid.

    Returns:
        the fit, and lmfit's result.
    """
    problem = free.problem
    begin = [free.theta, *starts(problem, np.ones(len(problem.loss)))[:4]]
    result = polish(problem, begin, params)
    theta = theta_of(problem, result)
    named = problem.params(theta)
    found = attrs.evolve(
        free,
        params={name: float(named[name]) for name in free.params},
        objective=result.objective,
        converged=bool(result.success),
        gradient_norm=float(result.optimality),
        theta=theta,
    )
    return found, result


def unidentified(found: AdditiveFit, result: Any) -> tuple[tuple[str, ...], bool]:
    """What the runs cannot say of the parameters that are free, and whether they say all.

    The parameters that the user fixed, and those at a bound of the user's own, are named.
    """
    fixed = [f"{par.name} = {par.value:g}" for par in result.params.values() if _fixed(par)]
    notes = [f"fixed by params, so without an interval: {', '.join(fixed)}"] if fixed else []
    notes += [f"{par.name} is at its bound {par.value:g}" for par in result.params.values() if par.vary and _bound(par)]
    columns = found.problem.jacobian(found.theta) @ chain(found.problem, result.params)
    size = np.maximum(np.linalg.norm(columns, axis=0), 1e-300)
    singular = np.linalg.svd(columns / size, compute_uv=False)
    if singular[-1] > OPEN * singular[0]:
        return tuple(notes), True
    names = ", ".join(par.name for par in result.params.values() if par.vary)
    return (*notes, f"these runs do not tell the free parameters ({names}) apart"), False


def _fixed(par: lmfit.Parameter) -> bool:
    return par.name in NAMES and not par.vary and not par.expr


def _bound(par: lmfit.Parameter) -> bool:
    return any(np.isfinite(end) and abs(par.value - end) <= 1e-6 * max(abs(end), 1e-6) for end in (par.min, par.max))


def refit(found: AdditiveFit, params: lmfit.Parameters, *, draws: int, seed: int) -> Floats:
    """Coordinates (draws, 5) of refits to resampled runs, each started at the fit."""
    theta = []
    for counts in bootstrap.resamples(found.problem, draws=draws, seed=seed):
        for count in counts.astype(int):
            drawn = _repeat(found.problem, count)
            named = found.problem.params(found.theta)
            theta.append(
                found.problem.theta(drawn.params(theta_of(drawn, polish(drawn, [drawn.theta(named)], params))))
            )
    return np.array(theta)


def moving(draws: Mapping[str, Floats]) -> dict[str, Floats]:
    """The draws that differ: none of what the user fixed, nor of what is at a bound in every resample."""
    return {
        name: values
        for name, values in draws.items()
        if not np.allclose(values, values[0], rtol=ROUNDING, atol=ROUNDING)
    }


def _repeat(problem: Objective, count: NDArray[np.intp]) -> Objective:
    """The problem with every run as often as it was drawn."""
    rows = np.repeat(np.arange(len(count)), count)
    scale = None if problem.scale is None else problem.scale[rows]
    return attrs.evolve(problem, n=problem.n[rows], d=problem.d[rows], loss=problem.loss[rows], scale=scale)

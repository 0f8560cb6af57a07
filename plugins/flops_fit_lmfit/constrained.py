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

from flops_fit_lmfit import bootstrap, identify
from flops_fit_lmfit.additive import NAMES
from flops_fit_lmfit.identify import VANISHED
from flops_fit_lmfit.objective import Objective
from flops_fit_lmfit.polish import MOST_STEPS, chain, polish, theta_of
from flops_fit_lmfit.solve import AdditiveFit, solve_from
from flops_fit_lmfit.varpro import starts

Floats = NDArray[np.float64]

OPEN = 1e-7
"""Ratio of the least to the largest singular value of the free parameters' derivatives below which they are not told."""
PART = 1e-3
"""Share of a direction that changes nothing from which on a parameter has a part in it."""
ROUNDING = 1e-12
"""Difference between draws, relative or absolute, that is nothing but rounding."""


def fit(free: AdditiveFit, params: lmfit.Parameters) -> tuple[AdditiveFit, Any]:
    """Minimise under the user's parameters, from the free fit and the best four starts of the grid.

    Returns:
        the fit, and lmfit's result. Parameters that hold nothing leave the free fit as it is; else the fit is converged
        where lmfit came to an end.
    """
    problem = free.problem
    if not _bind(params, free):
        result = polish(problem, [free.theta])
        better = solve_from(free, theta_of(problem, result)) if result.objective < free.objective else free
        if not _bind(params, better):
            return better, polish(problem, [better.theta], params)
    begin = [free.theta, *starts(problem, np.ones(len(problem.loss)))[:4]]
    result = polish(problem, begin, params)
    theta = theta_of(problem, result)
    named = problem.params(theta)
    found = attrs.evolve(
        free,
        params={name: float(named[name]) for name in free.params},
        objective=result.objective,
        converged=bool(result.success),
        gradient_norm=_gradient_norm(problem, theta, result),
        theta=theta,
    )
    return found, result


def unidentified(found: AdditiveFit, result: Any) -> tuple[tuple[str, ...], bool]:
    """What the runs cannot say of the parameters that are free, and whether they say all.

    The parameters that the user fixed, and those at a bound of the user's own, are named. What the user's parameters
    leave free is judged as in the free fit (`identify.gaps`); what they tell by themselves, the runs need not.
    """
    fixed = [f"{par.name} = {par.value:g}" for par in result.params.values() if _fixed(par)]
    notes = [f"fixed by params, so without an interval: {', '.join(fixed)}"] if fixed else []
    notes += [
        f"{par.name} is at its bound {end:g}"
        for par in result.params.values()
        if par.vary and (end := _bound(par, found)) is not None and (par.name, end) != ("E", 0.0)  # of that, `oddities`
    ]
    if not notes and not _bind(result.params, found):
        return identify.unidentified(found)
    freedom, moving = _freedom(found, result)
    gaps = identify.gaps(found, freedom)
    notes += map(str, gaps)
    determined = all(gap.hardly for gap in gaps)
    blurred = _blurred(found, freedom, moving)
    if determined and blurred and not any(set(blurred) <= set(gap.names) for gap in gaps):  # else it is said
        told = f"the free parameters {identify.listed(blurred)} apart" if len(blurred) > 1 else blurred[0]
        notes.append(f"these runs do not tell {told}")
        determined = False
    if not found.converged:
        notes.append(f"lmfit was stopped after {MOST_STEPS} evaluations, short of a minimum")
        determined = False
    return tuple(notes), determined


def _bind(params: lmfit.Parameters, found: AdditiveFit) -> bool:
    """Whether parameters hold anything, so that a fit is not simply the free one.

    One is fixed or tied, a bound is passed, or bounds tell apart what collinear N and D do.
    """
    law = [par for par in params.values() if par.name in NAMES]
    free = [par for par in law if par.vary or f"ln_{par.name}_center" in params]
    inside = all(par.min <= found.params[par.name] <= par.max for par in free)
    return len(free) < len(law) or not inside or (identify.collinear(found) and not _swapped(found, params))


def _gradient_norm(problem: Objective, theta: Floats, result: Any) -> float:
    """The largest derivative of the objective by a free parameter; scipy's own, which minds the bounds, where it ended."""
    if hasattr(result, "optimality"):
        return float(result.optimality)
    return float(np.abs(problem.slopes(theta)[0] @ problem.jacobian(theta) @ _chain(problem, result)).max())


def _chain(problem: Objective, result: Any) -> Floats:
    """Derivatives of the coordinates by lmfit's free parameters, (5, free)."""
    with np.errstate(over="ignore"):  # at N = 1 a steep term is beyond any number
        return chain(problem, result.params)


def _freedom(found: AdditiveFit, result: Any) -> tuple[identify.Freedom, tuple[str, ...]]:
    """What was free to move under the user's parameters; the names of all that moved.

    Where no constraint of the user's holds it, a term's logarithm at the centre stands for A or B: it counts as that.
    """
    problem, params = found.problem, result.params
    moving = [par for par in params.values() if par.vary]
    named = {par.name: _of_law(par.name) for par in moving}
    held = {par.name for par in moving if _bound(par, found) is not None}
    columns = {
        named[par.name]: column * max(abs(par.value), 1.0)
        for par, column in zip(moving, _chain(problem, result).T, strict=True)
        if par.name not in held
    }
    free = {named[par.name] for par in moving if par.name == "E" or par.name not in held}
    return (
        identify.Freedom(
            names=tuple(name for name in NAMES if name in free),
            chain=np.array([*columns.values()]).reshape(-1, 5).T,
            swaps=free >= set(NAMES[1:]) and _swapped(found, params),
        ),
        tuple(columns),
    )


def _swapped(found: AdditiveFit, params: lmfit.Parameters) -> bool:
    """Whether the user's bounds still hold where, of collinear N and D, each takes on the other's term."""
    x, y = found.problem.x, found.problem.y
    power = float(x @ y) / float(x @ x)
    if power == 0:
        return False
    e, p, q, alpha, beta = found.theta
    other = found.problem.params(np.array([e, q, p, beta * power, alpha / power]))
    return all(par.min <= other[par.name] <= par.max for par in params.values() if par.name in NAMES[1:])


def _blurred(found: AdditiveFit, freedom: identify.Freedom, names: tuple[str, ...]) -> tuple[str, ...]:
    """The free parameters that can move, alone or together, without any change in the residuals."""
    slopes = found.problem.jacobian(found.theta) @ freedom.chain
    size = np.linalg.norm(slopes, axis=0)
    moved = size < VANISHED * found.problem.unit * np.sqrt(len(slopes))  # alone
    if not moved.all():
        triangle = np.linalg.qr(slopes[:, ~moved] / size[~moved], mode="r")
        _, singular, rotation = np.linalg.svd(triangle, full_matrices=True)
        still = np.concatenate([singular, np.zeros(len(rotation) - len(singular))]) <= OPEN * singular[0]
        moved[~moved] = (np.abs(rotation[still]) > PART).any(axis=0)
    return tuple(name for name, at in zip(names, moved, strict=True) if at)


def _of_law(name: str) -> str:
    return {"ln_A_center": "A", "ln_B_center": "B"}.get(name, name)


def _fixed(par: lmfit.Parameter) -> bool:
    return par.name in NAMES and not par.vary and not par.expr


def _bound(par: lmfit.Parameter, found: AdditiveFit) -> float | None:
    """The bound at which a parameter is, if any."""
    unit = found.problem.center[2] if par.name == "E" else 1e-6
    ends = (end for end in (par.min, par.max) if np.isfinite(end))
    return next((end for end in ends if abs(par.value - end) <= 1e-6 * max(abs(end), unit)), None)


def refit(found: AdditiveFit, params: lmfit.Parameters, *, draws: int, seed: int) -> Floats:
    """Coordinates (draws, 5) of refits to resampled runs, each started at the fit."""
    theta = []
    for counts in bootstrap.resamples(found.problem, draws=draws, seed=seed):
        for count in counts.astype(int):
            drawn = _repeat(found.problem, count)
            result = polish(drawn, [_recentred(found.theta, found.problem, drawn)], params)
            theta.append(_recentred(theta_of(drawn, result), drawn, found.problem))
    return np.array(theta)


def _recentred(theta: Floats, here: Objective, there: Objective) -> Floats:
    """The coordinates of the same law about the centre of other runs; A and B may be beyond any number."""
    moved = theta.copy()
    moved[0] *= here.center[2] / there.center[2]
    for at in (0, 1):
        moved[1 + at] += theta[3 + at] * (here.center[at] - there.center[at])
    return moved


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

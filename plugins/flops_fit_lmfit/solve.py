"""The global fit of the additive law to a few dozen or a few thousand runs, in milliseconds.

In: N, D and loss as arrays, an objective, run weights. Out: parameters, and whether they are the
minimum: started in every valley of a grid (`varpro`), each polished by Newton (`newton`).
"""

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import ArrayLike, NDArray

from flops_fit_core.data import Runs
from flops_fit_core.errors import FitError, InputError
from flops_fit_lmfit import additive
from flops_fit_lmfit.newton import ROUNDING, minimise
from flops_fit_lmfit.objective import Objective
from flops_fit_lmfit.standard_errors import StandardErrors
from flops_fit_lmfit.varpro import starts

Floats = NDArray[np.float64]

TUNING = 1.345  # Huber's delta in standard deviations: 95 % efficient where the noise is normal (Huber 1981)
SMALLEST_SIGMA = 1e-6
PROBE_STEPS = 6
"""For each start, before the worse half of them is dropped: where few runs need many starts, valleys are hard to tell."""


@attrs.frozen(kw_only=True, eq=False)
class AdditiveFit:
    """One fit of the additive law.

    Attributes:
        params: E, A, B, alpha, beta.
        objective: the minimum: a sum over runs.
        converged: whether a further Newton step promises no decrease.
        gradient_norm: root of the relative decrease that a further Newton step promises.
        delta: Huber's delta that was used.
        theta: the centred coordinates, shape (5,).
        problem: what was minimised.
    """

    params: dict[str, float]
    objective: float
    converged: bool
    gradient_norm: float
    delta: float
    theta: Floats
    problem: Objective


def fit_additive(
    n: ArrayLike,
    d: ArrayLike,
    loss: ArrayLike,
    weights: ArrayLike | None = None,
    objective: str = "log_huber",
    delta: float | str = 1e-3,
    scale: ArrayLike | None = None,
) -> AdditiveFit:
    """Fit E, A, B, alpha, beta at the global optimum of the objective.

    Args:
        n: N of the runs, shape (k,).
        d: D in units of data, shape (k,).
        loss: the runs' losses, shape (k,).
        weights: factors of the runs' terms of the objective, shape (k,); ``None``: ones.
        objective: ``log_huber``, ``log_mse``, ``lin_huber`` or ``lin_mse``; a sum over runs.
        delta: Huber's delta; ``"adaptive"``: 1.345 robust standard deviations of the residuals.
        scale: factors of the runs' residuals, shape (k,); ``None``: ones.

    Raises:
        FitError: fewer runs than parameters, or values that are not positive finite numbers.
    """
    columns = [np.array(values, dtype=np.float64).reshape(-1) for values in (n, d, loss)]
    if len(columns[0]) < 5:
        raise FitError(f"{len(columns[0])} runs for the law's five parameters: at least five are needed")
    if not all(np.all(np.isfinite(column) & (column > 0)) for column in columns):
        raise FitError("N, D and loss must be positive finite numbers in every run that is fitted")
    w = np.ones(len(columns[0])) if weights is None else np.array(weights, dtype=np.float64).reshape(-1)
    s = None if scale is None else np.array(scale, dtype=np.float64).reshape(-1)
    problem = Objective(n=columns[0], d=columns[1], loss=columns[2], kind=objective, delta=first_delta(delta), scale=s)
    if delta == "adaptive":
        problem = attrs.evolve(problem, delta=problem.delta * problem.unit)
    theta, found = _best(problem, starts(problem, w), w)
    if delta == "adaptive":
        for _ in range(4):
            problem = attrs.evolve(problem, delta=TUNING * _sigma(problem, theta))
            theta, found = _best(problem, theta[None], w)
        theta, found = _best(problem, np.concatenate([theta[None], starts(problem, w)]), w)
    return _described(problem, theta, found)


def solve_from(fit: AdditiveFit, theta: Floats) -> AdditiveFit:
    """The fit, or a better one if the search from `theta` (5,) finds it."""
    other, found = _best(fit.problem, theta[None], np.ones(len(fit.problem.loss)))
    return _described(fit.problem, other, found) if found[0] < fit.objective else fit


def additive_start(runs: Runs) -> AdditiveFit:
    """The additive fit from which the search for the frontier law sets out.

    Huber's delta is adaptive, and runs whose losses have known standard errors are weighed by them.

    Raises:
        FitError: as `fit_additive` does.
    """
    n, d, loss = runs.n_params, runs.n_tokens, runs.loss
    found = fit_additive(n, d, loss, delta="adaptive")
    if runs.loss_stderr is None:
        return found
    return fit_additive(n, d, loss, delta="adaptive", scale=noise_scale(found, runs.loss_stderr))


def _described(problem: Objective, theta: Floats, found: tuple[float, float, bool]) -> AdditiveFit:
    value, decrease, converged = found
    rounding = (ROUNDING * problem.unit) ** 2 * len(problem.loss)  # below it, a gradient is nothing but that
    return AdditiveFit(
        params={name: float(problem.params(theta)[name]) for name in ("E", "A", "B", "alpha", "beta")},
        objective=value,
        converged=converged,
        gradient_norm=0.0 if value <= rounding else float(np.sqrt(decrease)),
        delta=problem.delta,
        theta=theta,
        problem=problem,
    )


def first_delta(delta: float | str) -> float:
    """Huber's delta to begin with.

    Raises:
        InputError: neither a positive number nor ``"adaptive"``.
    """
    if delta == "adaptive":
        return 1e-3
    if isinstance(delta, str) or not (np.isfinite(delta) and delta > 0):
        raise InputError(f'delta is {delta!r}; it must be a positive number or "adaptive"')
    return float(delta)


def robust_sigma(residuals: Floats, least: float = SMALLEST_SIGMA) -> float:
    """Standard deviation by the median absolute deviation, never below `least`."""
    return max(1.4826 * _median(np.abs(residuals - _median(residuals))), least)


def _median(values: Floats) -> float:
    """The median, in a fifth of the time that NumPy's takes for a few hundred values."""
    ordered = np.sort(values)  # NaN last
    middle = 0.5 * float(ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2])
    return float("nan") if np.isnan(ordered[-1]) else middle


def _sigma(problem: Objective, theta: Floats) -> float:
    """Robust standard deviation of the residuals at `theta` (5,), in the objective's unit never below 1e-6."""
    return robust_sigma(problem.residuals(theta[None])[0], least=SMALLEST_SIGMA * problem.unit)


def _best(problem: Objective, begin: Floats, weights: Floats) -> tuple[Floats, tuple[float, float, bool]]:
    """Polish some steps from every start, then the better half of them to the end."""
    if len(begin) > 2:
        minima = minimise(problem, begin, weights, max_steps=PROBE_STEPS * len(begin))
        better = np.argsort(minima.value, kind="stable")[: len(begin) // 2]
        if not minima.converged[better].all():
            minima = minimise(problem, minima.theta[better], weights)
    else:
        minima = minimise(problem, begin, weights)
    best = int(np.argmin(minima.value))
    if not minima.converged[best]:  # its steps ran out
        minima, best = minimise(problem, minima.theta[best], weights), 0
    return minima.theta[best], (float(minima.value[best]), float(minima.decrease[best]), bool(minima.converged[best]))


def noise_scale(fit: AdditiveFit, stderr: ArrayLike) -> Floats | None:
    """Factors of the residuals for runs whose losses have known standard errors; 1 for the usual run.

    A run's variance is its own standard error squared, and what the scatter of the residuals holds beyond
    the median one (training seeds, and what the law leaves out): see `StandardErrors`.

    Args:
        fit: a fit without them.
        stderr: standard errors of the losses, shape (k,); NaN where unknown.

    Returns:
        shape (k,), or ``None`` where none is known.
    """
    problem = fit.problem
    errors = StandardErrors.of(stderr, additive.loss(fit.params, problem.n, problem.d) if problem.is_log else 1.0)
    if errors is None:
        return None
    sigma = _sigma(problem, fit.theta)
    return np.asarray(np.sqrt(max(sigma, errors.usual) ** 2 / errors.variances(sigma)))

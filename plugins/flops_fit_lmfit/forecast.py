"""How far off the additive law's forecasts may be while the law is true.

In: a fit, its runs, and runs that it has not seen. Out: the standard deviation of the mean of their errors.
"""

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray

from flops_fit_core.data import Runs
from flops_fit_lmfit import additive
from flops_fit_lmfit.objective import Objective
from flops_fit_lmfit.solve import AdditiveFit
from flops_fit_lmfit.standard_errors import StandardErrors

Floats = NDArray[np.float64]


def spread(fit: AdditiveFit, fitted: Runs, ahead: Runs) -> float:
    """Standard deviation of the mean of ln L_pred − ln L over runs of another budget, were the law true.

    What the fitted runs do not tell of the parameters, to first order, and the noise of the runs ahead: the fitted runs'
    root mean square residual over their degrees of freedom, and a run's own standard error where it is known.

    Args:
        fit: of ln L (``log_…``).
        fitted: the runs that it was fitted to.
        ahead: the runs of the other budget.
    """
    problem, theta = fit.problem, fit.theta
    free = slice(1 if theta[0] <= 0 else 0, None)  # E is 0, the least it may be: then it does not vary
    seen = np.linalg.qr(problem.jacobian(theta)[:, free], mode="r")
    slope = _slopes(problem, theta, ahead.n_params, ahead.n_tokens).mean(axis=0)[free]
    # What no fitted run tells (a term that vanished) adds nothing: require_points refuses all runs of one N or one D.
    shares = np.linalg.lstsq(seen.T, slope, rcond=1e-12)[0]  # of the fitted runs' errors in the forecast's
    residuals = problem.residuals(theta[None])[0]
    variance = float(residuals @ residuals) / max(len(residuals) - len(additive.NAMES), 1)
    noise = _noise(fit, variance, fitted, ahead)
    return float(np.sqrt(variance * (shares @ shares) + noise.mean() / len(ahead)))


def _noise(fit: AdditiveFit, variance: float, fitted: Runs, ahead: Runs) -> Floats:
    """Variance of ln L of each run ahead, where `variance` is the usual fitted run's."""
    of_fitted, of_ahead = (
        StandardErrors.of(runs.loss_stderr, additive.loss(fit.params, runs.n_params, runs.n_tokens))
        for runs in (fitted, ahead)
    )
    if of_fitted is None or of_ahead is None:
        return np.full(len(ahead), variance)
    return attrs.evolve(of_ahead, usual=of_fitted.usual).variances(np.sqrt(variance))


def _slopes(problem: Objective, theta: Floats, n: Floats, d: Floats) -> Floats:
    """Derivatives of ln L at any N and D (k,) by the coordinates `theta` (5,): shape (k, 5)."""
    x, y = np.log(n) - problem.center[0], np.log(d) - problem.center[1]
    with np.errstate(all="ignore"):  # a law that ran away has no slopes there
        e, u, v = theta[0] * problem.center[2], np.exp(theta[1] - theta[3] * x), np.exp(theta[2] - theta[4] * y)
        slopes = np.stack([np.full_like(u, problem.center[2]), u, v, -u * x, -v * y], axis=1)
        return np.asarray(slopes / (e + u + v)[:, None])

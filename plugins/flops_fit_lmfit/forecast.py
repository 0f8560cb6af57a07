"""How far off the additive law's forecasts may be while the law is true.

In: a fit, and N and D of runs that it has not seen. Out: the standard deviation of the mean of their errors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flops_fit_lmfit import additive
from flops_fit_lmfit.objective import Objective
from flops_fit_lmfit.solve import AdditiveFit

Floats = NDArray[np.float64]


def spread(fit: AdditiveFit, n: Floats, d: Floats) -> float:
    """Standard deviation of the mean of ln L_pred − ln L over runs of another budget, were the law true.

    What the fitted runs do not tell of the parameters, to first order, and the noise of the runs themselves, by the
    fitted runs' root mean square residual over their degrees of freedom.

    Args:
        fit: of ln L (``log_…``).
        n: N of the runs, shape (k,).
        d: D of the runs, shape (k,).
    """
    problem, theta = fit.problem, fit.theta
    free = slice(1 if theta[0] <= 0 else 0, None)  # E is 0, the least it may be: then it does not vary
    seen = problem.jacobian(theta)[:, free]
    ahead = _slopes(problem, theta, n, d).mean(axis=0)[free]
    residuals = problem.residuals(theta[None])[0]
    variance = float(residuals @ residuals) / max(len(residuals) - len(additive.NAMES), 1)
    shares = np.linalg.lstsq(seen.T, ahead, rcond=1e-12)[0]  # of each fitted run's error in the forecast's
    return float(np.sqrt(variance * (shares @ shares + 1.0 / len(n))))


def _slopes(problem: Objective, theta: Floats, n: Floats, d: Floats) -> Floats:
    """Derivatives of ln L at any N and D (k,) by the coordinates `theta` (5,): shape (k, 5)."""
    x, y = np.log(n) - problem.center[0], np.log(d) - problem.center[1]
    e, u, v = theta[0] * problem.center[2], np.exp(theta[1] - theta[3] * x), np.exp(theta[2] - theta[4] * y)
    slopes = np.stack([np.full_like(u, problem.center[2]), u, v, -u * x, -v * y], axis=1)
    return np.asarray(slopes / (e + u + v)[:, None])

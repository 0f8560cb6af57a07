"""Fitting the frontier law: robust, weighted, with weak priors, in NumPy alone.

In: N, C and loss as arrays, how to weigh them, and sigma, where it is known. Out: the minimum of
`FrontierObjective`, with Huber's delta and the priors in units of sigma. `FrontierFitter`, the outlier rule and the
rolling hold-out all call `solve`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import attrs
import numpy as np
from numpy.typing import NDArray

from flops_fit_lmfit.frontier_law import COORDINATES, FrontierObjective, from_additive
from flops_fit_lmfit.solve import TUNING, robust_sigma
from flops_fit_lmfit.standard_errors import StandardErrors

Floats = NDArray[np.float64]

PRIORS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "ln_gamma": (math.log(0.175), 0.3),
        "a": (0.5, 0.1),
        "ln_p": (math.log(0.35), 0.4),
        "ln_q": (math.log(0.35), 0.4),
    }
)
PRIOR_STRENGTH = 10.0
_SETTLED = 1e-13  # relative decrease promised by a further step that is not worth it
_CONVERGED = 1e-9  # and the one beyond which the minimum was not reached
_ROUNDS = 24
_MIDDLE = (PRIORS["ln_gamma"][0], 0.0, *(PRIORS[name][0] for name in ("a", "ln_p", "ln_q")))
_FIRST_STEPS = 30  # of every start; only the best two go on
_STEPS = 1000


@attrs.frozen(kw_only=True, eq=False)
class Solution:
    """A minimum of the frontier objective.

    Attributes:
        objective: what was minimised, with the last delta and priors.
        theta: its coordinates at the minimum, shape (7,).
        weights: run weights, mean 1, shape (k,).
        sigma: what delta and priors were measured by.
        value: the objective there.
        gradient_norm: root of the relative decrease that a further Newton step promises.
        converged: a further Newton step promises nothing.
    """

    objective: FrontierObjective
    theta: Floats
    weights: Floats
    sigma: float
    value: float
    gradient_norm: float
    converged: bool

    @property
    def params(self) -> dict[str, float]:
        """E, K, gamma, n0, a, p, q."""
        return {name: float(value) for name, value in self.objective.params(self.theta).items()}

    @property
    def residuals(self) -> Floats:
        """Residuals ln L_pred − ln L of every run, shape (k,)."""
        return np.asarray(self.objective.residuals(self.theta[None])[0])


def run_weights(c: Floats, power: float) -> Floats:
    """Weights proportional to C^power, mean 1."""
    log_w = power * np.log(c)
    weights = np.exp(log_w - log_w.max())
    return np.asarray(weights / weights.mean())


def scatter(residuals: Floats, parameters: int = len(COORDINATES)) -> float:
    """Robust sigma of a law's residuals (k,), less its parameters' part.

    Without that, few runs would look free of noise, and priors would count nothing.
    """
    k = len(residuals)
    return math.sqrt(k / max(k - parameters, 1)) * robust_sigma(residuals)


def solve(
    n: Floats,
    c: Floats,
    loss: Floats,
    additive: Mapping[str, float],
    *,
    priors: Mapping[str, tuple[float, float]] | None = PRIORS,
    prior_strength: float = PRIOR_STRENGTH,
    weight_power: float = 1.0,
    errors: StandardErrors | None = None,
    sigma: float | None = None,
    settled: float = 1e-5,
    starts: int | None = None,
    near: Mapping[str, float] | None = None,
) -> Solution:
    """Fit the frontier law with Huber's delta and the priors in units of sigma.

    Args:
        n, c, loss: N, C in FLOPs and loss of the runs, each of shape (k,).
        additive: E, A, B, alpha, beta of an additive fit of the same runs, where the search starts.
        priors: mean and standard deviation by coordinate name (`COORDINATES`), or ``None`` for none.
        prior_strength: how many times the noise variance counts against the priors.
        weight_power: run weights are proportional to C to this power.
        errors: of ln L, where they are known.
        sigma: the residuals' robust sigma; ``None``: found in turn with the minimum until it settles.
        settled: relative change of sigma that ends that.
        starts: how many points to start from, the additive fit first; ``None``: all five. Priors without weights leave
            one valley, so that two will do.
        near: E, K, gamma, n0, a, p, q of a law to start from instead, such as that of nearly the same runs.
    """
    objective = FrontierObjective(n=n, c=c, loss=loss)
    weights = run_weights(c, weight_power)
    theta = _near(objective, near) if near else None
    theta = _starts(objective, additive)[:starts] if theta is None else theta
    many = len(theta) > 1
    known = sigma
    sigma = scatter(objective.residuals(theta[:1])[0]) if known is None else known
    if errors is not None:
        weights = weights / errors.variances(sigma)
        weights /= weights.mean()
    for round_ in range(_ROUNDS):
        mean, precision = _prior(priors, prior_strength * sigma**2)
        objective = attrs.evolve(objective, delta=TUNING * sigma, mean=mean, precision=precision)
        theta, value = descend(objective, theta, weights, _FIRST_STEPS if many and round_ == 0 else _STEPS)
        valleys = _distinct(value)[:2]  # the best first
        theta = theta[valleys]
        found = scatter(objective.residuals(theta[:1])[0]) if known is None else known
        if not (many and round_ == 0) and abs(found - sigma) <= settled * sigma:
            break
        # The median jumps from run to run and may cycle between two: half steps end that.
        sigma = found if round_ < _ROUNDS // 2 else math.sqrt(sigma * found)
    sigma = objective.delta / TUNING
    value, gradient, hessian = objective.derivatives(theta[:1], weights)
    newton = np.linalg.lstsq(hessian[0], gradient[0], rcond=1e-14)[0]
    promised = 0.5 * abs(float(gradient[0] @ newton)) / max(float(value[0]), objective.delta**2)
    return Solution(
        objective=objective,
        theta=theta[0],
        weights=weights,
        sigma=sigma,
        value=float(value[0]),
        gradient_norm=math.sqrt(promised),
        converged=promised <= _CONVERGED,
    )


def descend(objective: FrontierObjective, theta: Floats, weights: Floats, steps: int) -> tuple[Floats, Floats]:
    """Minimise from each start (m, 7) by damped Newton, in at most so many steps; returns coordinates and values.

    The exact Hessian, whitened by the quadratic that majorises the objective, steps along the absolute
    values of its eigenvalues, so that every step goes down; damping shrinks it where the promise fails.
    """
    theta = theta.copy()
    root = objective.whitening(theta, weights)
    value, gradient, hessian = objective.derivatives(theta, weights)
    floor = _rounding(weights)
    damping = np.full(len(theta), 1e-3)
    live = np.arange(len(theta))
    for _ in range(steps):
        white = root[live].transpose(0, 2, 1)
        curves, axes = np.linalg.eigh(white @ hessian[live] @ root[live])
        slopes = (axes.transpose(0, 2, 1) @ white @ gradient[live, :, None])[..., 0]
        curves = np.abs(curves) + 1e-14 + damping[live, None]
        step = -(root[live] @ axes @ (slopes / curves)[..., None])[..., 0]
        promised = 0.5 * (slopes**2 / curves).sum(axis=1)
        step /= np.maximum(np.abs(step).max(axis=1, keepdims=True) / 2.0, 1.0)
        trial = theta[live] + step
        new_value, new_gradient, new_hessian = objective.derivatives(trial, weights)
        old = value[live]
        better = new_value <= old * (1 + 1e-14) + floor
        with np.errstate(invalid="ignore", divide="ignore"):
            good = (old - new_value) / promised > 0.5
        damping[live] = np.where(better, damping[live] * np.where(good, 0.1, 1.0), damping[live] * 10.0 + 1e-6)
        up = live[better]
        theta[up], value[up] = trial[better], new_value[better]
        gradient[up], hessian[up] = new_gradient[better], new_hessian[better]
        reached = (promised <= _SETTLED * np.maximum(old, objective.delta**2) + floor) & (damping[live] <= 1.0)
        live = live[~reached & (damping[live] < 1e12)]
        if not len(live):
            break
    return theta, value


def _rounding(weights: Floats) -> float:
    """What rounding errors of the residuals alone add to the objective."""
    return 1e-30 * float(weights.sum())


def _distinct(values: Floats) -> list[int]:
    """Indices of the different finite minima, the best first."""
    chosen: list[int] = []
    for index in np.argsort(values, kind="stable"):
        if np.isfinite(values[index]) and (not chosen or values[index] > values[chosen[-1]] * (1 + 1e-6)):
            chosen.append(int(index))
    return chosen or [0]


def _prior(priors: Mapping[str, tuple[float, float]] | None, variance: float) -> tuple[Floats, Floats]:
    """Mean and precision (in units of the objective, which is a sum of squared residuals) by coordinate."""
    known = priors or {}
    mean = np.array([known[name][0] if name in known else 0.0 for name in COORDINATES])
    precision = np.array([variance / known[name][1] ** 2 if name in known else 0.0 for name in COORDINATES])
    return mean, precision


def _near(objective: FrontierObjective, law: Mapping[str, float]) -> Floats | None:
    """Coordinates of a law, (1, 7); ``None`` where it has none, as its E has vanished."""
    with np.errstate(divide="ignore", invalid="ignore"):
        theta = objective.theta(law)
    return theta[None] if np.isfinite(theta).all() else None


def _starts(objective: FrontierObjective, additive: Mapping[str, float]) -> Floats:
    """Coordinates to start from, (5, 7): the additive fit; usual exponents there; three other values of E."""
    lowest = float(objective.loss.min())
    guess = {name: float(value) for name, value in additive.items()}
    guess["E"] = min(max(guess["E"], 1e-2 * lowest), 0.99 * lowest)
    guess["alpha"], guess["beta"] = (min(max(guess[name], 0.02), 3.0) for name in ("alpha", "beta"))
    with np.errstate(all="ignore"):  # a term that vanished or ran away has no optimum to start from
        additive_start = objective.theta(from_additive(guess))
    half = math.log(0.5 * lowest)
    additive_start = np.where(np.isfinite(additive_start), additive_start, [half, half, *_MIDDLE])
    additive_start[3] = min(max(additive_start[3], objective.x.min()), objective.x.max())
    additive_start[1] = min(max(additive_start[1], math.log(lowest) - 10.0), math.log(lowest) + 10.0)
    usual = additive_start.copy()
    for name, (mean, _) in PRIORS.items():
        usual[COORDINATES.index(name)] = mean
    starts = [additive_start, usual]
    for share in (0.5, 0.75, 0.9):
        other = usual.copy()
        other[0], other[1] = math.log(share * lowest), math.log((1.0 - share) * lowest)
        starts.append(other)
    return np.array(starts)

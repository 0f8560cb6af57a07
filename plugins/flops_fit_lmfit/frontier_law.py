"""The law along the compute-efficient frontier, and what a fit of it minimises.

In: parameters (numbers, or arrays of draws) with N and C, or runs as arrays. Out: the loss, the
optimum that a budget buys, and `FrontierObjective`, value, gradient and exact Hessian of the fit.

With u = ln N − n0 − a·ln C,

    L(N, C) = E + K·C^(−gamma) · s(u),    s(u) = (q·exp(−p·u) + p·exp(q·u)) / (p + q).

s has its minimum s(0) = 1, so exp(n0)·C^a is the optimum N of every budget, E + K·C^(−gamma) the loss
there, and p and q say how fast the loss rises on the side of too small and too large models. The additive
law with C = 6ND is the special case of `from_additive`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import ArrayLike, NDArray

from flops_fit_core.data import CostModel

Floats = NDArray[np.float64]

NAMES = ("E", "K", "gamma", "n0", "a", "p", "q")
COORDINATES = ("ln_E", "ln_K", "ln_gamma", "n0", "a", "ln_p", "ln_q")
# Where the second derivatives stand that are no squares of slopes: the diagonal ones, then the others twice.
_ROWS = np.array([2, 5, 6, 5, 3, 4, 3, 4, 6, 5, 5, 6, 6])
_COLUMNS = np.array([2, 5, 6, 6, 5, 5, 6, 6, 5, 3, 4, 3, 4])
FORMULA = "L(N, C) = E + K/C^gamma * (q*exp(-p*u) + p*exp(q*u))/(p + q), u = ln N - n0 - a*ln C"


def loss(params: Mapping[str, ArrayLike], n: ArrayLike, c: ArrayLike) -> Floats:
    """Loss of N parameters trained with C FLOPs.

    Args:
        params: E, K, gamma, n0, a, p, q: numbers, or arrays that broadcast with `n` and `c`.
        n: N, any shape.
        c: C = cost(N)·D, FLOPs, any shape.
    """
    e, k, gamma, n0, a, p, q = (np.asarray(params[name], dtype=np.float64) for name in NAMES)
    log_c = np.log(c)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        u = np.log(n) - n0 - a * log_c
        shape = np.logaddexp(np.log(q) - p * u, np.log(p) + q * u) - np.log(p + q)
        return np.asarray(e + np.exp(np.log(k) - gamma * log_c + shape))


def optimum(params: Mapping[str, Any], cost: CostModel, budget: float) -> tuple[Floats, Floats, Floats]:
    """N, D and loss at the frontier: N = exp(n0)·C^a, D = C / cost(N), L = E + K·C^(−gamma)."""
    e, k, gamma, n0, a = (np.asarray(params[name], dtype=np.float64) for name in NAMES[:5])
    n = np.exp(n0 + a * np.log(budget))
    with np.errstate(divide="ignore"):
        return n, cost.tokens(n, budget), np.asarray(e + np.exp(np.log(k) - gamma * np.log(budget)))


def from_additive(params: Mapping[str, ArrayLike]) -> dict[str, Floats]:
    """The same law as E + A/N^alpha + B/D^beta with C = 6ND: p = alpha, q = beta.

    Then a = beta/(alpha + beta), gamma = alpha·beta/(alpha + beta), and n0 and K follow from the
    additive law's optimum (Hoffmann et al. 2022, arXiv 2203.15556, equation 4).
    """
    e, a, b, p, q = (np.asarray(params[name], dtype=np.float64) for name in ("E", "A", "B", "alpha", "beta"))
    share = q / (p + q)
    n0 = (np.log(p * a) - np.log(q * b)) / (p + q) - share * np.log(6.0)
    k = a * np.exp(-p * n0) * (p + q) / q
    return {"E": e, "K": k, "gamma": p * share, "n0": n0, "a": share, "p": p, "q": q}


def _floats(values: ArrayLike) -> Floats:
    return np.array(values, dtype=np.float64).reshape(-1)


@attrs.frozen(kw_only=True, eq=False)
class FrontierObjective:
    """Sum over runs of w·rho(ln L_pred − ln L) plus half the sum of precision·(theta − mean)².

    rho is Huber's: r²/2 inside `delta`, delta·(|r| − delta/2) outside. The coordinates theta are
    (ln E, ln K', ln gamma, n0', a, ln p, ln q), where K' and n0' belong to the centre of the data.

    Attributes:
        n, c, loss: N, C and loss of the runs, each of shape (k,).
        delta: where Huber's loss turns linear.
        mean, precision: of the Gaussian priors on theta, shape (7,); precision 0 is no prior.
    """

    n: Floats = attrs.field(converter=_floats)
    c: Floats = attrs.field(converter=_floats)
    loss: Floats = attrs.field(converter=_floats)
    delta: float = 1e-2
    mean: Floats = attrs.field(factory=lambda: np.zeros(7))
    precision: Floats = attrs.field(factory=lambda: np.zeros(7))

    x: Floats = attrs.field(init=False, repr=False)
    z: Floats = attrs.field(init=False, repr=False)
    center: tuple[float, float] = attrs.field(init=False)
    line: Floats = attrs.field(init=False, repr=False)
    target: Floats = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        log_n, log_c = np.log(self.n), np.log(self.c)
        center = (float(log_n.mean()), float(log_c.mean()))
        z = log_c - center[1]
        line = np.stack([np.ones_like(z), z], axis=1)
        derived = {"x": log_n - center[0], "z": z, "center": center, "line": line, "target": np.log(self.loss)}
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def params(self, theta: Floats) -> dict[str, Floats]:
        """E, K, gamma, n0, a, p, q of coordinates, shape (..., 7) to (...)."""
        gamma, a = np.exp(theta[..., 2]), theta[..., 4]
        return {
            "E": np.exp(theta[..., 0]),
            "K": np.exp(theta[..., 1] + gamma * self.center[1]),
            "gamma": gamma,
            "n0": theta[..., 3] + self.center[0] - a * self.center[1],
            "a": a,
            "p": np.exp(theta[..., 5]),
            "q": np.exp(theta[..., 6]),
        }

    def theta(self, params: Mapping[str, ArrayLike]) -> Floats:
        """Coordinates of E, K, gamma, n0, a, p, q."""
        e, k, gamma, n0, a, p, q = (np.asarray(params[name], dtype=np.float64) for name in NAMES)
        log_k = np.log(k) - gamma * self.center[1]
        return np.stack(
            [np.log(e), log_k, np.log(gamma), n0 - self.center[0] + a * self.center[1], a, np.log(p), np.log(q)],
            axis=-1,
        )

    def _parts(self, theta: Floats) -> tuple[Floats, ...]:
        """The prediction ln L, the frontier term's share of L, u, and the left arm's share of s; each (m, k)."""
        log_e, log_k, log_gamma, n0, a, log_p, log_q = theta.T[:, :, None]
        p, q = np.exp(log_p), np.exp(log_q)
        u = self.x - n0 - a * self.z
        left, right = log_q - p * u, log_p + q * u
        both = np.logaddexp(left, right)
        term = log_k - np.exp(log_gamma) * self.z + both - np.log(p + q)
        predicted = np.logaddexp(log_e, term)
        return predicted, np.exp(term - predicted), u, np.exp(left - both)

    def residuals(self, theta: Floats) -> Floats:
        """Residuals ln L_pred − ln L for coordinates (m, 7): shape (m, k)."""
        return self._parts(theta)[0] - self.target

    def _slopes(self, theta: Floats, share: Floats, u: Floats, arm: Floats) -> tuple[Floats, Floats, Floats]:
        """Derivatives by theta, each (m, 7, k): of ln L_pred, of ln term − ln E, of ln left − ln right arm."""
        p, q = np.exp(theta[:, 5:6]), np.exp(theta[:, 6:7])
        by_u = q - (p + q) * arm
        apart, arms = np.empty((2, len(u), len(COORDINATES), u.shape[1]))
        apart[:, 0], apart[:, 1] = -1.0, 1.0
        np.multiply(-np.exp(theta[:, 2:3]), self.z, out=apart[:, 2])
        np.negative(by_u, out=apart[:, 3])
        np.multiply(apart[:, 3], self.z, out=apart[:, 4])
        apart[:, 5] = 1.0 - arm - p * u * arm - p / (p + q)
        apart[:, 6] = arm + q * u * (1.0 - arm) - q / (p + q)
        arms[:, :3], arms[:, 3] = 0.0, p + q
        np.multiply(p + q, self.z, out=arms[:, 4])
        arms[:, 5], arms[:, 6] = -p * u - 1.0, 1.0 - q * u
        slope = apart * share[:, None]
        slope[:, 0] = 1.0 - share
        return slope, apart, arms

    def jacobian(self, theta: Floats) -> Floats:
        """The slopes d ln L_pred / d theta for one point (7,): shape (k, 7)."""
        _, share, u, arm = self._parts(theta[None])
        return np.asarray(self._slopes(theta[None], share, u, arm)[0][0].T)

    def value(self, theta: Floats, weights: Floats) -> Floats:
        """The objective for coordinates (m, 7) and run weights (m, k) or (k,): shape (m,)."""
        r = self.residuals(theta)
        psi = np.clip(r, -self.delta, self.delta)
        pull = theta - self.mean
        return np.asarray((weights * psi * (r - 0.5 * psi)).sum(axis=-1) + 0.5 * (pull * pull) @ self.precision)

    def derivatives(self, theta: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """Value (m,), gradient (m, 7) and exact Hessian (m, 7, 7)."""
        predicted, share, u, arm = self._parts(theta)
        slope, apart, arms = self._slopes(theta, share, u, arm)
        r = predicted - self.target
        psi = np.clip(r, -self.delta, self.delta)
        push = weights * psi
        pull = theta - self.mean
        value = (push * (r - 0.5 * psi)).sum(axis=1) + 0.5 * (pull * pull) @ self.precision
        gradient = np.einsum("mjk,mk->mj", slope, push) + pull * self.precision
        # ln L is a log-sum-exp of two terms, of which one holds a log-sum-exp of two arms: each adds a
        # square of slopes; what is left are the few second derivatives of the arms themselves.
        within = push * share
        left = np.concatenate([slope, apart, arms], axis=2)
        scales = [weights * (psi == r), within * (1.0 - share), within * arm * (1.0 - arm)]
        hessian = (left * np.concatenate(scales, axis=1)[:, None]) @ left.transpose(0, 2, 1)
        self._add_curvature(hessian, theta, within, u, arm)
        hessian += np.diag(self.precision)
        return value, gradient, hessian

    def whitening(self, theta: Floats, weights: Floats) -> Floats:
        """T (m, 7, 7) with T' M T = 1, M the Hessian of the quadratic that majorises the objective."""
        predicted, share, u, arm = self._parts(theta)
        slope = self._slopes(theta, share, u, arm)[0]
        r = np.abs(predicted - self.target)
        scaled = slope * (weights * np.minimum(1.0, self.delta / np.maximum(r, 1e-300)))[:, None]
        values, vectors = np.linalg.eigh(scaled @ slope.transpose(0, 2, 1) + np.diag(self.precision))
        return np.asarray(vectors / np.sqrt(np.maximum(values, 1e-12 * values[:, -1:]) + 1e-300)[:, None, :])

    def _add_curvature(self, hessian: Floats, theta: Floats, within: Floats, u: Floats, arm: Floats) -> None:
        """Add the second derivatives of −gamma·ln C, of the arms' logarithms and of ln(p + q)."""
        gamma, p, q = np.exp(theta[:, [2, 5, 6]]).T
        left = within * arm
        right = within - left
        (left_1, left_z), (right_1, right_z) = ((side @ self.line).T for side in (left, right))
        mixed = (left_1 + right_1) * p * q / (p + q) ** 2
        by_p = -p * np.einsum("mk,mk->m", left, u) - mixed
        by_q = q * np.einsum("mk,mk->m", right, u) - mixed
        off = (mixed, p * left_1, p * left_z, -q * right_1, -q * right_z)
        hessian[:, _ROWS, _COLUMNS] += np.stack([-gamma * (left_z + right_z), by_p, by_q, *off, *off], axis=1)

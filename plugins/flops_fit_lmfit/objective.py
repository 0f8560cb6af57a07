"""What a fit of the additive law minimises, with its exact gradient and Hessian, for many fits at once.

In: runs as arrays, one of four objectives, and coordinates ``theta``: E over the geometric mean loss,
the logarithms of the two terms at the centre of the data, alpha and beta (in raw units the problem is
hopelessly conditioned; ln E would send E -> 0 to infinity, where E = 0 is a common answer). Out:
values and derivatives for a batch of (theta, run weights).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import ArrayLike, NDArray

from flops_fit_core.errors import InputError, nearest

Floats = NDArray[np.float64]

OBJECTIVES = ("log_huber", "log_mse", "lin_huber", "lin_mse")
# Where the sums that make up the gradient and the Hessian stand: (product, power of x and y).
_T, _U, _V, _TT, _TU, _TV, _UU, _UV, _VV = range(9)
_1, _X, _XX, _Y, _YY, _XY = range(6)
_GRADIENT = np.array([(_T, _1), (_U, _1), (_V, _1), (_U, _X), (_V, _Y)]).T
_HESSIAN = np.array(
    [
        [(_TT, _1), (_TU, _1), (_TV, _1), (_TU, _X), (_TV, _Y)],
        [(_TU, _1), (_UU, _1), (_UV, _1), (_UU, _X), (_UV, _Y)],
        [(_TV, _1), (_UV, _1), (_VV, _1), (_UV, _X), (_VV, _Y)],
        [(_TU, _X), (_UU, _X), (_UV, _X), (_UU, _XX), (_UV, _XY)],
        [(_TV, _Y), (_UV, _Y), (_VV, _Y), (_UV, _XY), (_VV, _YY)],
    ]
).transpose(2, 0, 1)


def _floats(values: ArrayLike) -> Floats:
    return np.array(values, dtype=np.float64).reshape(-1)


@attrs.frozen(kw_only=True, eq=False)
class Objective:
    """Sum over runs of w·rho(s·r), r = ln L_pred − ln L (``log_…``) or L_pred − L (``lin_…``).

    rho is r²/2 inside `delta` and delta·(|r| − delta/2) outside (``…_huber``), or r² (``…_mse``).

    Attributes:
        n, d, loss: N, D and loss of the runs, each of shape (k,).
        kind: one of `OBJECTIVES`.
        delta: where Huber's loss turns linear; unused by ``…_mse``.
        scale: s, shape (k,), or ``None`` for ones.
    """

    n: Floats = attrs.field(converter=_floats)
    d: Floats = attrs.field(converter=_floats)
    loss: Floats = attrs.field(converter=_floats)
    kind: str = attrs.field(default="log_huber")
    delta: float = 1e-3
    scale: Floats | None = None

    x: Floats = attrs.field(init=False, repr=False)
    y: Floats = attrs.field(init=False, repr=False)
    center: tuple[float, float, float] = attrs.field(init=False)
    target: Floats = attrs.field(init=False, repr=False)
    basis: Floats = attrs.field(init=False, repr=False)

    @kind.validator
    def _known(self, _: Any, kind: str) -> None:
        if kind not in OBJECTIVES:
            raise InputError(
                f"unknown objective {kind!r}; known are {', '.join(OBJECTIVES)}.{nearest(str(kind), OBJECTIVES)}"
            )

    def __attrs_post_init__(self) -> None:
        log_n, log_d = np.log(self.n), np.log(self.d)
        center = (float(log_n.mean()), float(log_d.mean()), float(np.exp(np.log(self.loss).mean())))
        x, y = log_n - center[0], log_d - center[1]
        derived = {
            "x": x,
            "y": y,
            "center": center,
            "target": np.log(self.loss) if self.is_log else self.loss,
            "basis": np.stack([np.ones_like(x), -x, x * x, -y, y * y, x * y], axis=1),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @property
    def is_log(self) -> bool:
        """Whether residuals are of ln L."""
        return self.kind.startswith("log")

    @property
    def is_huber(self) -> bool:
        """Whether large residuals count linearly."""
        return self.kind.endswith("huber")

    @property
    def unit(self) -> float:
        """Residual of a prediction that is off by a factor of e, to first order."""
        return 1.0 if self.is_log else self.center[2]

    def params(self, theta: Floats) -> dict[str, Floats]:
        """E, A, B, alpha, beta and ln A, ln B of coordinates, shape (..., 5) to (...)."""
        ln_a = theta[..., 1] + theta[..., 3] * self.center[0]
        ln_b = theta[..., 2] + theta[..., 4] * self.center[1]
        with np.errstate(over="ignore", under="ignore"):
            named = {"E": theta[..., 0] * self.center[2], "A": np.exp(ln_a), "B": np.exp(ln_b)}
        return named | {"alpha": theta[..., 3], "beta": theta[..., 4], "lnA": ln_a, "lnB": ln_b}

    def theta(self, params: Mapping[str, ArrayLike]) -> Floats:
        """Coordinates of E, A, B, alpha, beta."""
        e, a, b, alpha, beta = (np.asarray(params[name], dtype=np.float64) for name in ("E", "A", "B", "alpha", "beta"))
        ln_p, ln_q = np.log(a) - alpha * self.center[0], np.log(b) - beta * self.center[1]
        return np.stack([e / self.center[2], ln_p, ln_q, alpha, beta], axis=-1)

    def terms(self, theta: Floats) -> tuple[Floats, Floats, Floats]:
        """E, A/N^alpha and B/D^beta at every run: shapes (m, 1), (m, k), (m, k)."""
        p, q = theta[:, [1, 3]] @ self.basis[:, [_1, _X]].T, theta[:, [2, 4]] @ self.basis[:, [_1, _Y]].T
        return theta[:, :1] * self.center[2], np.exp(p, out=p), np.exp(q, out=q)

    def residuals(self, theta: Floats) -> Floats:
        """s·r for coordinates of shape (m, 5): shape (m, k)."""
        e, p, q = self.terms(theta)
        predicted = e + p + q
        r = (np.log(predicted) if self.is_log else predicted) - self.target
        return r if self.scale is None else r * self.scale

    def value(self, theta: Floats, weights: Floats) -> Floats:
        """The objective for coordinates (m, 5) and run weights (m, k) or (k,): shape (m,)."""
        r = self.residuals(theta)
        rho = r * r
        if self.is_huber:
            c = np.clip(r, -self.delta, self.delta)
            rho = c * (r - 0.5 * c)
        return np.asarray((weights * rho).sum(axis=-1))

    def slopes(self, theta: Floats) -> tuple[Floats, Floats]:
        """First and second derivative of rho at every run for one point (5,), each of shape (k,)."""
        r = self.residuals(theta[None])[0]
        if not self.is_huber:
            return 2.0 * r, np.full_like(r, 2.0)
        psi = np.clip(r, -self.delta, self.delta)
        return psi, (psi == r).astype(np.float64)

    def derivatives(self, theta: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """Value (m,), gradient (m, 5) and exact Hessian (m, 5, 5) for weights of shape (m, k).

        Every entry is a sum over runs of a product of terms times 1, x, x², y, y² or xy: nine products
        and one matrix multiplication give all of them.
        """
        sums = np.empty((9, len(theta), len(self.x)))
        h_t, h_u, h_v, tt, tu, tv, uu, uv, vv = sums
        e, u, v = self.terms(theta)
        r = u + v
        r += e
        t = np.asarray(self.center[2])
        if self.is_log:
            t, u, v = t / r, np.divide(u, r, out=u), np.divide(v, r, out=v)
            np.log(r, out=r)
        r -= self.target
        value, first, second = self._rho(r, weights)
        if self.is_log:
            second -= first  # (ln L)'' = L''/L - (ln L)'²
        np.multiply(first, t, out=h_t)
        np.multiply(first, u, out=h_u)
        np.multiply(first, v, out=h_v)
        np.multiply(second, v, out=vv)
        np.multiply(vv, u, out=uv)
        np.multiply(vv, t, out=tv)
        vv *= v
        vv += h_v
        np.multiply(second, u, out=uu)
        np.multiply(uu, t, out=tu)
        uu *= u
        uu += h_u
        np.multiply(second, t, out=tt)
        tt *= t  # E itself is the coordinate, so L has no second derivative by it
        table = (sums.reshape(-1, len(self.x)) @ self.basis).reshape(9, len(theta), 6)
        gradient = table[_GRADIENT[0], :, _GRADIENT[1]].T
        return value, gradient, table[_HESSIAN[0], :, _HESSIAN[1]].transpose(2, 0, 1)

    def _rho(self, r: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """Sum of w·rho(s·r), and its first and second derivative by each run's r; `r` is overwritten."""
        s = self.scale
        if s is not None:
            r *= s
        if self.is_huber:
            psi = np.clip(r, -self.delta, self.delta)
            second = weights * (psi == r)
            first = weights * psi
            psi *= 0.5
            r -= psi
            value = np.einsum("mk,mk->m", first, r)
        else:
            first = weights * r
            value = np.einsum("mk,mk->m", first, r)
            first *= 2.0
            second = 2.0 * weights
        if s is not None:
            first *= s
            second *= s * s
        return value, first, second

    def jacobian(self, theta: Floats) -> Floats:
        """Derivatives of the residuals s·r by the coordinates `theta` (5,): shape (k, 5)."""
        return np.asarray(self._slopes(theta[None])[0].T)

    def _slopes(self, theta: Floats) -> Floats:
        e, u, v = self.terms(theta)
        slopes = np.stack([np.full(u.shape, self.center[2]), u, v, -u * self.x, -v * self.y], axis=1)
        if self.is_log:
            slopes /= (e + u + v)[:, None, :]
        return slopes if self.scale is None else slopes * self.scale

    def metric(self, theta: Floats, weights: Floats) -> Floats:
        """Hessian (m, 5, 5) of the quadratic that majorises the objective at `theta`: positive definite."""
        h = weights * 2.0
        if self.is_huber:
            h = weights * (self.delta / np.maximum(np.abs(self.residuals(theta)), self.delta))
        slopes = self._slopes(theta)
        m = (slopes * h[:, None, :]) @ slopes.transpose(0, 2, 1)
        diagonal = np.einsum("mii->mi", m)  # a view
        diagonal += 1e-10 * diagonal.max(axis=1, keepdims=True)
        return m

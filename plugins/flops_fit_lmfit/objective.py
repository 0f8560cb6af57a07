"""What a fit of the additive law minimises, with its exact gradient and Hessian, for many fits at once.

In: runs as arrays, one of four objectives, and coordinates ``theta``: the logarithms of E and of the
two terms at the centre of the data, and alpha, beta (in raw units the problem is hopelessly
conditioned). Out: values and derivatives for a batch of (theta, run weights).
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
_ROWS, _COLS = np.triu_indices(5)


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
    center: tuple[float, float] = attrs.field(init=False)
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
        center = (float(log_n.mean()), float(log_d.mean()))
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

    def params(self, theta: Floats) -> dict[str, Floats]:
        """E, A, B, alpha, beta and ln A, ln B of coordinates, shape (..., 5) to (...)."""
        ln_a = theta[..., 1] + theta[..., 3] * self.center[0]
        ln_b = theta[..., 2] + theta[..., 4] * self.center[1]
        with np.errstate(over="ignore", under="ignore"):
            named = {"E": np.exp(theta[..., 0]), "A": np.exp(ln_a), "B": np.exp(ln_b)}
        return named | {"alpha": theta[..., 3], "beta": theta[..., 4], "lnA": ln_a, "lnB": ln_b}

    def theta(self, params: Mapping[str, ArrayLike]) -> Floats:
        """Coordinates of E, A, B, alpha, beta."""
        e, a, b, alpha, beta = (np.asarray(params[name], dtype=np.float64) for name in ("E", "A", "B", "alpha", "beta"))
        return np.stack(
            [np.log(e), np.log(a) - alpha * self.center[0], np.log(b) - beta * self.center[1], alpha, beta], -1
        )

    def terms(self, theta: Floats) -> tuple[Floats, Floats, Floats]:
        """E, A/N^alpha and B/D^beta at every run: shapes (m, 1), (m, k), (m, k)."""
        e = np.exp(theta[:, :1])
        p = np.exp(theta[:, 1:2] - theta[:, 3:4] * self.x)
        q = np.exp(theta[:, 2:3] - theta[:, 4:5] * self.y)
        return e, p, q

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

    def derivatives(self, theta: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """Value (m,), gradient (m, 5) and exact Hessian (m, 5, 5)."""
        t, u, v = self.terms(theta)
        predicted = t + u + v
        if self.is_log:
            r = np.log(predicted) - self.target
            np.reciprocal(predicted, out=predicted)
            t, u, v = t * predicted, u * predicted, v * predicted
        else:
            r = predicted - self.target
            t = np.broadcast_to(t, u.shape)
        if self.scale is not None:
            r *= self.scale
        if self.is_huber:
            psi = np.clip(r, -self.delta, self.delta)
            curve = weights * (psi == r)
            value = np.einsum("mk,mk->m", weights * psi, r - 0.5 * psi)
        else:
            psi = 2.0 * r
            curve = 2.0 * weights
            value = np.einsum("mk,mk->m", weights * r, r)
        h = weights * psi
        if self.scale is not None:
            h, curve = h * self.scale, curve * self.scale**2
        k = curve - h if self.is_log else np.broadcast_to(curve, r.shape)
        kt, ku, kv = k * t, k * u, k * v
        b = self.basis
        one, nx, xx, ny, yy, xy = range(6)
        ht, hu, hv = h * t, h * u, h * v
        s_ht = ht @ b[:, one]
        s_hu = hu @ b[:, [one, nx, xx]]
        s_hv = hv @ b[:, [one, ny, yy]]
        s_tu = (kt * u) @ b[:, [one, nx]]
        s_tv = (kt * v) @ b[:, [one, ny]]
        s_uu = (ku * u) @ b[:, [one, nx, xx]]
        s_uv = (ku * v) @ b[:, [one, nx, ny, xy]]
        s_vv = (kv * v) @ b[:, [one, ny, yy]]
        gradient = np.stack([s_ht, s_hu[:, 0], s_hv[:, 0], s_hu[:, 1], s_hv[:, 1]], axis=1)
        entries = [
            (kt * t).sum(axis=1) + s_ht, s_tu[:, 0], s_tv[:, 0], s_tu[:, 1], s_tv[:, 1],
            s_uu[:, 0] + s_hu[:, 0], s_uv[:, 0], s_uu[:, 1] + s_hu[:, 1], s_uv[:, 2],
            s_vv[:, 0] + s_hv[:, 0], s_uv[:, 1], s_vv[:, 1] + s_hv[:, 1],
            s_uu[:, 2] + s_hu[:, 2], s_uv[:, 3],
            s_vv[:, 2] + s_hv[:, 2],
        ]  # fmt: skip
        hessian = np.empty((len(theta), 5, 5))
        for row, col, entry in zip(_ROWS, _COLS, entries, strict=True):
            hessian[:, row, col] = hessian[:, col, row] = entry
        return value, gradient, hessian

"""One budget's loss against ln N: three basis functions, weighted least squares, the minimum.

In: the runs of one budget, and a shape: the parabola {1, x, x²}, or the additive law's own slice
{1, exp(-alpha·x), exp(s·beta·x)}. Out: coefficients and minima, for one or for thousands of weightings
at once.
"""

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MIN_POINTS = 4


@attrs.frozen(kw_only=True, eq=False)
class Shape:
    """A curve c0 + c1·f1(x) + c2·f2(x) over x = ln N - centre, with one minimum.

    Attributes:
        alpha, decay: exponents of exp(-alpha·x) and exp(decay·x); ``None`` makes it a parabola.
    """

    alpha: float | None = None
    decay: float | None = None

    def basis(self, x: Floats) -> Floats:
        """The three functions at x, shape (..., 3)."""
        if self.alpha is None or self.decay is None:
            return np.stack([np.ones_like(x), x, x * x], axis=-1)
        return np.stack([np.ones_like(x), np.exp(-self.alpha * x), np.exp(self.decay * x)], axis=-1)

    def minimum(self, coefficients: Floats) -> Floats:
        """X of the minimum, shape (...); NaN where the curve has none."""
        _, c1, c2 = np.moveaxis(coefficients, -1, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            if self.alpha is None or self.decay is None:
                return np.where(c2 > 0, -c1 / (2 * c2), np.nan)
            x = np.log(self.alpha * c1 / (self.decay * c2)) / (self.alpha + self.decay)
            return np.where((c1 > 0) & (c2 > 0), x, np.nan)


PARABOLA = Shape()


def solve(shape: Shape, x: Floats, y: Floats, weights: Floats) -> Floats:
    """Weighted least squares for many weightings at once.

    Args:
        shape: the curve.
        x: ln N - centre, shape (n,).
        y: losses, shape (n,).
        weights: run weights, shape (..., n); at least three different x must carry some.

    Returns:
        Coefficients, shape (..., 3); NaN where the weights leave fewer than three different x.
    """
    q, r = np.linalg.qr(shape.basis(x))
    normal = np.einsum("...n,ni,nj->...ij", weights, q, q)
    right = np.einsum("...n,ni->...i", weights * y, q)
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.trace(normal, axis1=-2, axis2=-1) / 3
        sound = np.linalg.det(normal) > 1e-10 * scale**3
    normal = np.where(sound[..., None, None], normal, np.eye(3))
    answer = np.linalg.solve(normal @ r, right[..., None])[..., 0]
    return np.where(sound[..., None], answer, np.nan)


def curve(shape: Shape, coefficients: Floats, x: Floats) -> Floats:
    """Losses of the curves (..., 3) at x (...)."""
    return np.asarray((shape.basis(x) * coefficients).sum(axis=-1))


def covariance(shape: Shape, x: Floats, coefficients: Floats, weights: Floats) -> tuple[float, float]:
    """Variances of the minimum's x and of the loss there, in units of the runs' noise variance."""
    basis = shape.basis(x)
    cov = np.linalg.pinv((basis * weights[:, None]).T @ basis)
    at = float(shape.minimum(coefficients))
    height = shape.basis(np.array(at))
    step = 1e-4
    slope = np.array(
        [
            (float(shape.minimum(coefficients + e)) - float(shape.minimum(coefficients - e)))
            / (2 * step * abs(coefficients[i]))
            if coefficients[i] != 0
            else 0.0
            for i, e in enumerate(np.diag(step * np.abs(coefficients)))
        ]
    )
    return float(slope @ cov @ slope), float(height @ cov @ height)

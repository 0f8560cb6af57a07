"""What training costs: C as a function of N and D.

In: measured sizes and their FLOPs per unit of data, or nothing (6ND). Out: C, D for a budget, FLOPs per unit.
"""

from __future__ import annotations

from typing import Self

import attrs
import numpy as np
from numpy.typing import ArrayLike, NDArray

from flops_fit_core.data.runs import Runs
from flops_fit_core.errors import CountError

Floats = NDArray[np.float64]

_SPREAD, _NEAR = 0.05, 1.4
_STEEPEST = 2.0


def _array(values: ArrayLike) -> Floats:
    return np.array(values, dtype=np.float64)


def _slope(x: Floats, y: Floats, end: int) -> float:
    """Exponent of the power law through the measured sizes within a factor of four of one end (0 or -1).

    A cost per token is a term in N and terms that grow more slowly (attention), so the exponent of far
    sizes misleads. 1 (cost in proportion to N) where the sizes hardly differ. It lies between 0 and 2: two near sizes of
    which the larger costs less, or many times more, say nothing of sizes a thousand times away.
    """
    near = np.abs(x - x[end]) <= _NEAR
    if near.sum() < 2 and len(x) > 1:
        near[[1, -2][end]] = True
    x, y = x[near], y[near]
    if np.ptp(x) < _SPREAD:
        return 1.0
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip(x @ y / (x @ x), 0.0, _STEEPEST))


@attrs.frozen(kw_only=True)
class CostModel:
    """C as a function of N and D: FLOPs per unit of data times D.

    Either ``6N`` for every N, or a table of measured FLOPs per token: exact at the measured sizes, a
    power law between two of them, and beyond them the power law through the sizes near that end.

    Attributes:
        name: ``"6nd"``, or ``"measured"``.
        n_params: measured sizes, ascending, shape (k,); empty for ``6nd``.
        flops_per_token: their FLOPs per unit of data, shape (k,).
    """

    name: str = "6nd"
    n_params: Floats = attrs.field(factory=list, converter=_array, eq=attrs.cmp_using(eq=np.array_equal))
    flops_per_token: Floats = attrs.field(factory=list, converter=_array, eq=attrs.cmp_using(eq=np.array_equal))

    @classmethod
    def six_nd(cls) -> Self:
        """C = 6·N·D (Kaplan et al. 2020, arXiv 2001.08361, section 2.1)."""
        return cls()

    @classmethod
    def measured(cls, n_params: ArrayLike, flops_per_token: ArrayLike) -> Self:
        """Make the model from measured sizes, in any order; equal N are averaged.

        Raises:
            CountError: no finite positive pair is given.
        """
        n, f = np.atleast_1d(_array(n_params)), np.atleast_1d(_array(flops_per_token))
        ok = np.isfinite(n) & np.isfinite(f) & (n > 0) & (f > 0)
        if not ok.any():
            raise CountError("a measured cost model needs at least one size with N > 0 and FLOPs per token > 0")
        sizes, rows = np.unique(n[ok], return_inverse=True)
        log_f = np.bincount(rows, np.log(f[ok])) / np.bincount(rows)
        return cls(name="measured", n_params=sizes, flops_per_token=np.exp(log_f))

    @classmethod
    def from_runs(cls, runs: Runs) -> Self:
        """Make the model from the runs' own FLOPs and D; 6ND where they have none."""
        if runs.flops is None or not np.isfinite(runs.flops).any():
            return cls.six_nd()
        with np.errstate(divide="ignore", invalid="ignore"):  # rows without N or D are passed over
            return cls.measured(runs.n_params, runs.flops / runs.n_tokens)

    def per_token(self, n_params: ArrayLike) -> Floats:
        """FLOPs per unit of data for N parameters, any shape."""
        n = np.asarray(n_params, dtype=np.float64)
        if len(self.n_params) == 0:
            return np.asarray(6.0 * n)
        x, y = np.log(self.n_params), np.log(self.flops_per_token)
        log_n = np.log(n)
        inside = np.interp(log_n, x, y)
        below, above = np.minimum(log_n - x[0], 0.0), np.maximum(log_n - x[-1], 0.0)
        return np.asarray(np.exp(inside + _slope(x, y, 0) * below + _slope(x, y, -1) * above))

    def flops(self, n_params: ArrayLike, n_tokens: ArrayLike) -> Floats:
        """C of training N parameters on D units of data, FLOPs."""
        return np.asarray(self.per_token(n_params) * np.asarray(n_tokens, dtype=np.float64))

    def tokens(self, n_params: ArrayLike, budget: ArrayLike) -> Floats:
        """D that the budget C buys for N parameters."""
        with np.errstate(divide="ignore"):  # a draw of a law may put its optimum at N = 0
            return np.asarray(np.asarray(budget, dtype=np.float64) / self.per_token(n_params))

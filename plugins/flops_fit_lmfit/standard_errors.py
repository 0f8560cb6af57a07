"""Standard errors of held-out losses, where they are known: how much each run's loss is worth.

In: standard errors, and the losses that they are errors of. Out: `StandardErrors`, the variances that the fitters weigh
runs by.
"""

from __future__ import annotations

from typing import Self

import attrs
import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

LEAST = 0.1
"""Of the usual standard error: the least that a run's own counts as. A small one says that the held-out set was large, and
nothing of what differs from one training to the next."""
_KNOWN = 1e100


@attrs.frozen(kw_only=True, eq=False)
class StandardErrors:
    """Known standard errors.

    Attributes:
        own: every run's, the usual one where it is unknown, shape (k,).
        usual: the median of the known ones.
        raised: True where a run's own is below `LEAST` of that, and counts as so much, shape (k,).
    """

    own: Floats
    usual: float
    raised: NDArray[np.bool_]

    @classmethod
    def of(cls, stderr: ArrayLike | None, loss: ArrayLike = 1.0) -> Self | None:
        """Standard errors in units of `loss`, or ``None`` where none is known.

        Args:
            stderr: of the losses, shape (k,); unknown where it is NaN or not positive.
            loss: what to divide them by, shape (k,): a law's losses, for errors of ln L. A diverged run's own loss would
                make its error look small.
        """
        if stderr is None:
            return None
        with np.errstate(all="ignore"):  # a law that ran away has no losses
            own = np.asarray(np.asarray(stderr, dtype=np.float64) / loss)
        known = (own > 0) & (own < _KNOWN)
        if not known.any():
            return None
        usual = float(np.median(own[known]))
        own = np.where(known, own, usual)
        least = LEAST * usual
        return cls(own=np.maximum(own, least), usual=usual, raised=own < least)

    def variances(self, sigma: float) -> Floats:
        """Every run's own squared, and what the runs' scatter sigma holds beyond the usual one, shape (k,)."""
        return np.asarray(max(sigma**2 - self.usual**2, 0.0) + self.own**2)

    def beyond_usual(self) -> Floats:
        """What a run's own holds in quadrature beyond the usual one, shape (k,)."""
        return np.sqrt(np.maximum(self.own**2 - self.usual**2, 0.0))

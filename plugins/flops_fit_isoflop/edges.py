"""A minimum at the edge of its budget's sizes is not a minimum: say on which side sizes are missing.

In: the finished runs of one budget. Out: how many sizes to add below and above.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from flops_fit_core.data import FlopCount, Runs
from flops_fit_core.sizes import size_key

#: Sizes that a minimum needs on either side, so that a curve through them bends up on both.
SIDE = 2


def of_budget(done: Runs, budget: float) -> Runs:
    """The rows of one budget."""
    if done.budget is None or done.size is None:
        return Runs.empty()
    return done.where(np.isclose(done.budget, budget, rtol=1e-9))


def losses(rows: Runs) -> dict[str, float]:
    """Loss of each size: the best recipe of every seed, averaged over seeds; infinite where none is usable."""
    best: dict[str, dict[float, float]] = defaultdict(dict)
    usable = rows.usable()
    for i, size in enumerate(rows.size or ()):
        seed = 0.0 if rows.seed is None else float(rows.seed[i])
        loss = float(rows.loss[i]) if usable[i] else np.inf
        cell = best[size_key(size)]
        cell[seed] = min(loss, cell.get(seed, np.inf))
    return {
        size: float(np.mean([v for v in seeds.values() if np.isfinite(v)] or [np.inf])) for size, seeds in best.items()
    }


def missing(tried: Sequence[FlopCount], loss: dict[str, float]) -> tuple[int, int]:
    """How many sizes the lowest loss lacks below and above it; `tried` ascends in N and is finished."""
    values = [loss[size_key(count.size)] for count in tried]
    best = int(np.argmin(values))
    if not np.isfinite(values[best]):
        return 0, 0
    return max(0, SIDE - best), max(0, SIDE - (len(values) - 1 - best))

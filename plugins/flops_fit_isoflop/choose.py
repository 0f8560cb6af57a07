"""Choose sizes for one budget: log-spaced around the expected optimum, on a ladder that budgets share.

In: the budget, `Costs` and the planner's options. Out: the FLOP counts of distinct usable sizes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from flops_fit_core.data import FlopCount
from flops_fit_isoflop.costs import Costs


def expected_optimum(budget: float, tokens_per_param: float) -> float:
    """N at which D = tokens_per_param · N and 6·N·D = C (Hoffmann et al. 2022, arXiv 2203.15556): sqrt(C/120) for 20."""
    return math.sqrt(budget / (6.0 * tokens_per_param))


def ladder(expected: float, k: int, ratio: float) -> list[float]:
    """The `k` whole powers of `ratio` about `expected`.

    The rungs lie at the same N for every budget, so that budgets share sizes: one count serves several of them,
    a budget added later meets the sizes of the others, and sizes are compared across budgets.
    """
    lowest = round(math.log(expected) / math.log(ratio) - (k - 1) / 2)
    return [ratio ** (lowest + i) for i in range(k)]


def choose(costs: Costs, budget: float, expected: float, k: int, ratio: float) -> list[FlopCount]:
    """Up to `k` distinct sizes on both sides of `expected`, ascending in N.

    Where the model has fewer sizes than rungs (it may have none so small), the widest gaps between
    the chosen ones are filled, then the range grows at its ends.
    """
    chosen: dict[int, FlopCount] = {}

    def take(n_params: float) -> bool:
        count = costs.near(n_params)
        if count is None or count.n_params in chosen or not costs.usable(count, budget):
            return False
        chosen[count.n_params] = count
        return True

    for rung in ladder(expected, k, ratio):
        take(rung)
    while chosen and len(chosen) < k:
        if not any(map(take, _gaps(sorted(chosen)))) and not any(map(take, _ends(sorted(chosen), ratio))):
            break
    return [chosen[n] for n in sorted(chosen)]


def _gaps(n: list[int]) -> Iterator[float]:
    """The middles of the gaps between neighbours, the widest gap first."""
    pairs = sorted(pairwise(n), key=lambda pair: pair[0] / pair[1])
    return (math.sqrt(a * b) for a, b in pairs)


def _ends(n: list[int], ratio: float) -> Iterator[float]:
    """One rung beyond each end; two where one rung is less than the model's own steps."""
    for rungs in (1, 2):
        yield n[-1] * ratio**rungs
        yield n[0] / ratio**rungs

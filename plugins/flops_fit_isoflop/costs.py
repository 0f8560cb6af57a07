"""What each size costs and how long a budget trains it; which sizes cannot be used and why.

In: a `PlanRequest`. Out: FLOP counts, whole numbers of optimizer steps, and reasons.
"""

from __future__ import annotations

from typing import Any

import attrs

from flops_fit_core.build import SizeRefusedError
from flops_fit_core.data import FlopCount, PlanRequest, Run, Skipped
from flops_fit_core.errors import CountError
from flops_fit_core.sizes import SizeSearch, size_key
from flops_fit_core.text import si

#: After so many sizes that cannot be counted, and none that can, the size is not what is wrong.
GIVE_UP = 3

#: Sizes near one N that are tried until one can be counted.
MAX_TRIES = 16


@attrs.define
class Costs:
    """Counts sizes once each and remembers what failed.

    Attributes:
        request: what the planner was asked.
        search: finds sizes by N.
        min_steps: the fewest optimizer steps that a run may have.
        skipped: sizes that were left out, by size and budget.
    """

    request: PlanRequest
    search: SizeSearch
    min_steps: int
    skipped: dict[tuple[str, float | None], Skipped] = attrs.field(factory=dict)
    _counted: int = 0

    def of(self, size: Any) -> FlopCount | None:
        """Count one size; ``None`` (and a reason in `skipped`) where the model refuses it.

        Raises:
            CountError: several sizes were tried and none can be counted.
        """
        try:
            count = self.request.counter.count(self.request.workload, size)
        except (CountError, SizeRefusedError) as error:
            self._skip(size, None, str(error))
            if isinstance(error, CountError) and not self._counted and len(self.skipped) >= GIVE_UP:
                raise
            return None
        self._counted += 1
        return count

    def near(self, n_params: float) -> FlopCount | None:
        """Count the size whose N is nearest; sizes that cannot be counted are passed over."""
        for _ in range(MAX_TRIES):
            size = self.search.nearest(n_params)
            if size is None:
                return None
            count = self.of(size)
            if count is not None:
                return count
            self.search.refuse(size, self.skipped[size_key(size), None].reason)
        return None

    def steps(self, count: FlopCount, budget: float) -> int:
        """Whole optimizer steps that the budget pays for, to the nearest."""
        return round(budget / (count.flops_per_token * self.request.step_tokens))

    def usable(self, count: FlopCount, budget: float) -> bool:
        """Whether the budget trains this size for enough steps; if not, the reason is kept."""
        steps = self.steps(count, budget)
        if steps >= self.min_steps:
            return True
        reason = f"the budget pays for {steps} optimizer steps of {si(self.request.step_tokens)}, fewer than min_steps={self.min_steps}"
        self._skip(count.size, budget, reason)
        return False

    def run(self, count: FlopCount, budget: float, seed: int) -> Run:
        """The run of one cell."""
        n_tokens = self.steps(count, budget) * self.request.step_tokens
        return Run(
            budget=budget,
            size=count.size,
            n_params=count.n_params,
            n_tokens=n_tokens,
            flops=n_tokens * count.flops_per_token,
            seed=seed,
            n_params_non_embedding=count.n_params_non_embedding,
            convention=count.convention,
        )

    def left_out(self) -> tuple[Skipped, ...]:
        """Every size that was passed over: by the constructor, by the counter, for too few steps."""
        refused = {
            (size_key(size), None): Skipped(size=size, budget=None, reason=why) for size, why in self.search.refused
        }
        return tuple({**refused, **self.skipped}.values())

    def _skip(self, size: Any, budget: float | None, reason: str) -> None:
        self.skipped[size_key(size), budget] = Skipped(size=size, budget=budget, reason=reason)

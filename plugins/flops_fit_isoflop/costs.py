"""What each size costs and how long a budget trains it; which sizes cannot be used and why.

In: a `PlanRequest`. Out: FLOP counts, whole numbers of optimizer steps, and reasons.
"""

from __future__ import annotations

from typing import Any

import attrs

from flops_fit_core.build import SizeRefusedError, reason
from flops_fit_core.data import FlopCount, PlanRequest, Run, Skipped
from flops_fit_core.errors import CountError, FlopsFitError
from flops_fit_core.sizes import SizeSearch, size_key
from flops_fit_core.text import si

#: Neighbours of a size that cannot be counted that are tried before sizes are taken to need a divisor.
NEIGHBOURS = 4

#: Divisors that are tried: numbers of heads and their multiples.
DIVISORS = (4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 256)


@attrs.define
class Costs:
    """Counts sizes once each and remembers what failed.

    Attributes:
        request: what the planner was asked.
        search: finds sizes by N.
        min_steps: the fewest optimizer steps that a run may have.
        skipped: sizes that were left out, by size and budget.
        failure: why the last size could not be counted that the constructor takes.
    """

    request: PlanRequest
    search: SizeSearch
    min_steps: int
    skipped: dict[tuple[str, float | None], Skipped] = attrs.field(factory=dict)
    failure: Exception | None = None
    _any: bool = False

    def of(self, size: Any) -> FlopCount | None:
        """Count one size; ``None`` (and a reason in `skipped`) where the model refuses it."""
        try:
            return self.request.counter.count(self.request.workload, size)
        except Exception as error:
            ours = isinstance(error, CountError | SizeRefusedError)
            if isinstance(error, FlopsFitError) and not ours:
                raise  # the model, its data or its loss are wrong at every size
            self._skip(size, None, str(error) if ours else reason(error))
            if not isinstance(error, SizeRefusedError):
                self.failure = error
            return None

    def near(self, n_params: float) -> FlopCount | None:
        """Count the size whose N is nearest; sizes that cannot be counted are passed over.

        A model may take every width and fail when it runs, unless its heads divide the width: so after a few
        neighbours, multiples of larger and larger numbers are tried, and what works is kept to.

        Raises:
            CountError: none of them can be counted, nor could any size before (or what else the counter raised).
        """
        first = self.search.nearest(n_params)
        if first is None:
            return None
        size: int | None = first
        for _ in range(NEIGHBOURS):
            count = None if size is None else self._counted(size)
            if count is not None:
                return count
            size = self.search.nearest(n_params)
        for divisor in DIVISORS:
            count = self._counted(max(1, round(first / divisor)) * divisor)
            if count is not None:
                self.search.coarsen(divisor)
                return count
        if not self._any and self.failure is not None:
            raise self.failure
        return None

    def _counted(self, size: int) -> FlopCount | None:
        """Count a size of the search's own, and strike it out where that fails."""
        if (size_key(size), None) in self.skipped:
            return None
        count = self.of(size)
        if count is None:
            self.search.refuse(size, self.skipped[size_key(size), None].reason)
        self._any = self._any or count is not None
        return count

    def steps(self, count: FlopCount, budget: float) -> int:
        """Whole optimizer steps that the budget pays for, to the nearest."""
        return round(budget / (count.flops_per_token * self.request.step_tokens))

    def usable(self, count: FlopCount, budget: float) -> bool:
        """Whether the budget trains this size for enough steps; if not, the reason is kept."""
        steps = self.steps(count, budget)
        if steps >= self.min_steps:
            return True
        per_step = f"{si(self.request.step_tokens)} {self.request.workload.data_unit}"
        why = f"the budget pays for {steps} steps of {per_step}, fewer than min_steps={self.min_steps}"
        self._skip(count.size, budget, why)
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
        refused: dict[tuple[str, float | None], Skipped] = {}
        for size, why in self.search.refused:
            refused[size_key(size), None] = Skipped(size=size, budget=None, reason=why)
        return tuple((refused | self.skipped).values())

    def _skip(self, size: Any, budget: float | None, why: str) -> None:
        self.skipped[size_key(size), budget] = Skipped(size=size, budget=budget, reason=why)

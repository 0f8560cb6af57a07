"""Planner ``isoflop``: which sizes to train at which budget, and on how much data.

In: a `PlanRequest`. Out: a `Plan` of the runs that are not done yet. For each budget C, sizes lie
log-spaced about the N that the first guess expects, and D = C / (FLOPs per token of the size), a
whole number of optimizer steps. When a budget is finished and its lowest loss has too few sizes on
one side, sizes are added there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import attrs

from flops_fit_core.data import FlopCount, Plan, PlanRequest, Run, Runs, Workload
from flops_fit_core.errors import InputError, PlanError
from flops_fit_core.inputs import MIN_SIZES
from flops_fit_core.sizes import SizeSearch, size_key
from flops_fit_core.text import si
from flops_fit_isoflop.choose import choose, expected_optimum
from flops_fit_isoflop.costs import Costs
from flops_fit_isoflop.edges import losses, missing, of_budget

#: Sizes that failed which an error names.
_SHOWN = 6


def _at_least(least: float, strictly: bool = False) -> Any:
    def check(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not (value > least if strictly else value >= least):
            raise InputError(
                f"{field.name}={value!r}: a number {'above' if strictly else 'of at least'} {least:g} is needed"
            )

    return check


@attrs.frozen(kw_only=True)
class IsoFlopPlanner:
    """Plans an IsoFLOP sweep (Hoffmann et al. 2022, arXiv 2203.15556, approach 2).

    Attributes:
        sizes_per_budget: how many sizes each budget is spent on, at least 4.
        span: largest over smallest N of a budget, centred on the expected optimum.
        tokens_per_param: D/N of the first guess, at which 6·N·D = C gives the expected N.
        min_steps: the fewest optimizer steps of a run; sizes that get fewer are left out.
        extend: sizes that may be added to a finished budget whose lowest loss has fewer than two
            sizes on one side of it; 0 adds none. Sizes given by the user are never added to.
    """

    sizes_per_budget: int = attrs.field(default=7, validator=_at_least(MIN_SIZES))
    span: float = attrs.field(default=32.0, validator=_at_least(1, strictly=True))
    tokens_per_param: float = attrs.field(default=20.0, validator=_at_least(0, strictly=True))
    min_steps: int = attrs.field(default=20, validator=_at_least(1))
    extend: int = attrs.field(default=4, validator=_at_least(0))
    _searches: WeakKeyDictionary[Workload, SizeSearch] = attrs.field(
        factory=WeakKeyDictionary, init=False, repr=False, eq=False
    )

    @property
    def ratio(self) -> float:
        """N of one size over N of the next smaller."""
        return float(self.span ** (1 / (self.sizes_per_budget - 1)))

    def plan(self, request: PlanRequest) -> Plan:
        """Plan every budget; only runs that are not in ``request.done`` are returned.

        Raises:
            PlanError: a budget has fewer than four usable sizes; it says which failed and why.
            CountError: the model cannot be counted at any size.
        """
        search = self._searches.get(request.workload)
        if search is None:
            search = self._searches[request.workload] = SizeSearch(request.workload)
        costs = Costs(request, search, self.min_steps)
        runs: list[Run] = []
        for budget in request.budgets:
            counts = self._sizes(costs, budget)
            runs += [costs.run(count, budget, seed) for count in counts for seed in request.seeds]
        left = tuple(run for run in runs if not _is_done(run, request.done, request.step_tokens))
        return Plan(runs=left, skipped=costs.left_out(), data_unit=request.workload.data_unit or "tokens")

    def _sizes(self, costs: Costs, budget: float) -> list[FlopCount]:
        """The sizes of one budget, ascending in N."""
        request = costs.request
        if request.sizes is not None:
            counts = [count for size in request.sizes if (count := costs.of(size)) is not None]
            chosen = sorted((c for c in counts if costs.usable(c, budget)), key=lambda count: count.n_params)
            _enough(chosen, costs, budget)
            return chosen
        expected = expected_optimum(budget, self.tokens_per_param)
        chosen = choose(costs, budget, expected, self.sizes_per_budget, self.ratio)
        _enough(chosen, costs, budget)
        return self._extended(costs, budget, chosen)

    def _extended(self, costs: Costs, budget: float, first: Sequence[FlopCount]) -> list[FlopCount]:
        """The first choice, what earlier rounds added beyond its ends, and what this round adds."""
        rows = of_budget(costs.request.done, budget)
        loss = losses(rows)
        added = [count for size in _beyond(rows, first) if (count := costs.of(size)) is not None]
        tried = sorted([*first, *added], key=lambda count: count.n_params)
        spare = self.extend - len(added)
        if spare <= 0 or not all(size_key(count.size) in loss for count in tried):
            return tried
        below, above = missing(tried, loss)
        targets = [tried[0].n_params / self.ratio ** (i + 1) for i in range(below)]
        targets += [tried[-1].n_params * self.ratio ** (i + 1) for i in range(above)]
        known = {count.n_params for count in tried}
        for target in targets[:spare]:
            count = costs.near(target)
            beyond = count is not None and not tried[0].n_params <= count.n_params <= tried[-1].n_params
            if count is not None and beyond and count.n_params not in known and costs.usable(count, budget):
                known.add(count.n_params)
                added.append(count)
        return sorted([*first, *added], key=lambda count: count.n_params)


def _beyond(rows: Runs, first: Sequence[FlopCount]) -> list[Any]:
    """Distinct sizes among the rows that lie outside the first choice."""
    low, high = first[0].n_params, first[-1].n_params
    sizes = {size_key(s): s for s, n in zip(rows.size or (), rows.n_params, strict=True) if not low <= n <= high}
    return list(sizes.values())


def _enough(counts: Sequence[FlopCount], costs: Costs, budget: float) -> None:
    if len(counts) >= MIN_SIZES:
        return
    failed = [skip for skip in costs.left_out() if skip.budget in (None, budget)]
    failed.sort(key=lambda skip: skip.budget is None)  # what this budget cannot pay for, then what the model refuses
    reasons = "; ".join(f"size {skip.size}: {skip.reason}" for skip in failed[:_SHOWN])
    more = f" (and {len(failed) - _SHOWN} more)" if len(failed) > _SHOWN else ""
    usable = ", ".join(str(count.size) for count in counts) or "none"
    raise PlanError(
        f"budget {si(budget)} has {len(counts)} usable sizes ({usable}); a minimum needs {MIN_SIZES} or more. "
        f"Left out: {reasons or 'nothing, the model has no more sizes near the optimum'}{more}. Give a larger budget, a "
        "smaller batch_size, or sizes=[…] that the model takes"
    )


def _is_done(run: Run, done: Runs, step_tokens: int) -> bool:
    """Whether a finished run has the same size, seed and (to within one step) D."""
    if done.size is None or done.seed is None:
        return False
    near = (abs(done.n_tokens - run.n_tokens) <= step_tokens) & (done.seed == run.seed)
    return any(size_key(done.size[i]) == size_key(run.size) for i in near.nonzero()[0])

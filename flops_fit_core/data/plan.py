"""What will be trained: the cost of a size, one planned run, the whole plan.

In: budgets, sizes and a FLOP counter, as a `PlanRequest`. Out: a `Plan` of `Run` values, which
executors and trainers consume and `flops_fit_core.store` saves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from flops_fit_core.data.runs import Runs
from flops_fit_core.data.workload import Workload
from flops_fit_core.text import markdown_table, si

if TYPE_CHECKING:
    from flops_fit_core.stages import FlopCounter


@attrs.frozen(kw_only=True)
class FlopCount:
    """The cost of one size of a model.

    Attributes:
        size: the value of the size parameter.
        n_params: N, what the model's ``num_params()`` says.
        n_params_non_embedding: N without look-up tables (``nn.Embedding`` weights).
        flops_per_token: FLOPs of forward and backward for one unit of data.
        convention: how it was counted, in words short enough for a table.
        uncounted_ops: names of operations that ran and are in no FLOP formula, nor known to be free.
    """

    size: Any
    n_params: int
    n_params_non_embedding: int
    flops_per_token: float
    convention: str
    uncounted_ops: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Run:
    """One planned training.

    Attributes:
        budget: the compute budget C that this run belongs to, in FLOPs.
        size: the value of the size parameter (a number, a string, or a tuple or dict of these).
        n_params: N.
        n_tokens: D, units of data to train on: a whole number of optimizer steps.
        flops: n_tokens × FLOPs per token of this size; within one step of `budget`.
        seed: seeds the weights and the order of the data.
        hparams: recipe values that this run overrides, such as ``{"lr": 1e-3}``.
        n_params_non_embedding: N without look-up tables, where the counter knows it.
        convention: how the FLOPs were counted.
        study: fingerprint of the study the run belongs to; set by the pipeline.
    """

    budget: float
    size: Any
    n_params: int
    n_tokens: int
    flops: float
    seed: int = 0
    hparams: Mapping[str, Any] = attrs.field(factory=dict)
    n_params_non_embedding: int | None = None
    convention: str = ""
    study: str = ""

    @property
    def run_id(self) -> str:
        """Sixteen hexadecimal digits of (study, size, D, seed, hparams): equal runs, equal ids.

        The schedule's horizon is D for every run, and the trainer's settings are in `study`.
        """
        import hashlib  # 30 ms that `import flops_fit` need not take

        identity = [self.study, self.size, self.n_tokens, self.seed, dict(self.hparams)]
        text = json.dumps(identity, sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def flops_per_token(self) -> float:
        """FLOPs of forward and backward for one unit of data."""
        return self.flops / self.n_tokens


@attrs.frozen(kw_only=True)
class Skipped:
    """A size that was left out of a plan (for `budget`, or for all where it is ``None``)."""

    size: Any
    budget: float | None
    reason: str


@attrs.frozen(kw_only=True)
class PlanRequest:
    """What a planner is asked.

    Attributes:
        workload: with `data_unit`, `units` and `example` filled.
        budgets: compute budgets C in FLOPs, ascending.
        sizes: the sizes to use as given, or ``None`` for the planner to choose.
        seeds: each cell is trained once with each.
        counter: tells the cost of a size.
        step_tokens: units of data in one optimizer step; D is a multiple of it.
        done: the runs that already have a record.
    """

    workload: Workload
    budgets: tuple[float, ...]
    sizes: tuple[Any, ...] | None = None
    seeds: tuple[int, ...] = (0,)
    counter: FlopCounter
    step_tokens: int = 1
    done: Runs = attrs.field(factory=Runs.empty)


#: Sizes that the model refuses which a printed plan names; a search meets dozens.
_SHOWN = 3


@attrs.frozen(kw_only=True)
class Plan:
    """What will be trained: the new runs, and what was left out and why. Prints as a table."""

    runs: tuple[Run, ...]
    skipped: tuple[Skipped, ...] = ()
    data_unit: str = "tokens"

    @property
    def total_flops(self) -> float:
        """The sum of the planned runs' FLOPs."""
        return float(sum(run.flops for run in self.runs))

    @property
    def budgets(self) -> tuple[float, ...]:
        """The budgets that have runs, ascending."""
        return tuple(sorted({run.budget for run in self.runs}))

    def __len__(self) -> int:
        return len(self.runs)

    def __str__(self) -> str:
        rows = [
            [
                si(r.budget),
                str(r.size),
                si(r.n_params),
                si(r.n_tokens),
                f"{r.n_tokens / r.n_params:.3g}",
                si(r.flops),
                str(r.seed),
            ]
            for r in self.runs
        ]
        head = ["budget C", "size", "params N", f"{self.data_unit} D", "D/N", "FLOPs", "seed"]
        lines = [markdown_table(head, rows), "", f"{len(self.runs)} runs, {si(self.total_flops)} FLOPs in all"]
        refused = [skip for skip in self.skipped if skip.budget is None]
        for skip in [*refused[:_SHOWN], *(skip for skip in self.skipped if skip.budget is not None)]:
            where = "" if skip.budget is None else f" at {si(skip.budget)}"
            lines.append(f"left out: size {skip.size}{where}: {skip.reason}")
        if len(refused) > _SHOWN:
            lines.append(
                f"left out: {len(refused) - _SHOWN} more sizes that the model does not take (`skipped` has them all)"
            )
        return "\n".join(lines)

"""How far a sweep is: FLOPs done over FLOPs planned, and the time that is left.

In: what the lifecycle hooks say. Out: counts, a fraction, seconds. Runs of one sweep differ by orders
of magnitude in cost, so it is FLOPs that are counted and not runs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Self

import attrs

from flops_fit_core.data import Plan, Run, RunRecord
from flops_fit_core.text import si


@attrs.define
class Tally:
    """The state of a sweep.

    Attributes:
        planned: FLOPs of every run to train, by run_id; runs that a planner adds later join when they start.
        clock: seconds, from any origin.
        active: FLOPs done by each run that is being trained.
        ended: number of ended runs by status.
    """

    planned: dict[str, float]
    clock: Callable[[], float] = time.monotonic
    active: dict[str, float] = attrs.field(factory=dict)
    ended: Counter[str] = attrs.field(factory=Counter)
    _flops_ended: float = 0.0
    _started: float | None = None

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """The tally of a plan of which nothing is trained yet."""
        return cls({run.run_id: run.flops for run in plan.runs})

    def adds(self, run: Run) -> bool:
        """Whether a run was not in the plan: the planner asked for it after it saw others."""
        return run.run_id not in self.planned

    def progress(self, run: Run, n_tokens: int = 0) -> None:
        """A run has trained on `n_tokens` units of data so far."""
        if self._started is None:
            self._started = self.clock()
        self.planned.setdefault(run.run_id, run.flops)
        self.active[run.run_id] = run.flops * min(1.0, n_tokens / run.n_tokens)

    def end(self, record: RunRecord) -> None:
        """A run has ended; one that diverged or failed leaves nothing to wait for either."""
        self.progress(record.run)
        del self.active[record.run.run_id]
        self.ended[record.status] += 1
        self._flops_ended += record.run.flops

    @property
    def total_flops(self) -> float:
        """FLOPs of all runs to train."""
        return sum(self.planned.values())

    @property
    def flops(self) -> float:
        """FLOPs done, or no longer to be done."""
        return self._flops_ended + sum(self.active.values())

    @property
    def fraction(self) -> float:
        """FLOPs done over FLOPs planned, from 0 to 1."""
        total = self.total_flops
        return min(1.0, self.flops / total) if total > 0 else 1.0

    @property
    def n_ended(self) -> int:
        """Runs that have ended."""
        return self.ended.total()

    @property
    def elapsed(self) -> float:
        """Seconds since the first run started."""
        return 0.0 if self._started is None else self.clock() - self._started

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the FLOPs not yet done will take at the mean speed so far; ``None`` before any is done."""
        if self.flops <= 0 or self.elapsed <= 0:
            return None
        return self.elapsed * (1 - self.fraction) / self.fraction

    def time_left(self) -> str:
        """The time left in words."""
        return "" if self.seconds_left is None else f"{clock_face(self.seconds_left)} left"

    def summary(self) -> str:
        """What came of the sweep, in one line."""
        counts = ", ".join(f"{count} {status}" for status, count in sorted(self.ended.items()))
        unfinished = len(self.planned) - self.n_ended
        rest = f", {unfinished} not trained" if unfinished else ""
        return f"{counts or 'no run ended'}{rest} in {clock_face(self.elapsed)}"


def clock_face(seconds: float) -> str:
    """Seconds as ``0:01:20``."""
    return str(timedelta(seconds=round(seconds)))


def describe(run: Run) -> str:
    """A run in a few words."""
    seed = f" seed {run.seed}" if run.seed else ""
    recipe = "".join(f" {name}={value}" for name, value in run.hparams.items())
    return f"C={si(run.budget)} N={si(run.n_params)}{seed}{recipe}"


def outcome(record: RunRecord) -> str:
    """What came of a run, on one line."""
    if record.loss is not None:
        return f"loss {record.loss:.4f}"
    return f"{record.status}: {' '.join(record.message.split())}"

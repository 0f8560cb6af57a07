"""Progress as plain lines: for log files, batch systems and notebooks.

In: what the lifecycle hooks say. Out: a line for every run that ends or joins, and one a minute in between.
"""

from __future__ import annotations

import sys

from flops_fit_core.data import Run, RunRecord
from flops_fit_core.text import si
from flops_fit_progress.tally import Tally, clock_face, describe, outcome

SECONDS_BETWEEN = 60.0


class Lines:
    """Writes lines to standard error."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._last = tally.clock()
        if tally.planned:
            self._write(f"{len(tally.planned)} runs to train, {si(tally.total_flops)} FLOPs")

    def run_start(self, run: Run) -> None:
        """Say it of a run that was not in the plan."""
        if self._tally.adds(run):
            self._write(f"added by the planner: {describe(run)}")
        self._tally.progress(run)

    def run_progress(self, run: Run, n_tokens: int, loss: float | None) -> None:
        """One line a minute."""
        self._tally.progress(run, n_tokens)
        if self._tally.clock() - self._last >= SECONDS_BETWEEN:
            at = "" if loss is None else f", loss {loss:.4f}"
            self._write(f"{self._state()}; {describe(run)} at {n_tokens / run.n_tokens:.0%}{at}")

    def run_end(self, record: RunRecord) -> None:
        """One line a run."""
        self._tally.end(record)
        self._write(f"{self._state()}; {describe(record.run)} {outcome(record)} ({clock_face(record.seconds)})")

    def close(self) -> None:
        """Sum up."""
        if self._tally.planned:
            self._write(self._tally.summary())

    def _state(self) -> str:
        left = self._tally.time_left()
        counts = f"[{self._tally.n_ended}/{len(self._tally.planned)}] {self._tally.fraction:.0%}"
        return f"{counts}, {left}" if left else counts

    def _write(self, line: str) -> None:
        self._last = self._tally.clock()
        print(f"flops-fit: {line}", file=sys.stderr, flush=True)

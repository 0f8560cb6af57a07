"""Progress as bars on a terminal, by rich: one for the sweep and one for every run that is being trained.

In: what the lifecycle hooks say. Out: a few lines at the foot of the terminal; runs that diverged or
failed are printed above them.
"""

from __future__ import annotations

import atexit
import sys

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.text import Text

from flops_fit_core.data import Run, RunRecord
from flops_fit_progress.tally import Tally, describe, outcome

SECONDS_BETWEEN = 0.1


class Bars:
    """Draws bars on standard error."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._tasks: dict[str, TaskID] = {}
        self._drawn = float("-inf")
        self._progress = _bars()
        self._sweep: TaskID | None = None

    def run_start(self, run: Run) -> None:
        """Add the run's bar."""
        added = self._tally.adds(run)
        self.run_progress(run, 0, None)
        if added:
            self._progress.console.print(Text(f"added by the planner: {describe(run)}"))

    def run_progress(self, run: Run, n_tokens: int, loss: float | None) -> None:
        """Move the run's bar and the sweep's."""
        self._tally.progress(run, n_tokens)
        self._open()
        if run.run_id not in self._tasks:
            self._tasks[run.run_id] = self._progress.add_task(describe(run), total=run.n_tokens, note="")
        self._progress.update(self._tasks[run.run_id], completed=n_tokens)
        if loss is not None:
            self._progress.update(self._tasks[run.run_id], note=f"loss {loss:.4f}")
        if self._tally.clock() - self._drawn >= SECONDS_BETWEEN:
            self._draw()

    def run_end(self, record: RunRecord) -> None:
        """Take the run's bar away; say so where it went wrong."""
        self._tally.end(record)
        self._open()
        task = self._tasks.pop(record.run.run_id, None)
        if task is not None:
            self._progress.remove_task(task)
        if record.status != "done":
            self._progress.console.print(Text(f"{describe(record.run)} {outcome(record)}", style="red"))
        self._draw()

    def close(self) -> None:
        """Leave one line that sums up."""
        if self._sweep is None:
            return
        for task in self._tasks.values():
            self._progress.remove_task(task)
        self._progress.update(self._sweep, completed=self._tally.fraction, note=self._tally.summary())
        self._progress.refresh()
        self._progress.stop()
        self._sweep = None
        atexit.unregister(self._progress.stop)

    def _open(self) -> None:
        """Start drawing at the first run: a sweep that has nothing left to train shows nothing."""
        if self._sweep is not None:
            return
        self._sweep = self._progress.add_task("sweep", total=1.0, note="")
        self._progress.start()
        # Ctrl-C reaches no hook: the terminal must be usable all the same.
        self._progress.console.show_cursor(True)
        atexit.register(self._progress.stop)

    def _draw(self) -> None:
        if self._sweep is None:
            return
        counts = f"{self._tally.n_ended}/{len(self._tally.planned)} runs"
        left = self._tally.time_left()
        self._progress.update(self._sweep, completed=self._tally.fraction, note=f"{counts}, {left}" if left else counts)
        self._progress.refresh()
        self._drawn = self._tally.clock()


def _bars() -> Progress:
    # At a prompt, bars that Ctrl-C left behind must not hold what is printed next.
    redirect = not hasattr(sys, "ps1")
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True),
        auto_refresh=False,
        redirect_stdout=redirect,
        redirect_stderr=redirect,
    )

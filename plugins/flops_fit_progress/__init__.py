"""Progress of a sweep on standard error: bars on a terminal, plain lines elsewhere.

In: the lifecycle hooks. Out: text for people and nothing else; ``FLOPS_FIT_PROGRESS=0`` silences it,
and a display that breaks (a closed stream, say) is put away while the sweep goes on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from flops_fit_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from flops_fit_core.data import Plan, Result, Run, RunRecord

_log = logging.getLogger(__name__)
_lock = threading.RLock()
_display: Display | None = None


class Display(Protocol):
    """What shows the progress: `lines.Lines` or `bars.Bars`."""

    def run_start(self, run: Run) -> None:
        """A run is being trained."""

    def run_progress(self, run: Run, n_tokens: int, loss: float | None) -> None:
        """A run has trained on `n_tokens` units of data."""

    def run_end(self, record: RunRecord) -> None:
        """A run has ended, well or not."""

    def close(self) -> None:
        """The sweep is over."""


@hookimpl
def flops_fit_sweep_start(plan: Plan) -> None:
    """Open a display for the runs of `plan`, in place of one that an interrupted sweep left."""
    global _display
    _tell("close")
    with _sturdy():
        _display = _open(plan)


@hookimpl
def flops_fit_run_start(run: Run) -> None:
    """Show that a run is being trained."""
    _tell("run_start", run)


@hookimpl
def flops_fit_run_progress(run: Run, n_tokens: int, loss: float | None) -> None:
    """Show how far a run is."""
    _tell("run_progress", run, n_tokens, loss)


@hookimpl
def flops_fit_run_end(record: RunRecord) -> None:
    """Show what came of a run."""
    _tell("run_end", record)


@hookimpl
def flops_fit_sweep_end(result: Result) -> None:
    """Sum up and close the display."""
    global _display
    _tell("close")
    with _lock:
        _display = None


def _open(plan: Plan) -> Display | None:
    if os.environ.get("FLOPS_FIT_PROGRESS") == "0" or sys.stderr is None:
        return None
    from flops_fit_progress.tally import Tally

    tally = Tally.of(plan)
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from flops_fit_progress.bars import Bars

        return Bars(tally)
    from flops_fit_progress.lines import Lines

    return Lines(tally)


def _tell(event: str, *args: Any) -> None:
    with _sturdy():
        if _display is not None:
            getattr(_display, event)(*args)


@contextlib.contextmanager
def _sturdy() -> Iterator[None]:
    """One event at a time (hooks may come from several threads), and none that fails goes further."""
    global _display
    with _lock:
        try:
            yield
        except Exception:
            _log.debug("the progress display failed and was put away", exc_info=True)
            _display = None

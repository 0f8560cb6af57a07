"""Train a plan: send groups to the executor, watch them, tell the lifecycle hooks.

In: planned runs and the study's stages. Out: one record a run, as they come; a worker that dies
leaves a failed run, Ctrl-C leaves a folder from which the same call goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from typing import Any

import attrs

from flops_fit_core.data import Run, RunRecord, Workload
from flops_fit_core.stages import Executor, Trainer
from flops_fit_core.store import Workspace
from flops_fit_core.training import keep, team_of, train_group

log = logging.getLogger("flops_fit")

POLL_SECONDS = 0.5

Fire = Callable[..., None]


@attrs.define
class Watcher:
    """Tells the hooks what is seen of runs that train: here by a call, elsewhere by their curve files."""

    workspace: Workspace
    fire: Fire
    started: set[str] = attrs.field(factory=set)
    seen: dict[str, int] = attrs.field(factory=dict)
    before: dict[str, int] = attrs.field(factory=dict)

    def start(self, run: Run) -> None:
        """Announce a run once."""
        if run.run_id not in self.started:
            self.started.add(run.run_id)
            self.fire("flops_fit_run_start", run=run)

    def progress(self, run: Run, n_tokens: int, loss: float | None) -> None:
        """Announce a point that was logged in this process."""
        self.start(run)
        if n_tokens > self.seen.get(run.run_id, 0):
            self.seen[run.run_id] = n_tokens
            self.fire("flops_fit_run_progress", run=run, n_tokens=n_tokens, loss=loss)

    def poll(self, runs: Iterable[Run]) -> None:
        """Look at the curves of runs that train in other processes; one from an earlier call is no news until it grows."""
        for run in runs:
            points = self.workspace.curve(run)
            if run.run_id not in self.before:
                self.before[run.run_id] = points[-1].n_tokens if points else 0
            if points and points[-1].n_tokens > self.before[run.run_id]:
                self.progress(run, points[-1].n_tokens, points[-1].loss)

    def end(self, record: RunRecord) -> None:
        """Announce a record."""
        self.start(record.run)
        self.fire("flops_fit_run_end", record=record)


def train_runs(
    runs: Sequence[Run], trainer: Trainer, workload: Workload, workspace: Workspace, executor: Executor, fire: Fire
) -> list[RunRecord]:
    """Train runs that have no record yet and return their records.

    Raises:
        KeyboardInterrupt: after Ctrl-C, with what is done and how to go on as its message.
    """
    watcher = Watcher(workspace, fire)
    workspace = attrs.evolve(workspace, on_progress=watcher.progress)
    groups = [tuple(group) for group in trainer.groups(runs)]
    if executor.slots > 1:  # the longest first: the last one then keeps fewer slots waiting
        groups.sort(key=lambda group: -sum(run.flops for run in group))
    records: list[RunRecord] = []
    waiting: dict[Future[Any], tuple[Run, ...]] = {}
    alone = team_of(trainer).size == 1
    try:
        for group in groups:
            waiting[executor.submit(train_group, trainer, group, workload, workspace)] = group
            records += _collect(waiting, workspace, watcher, alone, timeout=0)
        while waiting:
            records += _collect(waiting, workspace, watcher, alone, timeout=POLL_SECONDS)
    except KeyboardInterrupt:
        done = sum(workspace.record(run) is not None for run in runs)
        raise KeyboardInterrupt(
            f"stopped: {done} of {len(runs)} runs are recorded in {workspace.root}; the same call goes on from there"
        ) from None
    return records


def _collect(
    waiting: dict[Future[Any], tuple[Run, ...]], workspace: Workspace, watcher: Watcher, alone: bool, timeout: float
) -> list[RunRecord]:
    """Take the records of what has finished, and look at what has not."""
    finished, others = wait(waiting, timeout=timeout, return_when=FIRST_COMPLETED)
    if timeout:
        watcher.poll(run for future in others for run in waiting[future])
    records = []
    for future in finished:
        for record in _records(future, waiting.pop(future), workspace, alone):
            watcher.end(record)
            records.append(record)
    return records


def _records(future: Future[Any], group: tuple[Run, ...], workspace: Workspace, alone: bool) -> list[RunRecord]:
    """A future's records; where its worker died, failed records for the runs that have none.

    In a team of several processes an error ends the job instead: the others wait for this one.
    """
    try:
        error = future.exception()
    except CancelledError as cancelled:
        error = cancelled
    if error is None:
        return list(future.result())
    if not isinstance(error, Exception) or not alone:
        raise error
    records = []
    for run in group:
        record = workspace.record(run)
        if record is None:
            message = f"{type(error).__name__}: {error}"
            log.warning("run %s: %s", run.run_id, message)
            record = RunRecord(run=run, status="failed", message=message)
            keep(workspace, record)
        records.append(record)
    return records

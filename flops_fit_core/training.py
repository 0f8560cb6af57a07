"""The unit of work sent to an executor: train one group of runs and put each record on disk.

In: a trainer, the group, the workload and the study's folder. Out: the records, of which each is
on disk as soon as it stands; an exception becomes a ``"failed"`` record.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator, Sequence

from flops_fit_core.data import Run, RunRecord, Workload
from flops_fit_core.stages import Trainer
from flops_fit_core.store import Workspace
from flops_fit_core.team import Solo, Team

log = logging.getLogger("flops_fit")

#: A run with one of these is never trained again; a failed one is, by the next call.
FINISHED = ("done", "diverged")


def team_of(trainer: Trainer) -> Team:
    """The processes that train together with this one; alone unless the trainer says otherwise."""
    return getattr(trainer, "team", None) or Solo()


def train_group(trainer: Trainer, group: Sequence[Run], workload: Workload, workspace: Workspace) -> list[RunRecord]:
    """Train those runs of a group that have no record yet; return the records of all.

    A run that another driver is training is waited for, and its record taken.
    """
    team = team_of(trainer)
    with _claimed(workspace, group, team):
        found = team.share(lambda: {run.run_id: workspace.record(run) for run in group})
        records = {name: record for name, record in found.items() if record is not None and record.status in FINISHED}
        todo = [run for run in group if run.run_id not in records]
        for record in _train(trainer, todo, workload, workspace, team):
            records[record.run.run_id] = record
            if team.rank == 0:
                keep(workspace, record)
    return [records[run.run_id] for run in group]


def keep(workspace: Workspace, record: RunRecord) -> None:
    """Put a record on disk; what was needed to go on with the run is then removed."""
    workspace.save(record)
    if record.status in FINISHED:
        shutil.rmtree(workspace.checkpoint_dir(record.run), ignore_errors=True)


@contextlib.contextmanager
def _claimed(workspace: Workspace, group: Sequence[Run], team: Team) -> Iterator[None]:
    with workspace.claim(group) if team.rank == 0 else contextlib.nullcontext():
        yield


def _train(
    trainer: Trainer, todo: Sequence[Run], workload: Workload, workspace: Workspace, team: Team
) -> Iterator[RunRecord]:
    """Yield the trainer's records; where it raises, failed records for the runs that are left."""
    left = {run.run_id: run for run in todo}
    try:
        for record in trainer.train(todo, workload, workspace) if todo else ():
            del left[record.run.run_id]
            yield record
    except Exception as error:
        log.exception("training failed; the sweep goes on")
        for run in left.values():
            yield RunRecord(run=run, status="failed", message=f"{type(error).__name__}: {error}")
        if team.size > 1:  # the other processes wait for this one: only ending the job frees them
            raise
    else:
        for run in left.values():
            yield RunRecord(run=run, status="failed", message=f"the trainer {trainer!r} gave no record of this run")

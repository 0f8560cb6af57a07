"""Runs of one size at several budgets that share their first part: a trunk at the constant rate of ``wsd``.

In: the states that the runs of a group leave at the points where they branch off. Out: the furthest state from which
another run may start. A branch and a run from scratch take the same steps on the same numbers, so they
agree to the bit; what differs is who pays for the trunk (`RunRecord.flops_spent`).

On disk: ``trunks/<trunk_id>/<units of data>/`` where runs branched, ``…/rolling/`` while the trunk grows.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from flops_fit_accelerate.checkpoint import read_state
from flops_fit_accelerate.recipe import PER_RUN, resolved
from flops_fit_core.data import Run
from flops_fit_core.store import Workspace

if TYPE_CHECKING:
    from flops_fit_accelerate.trainer import AccelerateTrainer


def trunk_id(trainer: AccelerateTrainer, run: Run) -> str:
    """Names what runs must have in common to share a trunk: study, size, seed, hparams, and the numbers in force.

    The numbers may be functions of the run: a rate that depends on D or C makes every run's steps its own.
    """
    one = resolved(trainer, run)
    in_force = {name: getattr(one, name) for name in PER_RUN}
    return attrs.evolve(run, n_tokens=0, hparams={**run.hparams, **in_force}).run_id


@attrs.frozen
class Trunk:
    """The states of one trunk on disk, by its `trunk_id`."""

    workspace: Workspace
    name: str

    @property
    def folder(self) -> Path:
        """Where the states are."""
        return self.workspace.trunk_dir(self.name)

    @property
    def rolling(self) -> Path:
        """Where the growing trunk keeps its last checkpoint."""
        return self.folder / "rolling"

    def at(self, tokens: int) -> Path:
        """Where the state after `tokens` units of data is."""
        return self.folder / str(tokens)

    def best(self, run: Run, branch: float) -> dict[str, Any] | None:
        """The furthest state at or before `branch`, or ``None``; its ``origin`` says what is paid for already."""
        points = [int(path.name) for path in self.folder.glob("[0-9]*") if path.name.isdigit()]
        reachable = [tokens for tokens in points if tokens <= branch]
        folders = [self.rolling, *(self.at(tokens) for tokens in sorted(reachable)[-1:])]
        reached = {folder: tokens for folder in folders if (tokens := _tokens(folder)) is not None and tokens <= branch}
        state = read_state(max(reached, key=lambda folder: reached[folder])) if reached else None
        if state is None:
            return None
        owner = state["owner"]
        if owner != run.run_id and (self.workspace.run_dir(run).parent / owner / "record.json").exists():
            state["progress"]["origin"] = state["progress"]["tokens"]
        return state

    def remove(self) -> None:
        """Throw all states away: no run needs them any more."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _tokens(folder: Path) -> int | None:
    """The units of data that a state in a folder has seen."""
    state = read_state(folder, peek=True)
    return None if state is None else int(state["progress"]["tokens"])

"""One run from nothing, or from a checkpoint, to its record.

In: the trainer's options, a run, the workload and the study's folder. Out: a `RunRecord`. The steps themselves are in
`loop`; where models, data and processes come from is in `setup`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from flops_fit_accelerate import rng
from flops_fit_accelerate.checkpoint import State, read_state, write_state, write_weights
from flops_fit_accelerate.evaluate import HeldOutLoss, evaluate
from flops_fit_accelerate.loop import Clock, DivergedError, Job
from flops_fit_accelerate.setup import Setup
from flops_fit_accelerate.trunk import Trunk
from flops_fit_core.data import CurvePoint, Run, RunRecord, Workload
from flops_fit_core.store import Workspace

if TYPE_CHECKING:
    from flops_fit_accelerate.trainer import AccelerateTrainer

#: Held-out evaluations along the way, at most; the one at the end comes on top.
EVALUATIONS = 10


def train_run(
    trainer: AccelerateTrainer, run: Run, workload: Workload, workspace: Workspace, trunk: Trunk | None
) -> RunRecord:
    """Train a run to its record, from its checkpoint or its trunk's where there is one.

    The caller's random numbers are left as they were.
    """
    with rng.kept():
        session = Session(
            trainer=trainer, run=run, workspace=workspace, setup=Setup.of(trainer, run, workload, workspace)
        )
        try:
            return session.train(trunk)
        finally:
            session.job.close()
            session.setup.tracker.end()


@attrs.define(kw_only=True)
class Session:
    """One run, its folder and what it is trained with."""

    trainer: AccelerateTrainer
    run: Run
    workspace: Workspace
    setup: Setup
    job: Job = attrs.field(init=False)
    _eval_every: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.job = self.setup.job(self._on_point)
        self._eval_every = self._evaluation_interval()

    @property
    def _leads(self) -> bool:
        return self.setup.team.rank == 0

    def train(self, trunk: Trunk | None) -> RunRecord:
        """Train to the end of the run."""
        job, own = self.job, self.workspace.checkpoint_dir(self.run)
        branch = job.recipe.schedule.branch
        self._resume(own, trunk, branch)
        self.setup.tracker.start(job.recipe, job.at.tokens)
        clock = Clock(self.trainer.checkpoint_every, self.trainer.checkpoint_tokens)
        message: str = ""
        losses: Mapping[str, HeldOutLoss] = {}
        try:
            if trunk is not None and job.at.tokens < branch:
                job.train_until(branch, clock, lambda: self._save(trunk.rolling))
                self._save(trunk.at(job.at.tokens))
            job.train_until(self.run.n_tokens, clock, lambda: self._save(own))
            start = time.perf_counter()
            losses = {name: self._measure(name) for name in self.setup.held_out}
            seconds = time.perf_counter() - start
            self._require_finite(losses)
            self.setup.tracker.final({name: found.loss for name, found in losses.items()}, job.at.tokens)
        except DivergedError as error:
            message = str(error)
        record = self._record(message, losses, 0.0 if message else seconds)
        if self.trainer.keep_weights and not message and self._leads:
            write_weights(self.workspace.run_dir(self.run) / "weights.safetensors", job.model)
        return record

    def _resume(self, own: Path, trunk: Trunk | None, branch: float) -> None:
        """Load the run's own checkpoint, or else the furthest one of its trunk, on every process."""

        def find() -> State | None:
            state = read_state(own)
            return state if state is not None or trunk is None else trunk.best(self.run, branch)

        state = self.setup.team.share(find)
        if state is not None:
            self.job.load(state)
        if self._leads:
            self.workspace.set_curve(self.run, self.job.at.curve)

    def _save(self, folder: Path) -> None:
        state = self.job.state() | {"owner": self.run.run_id}
        if self._leads:
            write_state(folder, state)

    def _on_point(self, loss: float) -> CurvePoint:
        """Make a point of the curve, with the held-out loss where it is due, and tell whoever watches."""
        at = self.job.at
        held_out = None
        last = at.tokens >= self.run.n_tokens
        if not last and at.tokens // self._eval_every > at.evaluated // self._eval_every:
            at.evaluated = at.tokens
            first = self._measure(next(iter(self.setup.held_out))).loss
            held_out = first if math.isfinite(first) else None
        point = CurvePoint(n_tokens=at.tokens, loss=loss, eval_loss=held_out)
        if self._leads:
            self.workspace.log(self.run, point)
        self.setup.tracker.point(point, at.seconds)
        return point

    def _measure(self, name: str) -> HeldOutLoss:
        job, team = self.job, self.setup.team
        source = self.setup.held_out[name]
        # what batch norm gathers differs from process to process, and rank 0's is kept
        team.follow_first(buffer for buffer in job.model.buffers() if buffer.is_floating_point())
        return evaluate(
            job.model,
            source,
            lambda batch: job.loss_of(job.model, job.to_device(batch)),
            job.targets,
            rank=team.rank,
            size=team.size,
            gather=team.gather,
        )

    def _evaluation_interval(self) -> float:
        """Units of data between evaluations, so that they cost no more than their share of the run's FLOPs."""
        first = next(iter(self.setup.held_out.values()))
        cost = first.n_measured * self.setup.units_per_sample / 3  # forward alone is a third of a training step
        count = min(EVALUATIONS, int(self.trainer.eval_share * self.run.n_tokens / cost))
        return self.run.n_tokens / (count + 1) if count else math.inf

    def _require_finite(self, losses: Mapping[str, HeldOutLoss]) -> None:
        name, first = next(iter(losses.items()))
        if not math.isfinite(first.loss):
            raise DivergedError(
                f"the loss on the held-out data {name!r} is {first.loss} after {self.job.at.tokens} units of data"
            )

    def _record(self, message: str, losses: Mapping[str, HeldOutLoss], eval_seconds: float) -> RunRecord:
        at, run, setup = self.job.at, self.run, self.setup
        first, *others = losses if not message else [""]
        loss = losses.get(first, HeldOutLoss(math.nan, None, 0))
        metrics = {name: losses[name].loss for name in others if math.isfinite(losses[name].loss)}
        metrics |= {f"{name}_stderr": error for name in others if (error := losses[name].stderr) is not None}
        if at.seconds > 0:
            metrics["tokens_per_second"] = at.tokens / at.seconds
        if not message:
            metrics |= {"eval_units": float(loss.units), "eval_seconds": eval_seconds}
        lost = [
            f"the loss on the held-out data {name!r} is {losses[name].loss}" for name in others if name not in metrics
        ]
        return RunRecord(
            run=run,
            status="diverged" if message else "done",
            loss=None if message else loss.loss,
            loss_stderr=None if message else loss.stderr,
            n_tokens=at.tokens,
            flops=run.flops_per_token * at.tokens,
            flops_spent=run.flops_per_token * (at.tokens - at.origin),
            seconds=at.seconds,
            epochs=setup.train.epochs(at.step),
            curve=tuple(at.curve),
            metrics=metrics,
            recipe=self.job.recipe.record() | setup.describe(),
            message=message or "; ".join(lost),
        )

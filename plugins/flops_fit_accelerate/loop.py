"""The optimizer steps of one run: forward, backward, clip, step, and the little that is said meanwhile.

In: a `Job` with model, optimizer and data. Out: the same, further on; its `Progress` and `Job.state` are all that a
later process needs to go on to the same bits. The hot path waits for no device: losses are added up where they are and
looked at when a point of the curve is due.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import attrs
import torch

from flops_fit_accelerate import rng
from flops_fit_accelerate.data import Share, Source, n_samples, narrow
from flops_fit_accelerate.recipe import Recipe
from flops_fit_accelerate.team import ProcessTeam
from flops_fit_core.data import CurvePoint, Run
from flops_fit_core.errors import StoreError, TrainingError

SCHEMA = 2

#: A point of the curve at each of the first ten steps, then every ten steps or 5 % of the steps so far, at most 500.
EACH_STEP, LEAST_STEPS, GROWTH, MOST_STEPS = 10, 10, 20, 500

#: Batches in a row without a single target after which a run gives up.
EMPTY_BATCHES = 1000


class DivergedError(Exception):
    """A loss was not finite."""


@attrs.define(kw_only=True)
class Progress:
    """Where a run is; saved with every checkpoint.

    Attributes:
        step: optimizer steps taken, which is also the position in the data.
        tokens: units of data trained on.
        seconds: wall-clock time of the optimizer loop, evaluation and writing apart.
        next_log: the step after which the next point of the curve is due.
        logged: `tokens` at the last point.
        pending: targets trained on since the last point.
        evaluated: `tokens` at the last held-out evaluation.
        origin: units of data that another run has paid for (the trunk that both share).
        curve: the points so far.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    next_log: int = 1
    logged: int = 0
    pending: int = 0
    evaluated: int = 0
    origin: int = 0
    curve: list[CurvePoint] = attrs.field(factory=list)

    def due(self) -> bool:
        """Whether a point of the curve is due; if so, set when the next one is."""
        if self.step < self.next_log:
            return False
        rare = min(max(LEAST_STEPS, self.step // GROWTH), MOST_STEPS)
        self.next_log = self.step + (1 if self.step < EACH_STEP else rare)
        return True


@attrs.define(kw_only=True)
class Job:
    """One run in training.

    Attributes:
        run, recipe: what and how.
        model: the bare model, whose state is saved.
        wrapped: the model as it is called (DistributedDataParallel, compiled).
        optimizer: what steps; its groups' first learning rates are the peak.
        scaler: of fp16, or ``None``.
        backward: of a loss.
        loss_of: ``loss_of(model, batch)``, the mean loss per target.
        units: units of data in a batch on the host.
        targets: how many targets the loss of a batch is a mean over; as a rule `units` itself.
        example: a batch on the host that has targets.
        to_device: puts a batch where the model is.
        source: the training data.
        team: the processes that train together.
        on_point: given the mean training loss since the last point, makes the next point of the curve and tells
            whoever watches.
    """

    run: Run
    recipe: Recipe
    model: torch.nn.Module
    wrapped: Any
    optimizer: Any
    scaler: Any
    unscale: Callable[[], None]
    backward: Callable[[torch.Tensor], None]
    loss_of: Callable[[Any, Any], torch.Tensor]
    units: Callable[[Any], int]
    targets: Callable[[Any], int]
    example: Any
    to_device: Callable[[Any], Any]
    source: Source
    team: ProcessTeam
    device: torch.device
    on_point: Callable[[float], CurvePoint]
    at: Progress = attrs.field(factory=Progress)
    _parameters: list[torch.nn.Parameter] = attrs.field(init=False)
    _peaks: list[float] = attrs.field(init=False)
    _running: torch.Tensor = attrs.field(init=False)
    _batches: Generator[list[Any], None, None] | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self._peaks = [float(group["lr"]) for group in self.optimizer.param_groups]
        self._running = torch.zeros((), device=self.device)

    def train_until(self, stop: float, clock: Clock, checkpoint: Callable[[], None]) -> None:
        """Take optimizer steps until `stop` units of data are seen, with a checkpoint when `clock` says so.

        Raises:
            DivergedError: a loss was not finite.
        """
        if self._batches is None:
            share = Share(self.team.rank, self.team.size, self.recipe.accumulate)
            self._batches = self.source.steps(self.at.step, self.run.seed, share)
        self.model.train()
        clock.start(self.at)
        save, empty = False, 0
        while self.at.tokens < stop:
            if save:  # before the next batch is read: reading may draw random numbers
                with clock.stopped(self.at):
                    checkpoint()
            micro = next(self._batches)
            counts = [self.targets(batch) for batch in micro]
            mine = sum(counts) if self.targets is self.units else sum(map(self.units, micro))
            units, total, save = self._agree(mine, sum(counts), clock.due(self.at))
            if total:
                self._set_rate(units)
                self._step(micro, counts, total)
            empty = 0 if total else empty + 1
            if empty > EMPTY_BATCHES:
                raise TrainingError(f"{empty} batches in a row hold nothing to learn from: every target is masked")
            self.at.step += 1
            self.at.tokens += units
            self.at.pending += total
            if self.at.due() or self.at.tokens >= self.run.n_tokens:
                with clock.stopped(self.at):
                    self._point()
        clock.add(self.at)

    def close(self) -> None:
        """Stop reading data; worker processes end, and with them what they hold of this one's locks."""
        if self._batches is not None:
            self._batches.close()
            self._batches = None

    def _agree(self, units: int, targets: int, save: bool) -> tuple[int, int, bool]:
        """Units and targets in the batch of all processes, and whether rank 0 wants a checkpoint."""
        if self.team.size == 1:
            return units, targets, save
        all_units, all_targets, wanted = self.team.sum([units, targets, float(save and self.team.rank == 0)])
        return int(all_units), int(all_targets), wanted > 0

    def _step(self, micro: list[Any], counts: list[int], total: int) -> None:
        """One optimizer step on `total` targets, of which this process has `counts`."""
        last = len(micro) - 1
        for i, (batch, count) in enumerate(zip(micro, counts, strict=True)):
            if count == 0 and self.team.size == 1:
                continue
            waiting = i < last and self.team.size > 1
            with self.wrapped.no_sync() if waiting else nullcontext():
                loss = self.loss_of(self.wrapped, self.to_device(batch if count else self._stand_in(batch)))
                weight = count * self.team.size / total
                self.backward(loss if weight == 1.0 else loss * weight)
            if count:
                self._running.add_(loss.detach(), alpha=count)
        if self.recipe.clip_norm is not None:
            self.unscale()
            clip([p.grad for p in self._parameters if p.grad is not None], self.recipe.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _stand_in(self, batch: Any) -> Any:
        """What to train on with weight zero where every target is masked: the other processes wait for a gradient.

        The batch itself will not do: its loss is a mean of nothing, and zero times NaN is NaN.
        """
        n, whole = n_samples(batch), n_samples(self.example)
        parts = (narrow(self.example, low, min(low + n, whole)) for low in range(0, whole, n))
        return next((part for part in parts if self.targets(part)), self.example)

    def _set_rate(self, units: int) -> None:
        factor = self.recipe.schedule.factor(self.at.tokens, units)
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor

    def _point(self) -> None:
        """Look at the losses since the last point, on all processes."""
        (loss_sum,) = self.team.sum([self._running.item()])
        first, self.at.logged = self.at.logged, self.at.tokens
        targets, self.at.pending = self.at.pending, 0
        self._running.zero_()
        if targets == 0:
            return
        loss = loss_sum / targets
        if not math.isfinite(loss):
            raise DivergedError(
                f"the training loss is {loss} between {first} and {self.at.tokens} units of data "
                f"(step {self.at.step}, peak learning rate {self.recipe.lr:g})"
            )
        self.at.curve.append(self.on_point(loss))

    def state(self) -> dict[str, Any]:
        """Everything that a checkpoint must hold; to be called on all processes."""
        mine = {"rng": rng.capture(), "running": self._running.item()}
        progress = attrs.asdict(self.at, recurse=False) | {"curve": [attrs.astuple(p) for p in self.at.curve]}
        return {
            "schema": SCHEMA,
            "progress": progress,
            "model": self.model.state_dict(),
            "buffers": dict(self.model.named_buffers()),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict() if self.scaler is not None else None,
            "processes": self.team.gather(mine),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, on as many processes as there now are."""
        if state.get("schema") != SCHEMA:
            raise StoreError(
                f"the checkpoint of run {self.run.run_id} has schema {state.get('schema')!r}, not {SCHEMA}: remove it"
            )
        for name, saved in state["buffers"].items():  # also those that a state_dict leaves out
            self._set_buffer(name, saved, persistent=name in state["model"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])
        processes = state["processes"]
        if len(processes) == self.team.size:
            rng.restore(processes[self.team.rank]["rng"])
            self._running.fill_(processes[self.team.rank]["running"])
        else:  # the data go on as they were; only dropout and augmentation draw other numbers
            rng.seed_all(rng.key("resumed", self.run.seed, state["progress"]["step"], self.team.rank))
            self._running.fill_(sum(p["running"] for p in processes) if self.team.rank == 0 else 0.0)
        curve = [
            CurvePoint(n_tokens=n, loss=loss, eval_loss=held_out) for n, loss, held_out in state["progress"]["curve"]
        ]
        self.at = Progress(**{**state["progress"], "curve": curve})
        self._batches = None

    def _set_buffer(self, name: str, saved: torch.Tensor, persistent: bool) -> None:
        """Set a buffer, which a forward pass may have registered, or made larger than a new model's."""
        owner_name, _, leaf = name.rpartition(".")
        owner = self.model.get_submodule(owner_name)
        found = owner._buffers.get(leaf)
        if found is not None and found.shape == saved.shape:
            found.copy_(saved)
        else:
            owner.register_buffer(leaf, saved.to(self.device), persistent)


def clip(gradients: list[torch.Tensor], norm: float) -> None:
    """Scale gradients down to a total norm, as ``torch.nn.utils.clip_grad_norm_`` does, in half its time on small models."""
    total = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    torch._foreach_mul_(gradients, torch.clamp(norm / (total + 1e-6), max=1.0))


@attrs.define
class Clock:
    """Time of the optimizer loop, with what is no training left out; and when a checkpoint is due.

    Attributes:
        every: seconds between checkpoints.
        units: units of data between checkpoints, or ``None``.
    """

    every: float
    units: int | None = None
    _since: float = 0.0
    _saved: float = attrs.field(factory=time.perf_counter)
    _saved_at: int = 0

    def start(self, at: Progress) -> None:
        """Start counting."""
        self._since = time.perf_counter()
        self._saved_at = max(self._saved_at, at.tokens)

    def due(self, at: Progress) -> bool:
        """Whether a checkpoint is due; if so, set when the next one is."""
        now = time.perf_counter()
        if now - self._saved < self.every and (self.units is None or at.tokens - self._saved_at < self.units):
            return False
        self._saved, self._saved_at = now, at.tokens
        return True

    def add(self, at: Progress) -> None:
        """Count the time since the last call as training."""
        now = time.perf_counter()
        at.seconds += now - self._since
        self._since = now

    @contextmanager
    def stopped(self, at: Progress) -> Iterator[None]:
        """A context whose time is not counted."""
        self.add(at)
        yield
        self._since = time.perf_counter()

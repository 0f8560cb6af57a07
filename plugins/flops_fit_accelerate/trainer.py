"""Trainer ``accelerate``: its options, and the order in which runs are trained.

In: planned runs and a workload. Out: one `RunRecord` a run, yielded as soon as it stands. A run that was killed goes on
from its last checkpoint to the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from numbers import Integral, Real
from typing import Any

import attrs

from flops_fit_accelerate.check import check_workload
from flops_fit_accelerate.failure import together
from flops_fit_accelerate.recipe import PerRun, is_betas
from flops_fit_accelerate.rules import kaplan_lr
from flops_fit_accelerate.schedule import COOLDOWNS, SCHEDULES
from flops_fit_accelerate.session import train_run
from flops_fit_accelerate.team import ProcessTeam, process_team
from flops_fit_accelerate.trunk import Trunk, trunk_id
from flops_fit_core.data import Run, RunRecord, Workload
from flops_fit_core.errors import InputError
from flops_fit_core.store import Workspace, locked

PRECISIONS = ("no", "bf16", "fp16")


def _among(*values: Any) -> Any:
    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in values:
            raise InputError(f"{attribute.name}={value!r} is none of {', '.join(map(repr, values))}")

    return check


def _at_least(least: float, most: float = math.inf, *, none: bool = False, whole: bool = False) -> Any:
    kind, what = (Integral, "a whole number") if whole else (Real, "a number")
    bounds = f"of at least {least}" if most == math.inf else f"from {least} to {most}"

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if (value is None and none) or callable(value):
            return
        if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:  # type: ignore[operator]
            raise InputError(f"{attribute.name}={value!r} must be {what} {bounds}")

    return check


def _two_betas(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not callable(value) and not is_betas(value):
        raise InputError(f"{attribute.name}={value!r} must be two numbers in [0, 1), as in (0.9, 0.95)")


@attrs.frozen(kw_only=True)
class AccelerateTrainer:
    """Trains every run exactly as planned, with PyTorch and Accelerate.

    Options that say "or a function of the run" take ``f(run) -> value``; those named in `recipe.OVERRIDABLE` may be set
    for single runs through ``run.hparams``.

    Attributes:
        lr: peak learning rate, or a function of the run; the default shrinks it with N (`rules.kaplan_lr`).
        batch_size: samples in one optimizer step over all processes, or a function of the run. A ``DataLoader`` brings
            its own.
        betas: of Adam, or a function of the run.
        weight_decay: of AdamW, for matrices only; or a function of the run.
        clip_norm: gradients are scaled down to this norm; ``None`` leaves them.
        schedule: ``"cosine"``, ``"wsd"`` or ``"constant"``, see `schedule.Schedule`.
        warmup: fraction of D over which the rate rises; for ``wsd`` of 20 N, see `recipe.recipe_of`.
        min_warmup_steps: warm-up takes at least so many optimizer steps.
        cooldown: fraction of D over which a ``wsd`` run cools down.
        min_cooldown_steps: cooldown takes at least so many optimizer steps.
        cooldown_shape: ``"1-sqrt"`` or ``"linear"``.
        final_lr: the rate at the end as a fraction of the peak.
        share_trunk: whether ``wsd`` runs of one size, seed, rate and batch size share their part before the cooldown.
        accumulate: micro-batches that a batch is cut to, where it does not fit in memory.
        mixed_precision: ``"no"``, ``"bf16"`` or ``"fp16"``, through Accelerate. fp16 needs a GPU.
        compile: whether to ``torch.compile`` the model; does not pay for short runs.
        eval_samples: held-out samples that a loss is measured on, at most; of a data set without `eval_dataset` at most
            a tenth is set aside. ``None``: all of `eval_dataset`.
        eval_share: evaluations along the way cost at most this share of the run's FLOPs.
        num_workers: processes that read a map-style data set; a ``DataLoader`` brings its own.
        checkpoint_every: seconds between checkpoints.
        checkpoint_tokens: units of data between checkpoints, where seconds alone will not do.
        keep_weights: whether to keep each finished model as ``runs/<run_id>/weights.safetensors``.
        log_with: a tracker of Accelerate's, such as ``"tensorboard"``, or several; names or `GeneralTracker` objects.
    """

    lr: PerRun[float] = attrs.field(default=kaplan_lr, validator=_at_least(0))
    batch_size: PerRun[int] = attrs.field(default=32, validator=_at_least(1, whole=True))
    betas: PerRun[tuple[float, float]] = attrs.field(default=(0.9, 0.95), validator=_two_betas)
    weight_decay: PerRun[float] = attrs.field(default=0.1, validator=_at_least(0))
    clip_norm: float | None = attrs.field(default=1.0, validator=_at_least(0, none=True))
    schedule: str = attrs.field(default="cosine", validator=_among(*SCHEDULES))
    warmup: float = attrs.field(default=0.05, validator=_at_least(0, 1))
    min_warmup_steps: int = attrs.field(default=10, validator=_at_least(0))
    cooldown: float = attrs.field(default=0.2, validator=_at_least(0, 1))
    min_cooldown_steps: int = attrs.field(default=10, validator=_at_least(1))
    cooldown_shape: str = attrs.field(default="1-sqrt", validator=_among(*COOLDOWNS))
    final_lr: float = attrs.field(default=0.0, validator=_at_least(0, 1))
    share_trunk: bool = True
    accumulate: int = attrs.field(default=1, validator=_at_least(1, whole=True))
    mixed_precision: str = attrs.field(default="no", validator=_among(*PRECISIONS))
    compile: bool = False
    eval_samples: int | None = attrs.field(default=2048, validator=_at_least(1, none=True))
    eval_share: float = attrs.field(default=0.01, validator=_at_least(0))
    num_workers: int = attrs.field(default=0, validator=_at_least(0, whole=True))
    checkpoint_every: float = attrs.field(default=60.0, validator=_at_least(0))
    checkpoint_tokens: int | None = attrs.field(default=None, validator=_at_least(1, none=True))
    keep_weights: bool = False
    log_with: Any = None

    def settings(self) -> Mapping[str, Any]:
        """What identifies the training: all that can change a loss."""
        others = {
            "num_workers",
            "checkpoint_every",
            "checkpoint_tokens",
            "keep_weights",
            "log_with",
            "eval_share",
            "share_trunk",
        }
        return {f.name: getattr(self, f.name) for f in attrs.fields(type(self)) if f.name not in others}

    @property
    def team(self) -> ProcessTeam:
        """The processes that train together, where ``torchrun`` or ``accelerate launch`` started several."""
        return process_team()

    def check(self, workload: Workload, runs: Sequence[Run]) -> None:
        """Raise a `FlopsFitError` for what cannot be trained, before anything is."""
        check_workload(self, workload, runs)

    def groups(self, runs: Sequence[Run]) -> list[Sequence[Run]]:
        """Runs of one trunk together, shortest first, with ``wsd``; otherwise one each."""
        trunks: dict[str, list[Run]] = {}
        for run in runs:
            shared = self.share_trunk and run.hparams.get("schedule", self.schedule) == "wsd"
            trunks.setdefault(trunk_id(self, run) if shared else run.run_id, []).append(run)
        return [sorted(group, key=lambda run: run.n_tokens) for group in trunks.values()]

    def train(self, group: Sequence[Run], workload: Workload, workspace: Workspace) -> Iterator[RunRecord]:
        """Train a group; a run whose loss is not finite is recorded as ``"diverged"`` and the next one begun.

        Raises:
            StoreError: a checkpoint cannot be written or read.
        """
        trunk = Trunk(workspace, trunk_id(self, group[0]))
        shared = len(group) > 1 or trunk.folder.exists()
        with locked(trunk.folder.with_suffix(".lock")) if shared and self.team.rank == 0 else nullcontext():
            for run in group:
                with together(self.team, workspace.run_dir(run)):
                    record = train_run(self, run, workload, workspace, trunk if shared else None)
                yield record
            if shared and self.team.rank == 0:
                trunk.remove()

"""The numbers of one run's training: the trainer's options, callables resolved, overrides applied.

In: an `AccelerateTrainer`, a `Run`, the nominal units of data in a step. Out: a `Recipe`, which is recorded with the
run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import attrs

from flops_fit_accelerate.schedule import Schedule
from flops_fit_core.data import Run
from flops_fit_core.errors import FlopsFitError, InputError, TrainingError, nearest

if TYPE_CHECKING:
    from flops_fit_accelerate.trainer import AccelerateTrainer

T = TypeVar("T")

#: A value, or a function that gives it for a run.
PerRun: TypeAlias = T | Callable[[Run], T]

#: Trainer options that ``run.hparams`` may override.
OVERRIDABLE = (
    "lr", "batch_size", "betas", "weight_decay", "clip_norm", "schedule", "warmup", "min_warmup_steps", "cooldown",
    "min_cooldown_steps", "cooldown_shape", "final_lr", "mixed_precision", "accumulate",
)  # fmt: skip

#: What other libraries call some of them, too far from ours for a match by letters.
ELSEWHERE = {
    "learning_rate": "lr", "max_lr": "lr", "max_grad_norm": "clip_norm", "grad_clip": "clip_norm", "warmup_ratio": "warmup",
    "lr_scheduler_type": "schedule", "gradient_accumulation_steps": "accumulate",
}  # fmt: skip

#: Those that may be functions of the run.
PER_RUN = ("lr", "batch_size", "betas", "weight_decay")


@attrs.frozen(kw_only=True)
class Recipe:
    """What is in force in one run."""

    lr: float
    batch_size: int
    betas: tuple[float, float]
    weight_decay: float
    clip_norm: float | None
    schedule: Schedule
    mixed_precision: str
    accumulate: int

    def record(self) -> dict[str, Any]:
        """The recipe as plain values for a run's record."""
        s = self.schedule
        shown: dict[str, Any] = {
            "lr": self.lr, "batch_size": self.batch_size, "betas": self.betas, "weight_decay": self.weight_decay,
            "clip_norm": self.clip_norm, "schedule": s.kind, "warmup_units": s.warmup, "final_lr": s.floor,
            "mixed_precision": self.mixed_precision, "accumulate": self.accumulate,
        }  # fmt: skip
        if s.kind == "wsd":
            shown |= {"cooldown_units": s.cooldown, "cooldown_shape": s.shape}
        if s.too_short:
            shown["too_short"] = s.too_short
        return shown


def with_overrides(trainer: AccelerateTrainer, run: Run) -> AccelerateTrainer:
    """The trainer with the run's ``hparams`` in place of its own options."""
    for name in run.hparams:
        if name not in OVERRIDABLE:
            meant = nearest(ELSEWHERE.get(name, name), OVERRIDABLE)
            raise InputError(
                f"hparams name {name!r}, which this trainer cannot set for one run.{meant} It can set: {', '.join(OVERRIDABLE)}"
            )
    return attrs.evolve(trainer, **run.hparams) if run.hparams else trainer


def resolved(trainer: AccelerateTrainer, run: Run) -> AccelerateTrainer:
    """The trainer as one run sees it: its ``hparams`` applied, and numbers in place of functions of the run."""
    trainer = with_overrides(trainer, run)
    return attrs.evolve(
        trainer,
        lr=_number(trainer.lr, run, "lr"),
        batch_size=int(_number(trainer.batch_size, run, "batch_size", least=1)),
        betas=_betas(trainer.betas, run),
        weight_decay=_number(trainer.weight_decay, run, "weight_decay", least=0),
    )


def recipe_of(trainer: AccelerateTrainer, run: Run, units_per_sample: float, own_batch_size: int | None) -> Recipe:
    """Resolve the options for a run.

    A warm-up given as a fraction is of D for ``cosine`` and ``constant``. For ``wsd`` it is of 20 N, whatever D is: all
    budgets of one size then share their warm-up and can share a trunk, and 0.05 is the warm-up of N units of data
    that Porian et al. 2024 (arXiv 2406.19146, where they correct the warm-up) take for every size.
    """
    trainer = resolved(trainer, run)
    numbers: dict[str, Any] = {name: getattr(trainer, name) for name in PER_RUN}
    batch_size = numbers["batch_size"] = own_batch_size or numbers["batch_size"]
    step = units_per_sample * batch_size
    reference = 20 * run.n_params if trainer.schedule == "wsd" else run.n_tokens
    warmup = max(trainer.warmup * reference, trainer.min_warmup_steps * step)
    cooldown = (
        max(trainer.cooldown * run.n_tokens, trainer.min_cooldown_steps * step) if trainer.schedule == "wsd" else 0.0
    )
    return Recipe(
        **numbers,
        clip_norm=trainer.clip_norm,
        schedule=Schedule(
            kind=trainer.schedule,
            horizon=run.n_tokens,
            warmup=warmup,
            cooldown=cooldown,
            shape=trainer.cooldown_shape,
            floor=trainer.final_lr,
        ),
        mixed_precision=trainer.mixed_precision,
        accumulate=trainer.accumulate,
    )


def is_betas(value: Any) -> bool:
    """Whether a value will do as Adam's betas: two numbers in [0, 1)."""
    try:
        first, second = map(float, value)
    except (TypeError, ValueError):
        return False
    return 0 <= first < 1 and 0 <= second < 1


def _betas(option: Any, run: Run) -> tuple[float, float]:
    value = _of_run(option, run, "betas")
    if not is_betas(value):
        raise TrainingError(
            f"betas is {value!r} for the run of size {run.size}: two numbers in [0, 1) are needed, as in (0.9, 0.95)"
        )
    first, second = map(float, value)
    return first, second


def _number(option: Any, run: Run, name: str, least: float | None = None) -> float:
    given = _of_run(option, run, name)
    try:
        value = float(given)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value) or (value <= 0 if least is None else value < least):
        bound = "a positive number" if least is None else f"at least {least}"
        raise TrainingError(
            f"{name} is {given!r} for the run of size {run.size} (N = {run.n_params}): it must be {bound}"
        )
    return value


def _of_run(option: Any, run: Run, name: str) -> Any:
    """An option's value for a run; where the user's function raises, the error says which option it was."""
    if not callable(option):
        return option
    try:
        return option(run)
    except FlopsFitError:
        raise
    except Exception as error:
        fields = ", ".join(field.name for field in attrs.fields(Run))
        raise TrainingError(
            f"{name}, a function of the run, raised {type(error).__name__}: {error}, for the run of size {run.size} "
            f"(N = {run.n_params}). A run has: {fields}"
        ) from error

"""What a run is trained with: device, processes and precision from Accelerate; model, optimizer and data from the workload.

In: the trainer's options, a run, the workload. Out: a `Setup`, which makes the run's `Job`. Every run gets a fresh
``Accelerator``. On one process in full precision the loop calls the bare model and optimizer: Accelerate's wrappers
would cost some per cent of every step and do nothing.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import send_to_device

from flops_fit_accelerate import rng
from flops_fit_accelerate.data import Indexed, Stream, n_samples, open_source
from flops_fit_accelerate.loop import Job
from flops_fit_accelerate.optimizers import make_optimizer
from flops_fit_accelerate.recipe import Recipe, recipe_of
from flops_fit_accelerate.targets import targets_of
from flops_fit_accelerate.team import ProcessTeam, process_team
from flops_fit_accelerate.trackers import Tracker
from flops_fit_core import calls
from flops_fit_core.data import CurvePoint, Run, Workload
from flops_fit_core.probe import held_out_sets, own_batch_size
from flops_fit_core.store import Workspace

if TYPE_CHECKING:
    from flops_fit_accelerate.trainer import AccelerateTrainer


@attrs.frozen(kw_only=True)
class Setup:
    """What a run is trained with.

    Attributes:
        compile: whether the model is compiled.
        run, workload, recipe: what and how.
        accelerator: Accelerate's view of device, processes and precision.
        team: the processes that train together.
        tracker: where numbers are reported.
        train: the training data.
        held_out: held-out data by name; the first is the loss.
        units_per_sample: units of data in one sample, nominally.
    """

    compile: bool
    run: Run
    workload: Workload
    recipe: Recipe
    accelerator: Accelerator
    team: ProcessTeam
    tracker: Tracker
    train: Indexed | Stream
    held_out: Mapping[str, Indexed | Stream]
    units_per_sample: float

    @classmethod
    def of(cls, trainer: AccelerateTrainer, run: Run, workload: Workload, workspace: Workspace) -> Setup:
        """Set up a run."""
        example = workload.example
        units_per_sample = workload.units(example) / n_samples(example)  # type: ignore[misc]
        recipe = recipe_of(trainer, run, units_per_sample, own_batch_size(workload.dataset))
        train, held_out = open_sources(trainer, workload, recipe.batch_size)
        AcceleratorState._reset_state()
        GradientState._reset_state()
        accelerator = Accelerator(
            mixed_precision=recipe.mixed_precision,
            log_with=trainer.log_with,
            project_dir=str(workspace.root / "trackers"),
        )
        return cls(
            compile=trainer.compile,
            run=run,
            workload=workload,
            recipe=recipe,
            accelerator=accelerator,
            team=process_team(),
            tracker=Tracker(accelerator, run, workload.name),
            train=train,
            held_out=held_out,
            units_per_sample=units_per_sample,
        )

    def job(self, on_point: Callable[[float], CurvePoint]) -> Job:
        """Make model, optimizer and all else that the loop works with."""
        run, recipe, accelerator = self.run, self.recipe, self.accelerator
        rng.seed_all(run.seed)
        model = self.workload.build(run.size)
        device = accelerator.device
        targets = targets_of(self.workload, model)
        rng.seed_all(rng.key("train", run.seed, self.team.rank))
        wrapped = accelerator.prepare_model(model)
        optimizer: Any = make_optimizer(model, recipe, self.workload)
        half = recipe.mixed_precision == "fp16"
        if half:
            optimizer = accelerator.prepare_optimizer(optimizer)
        return Job(
            run=run,
            recipe=recipe,
            model=model,
            wrapped=torch.compile(wrapped) if self.compile else wrapped,
            optimizer=optimizer,
            scaler=accelerator.scaler if half else None,
            unscale=functools.partial(accelerator.unscale_gradients, optimizer) if half else _nothing,
            backward=accelerator.backward if half else torch.Tensor.backward,
            loss_of=functools.partial(_loss_of, self.workload.loss_fn),
            units=self.workload.units,  # type: ignore[arg-type]
            targets=targets,
            example=self.workload.example,
            to_device=_same
            if device.type == "cpu"
            else functools.partial(send_to_device, device=device, non_blocking=True),
            source=self.train,
            team=self.team,
            device=device,
            on_point=on_point,
        )

    def describe(self) -> dict[str, Any]:
        """What else a record should say about how the run was trained."""
        first = next(iter(self.held_out.values()))
        return {
            "optimizer": "AdamW" if self.workload.optimizer is None else "workload",
            "parametrization": self.workload.parametrization,
            "eval_samples": first.n_measured,
            "processes": self.team.size,
            "device": self.accelerator.device.type,
            "compile": self.compile,
        }


def open_sources(
    trainer: AccelerateTrainer, workload: Workload, batch_size: int
) -> tuple[Indexed | Stream, dict[str, Indexed | Stream]]:
    """The training data, and the held-out data by name: what the user gave, or a fixed part of the training data."""
    size = sys.maxsize if trainer.eval_samples is None else trainer.eval_samples
    given = held_out_sets(workload)
    options: dict[str, Any] = {
        "batch_size": batch_size,
        "collate": workload.collate_fn,
        "num_workers": trainer.num_workers,
    }
    train = open_source(workload.dataset, hold_out=0 if given else size, whole=False, **options)
    held_out = {name: open_source(data, hold_out=size, whole=True, **options) for name, data in given.items()}
    return train, held_out or {"held_out": train}


def _loss_of(loss_fn: Any, model: Any, batch: Any) -> torch.Tensor:
    loss: torch.Tensor = calls.loss_of(model, batch, loss_fn)
    return loss


def _same(batch: Any) -> Any:
    return batch


def _nothing() -> None:
    return None

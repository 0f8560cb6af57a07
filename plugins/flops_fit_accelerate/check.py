"""What cannot be trained is said before anything is: the smallest planned run is tried on two samples.

In: the trainer, the workload and the planned runs. Out: nothing, or a `FlopsFitError` that names value, reason and fix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from flops_fit_accelerate import rng
from flops_fit_accelerate.data import Share, n_samples, narrow
from flops_fit_accelerate.optimizers import make_optimizer
from flops_fit_accelerate.recipe import Recipe, recipe_of
from flops_fit_accelerate.setup import open_sources
from flops_fit_accelerate.trackers import check_trackers
from flops_fit_core import calls
from flops_fit_core.data import Run, Workload
from flops_fit_core.errors import FlopsFitError, InputError, InputTypeError, TrainingError
from flops_fit_core.probe import check_dataset, held_out_sets, own_batch_size

if TYPE_CHECKING:
    from flops_fit_accelerate.trainer import AccelerateTrainer


def check_workload(trainer: AccelerateTrainer, workload: Workload, runs: Sequence[Run]) -> None:
    """Raise for what cannot be trained."""
    check_trackers(trainer.log_with)
    if workload.loss_fn is not None:
        calls.check_loss_fn(workload.loss_fn)
    check_dataset(workload.dataset, "dataset")
    for name, data in held_out_sets(workload).items():
        check_dataset(data, f"eval_dataset {name!r}")
    if not runs:
        return
    units_per_sample = workload.units(workload.example) / n_samples(workload.example)  # type: ignore[misc]
    own = own_batch_size(workload.dataset)
    recipes = [recipe_of(trainer, run, units_per_sample, own) for run in runs]
    _refuse_impossible(recipes, trainer.team.size)
    largest = max(recipe.batch_size for recipe in recipes)
    with rng.kept():
        batch = _first_batch(trainer, workload, largest)
        run, recipe = min(zip(runs, recipes, strict=True), key=lambda pair: pair[0].n_params)
        _try_smallest(workload, run, recipe, narrow(batch, 0, min(2, n_samples(batch))))


def _refuse_impossible(recipes: Sequence[Recipe], processes: int) -> None:
    """Refuse what every step of some run would fail at, or quietly leave out."""
    for recipe in recipes:
        if recipe.mixed_precision == "fp16" and not torch.cuda.is_available():
            raise TrainingError('mixed_precision="fp16" needs a GPU: use "bf16" or "no" on CPU')
        if recipe.batch_size < processes * recipe.accumulate:
            raise TrainingError(
                f"a batch of {recipe.batch_size} samples cannot be cut into accumulate={recipe.accumulate} micro-batches on "
                f"{processes} process{'es' * (processes > 1)}: use a larger batch_size or a smaller accumulate"
            )


def _first_batch(trainer: AccelerateTrainer, workload: Workload, batch_size: int) -> Any:
    """Read one batch of training data and one of each held-out set."""
    train, held_out = open_sources(trainer, workload, batch_size)
    n_train = getattr(train, "n_train", None)
    if n_train is not None and n_train < batch_size:
        raise InputError(
            f"the data set has {n_train} samples to train on, after {train.n_held_out} were set aside for evaluation: fewer than "
            f"one batch of {batch_size}. Give more data, a smaller batch_size, or eval_dataset"
        )
    try:
        batch = next(train.steps(0, 0, Share()))[0]
    except StopIteration:
        raise InputError("the data set gives no batch: it is empty, or shorter than one batch") from None
    for name, source in held_out.items():
        if next(source.held_out(), None) is None:
            raise InputError(f"the held-out data {name!r} is empty")
    return batch


def _refuse_sum(workload: Workload, model: torch.nn.Module, batch: Any) -> None:
    """Refuse a loss that adds up its batch: the loss of two samples is then that of one plus that of the other."""
    if n_samples(batch) < 2:
        return
    model.eval()
    with torch.no_grad():
        parts = [narrow(batch, 0, 1), narrow(batch, 1, 2), batch]
        one, two, both = (float(calls.loss_of(model, part, workload.loss_fn)) for part in parts)
    if one > 0 and two > 0 and math.isclose(both, one + two, rel_tol=1e-4):
        raise TrainingError(
            f"the loss is a sum over the batch: {one:.4g} and {two:.4g} for two samples, {both:.4g} for both together. A mean "
            "is needed, as D and batch size would change it: reduction='mean', or divide by the number of targets"
        )


def _try_smallest(workload: Workload, run: Run, recipe: Recipe, batch: Any) -> None:
    """Build model and optimizer, compute a loss and its gradient."""
    rng.seed_all(run.seed)
    model = workload.build(run.size)
    if not isinstance(model, torch.nn.Module):
        raise InputTypeError(
            f"the model of size {run.size} is a {type(model).__name__}; a torch.nn.Module is needed to train it"
        )
    model.train()
    try:
        loss = calls.loss_of(model, batch, workload.loss_fn)
        calls.require_gradient(loss)
        loss.backward()
        make_optimizer(model, recipe, workload)
        _refuse_sum(workload, model, batch)
    except FlopsFitError:
        raise
    except Exception as error:
        raise TrainingError(
            f"the model of size {run.size} cannot be trained on the first two samples: {type(error).__name__}: {error}"
        ) from error

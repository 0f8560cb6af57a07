"""Look at the data once before anything else: one batch, what it counts, how many units it holds.

In: a `Workload` as the user gave it. Out: the same with `data_unit`, `units` and `example` filled,
and the units in one optimizer step. At most one batch of 32 samples is drawn.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import attrs
import numpy as np

from flops_fit_core.calls import split
from flops_fit_core.data import Workload
from flops_fit_core.errors import InputError, InputTypeError

MAX_SAMPLES = 32

#: Targets with this value are masked: torch's ``ignore_index``.
MASKED = -100


@attrs.frozen
class TokenUnits:
    """Counts tokens: targets that are not masked, or inputs where the targets have another shape."""

    def __call__(self, batch: Any) -> int:
        """The number of tokens in a batch."""
        inputs, targets = _parts(batch)
        if targets is not None and _shape(targets) == _shape(inputs):
            return int((targets != MASKED).sum())
        return int(np.prod(_shape(inputs)))


@attrs.frozen
class SampleUnits:
    """Counts samples, such as images: the length of the batch's first axis."""

    def __call__(self, batch: Any) -> int:
        """The number of samples in a batch."""
        return _shape(_parts(batch)[0])[0]


def prepare(workload: Workload, batch_size: int) -> tuple[Workload, int]:
    """Draw one batch and fill in what follows from it.

    Args:
        workload: what to train.
        batch_size: samples in an optimizer step, where the data set is no loader with its own.

    Returns:
        The workload with `data_unit`, `units` and `example`, and the units of data in one optimizer
        step.

    Raises:
        InputError, InputTypeError: the data cannot be used, or what it counts cannot be told.
    """
    check_dataset(workload.dataset, "dataset")
    for name, part in held_out_sets(workload).items():
        check_dataset(part, f"eval_dataset {name!r}")
    batch_size = own_batch_size(workload.dataset) or batch_size
    samples, example = _draw(workload, min(MAX_SAMPLES, batch_size))
    if samples < min(MAX_SAMPLES, batch_size) or (_length(workload.dataset) or batch_size) < batch_size:
        raise InputError(
            f"the data set has {_length(workload.dataset) or samples} samples, fewer than one batch of {batch_size}: "
            "give more data or a smaller batch_size"
        )
    if workload.loss_fn is not None:
        split(example)
    elif not isinstance(example, Mapping) or not set(example) - {"inputs", "targets"}:
        raise InputError(
            "loss_fn=None: the data are (inputs, targets) pairs, so a loss is needed: loss_fn(outputs, targets) -> scalar. "
            "Only a model that takes a dict batch and returns its own loss (as Hugging Face models do) needs none"
        )
    unit = workload.data_unit or _guess_unit(example)
    units = workload.units or (TokenUnits() if unit == "tokens" else SampleUnits())
    counted = int(units(example))
    if counted <= 0:
        raise InputError(f"units(batch) is {counted} for the first batch: a batch must hold at least one of its {unit}")
    workload = attrs.evolve(workload, data_unit=unit, units=units, example=example)
    return workload, max(1, round(counted / samples * batch_size))


def check_dataset(dataset: Any, what: str) -> None:
    """Refuse what is no data set, saying what to give instead."""
    if dataset is None:
        raise InputTypeError(
            f"{what}=None: a torch Dataset, IterableDataset or DataLoader of (inputs, targets) is needed"
        )
    if isinstance(dataset, type):
        raise InputTypeError(f"{what} is the class {dataset.__name__}: give an instance, {dataset.__name__}(...)")
    if isinstance(dataset, list | tuple | dict | str | bytes | set) or hasattr(dataset, "dtype"):
        raise InputTypeError(
            f"{what} is a {type(dataset).__name__}: wrap it in a data set, such as torch.utils.data.TensorDataset(inputs, "
            "targets), or a class with __len__ and __getitem__"
        )
    if isinstance(dataset, Iterator):
        raise InputTypeError(
            f"{what} is a one-shot iterator ({type(dataset).__name__}), which every run would go on emptying: give a "
            "data set, or a class whose __iter__ starts anew"
        )
    if not (hasattr(dataset, "__getitem__") or hasattr(dataset, "__iter__")):
        raise InputTypeError(f"{what} is a {type(dataset).__name__}, which can be neither indexed nor iterated over")
    if _length(dataset) == 0:
        raise InputError(f"{what} is empty: it has length 0")


def held_out_sets(workload: Workload) -> dict[str, Any]:
    """The held-out sets by name; none where a split of the training data will do."""
    held_out = workload.eval_dataset
    if held_out is None:
        return {}
    if not isinstance(held_out, Mapping):
        return {"held_out": held_out}
    if not held_out:
        raise InputError("eval_dataset={} names no held-out set: leave it out for a split of the data set")
    return dict(held_out)


def is_loader(dataset: Any) -> bool:
    """Whether a data set is a loader that brings its own batch size, collation and workers."""
    return all(hasattr(dataset, name) for name in ("dataset", "batch_size", "collate_fn", "sampler"))


def own_batch_size(dataset: Any) -> int | None:
    """The batch size of a loader; ``None`` for a data set."""
    if not is_loader(dataset):
        return None
    return dataset.batch_size or getattr(dataset.batch_sampler, "batch_size", None)


def _draw(workload: Workload, n_samples: int) -> tuple[int, Any]:
    """How many samples were drawn, and the batch made of them."""
    dataset = workload.dataset
    if is_loader(dataset):
        if own_batch_size(dataset) is None:  # its data set makes the batches itself
            batch = next(iter(dataset))
            return _shape(_parts(batch)[0])[0], batch
        collate, dataset = dataset.collate_fn, dataset.dataset
    else:
        collate = workload.collate_fn or default_collate
    samples = _samples(dataset, n_samples)
    if not samples:
        raise InputError("the data set is empty: iterating over it gives nothing")
    try:
        return len(samples), collate(samples)
    except Exception as error:
        raise InputError(
            f"the first {len(samples)} samples cannot be put together to a batch ({type(error).__name__}: {error}): "
            "give collate_fn, or a DataLoader with one"
        ) from error


def _samples(dataset: Any, n_samples: int) -> list[Any]:
    length = _length(dataset)
    if length is not None and hasattr(dataset, "__getitem__"):
        return [dataset[i] for i in range(min(n_samples, length))]
    return list(islice(iter(dataset), n_samples))


def default_collate(samples: list[Any]) -> Any:
    """Torch's own collation where torch is loaded; the same for NumPy arrays and numbers where it is not."""
    torch = sys.modules.get("torch")
    collate: Callable[[list[Any]], Any] = torch.utils.data.default_collate if torch else _stack
    return collate(samples)


def _stack(samples: Sequence[Any]) -> Any:
    first = samples[0]
    if isinstance(first, Mapping):
        return {key: _stack([sample[key] for sample in samples]) for key in first}
    if isinstance(first, tuple):
        return tuple(_stack(parts) for parts in zip(*samples, strict=True))
    return np.stack([np.asarray(sample) for sample in samples])


def _parts(batch: Any) -> tuple[Any, Any]:
    """Inputs and targets as arrays, of whatever form the batch has."""
    if isinstance(batch, Mapping) and set(batch) != {"inputs", "targets"}:
        inputs = batch.get("input_ids", batch.get("pixel_values", next(iter(batch.values()))))
        return inputs, batch.get("labels", batch.get("targets"))
    inputs, targets = split(batch) if isinstance(batch, Mapping) or _is_pair(batch) else (batch, None)
    while isinstance(inputs, Mapping | list | tuple):
        inputs = next(iter(inputs.values() if isinstance(inputs, Mapping) else inputs))
    return inputs, targets


def _is_pair(batch: Any) -> bool:
    return isinstance(batch, tuple | list) and len(batch) == 2


def _shape(array: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in getattr(array, "shape", ()))


def _guess_unit(batch: Any) -> str:
    """Tokens for integer inputs (batch, time), images for floating-point (batch, channels, height, width).

    Where such inputs have one target a sample, D may count what was read or what was predicted: nobody can know.
    """
    inputs, targets = _parts(batch)
    shape, dtype = _shape(inputs), str(getattr(inputs, "dtype", type(inputs).__name__))
    one_each = targets is not None and _one_a_sample(_shape(targets), shape)
    if "int" in dtype and len(shape) == 2 and not one_each:
        return "tokens"
    if "float" in dtype and len(shape) == 4:
        return "images"
    raise InputError(
        f"the unit of data cannot be told from inputs of shape {shape} and type {dtype}"
        + (f" with targets of shape {_shape(targets)}" if one_each else "")
        + ': say what D counts, such as data_unit="samples" (integer inputs (batch, time) with a target for every token are '
        "tokens, floating-point (batch, channels, height, width) images)"
    )


def _one_a_sample(targets: tuple[int, ...], inputs: tuple[int, ...]) -> bool:
    """Whether targets of this shape are one value for every sample, and inputs are more."""
    return targets != inputs and targets[:1] == inputs[:1] and math.prod(targets) == inputs[0]


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset.dataset if is_loader(dataset) else dataset)
    except TypeError:
        return None

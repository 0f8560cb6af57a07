"""What to train: one model family, one data set, one loss.

In: what the user hands over (or a workload plugin makes). Out: a value that planners, counters and
trainers read; `flops_fit_core.probe` fills `data_unit`, `units` and `example` before they see it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs


@attrs.frozen(kw_only=True, eq=False)
class Workload:
    """A model family, its data and its loss.

    Attributes:
        name: what tables and figures call it.
        model_cls: the model class, or any callable that maps one size to a model. The model has
            ``num_params() -> int``.
        size_param: name of the argument of `model_cls` that scales the model.
        model_kwargs: the other arguments of `model_cls`.
        dataset: a torch ``Dataset``, ``IterableDataset`` or ``DataLoader`` of ``(inputs, targets)``
            or dicts; anything with ``__len__`` and ``__getitem__``, or re-iterable, will do.
        eval_dataset: held-out data of the same kind, or a mapping of names to such (the first is
            the loss that is fitted). ``None``: a fixed split of `dataset`.
        loss_fn: ``loss_fn(outputs, targets) -> scalar``; ``None`` where the model returns its own.
        data_unit: what D counts, ``"tokens"``, ``"images"`` or a word of the user's.
        units: ``units(batch) -> int``, units of data in a batch; masked targets do not count.
        optimizer: ``optimizer(model, lr, betas, weight_decay) -> torch.optim.Optimizer``, with
            per-parameter rates where the parametrization wants them; ``None``: AdamW.
        collate_fn: makes a batch of a list of samples; ``None``: torch's default.
        parametrization: ``"standard"``, or the name of one whose best learning rate does not move
            with size (µP and kin), so that one rate for all sizes is no confounder.
        fingerprint: identifies the data where looking at a few samples is not enough.
        example: one batch of at most 32 samples, drawn once when the study is prepared.
    """

    name: str
    model_cls: Callable[..., Any]
    size_param: str
    model_kwargs: Mapping[str, Any] = attrs.field(factory=dict)
    dataset: Any = None
    eval_dataset: Any = None
    loss_fn: Callable[..., Any] | None = None
    data_unit: str | None = None
    units: Callable[[Any], int] | None = None
    optimizer: Callable[..., Any] | None = None
    collate_fn: Callable[[list[Any]], Any] | None = None
    parametrization: str = "standard"
    fingerprint: str | None = None
    example: Any = attrs.field(default=None, repr=False)

    def build(self, size: Any) -> Any:
        """Make the model of one size, on torch's current default device."""
        return self.model_cls(**{**self.model_kwargs, self.size_param: size})

"""How many targets a batch's loss is a mean over: what the loss of a batch weighs.

In: a workload and a model. Out: ``targets(batch) -> int``. As a rule these are the batch's units of data. A model that
returns its own loss may shift its labels (Hugging Face's causal language models compare position t with label t + 1, so
that the first label is no target); whether it does, it is asked once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import attrs
import torch
from accelerate.utils import send_to_device

from flops_fit_accelerate import rng
from flops_fit_accelerate.data import n_samples, narrow
from flops_fit_core import calls
from flops_fit_core.data import Workload
from flops_fit_core.probe import MASKED, SampleUnits, TokenUnits


@attrs.frozen
class LabelTargets:
    """Counts the labels that are not masked, the first `skipped` of every sequence left out."""

    key: str
    skipped: int

    def __call__(self, batch: Any) -> int:
        """The number of targets in a batch."""
        return int((batch[self.key][:, self.skipped :] != MASKED).sum())


def targets_of(workload: Workload, model: torch.nn.Module) -> Callable[[Any], int]:
    """What counts the targets of a batch.

    A ``units`` of the user's own is believed.
    """
    units: Callable[[Any], int] = workload.units  # type: ignore[assignment]
    key = _label_key(workload.example)
    if workload.loss_fn is not None or key is None or not isinstance(units, TokenUnits | SampleUnits):
        return units
    return LabelTargets(key, int(_shifts(model, workload.example, key)))


def _label_key(batch: Any) -> str | None:
    """Where a batch has a label, or a mask, for each position of its sequences."""
    for key in calls.TARGET_KEYS:
        labels = batch.get(key) if hasattr(batch, "get") else None
        if isinstance(labels, torch.Tensor) and labels.ndim == 2 and not labels.is_floating_point():
            return key
    return None


def _shifts(model: torch.nn.Module, batch: Any, key: str) -> bool:
    """Whether a loss of which only the first label of each sequence is left is a mean of nothing."""
    batch = narrow(batch, 0, min(2, n_samples(batch)))
    labels = batch[key]
    known = labels[labels != MASKED]
    if labels.shape[1] < 2 or len(known) == 0:
        return False
    first = torch.full_like(labels, MASKED)
    first[:, 0] = known[0]
    with torch.no_grad(), rng.kept():
        try:
            asked = copy.deepcopy(model).eval()  # a forward pass may change buffers
            device = next(asked.parameters()).device
            loss = float(calls.loss_of(asked, send_to_device(type(batch)({**batch, key: first}), device), None))
        except Exception:  # a model that knows no masks, or counts its labels: then all of them are targets
            return False
    return loss != loss or loss == 0.0

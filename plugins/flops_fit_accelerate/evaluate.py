"""The loss on held-out data, with its standard error: never on what was trained on.

In: a model and a source's held-out batches. Out: the mean loss per target (as a rule a unit of data) over all of
them. The model is in evaluation mode meanwhile (no dropout, running statistics in batch norm) and back in training
mode after; random numbers are left as they were, so evaluating more or less often changes no training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import torch

from flops_fit_accelerate.data import Source
from flops_fit_accelerate.rng import kept

#: One batch's loss sum and its units of data.
Part = tuple[float, int]


@attrs.frozen
class HeldOutLoss:
    """Mean loss per unit of data, its standard error, and the units it was measured on."""

    loss: float
    stderr: float | None
    units: int

    @classmethod
    def of(cls, parts: Sequence[Part]) -> HeldOutLoss:
        """Pool batches, weighing each by its units of data.

        The standard error is that of a weighted mean of independent batches: ``sqrt(m/(m-1) Σ u²(l - L)²) / Σ u``
        (Cochran 1977, "Sampling Techniques", ratio estimator); ``None`` for a single batch.
        """
        parts = [(total, units) for total, units in parts if units > 0]
        units = sum(u for _, u in parts)
        loss = math.fsum(total for total, _ in parts) / units if units else math.nan
        m = len(parts)
        if m < 2 or not math.isfinite(loss):
            return cls(loss, None, units)
        spread = math.fsum((total - u * loss) ** 2 for total, u in parts)
        return cls(loss, math.sqrt(m / (m - 1) * spread) / units, units)


def evaluate(
    model: torch.nn.Module,
    source: Source,
    loss_of: Callable[[Any], torch.Tensor],
    targets: Callable[[Any], int],
    rank: int = 0,
    size: int = 1,
    gather: Callable[[list[Part]], list[list[Part]]] = lambda parts: [parts],
) -> HeldOutLoss:
    """Measure the held-out loss; each of `size` processes measures every `size`-th batch.

    Args:
        model: the bare model, whose mode is switched.
        source: where the held-out batches come from.
        loss_of: the mean loss per target of one batch.
        targets: how many targets it is a mean over; as a rule the batch's units of data.
        rank, size: this process and how many there are.
        gather: collects what every process found, on every process.
    """
    was_training = model.training
    model.eval()
    losses: list[tuple[torch.Tensor, int]] = []
    try:
        with torch.no_grad(), kept():
            for number, batch in enumerate(source.held_out()):
                if number % size == rank:
                    losses.append((loss_of(batch), int(targets(batch))))
    finally:
        model.train(was_training)
    parts = [(loss.item() * n if n else 0.0, n) for loss, n in losses]
    everyone = gather(parts)
    return HeldOutLoss.of([everyone[i % size][i // size] for i in range(sum(map(len, everyone)))])

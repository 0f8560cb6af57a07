"""Batches for counting: the same shapes and types as the example, as tensors, anywhere.

In: a batch of tensors, NumPy arrays, tuples, lists and mappings. Out: the same with every tensor
replaced; its length; its first sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch


def map_tensors(function: Callable[[torch.Tensor], Any], batch: Any) -> Any:
    """Apply a function to every tensor of a batch; NumPy arrays become tensors first."""
    if isinstance(batch, np.ndarray | np.generic):
        batch = torch.from_numpy(np.array(batch))
    if isinstance(batch, torch.Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {key: map_tensors(function, value) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        parts = [map_tensors(function, part) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch


def to_meta(batch: Any) -> Any:
    """The batch without its numbers."""
    return map_tensors(lambda tensor: torch.empty_like(tensor, device="meta"), batch)


def length(batch: Any) -> int:
    """How many samples: the first axis of the first tensor that has one."""
    return next((tensor.shape[0] for tensor in _tensors(batch) if tensor.ndim), 1)


def first_sample(batch: Any) -> Any:
    """A batch of one: the first sample of every tensor as long as the batch."""
    n = length(batch)
    return map_tensors(lambda tensor: tensor[:1] if tensor.ndim and tensor.shape[0] == n else tensor, batch)


def _tensors(batch: Any) -> Iterator[torch.Tensor]:
    found: list[torch.Tensor] = []
    map_tensors(found.append, batch)
    return iter(found)

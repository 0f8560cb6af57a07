"""The random number generators of Python, NumPy and torch: seed, save, restore, keep apart.

In: seeds. Out: states of plain lists and tensors, which a checkpoint may hold without pickling. Reading data,
evaluating and training each have their own numbers, so that none of them moves another's.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

State = dict[str, Any]


def key(*parts: object) -> int:
    """63 bits that depend on every part, the same on every machine and in every process."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_all(seed: int) -> None:
    """Seed Python, NumPy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def capture() -> State:
    """The state of every generator."""
    version, words, gauss = random.getstate()
    name, array, position, has_gauss, cached = np.random.get_state()
    state: State = {
        "python": [version, list(words), gauss],
        "numpy": [
            str(name),
            torch.from_numpy(np.array(array, dtype=np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore(state: State) -> None:
    """Put back what `capture` saw."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, array, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, array.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Leave the generators as they were found."""
    state = capture()
    try:
        yield
    finally:
        restore(state)


class Lane:
    """Random numbers of their own: inside ``with lane:`` code draws from these, outside nothing has moved."""

    def __init__(self, seed: int) -> None:
        with kept():
            seed_all(seed)
            self._state = capture()

    def __enter__(self) -> None:
        self._outside = capture()
        restore(self._state)

    def __exit__(self, *_: object) -> None:
        self._state = capture()
        restore(self._outside)

"""Fixed-length sequences out of a token file: every token is a target once in an epoch.

In: a `TokenCache` file. Out: a map-style data set of ``(inputs, targets)``, which travels to other
processes as a path and a few numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad
from torch.utils.data import Dataset

from flops_fit_core.errors import InputError
from flops_fit_gpt.cache import DTYPE, TokenCache
from flops_fit_gpt.model import IGNORED


class TokenSequences(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Sequences of `seq_len` tokens with their next tokens, in file order, documents running on.

    Item i has inputs ``tokens[i·T : (i+1)·T]`` and targets one further on, both int64 of shape
    (seq_len,). The last item is filled up; filled targets are ``-100``.
    """

    def __init__(self, cache: TokenCache, part: str, seq_len: int, at_most: int | None = None) -> None:
        """Open a part of a cache.

        Args:
            cache: where the tokens are.
            part: ``"train"`` or ``"held_out"``.
            seq_len: T.
            at_most: so many sequences, spread evenly over the part; ``None``: all.

        Raises:
            InputError: `seq_len` or `at_most` is not positive.
        """
        if seq_len < 1 or (at_most is not None and at_most < 1):
            raise InputError(f"seq_len={seq_len}, at_most={at_most}: both must be at least 1")
        self.path: Path = cache.file(part)
        self.seq_len = seq_len
        self.separator = cache.separator
        self.n_tokens = cache.n_tokens[part]
        self._all = -(-(self.n_tokens - 1) // seq_len)
        self._length = self._all if at_most is None else min(at_most, self._all)
        self._map: Any = None

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if not 0 <= index < self._length:
            raise IndexError(index)
        start = index * self._all // self._length * self.seq_len
        tokens = torch.from_numpy(self._tokens()[start : start + self.seq_len + 1].astype(np.int64))
        missing = self.seq_len + 1 - len(tokens)
        if missing:
            inputs = pad(tokens[:-1], (0, missing), value=self.separator)
            return inputs, pad(tokens[1:], (0, missing), value=IGNORED)
        return tokens[:-1], tokens[1:]

    def _tokens(self) -> Any:
        if self._map is None:
            self._map = np.memmap(self.path, dtype=DTYPE, mode="r")
        return self._map

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None}

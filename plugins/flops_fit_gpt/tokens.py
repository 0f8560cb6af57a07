"""Text to integers: bytes, or a byte-pair encoding trained on the corpus itself.

In: documents as text. Out: token numbers below `vocab_size`, among them one `separator` that no
document contains and that stands between documents.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import attrs
import numpy as np
from numpy.typing import NDArray

from flops_fit_core.errors import InputError

Tokens = NDArray[np.uint16]

TRAINING_CHARACTERS = 20_000_000
"""How much text a byte-pair encoding is trained on at most."""


class Tokenizer(Protocol):
    """What the token cache needs."""

    @property
    def vocab_size(self) -> int:
        """How many tokens there are, the separator included."""
        ...

    @property
    def separator(self) -> int:
        """The token between documents."""
        ...

    def encode(self, text: str) -> Tokens:
        """Tokens of one document, shape (n,), without separators."""
        ...


@attrs.frozen
class ByteTokenizer:
    """The 256 bytes of UTF-8, and a separator."""

    vocab_size: int = attrs.field(default=257, init=False)
    separator: int = attrs.field(default=256, init=False)

    def encode(self, text: str) -> Tokens:
        """Bytes of one document, shape (n,)."""
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.uint16)

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of some tokens; separators and broken characters are left out."""
        return bytes(int(t) for t in tokens if t < self.separator).decode(errors="ignore")


@attrs.frozen
class BpeTokenizer:
    """A byte-level byte-pair encoding (library ``tokenizers``), whose last token is the separator.

    Attributes:
        backend: the trained ``tokenizers.Tokenizer``.
    """

    backend: Any

    @classmethod
    def train(cls, documents: Iterable[str], vocab_size: int) -> BpeTokenizer:
        """Learn `vocab_size` - 1 tokens from the first 20 million characters of `documents`.

        Raises:
            InputError: there is no room for the 256 bytes and a separator, or 16 bits do not hold the tokens.
        """
        if not 258 <= vocab_size <= 2**16:
            raise InputError(f"vocab_size={vocab_size}: a byte-pair encoding needs 258 to 65536 tokens")
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=vocab_size - 1, initial_alphabet=alphabet, show_progress=False)
        backend.train_from_iterator(_first(documents, TRAINING_CHARACTERS), trainer)
        return cls(backend)

    @classmethod
    def from_json(cls, text: str) -> BpeTokenizer:
        """Read what `to_json` gave."""
        from tokenizers import Tokenizer

        return cls(Tokenizer.from_str(text))

    def to_json(self) -> str:
        """The trained encoding as the library's own JSON."""
        return str(self.backend.to_str())

    @property
    def separator(self) -> int:
        """The token after the last learnt one."""
        return int(self.backend.get_vocab_size())

    @property
    def vocab_size(self) -> int:
        """Learnt tokens and the separator."""
        return self.separator + 1

    def encode(self, text: str) -> Tokens:
        """Tokens of one document, shape (n,)."""
        return np.array(self.backend.encode(text).ids, dtype=np.uint16)

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of some tokens; separators are left out."""
        return str(self.backend.decode([int(t) for t in tokens if t < self.separator]))


def _first(documents: Iterable[str], n_characters: int) -> Iterable[str]:
    seen = 0
    for document in documents:
        yield document
        seen += len(document)
        if seen >= n_characters:
            return

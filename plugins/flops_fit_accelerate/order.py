"""Which sample comes when: pure functions of (seed, global sample index), without tables in memory.

In: the length of a data set and a seed. Out: the data set's index for any position of the endless training
order, and the indices that are held out. Any process can ask for any position at any time: that is what makes a
resumed run, or one on several processes, see exactly the same data.
"""

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray

from flops_fit_accelerate.rng import key

Ints = NDArray[np.int64]

ROUNDS = 8
STRIPES = 32


@attrs.frozen
class Permutation:
    """A random permutation of ``range(n)``, computed position by position.

    A Feistel network on the bits of the position, walking on while it lands outside the range (cycle walking:
    Black and Rogaway 2002, "Ciphers with arbitrary finite domains"). It takes no memory, however large n is.
    """

    n: int
    seed: int

    def __call__(self, positions: Ints) -> Ints:
        """Where each position (shape (k,), each in ``range(n)``) is sent."""
        places = self._encrypt(positions.astype(np.uint64))
        outside = np.flatnonzero(places >= self.n)
        while len(outside):
            places[outside] = self._encrypt(places[outside])
            outside = outside[places[outside] >= self.n]
        return places.astype(np.int64)

    def _encrypt(self, x: NDArray[np.uint64]) -> NDArray[np.uint64]:
        bits = max(int(self.n - 1).bit_length(), 2)
        low_bits = np.uint64(bits // 2)
        low_mask, high_mask = np.uint64((1 << (bits // 2)) - 1), np.uint64((1 << (bits - bits // 2)) - 1)
        low, high = x & low_mask, x >> low_bits
        for i in range(ROUNDS):
            if i % 2:
                high = high ^ (_mix(low, key(self.seed, i)) & high_mask)
            else:
                low = low ^ (_mix(high, key(self.seed, i)) & low_mask)
        return np.asarray((high << low_bits) | low)


def _mix(x: NDArray[np.uint64], salt: int) -> NDArray[np.uint64]:
    """A hash of 64 bits to 64 bits (the finalizer of splitmix64: Steele, Lea and Flood 2014)."""
    x = x + np.uint64(salt)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def held_out(length: int, count: int) -> Ints:
    """Indices of `count` samples spread over a data set as up to 32 stripes, ascending; no seed moves them.

    Stripes, because neighbours are often alike: windows of text overlap, images come sorted by class. A stripe
    shares only its edges with the training data, and many of them see all of the data set.
    """
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    stripes = min(STRIPES, count)
    sizes = np.full(stripes, count // stripes) + (np.arange(stripes) < count % stripes)
    gaps = (np.arange(1, stripes + 1) * (length - count)) // stripes  # samples left for training before each stripe
    return np.arange(count) + np.repeat(gaps, sizes)


@attrs.define
class Order:
    """The endless order of the training samples: epoch after epoch, each shuffled anew.

    Attributes:
        length: samples in the data set.
        seed: of the run.
        shuffle: whether each epoch has another order; otherwise that of the data set.
        left_out: ascending indices that are never trained on.
    """

    length: int
    seed: int
    shuffle: bool = True
    left_out: Ints = attrs.field(factory=lambda: np.zeros(0, dtype=np.int64))
    _chunk: tuple[int, list[int]] = attrs.field(default=(-1, []), repr=False)

    CHUNK = 1024

    @property
    def n(self) -> int:
        """Training samples in one epoch."""
        return self.length - len(self.left_out)

    def indices(self, start: int, stop: int) -> list[int]:
        """The data set's indices at the positions ``start … stop - 1`` of the endless order."""
        found: list[int] = []
        while start < stop:
            number, offset = divmod(start, self.CHUNK)
            take = min(stop - start, self.CHUNK - offset)
            found += self._load(number)[offset : offset + take]
            start += take
        return found

    def _load(self, number: int) -> list[int]:
        if self._chunk[0] != number:
            positions = np.arange(number * self.CHUNK, (number + 1) * self.CHUNK)
            self._chunk = (number, self._compute(positions).tolist())
        return self._chunk[1]

    def _compute(self, positions: Ints) -> Ints:
        epochs, places = np.divmod(positions, self.n)
        if self.shuffle:
            for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
                here = epochs == epoch
                places[here] = Permutation(self.n, key("order", self.seed, epoch))(places[here])
        skipped = np.searchsorted(self.left_out - np.arange(len(self.left_out)), places, side="right")
        return np.asarray(places + skipped)

"""Batches for training and for held-out evaluation, from whatever the user calls a data set.

In: a map-style data set, a ``DataLoader`` or an iterable stream. Out: `Source` objects, which give the
micro-batches of optimizer step `k`, k + 1, … for any k: a checkpoint needs to remember only that number.

* Map-style data (also inside a ``DataLoader`` that shuffles or goes in sequence): batch k is computed
  (`flops_fit_accelerate.order`), on any number of processes and after any resume. Training resumes at once.
* Everything else (an ``IterableDataset``, any re-iterable, a loader with a sampler of its own) is read from its
  beginning again for every pass, with random numbers that depend on (seed, pass) alone. Resuming reads
  and drops what had been seen. Every process reads the whole stream and trains on its share of each batch. A stream
  that ends is read again; its ``set_epoch(pass)`` is called where it has one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from itertools import islice
from typing import Any, Protocol

import attrs
import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from flops_fit_accelerate.order import Order, held_out
from flops_fit_accelerate.rng import Lane, key, seed_all
from flops_fit_core.errors import InputError
from flops_fit_core.probe import is_loader

Collate = Callable[[list[Any]], Any]

#: Batches that held-out samples are cut to, at least: their spread gives the standard error.
_LEAST_PIECES = 16


@attrs.frozen
class Share:
    """Which part of every batch this process trains on, in how many pieces one after the other."""

    rank: int = 0
    size: int = 1
    pieces: int = 1

    def cuts(self, n: int) -> list[tuple[int, int]]:
        """Start and stop of this process's micro-batches within a batch of n samples."""
        parts = self.size * self.pieces
        if n < parts:
            raise InputError(
                f"a batch of {n} samples cannot be shared by {self.size} processes × {self.pieces} accumulation steps: "
                "use a larger batch_size, or drop_last=True in the DataLoader"
            )
        edges = [i * n // parts for i in range(parts + 1)]
        mine = range(self.rank * self.pieces, (self.rank + 1) * self.pieces)
        return [(edges[i], edges[i + 1]) for i in mine]


class Source(Protocol):
    """Where batches come from."""

    def steps(self, first: int, seed: int, share: Share) -> Generator[list[Any], None, None]:
        """The micro-batches of optimizer steps `first`, `first` + 1, … without end."""
        ...

    def held_out(self) -> Iterator[Any]:
        """The batches of the held-out part, always the same."""
        ...

    def epochs(self, steps: int) -> float:
        """Passes over the training data after `steps` optimizer steps."""
        ...


def open_source(
    dataset: Any, *, batch_size: int, collate: Collate | None, num_workers: int, hold_out: int, whole: bool
) -> Indexed | Stream:
    """Read a data set in the way that suits it.

    Args:
        dataset: see the module.
        batch_size: samples in an optimizer step, unless the data set is a loader with its own.
        collate: makes a batch of a list of samples, unless the data set is a loader with its own.
        num_workers: processes that read a map-style data set, unless it is a loader with its own.
        hold_out: samples set aside for evaluation: the wanted number; at most a tenth of a data set of known length.
        whole: the data set is itself held-out data: nothing is set aside, up to `hold_out` samples are evaluated.
    """
    loader: Any = dataset if is_loader(dataset) else None
    options: dict[str, Any] = {"num_workers": num_workers}
    shuffle = True
    if loader is not None:
        if not _standard(loader):
            return Stream(dataset=loader, batch_size=None, collate=None, n_held_out=hold_out, whole=whole)
        shuffle = not isinstance(loader.sampler, SequentialSampler) and getattr(loader.sampler, "shuffle", True)
        dataset, batch_size, collate = loader.dataset, loader.batch_size, loader.collate_fn
        options = {name: getattr(loader, name) for name in _KEPT} if loader.num_workers else {"num_workers": 0}
    collate = collate or torch.utils.data.default_collate
    if isinstance(dataset, IterableDataset) or not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        return Stream(dataset=dataset, batch_size=batch_size, collate=collate, n_held_out=hold_out, whole=whole)
    n = len(dataset)
    count = min(hold_out, n) if whole else min(hold_out, max(1, n // 10))
    return Indexed(
        dataset=dataset,
        batch_size=batch_size,
        collate=collate,
        shuffle=bool(shuffle),
        n_held_out=count,
        whole=whole,
        workers=options,
    )


#: What a user's loader keeps when its samples are read in our order.
_KEPT = ("num_workers", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context", "prefetch_factor")


def _standard(loader: Any) -> bool:
    """Whether a loader does nothing but cut a data set in sequence or shuffled to batches of one size."""
    sampler = loader.sampler
    known = type(sampler) in (SequentialSampler, DistributedSampler) or (
        type(sampler) is RandomSampler and not sampler.replacement and sampler.num_samples == len(sampler.data_source)
    )
    return known and type(loader.batch_sampler) is BatchSampler and loader.batch_size is not None


@attrs.define(kw_only=True)
class Indexed:
    """A map-style data set: every batch is computed from its number."""

    dataset: Any
    batch_size: int
    collate: Collate
    shuffle: bool
    n_held_out: int
    whole: bool
    workers: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def _left_out(self) -> Any:
        return held_out(len(self.dataset), self.n_held_out)

    @property
    def n_measured(self) -> int:
        """Samples that a loss is measured on."""
        return self.n_held_out

    @property
    def n_train(self) -> int:
        """Samples in one epoch."""
        return len(self.dataset) - (0 if self.whole else self.n_held_out)

    def steps(self, first: int, seed: int, share: Share) -> Generator[list[Any], None, None]:
        """See `Source`; samples cross from one epoch to the next within a batch, so that all batches are full."""
        order = Order(len(self.dataset), seed, self.shuffle, self._left_out)
        cuts = share.cuts(self.batch_size)
        if self.workers.get("num_workers"):
            yield from self._by_workers(order, first, seed, cuts)
        step = first
        while True:
            start = step * self.batch_size
            yield [self._fetch(order.indices(start + low, start + high)) for low, high in cuts]
            step += 1

    def held_out(self) -> Iterator[Any]:
        """Batches of at most `batch_size`, and at least sixteen of them where there are samples enough."""
        indices = self._left_out.tolist()
        size = min(self.batch_size, max(1, len(indices) // _LEAST_PIECES))
        for start in range(0, len(indices), size):
            yield self._fetch(indices[start : start + size])

    def epochs(self, steps: int) -> float:
        """See `Source`."""
        return steps * self.batch_size / self.n_train

    def _fetch(self, indices: list[int]) -> Any:
        if type(self.dataset) is TensorDataset and self.collate is torch.utils.data.default_collate:
            rows = torch.tensor(indices)
            return [tensor[rows] for tensor in self.dataset.tensors]
        return self.collate(_samples(self.dataset, indices))

    def _by_workers(self, order: Order, first: int, seed: int, cuts: list[tuple[int, int]]) -> Iterator[list[Any]]:
        """The same batches from worker processes, which draw random numbers by (seed, position)."""
        numbers = _Positions(order, first, self.batch_size, cuts)
        reader = _Reader(self.dataset, seed)
        generator = torch.Generator().manual_seed(key("workers", seed))
        batches = iter(
            DataLoader(reader, batch_sampler=numbers, collate_fn=self.collate, generator=generator, **self.workers)
        )
        while True:
            yield list(islice(batches, len(cuts)))


@attrs.define
class _Positions:
    """A batch sampler without end: for every micro-batch its first position and its indices."""

    order: Order
    first: int
    batch_size: int
    cuts: list[tuple[int, int]]

    def __iter__(self) -> Iterator[list[int]]:
        start = self.first * self.batch_size
        while True:
            for low, high in self.cuts:
                yield [start + low, *self.order.indices(start + low, start + high)]
            start += self.batch_size


@attrs.define
class _Reader:
    """The data set as workers see it: random numbers of a batch depend on its position alone."""

    dataset: Any
    seed: int

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]

    def __getitems__(self, numbers: list[int]) -> list[Any]:
        position, *indices = numbers
        seed_all(key("augmentation", self.seed, position))
        return _samples(self.dataset, indices)


def _samples(dataset: Any, indices: list[int]) -> list[Any]:
    many = getattr(dataset, "__getitems__", None)
    return many(indices) if many is not None else [dataset[i] for i in indices]


@attrs.define(kw_only=True)
class Stream:
    """Anything that can only be iterated over: samples, or a loader's batches (`collate` is then ``None``)."""

    dataset: Any
    batch_size: int | None
    collate: Collate | None
    n_held_out: int
    whole: bool
    _held_out: list[Any] | None = None

    def steps(self, first: int, seed: int, share: Share) -> Generator[list[Any], None, None]:
        """See `Source`."""
        numbered = self._endless(seed)
        for batch in islice(numbered, first, None):
            yield [self._cut(batch, low, high) for low, high in share.cuts(self._length(batch))]

    @property
    def n_measured(self) -> int:
        """Samples that a loss is measured on: fewer than wanted where the stream ends before."""
        return sum(map(n_samples, self.held_out()))

    def held_out(self) -> Iterator[Any]:
        """The first samples of the stream, in sixteen batches or more where they suffice; kept in memory once read."""
        if self._held_out is None:
            with Lane(key("collate held-out")):
                self._held_out = self._first_samples()
        return iter(self._held_out)

    def _first_samples(self) -> list[Any]:
        found, n = [], 0
        for batch in self._batches(0, key("held-out"), short=self.whole):
            found.append(batch)
            n += self._length(batch)
            if n >= self.n_held_out:
                break
        left, pieces = min(n, self.n_held_out), []
        size = max(1, left // _LEAST_PIECES)
        for batch in found:
            stop = min(self._length(batch), left)
            pieces += [self._cut(batch, low, min(low + size, stop)) for low in range(0, stop, size)]
            left -= stop
        return pieces

    def epochs(self, steps: int) -> float:
        """Zero: the length of a stream is not known."""
        return 0.0

    def _endless(self, seed: int) -> Iterator[Any]:
        epoch = 0
        while True:
            batches = self._batches(epoch, key("stream", seed, epoch))
            n = 0
            while n < self.n_held_out and not self.whole and (batch := next(batches, None)) is not None:
                n += self._length(batch)
            empty = True
            for batch in batches:
                empty = False
                yield batch
            if empty:
                raise InputError(
                    f"the stream ends within the {self.n_held_out} samples that are set aside for evaluation: "
                    "give eval_dataset, or a smaller eval_samples to the trainer"
                )
            epoch += 1

    def _batches(self, epoch: int, seed: int, short: bool = False) -> Iterator[Any]:
        """One pass: batches of a loader, or lists of `batch_size` samples (a shorter last one only where `short`)."""
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)
        for owner in (self.dataset, getattr(self.dataset, "sampler", None)):
            generator = getattr(owner, "generator", None)
            if isinstance(generator, torch.Generator):
                generator.manual_seed(seed)
        lane = Lane(seed)
        with lane:
            items = iter(self.dataset)
        while True:
            with lane:
                batch = list(islice(items, self.batch_size)) if self.collate else next(items, None)
            if batch is None or (self.collate and len(batch) < (1 if short else self.batch_size)):  # type: ignore[operator]
                return
            yield batch

    def _length(self, batch: Any) -> int:
        return len(batch) if self.collate else n_samples(batch)

    def _cut(self, batch: Any, low: int, high: int) -> Any:
        return self.collate(batch[low:high]) if self.collate else narrow(batch, low, high)


def n_samples(batch: Any) -> int:
    """Samples in a collated batch: the first axis of its first tensor."""
    if isinstance(batch, Mapping):
        return n_samples(next(iter(batch.values())))
    return n_samples(batch[0]) if isinstance(batch, tuple | list) else len(batch)


def narrow(batch: Any, low: int, high: int) -> Any:
    """The samples `low … high - 1` of a collated batch."""
    if high - low == n_samples(batch):
        return batch
    if isinstance(batch, Mapping):
        return type(batch)({name: narrow(part, low, high) for name, part in batch.items()})  # type: ignore[call-arg]
    if isinstance(batch, tuple | list):
        return type(batch)(narrow(part, low, high) for part in batch)
    return batch[low:high]

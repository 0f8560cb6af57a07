"""Find values of the size parameter: which ones the constructor takes, and which gives about N parameters.

In: a workload. Out: `SizeSearch`, which makes models on the meta device only to read their N, remembers
every answer, and finds whole-number sizes by following N as it grows with the size.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from typing import Any

import attrs

from flops_fit_core.build import SizeRefusedError, build, n_params
from flops_fit_core.data import Workload
from flops_fit_core.errors import PlanError
from flops_fit_core.inputs import size_param_from
from flops_fit_core.serial import plain

#: A model that must be made for real is not probed beyond this N (it is stopped at the next doubling).
REAL_LIMIT = 100_000_000

#: Untried sizes that are tried between two known ones before the gap counts as empty.
MAX_TRIES = 64


def size_key(size: Any) -> str:
    """A text that is equal for equal sizes: of any type, from Python, NumPy or a file."""
    return json.dumps(plain(size), sort_keys=True, default=repr)


@attrs.frozen
class Probed:
    """A size that the constructor takes, and its N."""

    size: int
    n_params: int


class SizeSearch:
    """Finds whole-number values of a workload's size parameter by N.

    N may grow with the size in any monotone way (as its square for a width, linearly for a depth).
    Sizes that the constructor refuses are passed over. The constructor is asked at most a few dozen
    times for each N, and never twice for one size.

    Attributes:
        workload: its `build` makes the models.
    """

    def __init__(self, workload: Workload) -> None:
        """Check that the constructor takes the size parameter; nothing is built yet.

        Raises:
            InputError, InputTypeError: it does not, or another of its arguments is wrong.
        """
        size_param_from(workload.model_cls, workload.size_param, workload.model_kwargs)
        self.workload = workload
        self._n: dict[str, int] = {}
        self._refused: dict[str, tuple[Any, str]] = {}
        self._known: list[Probed] = []  # ascending in size
        self._step = 0
        self._empty: set[tuple[int, int]] = set()
        self._real = False

    @property
    def refused(self) -> list[tuple[Any, str]]:
        """The sizes that were asked for and refused, each with the reason, in the order of asking."""
        return list(self._refused.values())

    def refuse(self, size: Any, reason: str) -> None:
        """Strike a size out: its constructor took it, but it cannot be used (its forward pass fails, say)."""
        self._refused[size_key(size)] = (size, reason)
        self._known = [probed for probed in self._known if probed.size != size]

    def coarsen(self, unit: int) -> None:
        """From now on look only at multiples of `unit`: others were seen to be of no use."""
        self._step = math.lcm(self._step, unit)
        self._known = [probed for probed in self._known if probed.size % self._step == 0]
        self._empty.clear()

    def params(self, size: Any) -> int:
        """N of one size, of any type.

        Raises:
            SizeRefusedError: the constructor does not take it.
            InputError, InputTypeError: the model has no usable ``num_params()``.
        """
        key = size_key(size)
        if key in self._refused:
            raise SizeRefusedError(self._refused[key][1])
        if key not in self._n:
            try:
                model, self._real = build(self.workload, size)
            except SizeRefusedError as error:
                self._refused[key] = (size, str(error))
                raise
            self._n[key] = n_params(model)
        return self._n[key]

    def nearest(self, target: float) -> int | None:
        """The accepted whole number whose N is nearest to `target` (by ratio); ``None`` if all were struck out.

        Beyond the largest model that the constructor makes, that one is the nearest.

        Raises:
            PlanError: no size is accepted, or N does not grow with the size.
        """
        if not self._step:
            self._start()
        if not self._known:  # struck out or too fine
            any(self._probe(k * self._step) for k in range(1, MAX_TRIES))
        while self._known and self._known[-1].n_params < target and self._grow():
            pass
        for _ in range(MAX_TRIES):
            above = bisect_left(self._known, target, key=lambda probed: probed.n_params)
            if above in (0, len(self._known)) or not self._refine(self._known[above - 1], self._known[above], target):
                break
        if not self._known:
            return None
        return min(self._known, key=lambda probed: abs(math.log(probed.n_params / target))).size

    def _start(self) -> None:
        """Find the two smallest accepted sizes; their common divisor is the step of the search."""
        for size in chain(range(1, 65), range(72, 1025, 8), range(1088, 8193, 64), range(8704, 65537, 512)):
            if self._probe(size) and len(self._known) == 2:
                break
        if not self._known:
            raise PlanError(self._none_accepted())
        self._step = math.gcd(*(probed.size for probed in self._known))

    def _none_accepted(self) -> str:
        who, name = self.workload.name, self.workload.size_param
        examples = {why: size for size, why in reversed(self.refused)}
        said = "; ".join(f"{name}={size}: {why}" for why, size in list(examples.items())[-3:])
        return (
            f"no whole number from 1 to {self.refused[-1][0]} makes a {who}: {said}. "
            f"Correct the model, or give values that it takes as sizes=[…]"
        )

    def _probe(self, size: int) -> bool:
        """Ask the constructor about a size; put it in its place if it is accepted."""
        try:
            n = self.params(size)
        except SizeRefusedError:
            return False
        place = bisect_left(self._known, size, key=lambda probed: probed.size)
        if place < len(self._known) and self._known[place].size == size:
            return True
        self._known.insert(place, Probed(size, n))
        for smaller, larger in pairwise(self._known):
            if smaller.n_params > larger.n_params:
                raise PlanError(self._not_growing(smaller, larger))
        return True

    def _not_growing(self, smaller: Probed, larger: Probed) -> str:
        name = self.workload.size_param
        return (
            f"num_params() does not grow with {name!r}: {smaller.n_params} at {name}={smaller.size}, {larger.n_params} at "
            f"{name}={larger.size}. Name the argument that scales the model, or give sizes=[…]"
        )

    def _grow(self) -> bool:
        """Accept a size of about twice the largest known one; False where there is none."""
        top = self._known[-1]
        beyond = (top.size, 8 * top.size)
        if beyond in self._empty or (self._real and top.n_params > REAL_LIMIT):
            return False
        if not any(map(self._probe, self._candidates(*beyond, 2 * top.size))):
            self._empty.add(beyond)
            return self._halve(top.size, 2 * top.size)
        if self._known[-1].size > 2**12 * self._known[0].size and self._known[-1].n_params == self._known[0].n_params:
            raise PlanError(self._not_growing(self._known[0], self._known[-1]))
        return self._known[-1].size < 2**53

    def _halve(self, taken: int, refused: int) -> bool:
        """Close in on the largest size of a constructor that has one; whether any was accepted."""
        start = taken
        while refused - taken > self._step:
            middle = (taken + refused) // (2 * self._step) * self._step
            taken, refused = (middle, refused) if self._probe(middle) else (taken, middle)
        return taken > start

    def _refine(self, below: Probed, above: Probed, target: float) -> bool:
        """Accept one more size between two known ones, near where N should meet the target."""
        if (below.size, above.size) in self._empty or above.size - below.size <= self._step:
            return False
        share = math.log(target / below.n_params) / math.log(above.n_params / below.n_params)
        guess = below.size * (above.size / below.size) ** share
        if any(map(self._probe, self._candidates(below.size, above.size, guess))):
            return True
        self._empty.add((below.size, above.size))
        return False

    def _candidates(self, below: int, above: int, guess: float) -> Iterator[int]:
        """Untried sizes strictly between two, the likeliest first.

        That is the multiple of the step at the guess, then the round numbers about it (constructors
        like multiples of powers of two), then its neighbours.
        """
        tried = 0
        seen = set()
        for size in self._by_likelihood(guess):
            if below < size < above and size not in seen and size_key(size) not in self._refused:
                seen.add(size)
                tried += 1
                yield size
                if tried == MAX_TRIES:
                    return

    def _by_likelihood(self, guess: float) -> Iterable[int]:
        yield round(guess / self._step) * self._step
        scale = 2 ** max(0, math.floor(math.log2(max(guess, 1) / self._step)))
        while scale > 1:
            unit = scale * self._step
            yield round(guess / unit) * unit
            scale //= 2
        middle = round(guess / self._step)
        for away in range(1, 4 * MAX_TRIES):
            yield (middle + away) * self._step
            yield (middle - away) * self._step

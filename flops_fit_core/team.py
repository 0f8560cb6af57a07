"""Several processes that run the same program: who leads, and how all of them learn one value.

In: a function that only the leader may run (reading and writing files, planning). Out: its value,
or its exception, on every process. One process alone is a team of one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import attrs

T = TypeVar("T")


class Team(Protocol):
    """What a trainer that works on several processes offers as ``trainer.team``."""

    @property
    def rank(self) -> int:
        """This process's number; 0 leads."""
        ...

    @property
    def size(self) -> int:
        """How many processes run the program."""
        ...

    def share(self, make: Callable[[], T]) -> T:
        """Call `make` on rank 0 and return its value (raise its exception) on every rank."""
        ...


@attrs.frozen
class Solo:
    """A team of one process."""

    rank: int = 0
    size: int = 1

    def share(self, make: Callable[[], T]) -> T:
        """Call `make`."""
        return make()

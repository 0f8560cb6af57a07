"""Several processes that train one model: who they are, and what they tell each other over the host network.

In: the environment that ``torchrun`` or ``accelerate launch`` makes. Out: a `flops_fit_core.team.Team` that can also
add up numbers. Gradients go the fast way (DistributedDataParallel); units of data, losses and decisions are a few
numbers and go through gloo, so that no device has to be waited for.

Seen on CPU (gloo, two processes on one machine). NCCL and several machines use the same code and were not seen.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import attrs
import torch
import torch.distributed as dist
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

from flops_fit_core.errors import TrainingError

T = TypeVar("T")

#: Where launchers say how many processes they started.
WORLD_SIZES = frozenset({"WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"})

_REMEDY = (
    "on CPU start them with ACCELERATE_USE_CPU=true torchrun --nproc_per_node N script.py "
    "(accelerate launch --cpu starts one)"
)


@attrs.frozen
class ProcessTeam:
    """All processes of the job; a team of one where there is no job."""

    rank: int = 0
    size: int = 1
    group: Any = attrs.field(default=None, eq=False, repr=False)

    def share(self, make: Callable[[], T]) -> T:
        """See `flops_fit_core.team.Team.share`."""
        if self.size == 1:
            return make()
        box: list[Any] = [None, None]
        if self.rank == 0:
            try:
                box[0] = make()
            except Exception as error:
                box[1] = error
        dist.broadcast_object_list(box, src=0, group=self.group)
        if box[1] is not None:
            raise box[1]
        return box[0]  # type: ignore[no-any-return]

    def gather(self, value: T) -> list[T]:
        """Every process's value, by rank, on every process."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.group)
        return values

    def follow_first(self, tensors: Iterable[torch.Tensor]) -> None:
        """Copy rank 0's values of some tensors to every process."""
        for tensor in tensors if self.size > 1 else ():
            whole = tensor.contiguous()
            dist.broadcast(whole, src=0)
            if whole is not tensor:
                tensor.copy_(whole)

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sums over all processes, on every process."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total, group=self.group)
        return [float(value) for value in total]


def _part() -> None:
    """Leave the team before the interpreter ends: gloo's threads, still running then, would now and then abort it."""
    if dist.is_initialized():
        dist.destroy_process_group()


@cache
def process_team() -> ProcessTeam:
    """The processes that were launched together; joins them at the first call.

    Raises:
        TrainingError: fewer of them run than were asked for.
    """
    asked = max(int(os.environ.get(name, "1")) for name in WORLD_SIZES)
    if asked <= 1:
        # accelerate launch --cpu sets these two for several processes, and then starts one
        if {"MASTER_ADDR", "ACCELERATE_USE_CPU"} <= os.environ.keys() and not WORLD_SIZES & os.environ.keys():
            raise TrainingError(f"several processes were asked for and one was started: {_REMEDY}")
        return ProcessTeam()
    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
    atexit.register(_part)
    if state.num_processes != asked:
        raise TrainingError(f"{asked} processes were asked for and {state.num_processes} train together: {_REMEDY}")
    # rank 0 may fit, report or wait for another driver's run while the others wait for its word
    group = dist.new_group(backend="gloo", timeout=timedelta(days=1))
    return ProcessTeam(state.process_index, state.num_processes, group)

"""The stages as Protocols: what an object must offer to be one. No base class to inherit.

In: nothing; this module only describes. Out: the contracts between the pipeline and every plugin.
Each stage also has ``settings() -> Mapping``, which identifies it in the manifest and (for
trainers) on resume; attrs classes need not write it, their fields are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from flops_fit_core.data import (
        CostModel,
        Fit,
        FlopCount,
        Plan,
        PlanRequest,
        Report,
        Result,
        Run,
        RunRecord,
        Runs,
        Workload,
    )
    from flops_fit_core.store import Workspace

Floats = NDArray[np.float64]


@runtime_checkable
class Planner(Protocol):
    """Chooses sizes and data for every budget."""

    def plan(self, request: PlanRequest) -> Plan:
        """Return the runs to train that are not in ``request.done``.

        Called again after every batch of runs, until it adds none. A budget that cannot be planned
        raises `PlanError` before anything is trained.
        """
        ...


@runtime_checkable
class FlopCounter(Protocol):
    """Tells the cost of a size."""

    def count(self, workload: Workload, size: Any) -> FlopCount:
        """Count FLOPs of forward and backward for one unit of data of ``workload.example``."""
        ...


@runtime_checkable
class Trainer(Protocol):
    """Trains runs.

    Optional members, used where present:

    * ``batch_size: int``: samples in one optimizer step; the planner rounds D to whole steps.
      (A data set that is a ``DataLoader`` brings its own.)
    * ``check(workload, runs)``: raise a `FlopsFitError` for what cannot be trained; called once,
      before anything is written or trained, with the planned runs.
    * ``recipe["simulated"]`` of its records: true where nothing is trained, which a study then says.
    * ``team``: a `flops_fit_core.team.Team`, where several processes run the same program.
    """

    def groups(self, runs: Sequence[Run]) -> Iterable[Sequence[Run]]:
        """Split `runs` into groups that are trained together, one each where nothing is shared."""
        ...

    def train(self, group: Sequence[Run], workload: Workload, workspace: Workspace) -> Iterator[RunRecord]:
        """Train one group, yielding each record as soon as it stands.

        A loss that is not finite gives a record with status ``"diverged"``. An exception is turned
        into ``"failed"`` records by the caller.
        """
        ...


@runtime_checkable
class Fitter(Protocol):
    """Fits a scaling law.

    A law in N and D also has ``loss(params, n, d)``, or ``loss(params, n, d, cost)`` where it needs C. One that averages
    others may have ``member_laws``, their fitters by name; without it they are found by their names.
    """

    def fit(self, runs: Runs, cost: CostModel) -> Fit:
        """Fit the law to the usable runs."""
        ...

    def optimum(self, params: Mapping[str, Any], cost: CostModel, budget: float) -> tuple[Floats, Floats, Floats]:
        """N, D and loss at the compute optimum; vectorised over arrays of parameter draws.

        Called with ``fit.values``, and with ``fit.values`` overlaid by ``fit.draws``. Where one of them is not finite, the
        law has no optimum there.
        """
        ...


@runtime_checkable
class Reporter(Protocol):
    """Shows a result."""

    def report(self, result: Result, out_dir: Path) -> Report:
        """Write files under `out_dir` and return what was made."""
        ...


@runtime_checkable
class Executor(Protocol):
    """Runs work somewhere: the shape of ``concurrent.futures.Executor``, plus ``slots``."""

    @property
    def slots(self) -> int:
        """How many groups train at once."""
        ...

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Start ``fn(*args)`` and return its future."""
        ...

    def shutdown(self) -> None:
        """Free the workers; waiting work is cancelled."""
        ...

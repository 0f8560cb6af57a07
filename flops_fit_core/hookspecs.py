"""The hooks of flops-fit: what a plugin may implement. Their docstrings are the contract.

A plugin is any module (or object) named by an entry point of the group ``flops_fit``, with
functions marked ``@flops_fit.hookimpl``. Registration hooks offer named factories; the work happens
on the objects that the factories make (`flops_fit_core.stages`). Lifecycle hooks only look on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from flops_fit_core.data import Plan, Result, Run, RunRecord, Workload
    from flops_fit_core.stages import Executor, Fitter, FlopCounter, Planner, Reporter, Trainer

GROUP = "flops_fit"

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def flops_fit_planners() -> Mapping[str, Callable[..., Planner]]:  # type: ignore[empty-body]
    """Offer planners by name. A factory takes the planner's options and imports its libraries late."""


@hookspec
def flops_fit_flop_counters() -> Mapping[str, Callable[..., FlopCounter]]:  # type: ignore[empty-body]
    """Offer FLOP counters by name. A factory takes the counter's options and imports its libraries late."""


@hookspec
def flops_fit_trainers() -> Mapping[str, Callable[..., Trainer]]:  # type: ignore[empty-body]
    """Offer trainers by name. A factory takes the trainer's options and imports its libraries late."""


@hookspec
def flops_fit_fitters() -> Mapping[str, Callable[..., Fitter]]:  # type: ignore[empty-body]
    """Offer fitters by name. A factory takes the fitter's options and imports its libraries late."""


@hookspec
def flops_fit_reporters() -> Mapping[str, Callable[..., Reporter]]:  # type: ignore[empty-body]
    """Offer reporters by name. A factory takes the reporter's options and imports its libraries late."""


@hookspec
def flops_fit_executors() -> Mapping[str, Callable[..., Executor]]:  # type: ignore[empty-body]
    """Offer executors by name. A factory takes the executor's options and imports its libraries late."""


@hookspec
def flops_fit_workloads() -> Mapping[str, Callable[..., Workload]]:  # type: ignore[empty-body]
    """Offer workloads by name. A factory takes the workload's options and returns a `Workload`."""


@hookspec
def flops_fit_sweep_start(plan: Plan) -> None:
    """Called in the driver (rank 0) once, before the first run of `plan` is trained."""


@hookspec
def flops_fit_run_start(run: Run) -> None:
    """Called in the driver when a run is seen to train."""


@hookspec
def flops_fit_run_progress(run: Run, n_tokens: int, loss: float | None) -> None:
    """Called in the driver now and then while a run trains, after `n_tokens` units of data."""


@hookspec
def flops_fit_run_end(record: RunRecord) -> None:
    """Called in the driver when a run's record is on disk, whatever its status."""


@hookspec
def flops_fit_sweep_end(result: Result) -> None:
    """Called in the driver once, when the fits are made and before any report is written."""

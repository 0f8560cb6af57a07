"""Executors: "serial" trains in the driver itself, "processes" in worker processes of this machine."""

from collections.abc import Callable, Mapping
from typing import Any

from flops_fit_core.hookspecs import hookimpl
from flops_fit_core.lazy import LazyFactory, lazy_attributes

__getattr__ = lazy_attributes(
    __name__,
    {"SerialExecutor": "serial", "ProcessesExecutor": "processes", "WorkerDiedError": "processes"},
)


@hookimpl
def flops_fit_executors() -> Mapping[str, Callable[..., Any]]:
    """Offer ``serial`` and ``processes``."""
    return {
        "serial": LazyFactory("flops_fit_executors.serial:SerialExecutor"),
        "processes": LazyFactory("flops_fit_executors.processes:ProcessesExecutor", needs="loky", extra="train"),
    }

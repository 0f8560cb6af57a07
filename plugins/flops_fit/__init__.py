"""Compute-optimal model size, data and loss for your own architecture and data set, with error bars.

The front door: every public function, and the default names of every stage. ``import flops_fit``
loads no torch, scipy, lmfit, accelerate or matplotlib.
"""

from flops_fit.api import (
    executor,
    find_optimal,
    fit,
    fitter,
    flop_counter,
    load,
    plan_sweep,
    planner,
    plugins,
    read_runs,
    report,
    reporter,
    trainer,
    workload,
)
from flops_fit_core import __version__, hookspecs
from flops_fit_core.data import (
    CostModel,
    Diagnostic,
    Estimate,
    Fit,
    FlopCount,
    Plan,
    PlanRequest,
    Prediction,
    Report,
    Result,
    Run,
    RunRecord,
    Runs,
    Workload,
)
from flops_fit_core.errors import FlopsFitError
from flops_fit_core.hookspecs import hookimpl

__all__ = [
    "CostModel",
    "Diagnostic",
    "Estimate",
    "Fit",
    "FlopCount",
    "FlopsFitError",
    "Plan",
    "PlanRequest",
    "Prediction",
    "Report",
    "Result",
    "Run",
    "RunRecord",
    "Runs",
    "Workload",
    "__version__",
    "executor",
    "find_optimal",
    "fit",
    "fitter",
    "flop_counter",
    "hookimpl",
    "hookspecs",
    "load",
    "plan_sweep",
    "planner",
    "plugins",
    "read_runs",
    "report",
    "reporter",
    "trainer",
    "workload",
]

"""The values that flow between stages: frozen attrs classes, printable, saved as JSON.

One module a noun: `workload` (what to train), `plan` (what will be trained), `runs` (what came of
it), `cost` (C of N and D), `fit` (the law), `result` (the study).
"""

from flops_fit_core.data.cost import CostModel
from flops_fit_core.data.fit import Estimate, Excluded, Fit, ModelError, Prediction
from flops_fit_core.data.plan import FlopCount, Plan, PlanRequest, Run, Skipped
from flops_fit_core.data.result import Diagnostic, Report, Result, Table
from flops_fit_core.data.runs import CurvePoint, RunRecord, Runs
from flops_fit_core.data.workload import Workload

__all__ = [
    "CostModel",
    "CurvePoint",
    "Diagnostic",
    "Estimate",
    "Excluded",
    "Fit",
    "FlopCount",
    "ModelError",
    "Plan",
    "PlanRequest",
    "Prediction",
    "Report",
    "Result",
    "Run",
    "RunRecord",
    "Runs",
    "Skipped",
    "Table",
    "Workload",
]

"""What a command prints: tables for people, JSON for machines.

In: values of the public API. Out: text on standard output.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import typer

from flops_fit import Fit, Plan, Prediction, Result
from flops_fit_core.compare import compare, largest_budget
from flops_fit_core.serial import plain, to_plain
from flops_fit_core.summary import predictions_text


def print_json(value: Any) -> None:
    """Print plain values as strict JSON."""
    typer.echo(json.dumps(plain(value), indent=1, allow_nan=False))


def plan_json(plan: Plan) -> dict[str, Any]:
    """A plan: its runs, what was left out, the sum."""
    return {**to_plain(plan), "total_flops": plan.total_flops}


def fit_json(fit: Fit) -> dict[str, Any]:
    """A fit without its bootstrap draws and tables."""
    return {name: value for name, value in to_plain(fit).items() if name not in ("draws", "details")}


def result_json(result: Result, predictions: Sequence[Prediction], files: Sequence[Any]) -> dict[str, Any]:
    """A study: what became of its runs, the fits, the answers, the doubts, the files."""
    runs = [{name: value for name, value in row.items() if name not in ("curves", "flags")} for row in result.runs]
    return {
        "workload": result.workload,
        "data_unit": result.data_unit,
        "output_dir": str(result.output_dir),
        "runs": runs,
        "fits": [fit_json(fit) for fit in result.fits],
        "predictions": [to_plain(prediction) for prediction in predictions],
        "diagnostics": [to_plain(diagnostic) for diagnostic in result.diagnostics],
        "files": [str(file) for file in files],
    }


def predictions_shown(fit: Fit, predictions: Sequence[Prediction]) -> str:
    """What each budget buys, with both intervals where the fit has them, and what to doubt."""
    notes = [f"note: {prediction.warning}" for prediction in predictions if prediction.warning]
    return "\n".join([*predictions_text(fit, predictions), *notes])


def comparison_shown(fits: Sequence[Fit], targets: Sequence[float]) -> str:
    """Several fits side by side at the targets, else at the largest budget they know; empty where there is none."""
    largest = largest_budget(fits)
    budgets = targets or ([] if largest is None else [largest])
    return str(compare(fits, budgets)) if len(fits) > 1 and budgets else ""

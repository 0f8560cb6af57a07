"""The answer: predictions with real sizes, the table that people came for, the text to print.

In: a `Result`. Out: `Prediction`, `Table`, text. How a law is evaluated is in
`flops_fit_core.predict`; here it meets the user's model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import attrs

from flops_fit_core.data import Estimate, Fit, Prediction, Report, Result, Table
from flops_fit_core.errors import FlopsFitError, InputError
from flops_fit_core.text import si


def predict_size(result: Result, fit: Fit, compute_budget: float) -> Prediction:
    """Predict by the exact cost of the nearest real size, and name that size.

    A result without its model (loaded from disk) knows sizes and exact costs where they were stored alone.
    """
    study = result.study
    if study is None:
        prediction = fit.predict(compute_budget)
        return attrs.evolve(prediction, size=dict(result.sizes).get(prediction.compute_budget))
    prediction = study.exact(fit, [compute_budget]).predict(compute_budget)
    nearest = study.nearest_size(prediction.n_params.value)
    return attrs.evolve(prediction, size=None if nearest is None else nearest.size)


def nearest_sizes(result: Result, budgets: Iterable[float]) -> tuple[tuple[float, Any], ...]:
    """Each budget with the real size nearest to the first fit's optimum there; left out where there is none."""
    found = []
    for budget in budgets if result.fit is not None else ():
        with contextlib.suppress(Exception):  # no optimum, or a size that the user's model or counter cannot take
            found.append((float(budget), result.predict(budget).size))
    return tuple(found)


def chinchilla_table(result: Result, compute_budgets: Sequence[float]) -> Table:
    """One row a budget; where the fit has intervals, both stand beside N and loss, each by its name."""
    predictions = [result.predict(budget) for budget in compute_budgets]
    of_n, of_loss = [p.n_params for p in predictions], [p.loss for p in predictions]
    columns = {
        "C (FLOPs)": [si(p.compute_budget) for p in predictions],
        "N (params)": [si(n.value) for n in of_n],
        **_intervals("N", of_n, result.fit),
        f"D ({result.data_unit})": [si(p.n_tokens.value) for p in predictions],
        "D/N": [f"{p.tokens_per_param:.4g}" for p in predictions],
        "loss": [f"{loss.value:.4f}" for loss in of_loss],
        **_intervals("loss", of_loss, result.fit, digits=4),
        "nearest size": ["—" if p.size is None else str(p.size) for p in predictions],
    }
    return Table(
        head=tuple(columns),
        rows=tuple(zip(*columns.values(), strict=True)),
        data=tuple(_numbers(p) for p in predictions),
        notes=(*_simulated(result), *dict.fromkeys(p.warning for p in predictions if p.warning)),
    )


def _intervals(name: str, estimates: Sequence[Estimate], fit: Fit | None, digits: int = 3) -> dict[str, list[str]]:
    """Columns of both intervals by their heads; none where no budget has any, one of a law without a model error."""
    if fit is None or all(e.low is None for e in estimates):
        return {}
    ends = {"sampling": [(e.sampling_low, e.sampling_high) for e in estimates]}
    if fit.model_error is not None:
        ends["prediction"] = [(e.low, e.high) for e in estimates]
    return {
        f"{name}, {100 * fit.confidence:g} % {kind}": [
            "—" if low is None else f"{si(low, digits)} to {si(high, digits)}" for low, high in pairs
        ]
        for kind, pairs in ends.items()
    }


def _numbers(p: Prediction) -> dict[str, Any]:
    return {
        "compute_budget": p.compute_budget,
        "n_params": p.n_params.value,
        "n_params_low": p.n_params.low,
        "n_params_high": p.n_params.high,
        "n_params_sampling_low": p.n_params.sampling_low,
        "n_params_sampling_high": p.n_params.sampling_high,
        "n_tokens": p.n_tokens.value,
        "tokens_per_param": p.tokens_per_param,
        "loss": p.loss.value,
        "loss_low": p.loss.low,
        "loss_high": p.loss.high,
        "loss_sampling_low": p.loss.sampling_low,
        "loss_sampling_high": p.loss.sampling_high,
        "size": p.size,
        "extrapolation": p.extrapolation,
    }


def report(result: Result, out_dir: Path | None, reporter: Any) -> Report:
    """Find the reporter and let it work."""
    from flops_fit_core.registry import default_registry

    if reporter is None:
        reporter = result.study.reporter if result.study is not None else result.chosen.get("reporter")
    if reporter is None:
        raise InputError("no reporter is at hand: name one, such as result.report(reporter='matplotlib')")
    out_dir = result.output_dir if out_dir is None else out_dir
    if out_dir is None:
        raise InputError("this result has no folder: say where to write, result.report(out_dir=...)")
    out_dir = Path(out_dir)
    there = next((path for path in (out_dir, *out_dir.parents) if path.exists()), None)
    if there is not None and not there.is_dir():
        raise InputError(
            f"cannot write to {str(out_dir)!r}: {str(there)!r} is a file; name a folder, such as 'figures'"
        )
    registry = result.study.registry if result.study is not None else default_registry()
    made: Report = registry.resolve("reporter", reporter).report(result, out_dir)
    return made


def answer_text(result: Result) -> str:
    """Table, fits side by side, what to doubt, and where the files are, for a terminal."""
    table = own_table(result)
    parts = [_title(result), "" if table is None else str(table), trained_for(result)]
    if table is not None and result.fit is not None and (len(result.fits) > 1 or result.fit.members):
        parts.append(f"The fits side by side:\n\n{result.compare([max(result.plan.budgets)])}")
    parts.append("\n".join(f"note: {text}" for text in _doubts(result, table)))
    if result.output_dir is not None:
        parts.append(f"Everything is in {result.output_dir}")
    return "\n\n".join(filter(None, parts))


def answer_html(result: Result) -> str:
    """The same for a notebook."""
    table = own_table(result)
    doubts = "".join(f"<li>{escape(text)}</li>" for text in _doubts(result, table))
    shown = table._repr_html_() if table else ""
    return f"<p>{escape(_title(result))}</p>{shown}<p>{escape(trained_for(result))}</p><ul>{doubts}</ul>"


def own_table(result: Result) -> Table | None:
    """The study's own table; ``None`` where nothing was fitted or the fit has no optimum (a diagnostic says so)."""
    try:
        return result.chinchilla_table()
    except FlopsFitError:  # no optimum, or a loaded study whose fitter is not installed here
        return None


def trained_for(result: Result) -> str:
    """What the study's training cost, and what shared trunks saved; empty where nothing was trained."""
    trained = [record for record in result.records if not record.recipe.get("simulated")]
    whole = sum(record.flops for record in trained)
    spent = sum(record.flops_spent or record.flops for record in trained)
    saved = round(100 * (1 - spent / whole)) if whole else 0
    less = f", {saved} % less than from scratch (shared trunks)" if saved > 0 else ""
    return f"trained for {si(spent, 3)} FLOPs{less}" if whole else ""


def _title(result: Result) -> str:
    done = sum(record.status == "done" for record in result.records)
    by = f", by fitter {result.fit.fitter!r}" if result.fit else ", nothing fitted"
    return f"{result.workload}: {done} of {len(result.plan)} runs done at {len(result.plan.budgets)} budgets{by}"


def _doubts(result: Result, table: Table | None) -> list[str]:
    """What the diagnostics say and the table does not."""
    said = () if table is None else table.notes
    return [text for text in map(str, result.diagnostics) if text not in said]


def _simulated(result: Result) -> list[str]:
    return [str(diagnostic) for diagnostic in result.diagnostics if diagnostic.kind == "simulated"]

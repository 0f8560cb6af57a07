"""The wiring: prepare, plan, train, fit, report, load. No science happens here.

In: a `Study` of stage objects. Out: a `Plan`, or a `Result` that is also on disk.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from flops_fit_core.answer import nearest_sizes, own_table, trained_for
from flops_fit_core.cells import at_the_end, best_of_cells
from flops_fit_core.data import Diagnostic, Fit, Plan, Result, RunRecord, Runs
from flops_fit_core.diagnostics import diagnose
from flops_fit_core.errors import InputError, StoreError
from flops_fit_core.fitting import cost_of, fit_all
from flops_fit_core.inputs import enough_budgets
from flops_fit_core.manifest import Manifest, check_folder, join, read_manifest, write_manifest
from flops_fit_core.serial import from_plain, to_plain
from flops_fit_core.store import SCHEMA, Workspace, read_json, write_json, write_text
from flops_fit_core.study import Study
from flops_fit_core.sweep import train_runs
from flops_fit_core.training import FINISHED, team_of

log = logging.getLogger("flops_fit")


def find_optimal(study: Study, output_dir: Path, resume: bool) -> Result:
    """Plan, train what has no record, fit, report; every rank of a team gets the same result."""
    team = team_of(study.trainer)
    if team.size > 1 and type(study.executor) is not type(study.registry.make("executor", "serial")):
        raise InputError(
            f"{team.size} processes run this program (torchrun or accelerate launch), which needs executor='serial', "
            f"not {study.chosen['executor']!r}: every process trains every run together"
        )
    workspace = Workspace(output_dir)
    manifest, plan = team.share(lambda: _open(study, workspace, resume))
    if hasattr(study.trainer, "check") and plan.runs:
        study.trainer.check(study.workload, plan.runs)
    manifest = team.share(lambda: write_manifest(output_dir, attrs.evolve(manifest, plan=plan), resume))
    silent = team.rank != 0

    def fire(hook: str, **arguments: Any) -> None:
        if not silent:
            study.registry.fire(hook, **arguments)

    fire("flops_fit_sweep_start", plan=plan)
    manifest = _train(study, workspace, manifest, plan, fire)
    result = team.share(lambda: _finish(study, workspace, manifest, fire))
    return attrs.evolve(result, study=study)


def _open(study: Study, workspace: Workspace, resume: bool) -> tuple[Manifest, Plan]:
    """Check the folder and plan what is left to train; nothing is written yet."""
    manifest = study.manifest()
    before = check_folder(workspace.root, manifest, resume)
    records = _records(workspace, before.plan if before else Plan(runs=()))
    enough_budgets(study.budgets, [record.run.budget for record in records])
    axes = sorted({*study.hparams, *(before.chosen.get("axes", ()) if before else ())})
    manifest = attrs.evolve(manifest, chosen={**manifest.chosen, "axes": axes})
    return manifest, _left(study, records, axes)


def _left(study: Study, records: Sequence[RunRecord], axes: Sequence[str]) -> Plan:
    """The planned runs that are not finished: failed ones are tried again."""
    finished = {record.run.run_id: record for record in records if record.status in FINISHED}
    done = [record for record in finished.values() if study.recipes(record.run, axes) <= finished.keys()]
    # D as planned, so that a run is recognised whatever was trained
    table = attrs.evolve(Runs.from_records(done), n_tokens=[record.run.n_tokens for record in done])
    plan = study.plan(table)
    return attrs.evolve(plan, runs=tuple(run for run in plan.runs if run.run_id not in finished))


def _train(study: Study, workspace: Workspace, manifest: Manifest, plan: Plan, fire: Any) -> Manifest:
    """Train the plan, ask the planner for more, until it adds nothing."""
    team = team_of(study.trainer)
    assert study.executor is not None
    tried: set[str] = set()
    try:
        while plan.runs:
            tried |= {run.run_id for run in plan.runs}
            train_runs(plan.runs, study.trainer, study.workload, workspace, study.executor, fire)
            manifest, plan = team.share(partial(_more, study, workspace, manifest, frozenset(tried)))
    finally:
        study.executor.shutdown()
    return manifest


def _more(study: Study, workspace: Workspace, manifest: Manifest, tried: frozenset[str]) -> tuple[Manifest, Plan]:
    """What the planner adds after a batch of runs, noted in the folder; runs tried in this call are not tried again."""
    plan = _left(study, _records(workspace, manifest.plan), manifest.chosen["axes"])
    plan = attrs.evolve(plan, runs=tuple(run for run in plan.runs if run.run_id not in tried))
    if plan.runs:
        joined = attrs.evolve(manifest, plan=join(manifest.plan, plan))
        manifest = write_manifest(workspace.root, joined, resume=True)
    return manifest, plan


def _finish(study: Study, workspace: Workspace, manifest: Manifest, fire: Any) -> Result:
    """Fit every record of the folder, write the answer, report."""
    records = _records(workspace, manifest.plan)
    runs = Runs.from_records(records)
    best = best_of_cells(runs) if any(record.run.hparams for record in records) else runs
    cost = cost_of(runs)
    fits, failures = fit_all(study.fitters, best, cost)
    fits = tuple(study.exact(fit, _printed(manifest.plan)) for fit in fits)
    said = (
        [Diagnostic(kind="recipe", message=text) for text in at_the_end(best, study.hparams)] if study.hparams else []
    )
    result = attrs.evolve(_result(manifest, workspace.root, records, fits, [*failures, *said]), study=study)
    result = attrs.evolve(result, sizes=nearest_sizes(result, _printed(manifest.plan)))
    saved = {"fits": to_plain(list(fits)), "sizes": to_plain(result.sizes), "said": to_plain([*failures, *said])}
    write_json(workspace.root / "fit.json", {"schema": SCHEMA, **saved})
    fire("flops_fit_sweep_end", result=result)
    said = [*result.diagnostics, *_show(result)]
    return attrs.evolve(result, diagnostics=tuple(said), study=None)


def _printed(plan: Plan) -> list[float]:
    """The budgets that are printed unasked: the study's own, ten and a hundred times the largest."""
    return [*plan.budgets, *(times * max(plan.budgets) for times in (10, 100) if plan.budgets)]


def _show(result: Result) -> list[Diagnostic]:
    """Write the table and let the reporter work; what fails here must not cost the result."""
    assert result.output_dir is not None
    try:
        if (table := own_table(result)) is not None:
            write_text(result.output_dir / "table.md", f"{table}\n\n{trained_for(result)}\n")
        if result.study is not None and result.study.reporter is not None:
            result.study.reporter.report(result, result.output_dir)
    except Exception as error:
        log.exception("the report could not be made; the result stands")
        return [Diagnostic(kind="report", message=f"the report could not be made: {type(error).__name__}: {error}")]
    return []


def _result(
    manifest: Manifest, root: Path, records: Sequence[RunRecord], fits: Sequence[Fit], said: Sequence[Diagnostic]
) -> Result:
    runs = Runs.from_records(records)
    doubts = diagnose(records, runs, fits, manifest.parametrization)
    unknown = [
        Diagnostic(kind="identity", message=f"{text}; a change in it would not be noticed")
        for text in manifest.unidentified
    ]
    return Result(
        workload=manifest.workload,
        plan=manifest.plan,
        records=tuple(records),
        runs=runs,
        fits=tuple(fits),
        diagnostics=(*said, *doubts, *unknown),
        cost=cost_of(runs),
        data_unit=manifest.data_unit,
        output_dir=root,
        plugins=manifest.plugins,
        chosen=manifest.chosen,
    )


def _records(workspace: Workspace, plan: Plan) -> list[RunRecord]:
    """The records that stand, in the plan's order."""
    found = (workspace.record(run) for run in plan.runs)
    return [record for record in found if record is not None]


def load(output_dir: Path) -> Result:
    """Read a finished or half-finished study.

    Raises:
        StoreError: the folder holds none, or a damaged one.
    """
    manifest = read_manifest(output_dir)
    if manifest is None:
        raise StoreError(f"{str(output_dir)!r} holds no study: there is no sweep.json in it")
    records = _records(Workspace(output_dir), manifest.plan)
    path = output_dir / "fit.json"
    left = len(manifest.plan) - len(records)
    if not path.exists():
        text = f"not fitted yet: {left} of {len(manifest.plan)} runs have no record; the call that made this folder goes on with it"
        return _result(manifest, output_dir, records, (), [Diagnostic(kind="fit", message=text)])
    saved = read_json(path)
    said = from_plain(saved["said"], list[Diagnostic])
    if left:
        text = (
            f"{left} of {len(manifest.plan)} runs have no record yet, and the fits may predate others: repeat the call"
        )
        said.append(Diagnostic(kind="fit", message=text))
    result = _result(manifest, output_dir, records, from_plain(saved["fits"], list[Fit]), said)
    sizes = from_plain(saved.get("sizes", []), tuple[tuple[float, Any], ...])  # absent in older folders
    return attrs.evolve(result, sizes=sizes)

"""Every public function of flops-fit, with the default name of every stage.

In: what a researcher has: a model class, data, a loss, budgets, names. Out: a `Plan`, a `Result` or
a `Fit`; the work is the core's and the plugins'.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flops_fit_core.data import CostModel, Fit, Plan, Report, Result, Runs, Workload
from flops_fit_core.errors import FitError, InputError, InputTypeError, nearest
from flops_fit_core.names import OwnName

if TYPE_CHECKING:
    from flops_fit_core.registry import PluginInfo, Registry

MODES = {"local": "accelerate", "mock": "simulate"}

#: The default of every stage: the one of this distribution, whoever else offers its name.
OWN = {
    stage: OwnName(name, "flops-fit")
    for stage, name in {
        "planner": "isoflop",
        "flop_counter": "torch",
        "trainer": "accelerate",
        "fitter": "ensemble",
        "reporter": "matplotlib",
        "executor": "serial",
    }.items()
}


def find_optimal(
    model_cls: Any = None,
    model_size_param: str | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    dataset: Any = None,
    loss_fn: Any = None,
    compute_budgets: Sequence[float] | None = None,
    *,
    eval_dataset: Any = None,
    sizes: Sequence[Any] | None = None,
    seeds: Sequence[int] = (0,),
    hparams: Mapping[str, Sequence[Any]] | None = None,
    data_unit: str | None = None,
    collate_fn: Any = None,
    optimizer: Any = None,
    workload: Workload | str | None = None,
    planner: Any = OWN["planner"],
    flop_counter: Any = OWN["flop_counter"],
    trainer: Any = OWN["trainer"],
    fitter: Any = OWN["fitter"],
    reporter: Any = OWN["reporter"],
    executor: Any = OWN["executor"],
    output_dir: str | Path = "outputs",
    resume: bool = True,
    train: bool = True,
    mode: str = "local",
    plugins: Sequence[object] = (),
) -> Any:
    """Plan an IsoFLOP sweep, train it, fit it, and say how big a model a budget wants.

    Args:
        model_cls: the model class, or a function of one size that returns a model; what it makes
            has ``num_params() -> int``.
        model_size_param: name of the argument that scales the model.
        model_kwargs: its other arguments.
        dataset: torch ``Dataset``, ``IterableDataset`` or ``DataLoader`` of ``(inputs, targets)`` or dicts.
        loss_fn: ``loss_fn(outputs, targets) -> scalar``; ``None`` for models that return their own.
        compute_budgets: FLOPs (forward and backward) of each IsoFLOP curve; three or more.
        eval_dataset: held-out data, or a dict of named sets, the first of which is the loss;
            ``None``: a fixed split of `dataset`.
        sizes: sizes to train at every budget; ``None``: the planner chooses.
        seeds: every cell is trained once with each.
        hparams: recipe axes such as ``{"lr": [1e-3, 2e-3]}``: every cell is trained at each value,
            and the best of each cell is fitted.
        data_unit: what D counts, where it cannot be told from the data.
        collate_fn: makes a batch of a list of samples; ``None``: torch's default, or the loader's own.
        optimizer: ``optimizer(model, lr, betas, weight_decay) -> torch.optim.Optimizer``, with rates of its own for
            single parameters if it wants; ``None``: AdamW.
        workload: a `Workload`, or the name of one, in place of `model_cls` to `loss_fn`.
        planner: chooses sizes; this and every stage below is a name, or an object with the methods of its
            Protocol in `flops_fit_core.stages`.
        flop_counter: counts FLOPs; also a callable ``(model, batch) -> FLOPs``.
        trainer: trains the runs.
        fitter: fits the law; also a sequence of fitters, whose first gives the answer.
        reporter: writes figures; ``None`` writes none.
        executor: where runs train.
        output_dir: the study's folder; one folder, one study.
        resume: go on with the study in `output_dir`; finished runs are never trained again.
        train: ``False``: return the `Plan`, with nothing trained or written.
        mode: ``"local"``, or ``"mock"``: losses from a known law, no training.
        plugins: plugin objects for this call, beside the installed ones.

    Returns:
        A `Result`; the `Plan` with ``train=False``.

    Raises:
        FlopsFitError: bad input, before anything is trained or written.
    """
    from flops_fit_core.choices import Choices, make_study
    from flops_fit_core.pipeline import find_optimal

    if mode not in MODES:
        raise InputError(f"mode={mode!r} is unknown.{nearest(str(mode), MODES)} Modes: {', '.join(map(repr, MODES))}")
    choices = Choices(
        workload=workload,
        model_cls=model_cls,
        model_size_param=model_size_param,
        model_kwargs=model_kwargs,
        dataset=dataset,
        eval_dataset=eval_dataset,
        loss_fn=loss_fn,
        data_unit=data_unit,
        collate_fn=collate_fn,
        optimizer=optimizer,
        compute_budgets=compute_budgets,
        sizes=sizes,
        seeds=seeds,
        hparams=hparams,
        planner=planner,
        flop_counter=flop_counter,
        trainer=MODES[mode] if mode != "local" else trainer,
        fitter=fitter,
        reporter=reporter,
        executor=executor,
        plugins=plugins,
    )
    if not isinstance(output_dir, str | os.PathLike):
        raise InputTypeError(f"output_dir={output_dir!r} is no folder: give a path, such as 'outputs'")
    study = make_study(choices, train=train)
    if not train:
        return study.plan()
    return find_optimal(study, Path(output_dir), resume)


def plan_sweep(
    model_cls: Any = None,
    model_size_param: str | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    dataset: Any = None,
    loss_fn: Any = None,
    compute_budgets: Sequence[float] | None = None,
    *,
    eval_dataset: Any = None,
    sizes: Sequence[Any] | None = None,
    seeds: Sequence[int] = (0,),
    hparams: Mapping[str, Sequence[Any]] | None = None,
    data_unit: str | None = None,
    collate_fn: Any = None,
    optimizer: Any = None,
    workload: Workload | str | None = None,
    planner: Any = OWN["planner"],
    flop_counter: Any = OWN["flop_counter"],
    trainer: Any = OWN["trainer"],
    plugins: Sequence[object] = (),
) -> Plan:
    """Plan a sweep and return it; reads and writes no folder. Arguments as `find_optimal`."""
    plan: Plan = find_optimal(
        model_cls,
        model_size_param,
        model_kwargs,
        dataset,
        loss_fn,
        compute_budgets,
        eval_dataset=eval_dataset,
        sizes=sizes,
        seeds=seeds,
        hparams=hparams,
        data_unit=data_unit,
        collate_fn=collate_fn,
        optimizer=optimizer,
        workload=workload,
        planner=planner,
        flop_counter=flop_counter,
        trainer=trainer,
        train=False,
        plugins=plugins,
    )
    return plan


def read_runs(path: Any, columns: Mapping[str, str] | None = None, *, bad_rows: str = "error") -> Runs:
    """Read runs from a table of anybody's.

    Needed are ``loss`` and two of ``n_params``, ``n_tokens`` and ``flops``; the third follows by C = 6·N·D. They are read as
    they stand, in parameters, units of data and FLOPs: multiply columns in millions or billions first.
    Used where they are there: ``budget``, ``seed``, ``loss_stderr``, ``n_params_non_embedding``, ``size``,
    ``status`` (also in W&B's words), ``schedule``, ``label``, ``hparams``, ``flags``. Other columns are not read.
    A run whose status says that it diverged, crashed or failed needs no numbers: it is kept and is in no fit.

    Args:
        path: CSV or TSV with a header, JSON lines, or JSON as an array of records or as pandas writes it;
            or a data frame. An object in a cell has dotted names: ``config.n_params``.
        columns: the table's names for the names above: ``{"n_params": "params", "loss": "eval/loss"}``.
        bad_rows: ``"error"``, or ``"drop"`` to leave them out and name them in `Runs.notes`.

    Returns:
        Runs labelled by their line, or in a data frame by their index. Runs that state no ``budget`` are given
        a stated one within 3 % of their C; else budgets are recovered from C where it groups
        (`flops_fit_core.clusters.cluster_budgets`), as `Runs.notes` tells.

    Raises:
        InputError: no such file, no such column (with the nearest name), one column for two quantities, or rows that
            cannot be used (missing, zero, negative or non-finite numbers, text, duplicates), each by its line or index.
        InputTypeError: `path` is neither a path nor a data frame, or `columns` is no mapping.
    """
    from flops_fit_core.tables import read_runs

    return read_runs(path, columns, bad_rows=bad_rows)


def fit(runs: Runs, fitter: Any = OWN["fitter"], flop_counter: str | CostModel = "6nd") -> Any:
    """Fit runs, read from a file or taken from a `Result`; needs no torch.

    Args:
        runs: the table of runs.
        fitter: a name or object, or a sequence of these.
        flop_counter: the cost model: ``"6nd"``, ``"measured"`` (the runs' own FLOPs), or a `CostModel`.

    Returns:
        A `Fit`; for a sequence of fitters the list of the fits that could be made, in their order. What its runs give
        to doubt (minima at the edge, too few budgets, an optimum outside the sizes that were trained, a misfit) is
        among each one's notes; where the first and another disagree beyond their intervals, that is among the first's.
        A fitter of several that gives none is named by a ``UserWarning``, with its reason.

    Raises:
        FlopsFitError: the runs cannot be fitted, of several fitters by any; the message says what is missing.
    """
    from flops_fit_core.diagnostics import doubted, doubted_of
    from flops_fit_core.fitting import cost_named, fit_all, fit_one

    if not isinstance(runs, Runs):
        raise InputTypeError(
            f"runs is a {type(runs).__name__}: give Runs, such as flops_fit.read_runs(…) makes of a path or a data frame, or "
            "result.runs of a study"
        )
    cost = cost_named(flop_counter, runs)
    if not isinstance(fitter, list | tuple):
        return doubted(fit_one(_registry().resolve("fitter", fitter), runs, cost), runs)
    if not fitter:
        raise InputError(f"fitter={fitter!r} names no fitter: give one or several, such as ['ensemble', 'surface']")
    fits, failures = fit_all([_registry().resolve("fitter", choice) for choice in fitter], runs, cost)
    if not fits:
        raise FitError("; ".join(failure.message for failure in failures))
    for failure in failures:
        warnings.warn(failure.message, UserWarning, stacklevel=2)
    return doubted_of(fits, runs)


def report(
    runs: Runs,
    fits: Fit | Sequence[Fit],
    out_dir: str | Path,
    *,
    reporter: Any = OWN["reporter"],
    name: str = "runs",
    data_unit: str = "tokens",
) -> Report:
    """Draw runs that were fitted by `fit`: the figures that a study has.

    Args:
        runs: the table of runs.
        fits: a fit of them, or several, whose first gives the answer.
        out_dir: where the reporter writes.
        reporter: a name or object.
        name: of the runs, for titles.
        data_unit: what D counts.

    Returns:
        A `Report`: its figures by name, and the files that were written.
    """
    from flops_fit_core.answer import report
    from flops_fit_core.diagnostics import said_of

    several: list[Any] = list(fits) if isinstance(fits, list | tuple) else [fits]
    if not (isinstance(runs, Runs) and several and all(isinstance(each, Fit) for each in several)):
        raise InputTypeError("report takes runs and what fit() made of them: report(runs, fit(runs), 'figures')")
    result = Result(
        workload=name,
        plan=Plan(runs=()),
        records=(),
        runs=runs,
        fits=tuple(several),
        diagnostics=tuple(said_of(several, runs)),
        cost=several[0].cost,
        data_unit=data_unit,
    )
    return report(result, Path(out_dir), reporter)


def load(output_dir: str | Path) -> Result:
    """Read a finished or half-finished study from its folder."""
    from flops_fit_core.pipeline import load

    return load(Path(output_dir))


def _registry() -> Registry:
    """The installed plugins; discovered at first use, never while this module is imported (plugins import it)."""
    from flops_fit_core.registry import default_registry

    return default_registry()


def plugins() -> list[PluginInfo]:
    """What is installed, what it offers, and what failed to import and why."""
    return list(_registry().plugins)


def planner(name: str, /, **options: Any) -> Any:
    """Make the planner called `name` with options."""
    return _registry().make("planner", name, **options)


def flop_counter(name: str, /, **options: Any) -> Any:
    """Make the FLOP counter called `name` with options."""
    return _registry().make("flop_counter", name, **options)


def trainer(name: str, /, **options: Any) -> Any:
    """Make the trainer called `name` with options."""
    return _registry().make("trainer", name, **options)


def fitter(name: str, /, **options: Any) -> Any:
    """Make the fitter called `name` with options."""
    return _registry().make("fitter", name, **options)


def reporter(name: str, /, **options: Any) -> Any:
    """Make the reporter called `name` with options."""
    return _registry().make("reporter", name, **options)


def executor(name: str, /, **options: Any) -> Any:
    """Make the executor called `name` with options."""
    return _registry().make("executor", name, **options)


def workload(name: str, /, **options: Any) -> Workload:
    """Make the workload called `name` with options."""
    made: Workload = _registry().make("workload", name, **options)
    return made

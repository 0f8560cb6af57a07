"""The commands: `plan`, `run`, `fit`, `report`, `plugins`, each a few calls of the public API.

In: what typer read. Out: see `flops_fit_cli`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import flops_fit
from flops_fit_cli.command import NO_ANSWER, Command
from flops_fit_cli.settings import Settings, value_of
from flops_fit_cli.show import comparison_shown, fit_json, plan_json, predictions_shown, print_json, result_json
from flops_fit_core.errors import InputError
from flops_fit_core.faults import DROP
from flops_fit_core.serial import to_plain
from flops_fit_core.tables import MAPPING

_OPTIONS = {
    MAPPING: "say which is which, as in --columns n_params=params n_tokens=tokens loss=eval/loss",
    DROP: "--bad-rows drop",
}
"""What errors of `flops_fit.read_runs` tell a Python program to do, for a shell."""

app = typer.Typer(
    help="Compute-optimal model size, data and loss, with error bars.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _names(stage: str) -> Callable[[str], list[str]]:
    """Completion of a stage's name from what is installed."""

    def complete(incomplete: str) -> list[str]:
        found = [name for plugin in flops_fit.plugins() for name in plugin.offers.get(stage, ())]
        return sorted(name for name in found if name.startswith(incomplete))

    return complete


def _stage(option: str, stage: str, text: str) -> Any:
    return typer.Option(f"--{option}", help=f"{text}, by name.", autocompletion=_names(stage), metavar="NAME")


Workload = Annotated[
    str, typer.Argument(help="What to train: gpt, vit, or any installed workload.", autocompletion=_names("workload"))
]
Budgets = Annotated[list[float], typer.Option("--budgets", help="Compute budgets in FLOPs.", metavar="C…")]
Sizes = Annotated[
    list[str],
    typer.Option("--sizes", help="Sizes to train at every budget; else the planner chooses.", metavar="SIZE…"),
]
Seeds = Annotated[list[int], typer.Option("--seeds", help="Train every cell once with each.", metavar="SEED…")]
Set = Annotated[
    list[str],
    typer.Option(
        "--set",
        help="Options of stages: workload.n_layers=3 trainer.lr=0.002 … Of one of several fitters: fitter.surface.delta=0.01",
        metavar="STAGE.OPTION=VALUE…",
    ),
]
Targets = Annotated[
    list[float], typer.Option("--target", help="Budgets to predict for, in FLOPs, besides those trained.", metavar="C…")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Planner = Annotated[str, _stage("planner", "planner", "Chooses sizes and data")]
Counter = Annotated[str, _stage("flop-counter", "flop_counter", "Tells the cost of a size")]
Trainer = Annotated[str, _stage("trainer", "trainer", "Trains the runs ('simulate' trains nothing)")]
Fitters = Annotated[list[str], _stage("fitter", "fitter", "Fits the law; of several, the first gives the answer")]


@app.command(cls=Command)
def plan(
    workload: Workload,
    budgets: Budgets,
    sizes: Sizes = [],  # noqa: B006
    seeds: Seeds = [0],  # noqa: B006
    planner: Planner = "isoflop",
    flop_counter: Counter = "torch",
    trainer: Trainer = "accelerate",
    settings: Set = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Show what a sweep would train, and train nothing.

    flops-fit plan gpt --budgets 1e12 3e12 1e13
    """
    chosen = Settings(settings, _planned(workload, planner, flop_counter, trainer))
    made = flops_fit.plan_sweep(
        workload=chosen.make("workload", workload),
        compute_budgets=budgets,
        sizes=_sizes(sizes),
        seeds=seeds,
        planner=chosen.make("planner", planner),
        flop_counter=chosen.make("flop_counter", flop_counter),
        trainer=chosen.make("trainer", trainer),
    )
    if as_json:
        print_json(plan_json(made))
    else:
        typer.echo(str(made))


@app.command(cls=Command)
def run(
    workload: Workload,
    budgets: Budgets,
    output_dir: Annotated[Path, typer.Option(help="The study's folder; one folder, one study.")] = Path("outputs"),
    target: Targets = [],  # noqa: B006
    sizes: Sizes = [],  # noqa: B006
    seeds: Seeds = [0],  # noqa: B006
    planner: Planner = "isoflop",
    flop_counter: Counter = "torch",
    trainer: Trainer = "accelerate",
    fitter: Fitters = ["ensemble"],  # noqa: B006
    reporter: Annotated[str, _stage("reporter", "reporter", "Writes figures and pages")] = "matplotlib",
    executor: Annotated[str, _stage("executor", "executor", "Where runs are trained")] = "serial",
    settings: Set = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Train a sweep, fit it and print the answer. The same command goes on where it was stopped.

    flops-fit run gpt --budgets 3e10 6e10 1.2e11 --output-dir outputs/gpt --executor processes
    """
    planned = _planned(workload, planner, flop_counter, trainer)
    chosen = Settings(settings, {**planned, "fitter": fitter, "reporter": [reporter], "executor": [executor]})
    result = flops_fit.find_optimal(
        workload=chosen.make("workload", workload),
        compute_budgets=budgets,
        sizes=_sizes(sizes),
        seeds=seeds,
        planner=chosen.make("planner", planner),
        flop_counter=chosen.make("flop_counter", flop_counter),
        trainer=chosen.make("trainer", trainer),
        fitter=[chosen.make("fitter", name) for name in fitter],
        reporter=chosen.make("reporter", reporter),
        executor=chosen.make("executor", executor),
        output_dir=output_dir,
    )
    _answer(result, target, [], as_json)


@app.command(cls=Command)
def fit(
    runs: Annotated[
        Path, typer.Argument(help="Your runs: CSV, or JSON, with loss and two of n_params, n_tokens, flops.")
    ],
    target: Targets = [],  # noqa: B006
    fitter: Fitters = ["ensemble"],  # noqa: B006
    columns: Annotated[
        list[str],
        typer.Option("--columns", help="The file's names: n_params=params loss=eval/loss …", metavar="NAME=COLUMN…"),
    ] = [],  # noqa: B006
    bad_rows: Annotated[
        Literal["error", "drop"],
        typer.Option(help="Rows that cannot be used: 'drop' leaves them out and says which."),
    ] = "error",
    flop_counter: Annotated[
        str, typer.Option(help="What C costs: 6nd, or measured (the file's own FLOPs).", metavar="NAME")
    ] = "6nd",
    out_dir: Annotated[Path | None, typer.Option(help="Draw the runs and the fits into this folder.")] = None,
    settings: Set = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Fit runs from a file; needs no torch.

    flops-fit fit runs.csv --target 1e23 1e24 --out-dir figures
    """
    chosen = Settings(settings, {"fitter": fitter})
    table = _read(runs, _columns(columns), bad_rows)
    fits = flops_fit.fit(table, [chosen.make("fitter", name) for name in fitter], flop_counter)
    predictions = [fits[0].predict(budget) for budget in target]
    files = [] if out_dir is None else flops_fit.report(table, fits, out_dir, name=runs.stem).files
    if as_json:
        predicted = [to_plain(prediction) for prediction in predictions]
        fitted = [fit_json(each) for each in fits]
        print_json({"fits": fitted, "predictions": predicted, "files": [str(file) for file in files]})
        return
    typer.echo("\n\n".join(str(each) for each in fits))
    if predictions:
        typer.echo(f"\nby fitter {fits[0].fitter!r}:\n\n{predictions_shown(fits[0], predictions)}")
    if compared := comparison_shown(fits, target):
        typer.echo(f"\nside by side:\n\n{compared}")
    _say(files)


@app.command(cls=Command)
def report(
    output_dir: Annotated[Path, typer.Argument(help="The folder of a study, finished or not.")],
    target: Targets = [],  # noqa: B006
    reporter: Annotated[str | None, _stage("reporter", "reporter", "Another reporter than the study's own")] = None,
    out_dir: Annotated[Path | None, typer.Option(help="Where to write, if not into the study's folder.")] = None,
    settings: Set = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Print a study's answer and write its figures again.

    flops-fit report outputs/
    """
    chosen = Settings(settings, {"reporter": [] if reporter is None else [reporter]})
    if settings and reporter is None:
        raise InputError("--set reporter.… needs --reporter NAME: the study's own reporter keeps its settings")
    result = flops_fit.load(output_dir)
    made = result.report(out_dir, None if reporter is None else chosen.make("reporter", reporter))
    _answer(result, target, list(made.files), as_json)


@app.command(cls=Command)
def plugins(as_json: Json = False) -> None:
    """List what is installed, what it offers, and what is broken and why."""
    found = flops_fit.plugins()
    if as_json:
        print_json(
            [{**_plugin(plugin), "error": None if plugin.error is None else repr(plugin.error)} for plugin in found]
        )
    else:
        typer.echo("\n".join(map(str, found)))
    if any(plugin.error is not None for plugin in found):
        raise typer.Exit(NO_ANSWER)


def _planned(workload: str, planner: str, flop_counter: str, trainer: str) -> dict[str, list[str]]:
    """What was chosen for the stages that make a plan."""
    return {"workload": [workload], "planner": [planner], "flop_counter": [flop_counter], "trainer": [trainer]}


def _plugin(plugin: Any) -> dict[str, Any]:
    return {name: getattr(plugin, name) for name in ("name", "distribution", "version", "module", "offers")}


def _answer(result: flops_fit.Result, targets: list[float], files: list[Path], as_json: bool) -> None:
    """Print a study; the exit status tells whether it has an answer."""
    budgets = sorted({*result.plan.budgets, *targets})
    predictions = [result.predict(budget) for budget in budgets] if result.fit else []
    if as_json:
        print_json(result_json(result, predictions, files))
    else:
        typer.echo(str(result))
        if targets and result.fit:
            typer.echo(f"\n{result.chinchilla_table(budgets)}")
        _say(files)
    if result.fit is None:
        raise typer.Exit(NO_ANSWER)


def _say(files: Iterable[Path]) -> None:
    typer.echo("".join(f"wrote {file}\n" for file in files), nl=False)


def _sizes(words: list[str]) -> list[Any] | None:
    return [value_of(word) for word in words] or None


def _read(path: Path, columns: dict[str, str], bad_rows: str) -> flops_fit.Runs:
    """Read runs; what Python's arguments would mend is said in the command line's options."""
    try:
        return flops_fit.read_runs(path, columns, bad_rows=bad_rows)
    except InputError as error:
        text = str(error)
        for python, here in _OPTIONS.items():
            text = text.replace(python, here)
        raise InputError(text) from error


def _columns(words: list[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    for word, (name, equals, column) in zip(words, pairs, strict=True):
        if not (name and equals and column):
            raise InputError(f"--columns {word!r} is not NAME=COLUMN, such as n_params=params")
    return {name: column for name, _, column in pairs}

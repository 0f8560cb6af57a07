"""Runs from anybody's table, and back to CSV.

In: a path (or a data frame) and a map of column names. Out: `Runs`, with the third of N, D and C by
6ND, budgets recovered by clustering C where the table states none, and every bad row named by its line.
"""

from __future__ import annotations

import csv
import io
import json
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flops_fit_core.clusters import cluster_budgets, nearest_stated, runs_at
from flops_fit_core.data.runs import DERIVED, STATUSES, Runs
from flops_fit_core.errors import InputError, InputTypeError, nearest
from flops_fit_core.faults import SHOWN, BadCellError, Fault, in_short, joined, left_out
from flops_fit_core.numerals import misread
from flops_fit_core.rows import Rows, read_rows
from flops_fit_core.serial import plain, unplain

Floats = NDArray[np.float64]

_POSITIVE = ("n_params", "n_tokens", "flops", "loss", "budget", "n_params_non_embedding")
_NUMBERS = (*_POSITIVE, "seed", "loss_stderr")
_TEXTS = ("schedule", "label")
_JSON = ("size", "hparams", "flags")
NAMES = (*_NUMBERS, *_TEXTS, "status", *_JSON)
"""The columns of `Runs` that a table can hold."""

_STATUS = {
    **{word: word for word in STATUSES},
    "finished": "done",
    "completed": "done",
    **dict.fromkeys(("crashed", "killed", "preempted", "preempting", "pending", "running", "error"), "failed"),
}
_MISSING = frozenset({"", "nan", "none", "null", "na", "n/a", "<na>", "nat"})
MAPPING = 'say which is which, as in columns={"n_params": "params", "n_tokens": "tokens", "loss": "eval/loss"}'
"""What to do where columns are missing; the command line says it in its own words."""
_CALLER = 4
"""Frames from a warning of `_budgets` to whoever called `flops_fit.read_runs` or `Runs.from_csv`."""
_FAR_OFF = 10.0
"""A row whose C / (6·N·D) is this many times the table's median, or less than its inverse, contradicts itself."""
_HUGE = 1e100
"""A number beyond it, or below its inverse, is a slip; products of two that are not stay finite."""
_QUANTITIES = ("n_params", "n_tokens", "flops", "loss", "loss_stderr")
"""Columns of which no two can be one; C may be the budget, and a label anything."""
_IN_FULL = "Numbers are written in full, such as 7e9"
_WHICH_STATUS = f"A status is one of {', '.join(_STATUS)}; a column of another meaning needs another name"
_REPEATED = "A column 'seed' or 'label' tells two runs from one row written twice"


def read_runs(path: Any, columns: Mapping[str, str] | None = None, *, bad_rows: str = "error") -> Runs:
    """Read runs from a table of anybody's.

    What a table needs, may hold and is refused for stands in `flops_fit.read_runs`, whose work this is.
    """
    if bad_rows not in ("error", "drop"):
        raise InputError(f"bad_rows is {bad_rows!r}; it must be 'error' or 'drop'")
    if columns is not None and not isinstance(columns, Mapping):
        raise InputTypeError(f"columns={columns!r} is a {type(columns).__name__}, not a mapping: {MAPPING}")
    rows = read_rows(path)
    names = _names(rows, columns or {})
    values, faults = _values(rows, names)
    faults |= {place: Fault(what) for place, what in rows.faults.items()}
    faults |= _duplicates(values, rows.places, set(faults))
    notes = left_out(rows.source, rows.places, faults, bad_rows, _stopped_runs(rows, names))
    keep = [i for i, place in enumerate(rows.places) if place not in faults]
    values = {name: [column[i] for i in keep] for name, column in values.items()}
    values.setdefault("label", [rows.places[i] for i in keep])
    derived = [name for name in ("n_params", "n_tokens", "flops") if name not in names]
    notes += tuple(DERIVED.format(name) for name in derived)
    notes += _contradictions(values, [rows.places[i] for i in keep])
    _complete(values)
    notes += _budgets(values)
    return Runs(**values, notes=notes)


def _names(rows: Rows, columns: Mapping[str, str]) -> dict[str, str]:
    """The table's name for every column of `Runs` that it has."""
    for name, written in columns.items():
        if name not in NAMES:
            raise InputError(
                f"columns: {name!r} is no column of Runs.{nearest(str(name), NAMES)} The keys are {', '.join(NAMES)}; the "
                "values are the table's own names"
            )
        if not isinstance(written, str):
            raise InputTypeError(
                f"columns: {name!r} is {written!r} ({type(written).__name__}): give the table's own name as text, such as "
                f"{name!r}: 'loss'. It has {', '.join(map(repr, rows.header))}"
            )
        if written not in rows.header:
            raise InputError(
                f"{rows.source} has no column {written!r} (for {name!r}).{nearest(written, rows.header)} "
                f"It has {', '.join(map(repr, rows.header))}"
            )
    names = {name: name for name in NAMES if name in rows.header} | dict(columns)
    for name, written in names.items():
        if rows.header.count(written) > 1:
            raise InputError(
                f"{rows.source} has {rows.header.count(written)} columns {written!r} (for {name!r}): keep one"
            )
    quantities: dict[str, str] = {}
    for name in (name for name in _QUANTITIES if name in names):
        other = quantities.setdefault(names[name], name)
        if other != name:
            raise InputError(
                f"{rows.source}: its column {names[name]!r} is named for both {other!r} and {name!r}, which are two "
                f"quantities: {MAPPING}"
            )
    axes = [name for name in ("n_params", "n_tokens", "flops") if name in names]
    if "loss" not in names or len(axes) < 2:
        missing = ["'loss'"] * ("loss" not in names) + ["two of 'n_params', 'n_tokens', 'flops'"] * (len(axes) < 2)
        raise InputError(
            f"{rows.source} lacks {' and '.join(missing)}. It has {', '.join(map(repr, rows.header))}: {MAPPING}"
        )
    return names


def _stopped_runs(rows: Rows, names: Mapping[str, str]) -> str:
    """What to do about runs that diverged or crashed."""
    if "status" in names:
        return "give diverged runs the status 'diverged'"
    if "state" in rows.header:
        return 'map the column that says which runs stopped, columns={"status": "state"}'
    return "give diverged runs a column 'status'"


def _values(rows: Rows, names: Mapping[str, str]) -> tuple[dict[str, list[Any]], dict[str, Fault]]:
    """Columns of `Runs`, and for every bad row what is wrong with it."""
    values: dict[str, list[Any]] = {name: [] for name in names}
    faults: dict[str, Fault] = {}
    for cells, place in zip(rows.cells, rows.places, strict=True):
        wrong: dict[str, Fault] = {}
        for name, written in names.items():
            try:
                values[name].append(_cell(name, cells.get(written)))
            except BadCellError as error:
                values[name].append(math.nan if name in _NUMBERS else None)
                wrong[name] = Fault(f"{written} {error}", error.advice)
        row = {name: column[-1] for name, column in values.items()}
        if _stopped(row.get("status")):  # whatever it logged before, no fit reads it
            wrong = {name: fault for name, fault in wrong.items() if name not in _NUMBERS}
        else:
            wrong = wrong or {name: Fault(f"{names[name]} is missing") for name in _absent(row)}
        if wrong:
            faults[place] = joined(wrong.values())
    return values, faults


def _stopped(status: str | None) -> bool:
    """Whether a run says that it diverged or failed; one that says nothing is done."""
    return status not in (None, "done")


def _absent(row: Mapping[str, Any]) -> list[str]:
    """What the row of a run that is done lacks: two of the three axes, the loss."""
    axes = [name for name in ("n_params", "n_tokens", "flops") if name in row]
    missing = [name for name in axes if math.isnan(row[name])]
    absent = missing if len(axes) - len(missing) < 2 else []
    if math.isnan(row["loss"]):
        absent.append("loss")
    return absent


def _cell(name: str, cell: Any) -> Any:
    """A cell's value; a missing number is NaN.

    Raises:
        BadCellError: the cell cannot be that column's value; the message says why.
    """
    missing = cell is None or str(cell).strip().lower() in _MISSING
    if name in _NUMBERS:
        return math.nan if missing else _number(name, cell)
    if name == "status":
        return "done" if missing else _status(str(cell))
    if name == "flags":
        return () if missing else tuple(str(cell).split() if isinstance(cell, str) else cell)
    if name == "hparams":
        return {} if missing else unplain(_from_json(cell))
    if name == "size":
        return None if missing else unplain(_from_json(cell))
    return "" if missing else str(cell)


def _number(name: str, cell: Any) -> float:
    try:
        if isinstance(cell, bool):
            raise TypeError
        value = float(cell)
    except OverflowError:  # a whole number of more than 308 digits
        value = math.inf if cell > 0 else -math.inf
    except (TypeError, ValueError):
        kind, advice = misread(str(cell)) or ("number", _IN_FULL)
        raise BadCellError(f"is {str(cell)!r}, not a number", kind, advice) from None
    if not math.isfinite(value):
        raise BadCellError(f"is {value}, not finite")
    if name in _POSITIVE and value <= 0:
        raise BadCellError(f"is {value:g}, not positive")
    if value > 0 and name != "seed" and not 1 / _HUGE <= value <= _HUGE:
        raise BadCellError(f"is {value:g}, not between {1 / _HUGE:g} and {_HUGE:g}")
    if name == "loss_stderr" and value < 0:
        raise BadCellError(f"is {value:g}, negative")
    return value


def _status(word: str) -> str:
    try:
        return _STATUS[word.strip().lower()]
    except KeyError:
        raise BadCellError(f"is {word!r}, no known status", "status", _WHICH_STATUS) from None


def _from_json(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    try:
        return json.loads(cell)
    except ValueError:  # no JSON, or a number of more digits than Python reads
        return cell


def _duplicates(values: Mapping[str, list[Any]], places: tuple[str, ...], bad: set[str]) -> dict[str, Fault]:
    """Runs that are done and repeat one in every column that is read (another seed is another run)."""
    first: dict[str, str] = {}
    faults = {}
    for i, place in enumerate(places):
        if place in bad or ("status" in values and _stopped(values["status"][i])):
            continue
        key = repr([column[i] for column in values.values()])
        if key in first:
            faults[place] = Fault(f"repeats {first[key]}", {"repeats": _REPEATED})
        else:
            first[key] = place
    return faults


def _contradictions(values: Mapping[str, list[Any]], places: list[str]) -> tuple[str, ...]:
    """Rows whose N, D and C cannot all be right, by their lines: a slip of a unit, a column of something else."""
    if not {"n_params", "n_tokens", "flops"} <= set(values):
        return ()
    n, d, c = (np.array(values[name], dtype=np.float64) for name in ("n_params", "n_tokens", "flops"))
    off = np.log(c / (6 * n * d))
    off -= np.median(off[np.isfinite(off)]) if np.isfinite(off).any() else 0.0
    rows = np.flatnonzero(np.abs(off) > math.log(_FAR_OFF))
    if not len(rows):
        return ()
    listed = ", ".join(f"{places[row]} ({math.exp(off[row]):.3g} times)" for row in rows[:SHOWN])
    others = [places[row] for row in rows[SHOWN:]]
    more = f" and {len(others)} more ({in_short(others)})" if others else ""
    return (
        f"n_params, n_tokens and flops contradict each other at {listed}{more}: C / (6·N·D) there against the table's "
        "median; look for a slip of a unit",
    )


def _complete(values: dict[str, Any]) -> None:
    """Fill the third of N, D and C by C = 6·N·D, row by row."""
    empty = [math.nan] * len(values["loss"])
    n, d, c = (np.array(values.get(name, empty), dtype=np.float64) for name in ("n_params", "n_tokens", "flops"))
    values["n_params"] = np.where(np.isnan(n), c / (6 * d), n)
    values["n_tokens"] = np.where(np.isnan(d), c / (6 * n), d)
    values["flops"] = np.where(np.isnan(c), 6 * n * d, c)


def _budgets(values: dict[str, Any]) -> tuple[str, ...]:
    """Fill missing budgets, a stated one that is near in C, else clusters of C; notes of what was filled how."""
    budget = np.array(values.get("budget", [math.nan] * len(values["loss"])), dtype=np.float64)
    missing = np.isnan(budget)
    stated = np.unique(budget[~missing])
    budget[missing], notes = nearest_stated(values["flops"][missing], stated)
    values["budget"] = budget
    done = np.array([not _stopped(status) for status in values.get("status", [None] * len(budget))], dtype=bool)
    unknown = np.isnan(budget) & ~np.isnan(values["flops"]) & done  # a crashed run's C says nothing of its budget
    if not unknown.any():
        return notes
    clusters = cluster_budgets(values["flops"][unknown], stated=stated)
    if not clusters.grouped():
        values["budget"] = budget if len(stated) else None
        where = f"{' where none is stated' if len(stated) else ''} ({runs_at(values['flops'][unknown])})"
        return (*notes, f"C does not group into budgets{where}: these are no IsoFLOP slices")
    budget[unknown] = clusters.budget
    if (rest := np.isnan(budget)).any():
        budget[rest] = nearest_stated(values["flops"][rest], clusters.budget)[0]
    if clusters.doubts:
        warnings.warn(
            f"{clusters}. State budgets in a column 'budget' if this is wrong", UserWarning, stacklevel=_CALLER
        )
    return (*notes, str(clusters))


def write_runs(runs: Runs, path: str | Path) -> None:
    """Write the table as CSV that `read_runs` reads back exactly; curves and notes are left out."""
    from flops_fit_core.store import write_text

    columns = {name: column for name, column in runs.columns().items() if name in NAMES}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in range(len(runs)):
        writer.writerow([_WRITE.get(name, _text)(column[row]) for name, column in columns.items()])
    write_text(Path(path), buffer.getvalue())


def _text(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return "" if math.isnan(value) else repr(float(value))
    return str(value)


def _json_text(value: Any) -> str:
    """JSON, save for text that could not be taken for anything else."""
    if value is None:
        return ""
    if isinstance(value, str) and value.strip().lower() not in _MISSING and _from_json(value) == value:
        return value
    return json.dumps(plain(value))


_WRITE: Mapping[str, Callable[[Any], str]] = {"size": _json_text, "hparams": _json_text, "flags": " ".join}

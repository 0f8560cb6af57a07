"""Rows of anybody's table, before they mean anything: cells by column name, and where each row stood.

In: a path to CSV, TSV, JSON lines or JSON (arrays of records, and the layouts that pandas writes), or a
data frame. Out: `Rows`.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from flops_fit_core.errors import InputError, InputTypeError

_WHOLE = ("size", "hparams", "label", "schedule")
"""Columns whose cells may be objects, or text that looks like one."""


@attrs.frozen(kw_only=True)
class Rows:
    """A table as it was written.

    Attributes:
        source: what to call the table in messages.
        header: column names, in order.
        cells: one mapping a row; a cell that is not there has no key.
        places: where each row stood, each another: ``"line 7"``, ``"row 3"``, in a data frame ``"index 7"``.
        faults: what is wrong with a row as such (too many cells), by its place.
    """

    source: str
    header: tuple[str, ...]
    cells: tuple[Mapping[str, Any], ...]
    places: tuple[str, ...]
    faults: Mapping[str, str] = attrs.field(factory=dict)


def read_rows(source: Any) -> Rows:
    """Read a path, or take a data frame (pandas, polars) as it is.

    Raises:
        InputError: the file is not there, is empty, or is no table.
        InputTypeError: neither a path nor a data frame.
    """
    if hasattr(source, "columns") and hasattr(source, "__getitem__") and not isinstance(source, str | Path):
        return _frame(source)
    if not isinstance(source, str | Path):
        raise InputTypeError(f"read_runs takes a path or a data frame, not a {type(source).__name__}")
    if "://" in str(source):
        raise InputError(
            f"{source} is an address, and read_runs takes a file: download it, or hand over a data frame of it"
        )
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist (looked in {Path.cwd()})") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is no text in UTF-8: unpack it if it is compressed, or hand over what pandas reads from it, a data frame "
            f"({error})"
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    start = text.lstrip()[:1]
    if not start:
        raise InputError(f"{path} is empty: it needs a header and one line a run")
    rows = _json(path, text) if start in "[{" else _csv(path, text)
    if not rows.cells:
        raise InputError(f"{path} has no rows below its header: it needs one line a run")
    return rows


def _csv(path: Path, text: str) -> Rows:
    lines = text.splitlines()
    head = next(line for line in lines if line.strip())
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(lines, delimiter=delimiter)
    header: tuple[str, ...] = ()
    cells, places, faults = [], [], {}
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        if not header:
            header = tuple(name.strip() for name in row)
            continue
        place = f"line {reader.line_num}"
        if len(row) > len(header):
            faults[place] = f"{len(row)} cells where the header has {len(header)}"
        cells.append(_flat({name: _nested(name, cell.strip()) for name, cell in zip(header, row, strict=False)}))
        places.append(place)
    header += tuple(name for name in _header(cells) if name not in header)
    return Rows(source=str(path), header=header, cells=tuple(cells), places=tuple(places), faults=faults)


def _json(path: Path, text: str) -> Rows:
    try:
        whole = json.loads(text, parse_int=_whole)
    except json.JSONDecodeError:
        return _json_lines(path, text)
    records = whole if isinstance(whole, list) else _records(whole)
    places = [f"row {i}" for i in range(1, len(records) + 1)]
    return _of_records(path, records, places)


def _json_lines(path: Path, text: str) -> Rows:
    records, places = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(json.loads(line, parse_int=_whole))
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}, line {number}: neither JSON lines nor one JSON document ({error.msg}): {line[:80]!r}"
            ) from error
        places.append(f"line {number}")
    return _of_records(path, records, places)


def _whole(digits: str) -> float:
    """A whole number; infinite where it has more digits than Python reads, so that its row is the bad one."""
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def _records(whole: Mapping[str, Any]) -> list[Any]:
    """Records of a JSON object: pandas' layouts split, table, columns and index, or one record alone."""
    if isinstance(whole.get("data"), list):
        names = whole.get("columns")
        return (
            [dict(zip(names, row, strict=True)) for row in whole["data"]] if isinstance(names, list) else whole["data"]
        )
    values = list(whole.values())
    if values and all(isinstance(value, list) for value in values):
        return [dict(zip(whole, row, strict=True)) for row in zip(*values, strict=True)]
    if values and all(isinstance(value, Mapping) for value in values):
        if all(name.isdigit() for name in whole):
            return values
        if all(list(value) == list(values[0]) for value in values):
            return [{name: column[key] for name, column in whole.items()} for key in values[0]]
    return [whole]


def _of_records(path: Path, records: Sequence[Any], places: Sequence[str]) -> Rows:
    for record, place in zip(records, places, strict=True):
        if not isinstance(record, Mapping):
            raise InputError(f"{path}, {place}: a run must be a JSON object, not {json.dumps(record)[:80]}")
    cells = tuple(_flat(record) for record in records)
    return Rows(source=str(path), header=_header(cells), cells=cells, places=tuple(places))


def _header(cells: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Every row's names, in the order in which they come."""
    return tuple(dict.fromkeys(name for row in cells for name in row))


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects by dotted names, as in ``config.n_params``; some columns (`_WHOLE`) stay whole."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping) and f"{prefix}{name}" not in _WHOLE:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _nested(name: str, cell: str) -> Any:
    """The object that a cell of CSV spells out, in JSON or as Python prints it (W&B's ``config`` and ``summary``)."""
    if cell.startswith("{") and name not in _WHOLE:
        for read in (json.loads, _printed):
            with contextlib.suppress(ValueError, SyntaxError, TypeError, RecursionError):
                return read(cell)
    return cell


def _printed(text: str) -> Any:
    """What Python prints of an object, read again."""
    return ast.literal_eval(_Literal().visit(ast.parse(text, mode="eval")))


class _Literal(ast.NodeTransformer):
    """``nan``, ``inf`` and ``np.float64(0.5)`` as the numbers that they are, which `ast.literal_eval` does not know."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(float(node.id)) if node.id in ("nan", "inf") else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        is_number = ast.unparse(node.func).startswith(("np.", "numpy.")) and len(node.args) == 1
        return self.visit(node.args[0]) if is_number else node


def _frame(frame: Any) -> Rows:
    header = tuple(str(name) for name in frame.columns)
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputError(f"the data frame has several columns {', '.join(map(repr, twice))}: keep one of each")
    columns = [list(frame[name]) for name in frame.columns]
    cells = tuple(_flat(dict(zip(header, row, strict=True))) for row in zip(*columns, strict=True))
    if not cells:
        raise InputError("the data frame has no rows")
    return Rows(source="the data frame", header=_header(cells), cells=cells, places=_frame_places(frame, len(cells)))


def _frame_places(frame: Any, count: int) -> tuple[str, ...]:
    """The labels by which pandas shows rows, with ``iloc`` where several have one; polars has none, so rows are counted."""
    if not hasattr(frame, "index"):
        return tuple(f"row {i}" for i in range(1, count + 1))
    labels = [f"index {label}" for label in frame.index]
    often = Counter(labels)
    return tuple(label if often[label] == 1 else f"{label} (iloc {i})" for i, label in enumerate(labels))

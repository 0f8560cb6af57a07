"""What came of the training: one record a run, and the columnar table that fitters read.

In: `RunRecord` values from a trainer, or anybody's file (`flops_fit_core.tables`). Out: `Runs`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import ArrayLike, NDArray

from flops_fit_core.clusters import merge_rounding
from flops_fit_core.errors import InputError
from flops_fit_core.text import si

if TYPE_CHECKING:
    from flops_fit_core.data.plan import Run

Floats = NDArray[np.float64]

STATUSES = ("done", "diverged", "failed")

NON_EMBEDDING = "N counts non-embedding parameters"
"""The note of a table whose N is without look-up tables."""

DERIVED = "{} was not in the table: by C = 6·N·D"
"""The note of a table that was read without N, D or C, by the column's name."""

NO_FLOPS = DERIVED.format("flops")
"""The note of a table that was read without C of its own."""


@attrs.frozen(kw_only=True)
class CurvePoint:
    """One point of a loss curve: after `n_tokens` units of data.

    Attributes:
        n_tokens: units of data trained on so far.
        loss: mean training loss per unit since the point before, or ``None``.
        eval_loss: held-out loss at this point, or ``None`` where it was not measured.
    """

    n_tokens: int
    loss: float | None = None
    eval_loss: float | None = None


@attrs.frozen(kw_only=True)
class RunRecord:
    """What came of one run.

    Attributes:
        run: the run as planned.
        status: ``"done"``, ``"diverged"`` (a loss was not finite) or ``"failed"`` (an exception).
        loss: held-out loss per unit of data (natural units of the loss), ``None`` unless done.
        loss_stderr: standard error of `loss` from the size of the held-out set.
        n_tokens: D as trained, in units of data.
        flops: `n_tokens` × FLOPs per token: the cost from scratch to this point; fits use it.
        flops_spent: what it did cost; less than `flops` where a trunk was shared.
        seconds: wall-clock time of the optimizer loop; evaluation and writing apart.
        epochs: passes over the training data; 0 for a stream whose length nobody knows.
        curve: loss against tokens.
        metrics: other numbers by name, such as the loss on other held-out sets.
        recipe: the settings that were in force: learning rate, batch size, schedule, precision.
        message: why it diverged or failed.
    """

    run: Run
    status: str = attrs.field(default="done", validator=attrs.validators.in_(STATUSES))
    loss: float | None = None
    loss_stderr: float | None = None
    n_tokens: int = 0
    flops: float = 0.0
    flops_spent: float = 0.0
    seconds: float = 0.0
    epochs: float = 0.0
    curve: tuple[CurvePoint, ...] = ()
    metrics: Mapping[str, float] = attrs.field(factory=dict)
    recipe: Mapping[str, Any] = attrs.field(factory=dict)
    message: str = ""


def _column(values: ArrayLike) -> Floats:
    """Copy to a one-dimensional float array (read-only inputs, as pandas 3 hands out, are fine)."""
    return np.array(values, dtype=np.float64).reshape(-1)


def _optional(values: ArrayLike | None) -> Floats | None:
    return None if values is None else _column(values)


def _labels(values: Sequence[Any] | None) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values)


def _notes(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(values)


def _range(values: Floats) -> str:
    low, high = si(float(values.min())), si(float(values.max()))
    return low if low == high else f"{low} to {high}"


def _same(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is b
    return bool(np.array_equal(a, b, equal_nan=True))


_FLOATS = attrs.cmp_using(eq=_same)


@attrs.frozen(kw_only=True, repr=False)
class Runs:
    """A table of runs by columns, all of one length; a missing number is NaN, a missing column ``None``.

    Attributes:
        n_params: N, shape (n,).
        n_tokens: D in units of data, shape (n,).
        loss: held-out loss, shape (n,); NaN where the run is not ``"done"``.
        budget: the compute budget that the run belongs to, FLOPs.
        flops: FLOPs of forward and backward from scratch.
        seed: random seed.
        loss_stderr: standard error of the loss.
        n_params_non_embedding: N without look-up tables.
        size: the value of the size parameter.
        status: ``"done"``, ``"diverged"`` or ``"failed"``.
        hparams: recipe values of each run.
        schedule: name of each run's learning-rate schedule.
        label: what to call each run in messages: its run_id with C and N, or its line in a file.
        flags: words on each run, such as ``("undercooled",)`` where it was too short for its schedule.
        curves: each run's loss curve.
        notes: what there is to know about the table itself, such as how its budgets were recovered.
    """

    n_params: Floats = attrs.field(converter=_column, eq=_FLOATS)
    n_tokens: Floats = attrs.field(converter=_column, eq=_FLOATS)
    loss: Floats = attrs.field(converter=_column, eq=_FLOATS)
    budget: Floats | None = attrs.field(default=None, converter=_optional, eq=_FLOATS)
    flops: Floats | None = attrs.field(default=None, converter=_optional, eq=_FLOATS)
    seed: Floats | None = attrs.field(default=None, converter=_optional, eq=_FLOATS)
    loss_stderr: Floats | None = attrs.field(default=None, converter=_optional, eq=_FLOATS)
    n_params_non_embedding: Floats | None = attrs.field(default=None, converter=_optional, eq=_FLOATS)
    size: tuple[Any, ...] | None = attrs.field(default=None, converter=_labels)
    status: tuple[str, ...] | None = attrs.field(default=None, converter=_labels)
    hparams: tuple[Mapping[str, Any], ...] | None = attrs.field(default=None, converter=_labels)
    schedule: tuple[str, ...] | None = attrs.field(default=None, converter=_labels)
    label: tuple[str, ...] | None = attrs.field(default=None, converter=_labels)
    flags: tuple[tuple[str, ...], ...] | None = attrs.field(default=None, converter=_labels)
    curves: tuple[tuple[CurvePoint, ...], ...] | None = attrs.field(default=None, converter=_labels)
    notes: tuple[str, ...] = attrs.field(default=(), converter=_notes)

    def __attrs_post_init__(self) -> None:
        for name, column in self.columns().items():
            if len(column) != len(self.loss):
                raise InputError(
                    f"column {name!r} has {len(column)} rows where 'loss' has {len(self.loss)}: "
                    "every column of Runs needs one value a run"
                )

    @classmethod
    def empty(cls) -> Runs:
        """A table without rows."""
        return cls(n_params=(), n_tokens=(), loss=())

    @classmethod
    def from_records(cls, records: Sequence[RunRecord]) -> Runs:
        """Make the table of a study's records; D, FLOPs and loss as trained, not as planned."""
        nan = float("nan")
        runs = [record.run for record in records]
        return cls(
            n_params=[run.n_params for run in runs],
            n_tokens=[record.n_tokens or record.run.n_tokens for record in records],
            loss=[nan if record.loss is None else record.loss for record in records],
            budget=[run.budget for run in runs],
            flops=[record.flops or record.run.flops for record in records],
            seed=[run.seed for run in runs],
            loss_stderr=[nan if r.loss_stderr is None else r.loss_stderr for r in records],
            n_params_non_embedding=[nan if n is None else n for n in (run.n_params_non_embedding for run in runs)],
            size=[run.size for run in runs],
            status=[record.status for record in records],
            hparams=[run.hparams for run in runs],
            schedule=[str(record.recipe.get("schedule", "")) for record in records],
            label=[f"{run.run_id} (C = {si(run.budget)}, N = {si(run.n_params)})" for run in runs],
            flags=[("undercooled",) if record.recipe.get("too_short") else () for record in records],
            curves=[record.curve for record in records],
        )

    @classmethod
    def from_csv(cls, path: Any, columns: Mapping[str, str] | None = None, *, bad_rows: str = "error") -> Runs:
        """Read a table of anybody's: see `flops_fit_core.tables.read_runs`."""
        from flops_fit_core.tables import read_runs

        return read_runs(path, columns, bad_rows=bad_rows)

    def to_csv(self, path: str | Path) -> None:
        """Write the table as CSV that `from_csv` reads back exactly; curves and notes are left out."""
        from flops_fit_core.tables import write_runs

        write_runs(self, path)

    def non_embedding(self) -> Runs:
        """The table with N counted without look-up tables, to fit under that convention.

        C stays as it was counted: ``flop_counter="measured"`` fits with it, ``"6nd"`` with six times the new N.

        Raises:
            InputError: some usable run does not say how many parameters it has without them.
        """
        other = self.n_params_non_embedding
        usable = self.usable()
        if other is None or not np.all(other[usable] > 0):
            lacking = "no run" if other is None else f"not all of the {int(usable.sum())} usable runs"
            raise InputError(f"{lacking} gives n_params_non_embedding: a fit in non-embedding parameters needs it")
        return Runs(**{**self.columns(), "n_params": other}, notes=(*self.notes, NON_EMBEDDING))

    def columns(self) -> dict[str, Any]:
        """The columns that are there, by name."""
        columns = {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}
        return {name: column for name, column in columns.items() if column is not None and name != "notes"}

    def __len__(self) -> int:
        return len(self.loss)

    def __repr__(self) -> str:
        """How many runs, from where to where, and which columns; the arrays are in the columns."""
        usable = self.usable()
        parts = [f"{len(self)} runs" if usable.all() else f"{len(self)} runs, {int(usable.sum())} of them usable"]
        if self.budget is not None and (known := usable & np.isfinite(self.budget)).any():
            budgets = np.unique(merge_rounding(self.budget[known]))
            count = len(budgets)
            parts.append(f"{count} budget{'s' * (count > 1)} {_range(budgets)}")
        if usable.any():
            columns = {"N": self.n_params, "D": self.n_tokens, "loss": self.loss}
            parts += [f"{name} {_range(column[usable])}" for name, column in columns.items()]
        return f"Runs({'; '.join(parts)}; columns {', '.join(self.columns())})"

    def __iter__(self) -> Iterator[dict[str, Any]]:
        columns = self.columns()
        for i in range(len(self)):
            yield {name: column[i] for name, column in columns.items()}

    def where(self, keep: ArrayLike) -> Runs:
        """The rows for which the boolean (or index) array `keep` selects, as a new table."""
        rows = np.arange(len(self))[np.asarray(keep)]
        columns = {
            name: column[rows] if isinstance(column, np.ndarray) else tuple(column[i] for i in rows)
            for name, column in self.columns().items()
        }
        return Runs(**columns, notes=self.notes)

    def usable(self) -> NDArray[np.bool_]:
        """Boolean array: runs that are done and have positive finite N, D and loss."""
        ok = np.isfinite(self.loss) & (self.loss > 0) & (self.n_params > 0) & (self.n_tokens > 0)
        ok &= np.isfinite(self.n_params) & np.isfinite(self.n_tokens)
        if self.status is not None:
            ok &= np.array([status == "done" for status in self.status], dtype=bool)
        return ok

    def name(self, row: int) -> str:
        """What to call a row in a message."""
        return self.label[row] if self.label is not None else f"row {row + 1}"

    def to_pandas(self) -> Any:
        """The table as a ``pandas.DataFrame`` (needs pandas); curves are left out."""
        import pandas as pd

        return pd.DataFrame({name: list(c) for name, c in self.columns().items() if name != "curves"})

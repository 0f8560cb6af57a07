"""Which rows of `Runs` a law may be fitted to, and a plain error where they cannot carry it.

In: `Runs` and the options that every fitter has (`Selection`). Out: `Usable` (the rows kept, and every row left out with
its reason), or a `FitError` that says what is missing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import attrs
import numpy as np
from numpy.typing import ArrayLike, NDArray

from flops_fit_core.budgets import budgets_of, flops_of
from flops_fit_core.data import Excluded, Runs
from flops_fit_core.errors import FitError
from flops_fit_core.faults import in_short
from flops_fit_lmfit import options
from flops_fit_lmfit.additive import NAMES
from flops_fit_lmfit.standard_errors import LEAST, StandardErrors

UNDERCOOLED = "undercooled"
"""The flag (`Runs.flags`) of a run whose learning rate had not come down when it ended."""
ONE_BUDGET = math.log(1.2)
"""Range of ln C up to which runs of one budget are no sweep over compute, by however much they miss that budget."""

NO_FLAGS = "exclude_undercooled left nothing out: these runs have no column 'flags' to say which were undercooled"


@attrs.frozen(kw_only=True)
class Usable:
    """The runs that a law is fitted to.

    Attributes:
        runs: the rows kept, with every column.
        rows: their indices in the table that was given, by budget and size, shape (n,).
        excluded: the rows left out, each with its reason.
        notes: how many were left out and why, and what the table itself had to say.
    """

    runs: Runs
    rows: NDArray[np.intp]
    excluded: tuple[Excluded, ...] = ()
    notes: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Selection:
    """Which runs are fitted: the options that every fitter of this package has.

    Attributes:
        min_flops: leave out runs below this compute C (6·N·D where the table has no FLOPs).
        exclude_undercooled: leave out runs flagged ``"undercooled"``.
        mix_schedules: fit runs of different learning-rate schedules together.
    """

    min_flops: float | None = attrs.field(default=None, validator=options.number(above=0, instead=(None,)))
    exclude_undercooled: bool = attrs.field(default=False, validator=options.switch)
    mix_schedules: bool = attrs.field(default=False, validator=options.switch)

    def usable(self, runs: Runs) -> Usable:
        """Keep the runs that can be fitted and name the others.

        They come in the order of their budgets and sizes, so that the order of the table changes nothing, seeded
        resamples included.

        Raises:
            FitError: runs of several schedules are mixed without being told to, or none is left.
        """
        reasons = self._reasons(runs)
        rows = np.array([row for row in _in_order(runs) if not reasons[row]], dtype=np.intp)
        kept = attrs.evolve(runs, label=[runs.name(row) for row in range(len(runs))]).where(rows)  # rows are renumbered
        if not self.mix_schedules:
            _refuse_mixed_schedules(kept)
        excluded = tuple(Excluded(run=runs.name(row), reason=reason) for row, reason in enumerate(reasons) if reason)
        if excluded and not len(kept):
            raise FitError(
                f"none of the {len(runs)} runs can be fitted; the first, {excluded[0].run}: {excluded[0].reason}"
            )
        unknown = (NO_FLAGS,) if self.exclude_undercooled and runs.flags is None else ()
        notes = (*runs.notes, *_counts(excluded, len(runs)), *unknown, *_too_exact(kept))
        return Usable(runs=kept, rows=rows, excluded=excluded, notes=notes)

    def _reasons(self, runs: Runs) -> list[str]:
        """Why each row cannot be fitted; empty where it can. The text before the colon is its kind."""
        reasons = [""] * len(runs)

        def leave_out(rows: ArrayLike, reason: Callable[[int], str]) -> None:
            for row in np.flatnonzero(rows):
                reasons[row] = reasons[row] or reason(int(row))

        if (status := runs.status) is not None:
            leave_out([each != "done" for each in status], lambda row: status[row])
        for name, values in (("N", runs.n_params), ("D", runs.n_tokens), ("loss", runs.loss)):
            leave_out(~(np.isfinite(values) & (values > 0)), _not_positive(name, values))
        if (least := self.min_flops) is not None:
            flops = flops_of(runs)
            leave_out(flops < least, lambda row: f"below the minimum compute: C = {flops[row]:.6g} < {least:.6g}")
        if self.exclude_undercooled and runs.flags is not None:
            leave_out([UNDERCOOLED in flags for flags in runs.flags], lambda _: "undercooled")
        return reasons


def _in_order(runs: Runs) -> NDArray[np.intp]:
    """Rows by budget (C where not all state one), then N, D and loss."""
    with np.errstate(divide="ignore", invalid="ignore"):
        c = np.round(np.log(flops_of(runs)), 2)
    stated = runs.budget is not None and np.isfinite(runs.budget).all()
    return np.lexsort((runs.loss, runs.n_tokens, runs.n_params, runs.budget if stated else c))


def _not_positive(name: str, values: NDArray[np.float64]) -> Callable[[int], str]:
    return lambda row: f"{name} not a positive number: {values[row]:g}"


def _counts(excluded: tuple[Excluded, ...], total: int) -> tuple[str, ...]:
    """One sentence for every kind of reason: how many runs, and which."""
    kinds: dict[str, list[str]] = {}
    for item in excluded:
        kinds.setdefault(item.reason.split(":")[0], []).append(item.run)
    return tuple(f"{len(names)} of {total} runs left out, {kind}: {', '.join(names)}" for kind, names in kinds.items())


def _too_exact(runs: Runs) -> tuple[str, ...]:
    """The runs whose standard errors are too small to count as what they are, or nothing at all."""
    return (*_exact(runs), *_raised(runs))


def _exact(runs: Runs) -> tuple[str, ...]:
    """The runs whose standard error is 0."""
    if runs.loss_stderr is None or not (runs.loss_stderr == 0).any():
        return ()
    names = [runs.name(int(row)) for row in np.flatnonzero(runs.loss_stderr == 0)]
    return (f"loss_stderr of {in_short(names, 10)} is 0, which no held-out loss has: taken as unknown",)


def _raised(runs: Runs) -> tuple[str, ...]:
    """The runs whose standard error counts as larger than it is."""
    relative, absolute = (StandardErrors.of(runs.loss_stderr, loss) for loss in (runs.loss, 1.0))
    if relative is None or absolute is None:
        return ()
    # By its own loss alone, a diverged run's error would look small, and by none a good run's.
    names = [runs.name(int(row)) for row in np.flatnonzero(relative.raised & absolute.raised)]
    if not names:
        return ()
    return (
        f"loss_stderr of {in_short(names, 10)} is less than {LEAST:g} of the usual one, and weighs as so much: it says nothing of "
        "what differs from one training to the next",
    )


def _refuse_mixed_schedules(runs: Runs) -> None:
    counts = Counter(runs.schedule or ())
    if len(counts) > 1:
        found = ", ".join(f"{name or 'unnamed'} ({count} runs)" for name, count in sorted(counts.items()))
        raise FitError(
            f"the runs were trained with different learning-rate schedules: {found}. Their losses are not comparable: "
            "fit one schedule alone (runs.where(...)), or pass mix_schedules=True"
        )


def require_trend(runs: Runs) -> None:
    """Refuse runs among which no size is better than another.

    Raises:
        FitError: all losses are equal.
    """
    if len(runs) and np.ptp(runs.loss) == 0:
        raise FitError(f"all {len(runs)} usable runs have loss {runs.loss[0]:g}: no size is better than another")


def require_points(runs: Runs, parameters: int, law: str) -> None:
    """Refuse a table that cannot identify a law in N and D.

    Args:
        runs: the usable runs.
        parameters: how many numbers the law has.
        law: its name, for the message.

    Raises:
        FitError: too few different points, all N equal, all D equal, or one budget alone.
    """
    points = {(float(n), float(d)) for n, d in zip(runs.n_params, runs.n_tokens, strict=True)}
    if len(points) < parameters:
        raise FitError(
            f"{law} has {parameters} parameters and there are {len(points)} different points (N, D) among "
            f"{len(runs)} usable runs: at least {parameters} are needed"
        )
    for symbol, column, what in (("N", runs.n_params, "sizes"), ("D", runs.n_tokens, "amounts of data")):
        if np.ptp(np.log(column)) < 1e-9:
            raise FitError(
                f"all {len(runs)} usable runs have {symbol} = {column[0]:g}: {law} needs runs of different {what}"
            )
    flops = flops_of(runs)
    if np.ptp(np.log(flops)) < ONE_BUDGET and len(np.unique(budgets_of(runs)[0])) == 1:
        raise FitError(
            f"all {len(runs)} usable runs cost about C = {np.median(flops):.6g}: {law} needs runs at two or more compute "
            "budgets (three to judge the trend)"
        )


def require_additive(runs: Runs) -> None:
    """Refuse runs from which the additive law cannot be fitted, saying which parameters they leave open.

    Raises:
        FitError: too few different points, all N or all D equal, or one budget alone.
    """
    if len(runs) > 1 and np.ptp(np.log(runs.n_tokens)) < 1e-9:
        raise FitError(
            f"B and beta are not identified: all {len(runs)} usable runs have D = {runs.n_tokens[0]:g}, so that B/D^beta "
            "cannot be told from E; the additive law needs runs of different amounts of data"
        )
    require_points(runs, len(NAMES), "the additive law")

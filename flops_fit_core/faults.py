"""Bad rows of anybody's table in words: each by its place, and what to do about them, said once.

In: what is wrong with each row. Out: an `InputError`, or the note of the rows that were left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import attrs

from flops_fit_core.errors import InputError

DROP = 'flops_fit.read_runs(..., bad_rows="drop")'
"""How to leave bad rows out; the command line says it in its own words."""
SHOWN = 10
"""So many rows are named, and the others counted."""


@attrs.frozen
class Fault:
    """What is wrong with a row.

    Attributes:
        what: after the row's place: ``"loss is '3,9', not a number"``.
        advice: sentences by their kind; of one kind, that of the first row stands for all.
    """

    what: str
    advice: Mapping[str, str] = attrs.field(factory=dict)


def joined(faults: Collection[Fault]) -> Fault:
    """Several faults as one; of each kind of advice, the first."""
    advice: dict[str, str] = {}
    for kind, sentence in (pair for fault in faults for pair in fault.advice.items()):
        advice.setdefault(kind, sentence)
    return Fault(", ".join(fault.what for fault in faults), advice)


class BadCellError(ValueError):
    """A cell that cannot be its column's value; `kind` and `advice` as in `Fault`."""

    def __init__(self, what: str, kind: str = "", advice: str = "") -> None:
        super().__init__(what)
        self.advice = {kind: advice} if advice else {}


def left_out(
    source: str, places: Sequence[str], faults: Mapping[str, Fault], bad_rows: str, has_status: bool
) -> tuple[str, ...]:
    """The note of the rows that are left out, if there are any.

    Args:
        source: what to call the table.
        places: where each of its rows stood.
        faults: of bad rows, by place.
        bad_rows: ``"error"`` or ``"drop"``.
        has_status: whether the table has a column ``status``.

    Raises:
        InputError: they are not to be left out, or no row would be left.
    """
    bad = [place for place in places if place in faults]
    if not bad:
        return ()
    more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    listed = "; ".join(f"{place}: {faults[place].what}" for place in bad[:SHOWN]) + more
    some, every = f"{len(bad)} of {len(places)} rows", len(bad) == len(places)
    if bad_rows == "drop" and not every:
        return (f"{source}: {some} were left out, as they cannot be used: {listed}",)
    said = "".join(f" {sentence}." for sentence in joined([faults[place] for place in bad]).advice.values())
    if every:
        raise InputError(
            f"{source}: none of its {len(places)} rows can be used: {listed}.{said} Correct them: "
            f"leaving them all out ({DROP}) would leave none"
        )
    stopped = "give diverged runs " + ("the status 'diverged'" if has_status else "a column 'status'")
    raise InputError(
        f"{source}: {some} cannot be used: {listed}.{said} Correct them, {stopped}, or leave them all out: {DROP}"
    )

"""Bad rows of anybody's table in words: each by its place, and what to do about them, said once.

In: what is wrong with each row. Out: an `InputError`, or the note of the rows that were left out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

import attrs

from flops_fit_core.errors import InputError

DROP = 'flops_fit.read_runs(..., bad_rows="drop")'
"""How to leave bad rows out; the command line says it in its own words."""
SHOWN = 10
"""Of so many rows it is said what is wrong, and of the others where they stand."""
_MOST = 100
"""Ranges of places in an error; the note of rows that were left out has all, as nothing else names them."""
_COUNTED = re.compile(r"(line|row|index) (0|[1-9]\d{0,17})")


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


def in_short(places: Sequence[str], most: int | None = None) -> str:
    """Places of rows, numbers that follow each other joined: ``"lines 12, 15 to 19, 30"``.

    Args:
        places: each another; those without a number (an index of words) stand as they are.
        most: of numbers and ranges, those beyond are counted; ``None`` for all.
    """
    counted = [match for match in map(_COUNTED.fullmatch, places) if match]
    ranges = _ranges(int(match[2]) for match in counted)
    said = [(f"{first} to {last}" if last > first else f"{first}", last - first + 1) for first, last in ranges]
    if said:  # all rows of a table are counted by the same word
        word = counted[0][1] + ("s" if len(counted) > 1 and counted[0][1] != "index" else "")
        said[0] = (f"{word} {said[0][0]}", said[0][1])
    said += [(place, 1) for place in places if not _COUNTED.fullmatch(place)]
    rest = 0 if most is None else sum(count for _, count in said[most:])
    return ", ".join(text for text, _ in said[:most]) + (f" and {rest} other{'s' * (rest > 1)}" if rest else "")


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """First and last of each stretch of whole numbers that follow each other, ascending."""
    ranges: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges


class BadCellError(ValueError):
    """A cell that cannot be its column's value; `kind` and `advice` as in `Fault`."""

    def __init__(self, what: str, kind: str = "", advice: str = "") -> None:
        super().__init__(what)
        self.advice = {kind: advice} if advice else {}


def left_out(
    source: str, places: Sequence[str], faults: Mapping[str, Fault], bad_rows: str, stopped: str
) -> tuple[str, ...]:
    """The note of the rows that are left out, if there are any.

    Args:
        source: what to call the table.
        places: where each of its rows stood.
        faults: of bad rows, by place.
        bad_rows: ``"error"`` or ``"drop"``.
        stopped: what to do about runs that diverged or crashed.

    Raises:
        InputError: they are not to be left out, or no row would be left.
    """
    bad = [place for place in places if place in faults]
    if not bad:
        return ()
    some, every = f"{len(bad)} of {len(places)} rows", len(bad) == len(places)
    dropped = bad_rows == "drop" and not every
    listed = "; ".join(f"{place}: {faults[place].what}" for place in bad[:SHOWN])
    if others := bad[SHOWN:]:
        listed += f"; and {len(others)} more: {in_short(others, None if dropped else _MOST)}"
    if dropped:
        were = "was left out, as it" if len(bad) == 1 else "were left out, as they"
        return (f"{source}: {some} {were} cannot be used: {listed}",)
    said = "".join(f" {sentence}." for sentence in joined([faults[place] for place in bad]).advice.values())
    if every:
        raise InputError(
            f"{source}: none of its {len(places)} rows can be used: {listed}.{said} Correct them: "
            f"leaving them all out ({DROP}) would leave none"
        )
    raise InputError(
        f"{source}: {some} cannot be used: {listed}.{said} Correct them, {stopped}, or leave them all out: {DROP}"
    )

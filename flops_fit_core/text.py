"""Numbers and tables as text, for everything that prints.

In: numbers and rows. Out: short strings and Markdown; no science happens here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def si(value: float | None, digits: int = 4) -> str:
    """Format a count with its power of ten: ``5.76e+23`` as ``5.76e23``, ``4300`` as ``4,300``."""
    if value is None:
        return "—"
    if not math.isfinite(value):
        return f"{value:g}"  # inf, -inf or nan: the open end of an interval, what overflowed
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:,.0f}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a Markdown table whose columns line up in a terminal, numbers to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.rjust(w) for c, w in zip(cells, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (w + 1) + ":" for w in widths) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same table as HTML, for notebooks and pages."""
    from html import escape

    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"

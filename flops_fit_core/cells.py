"""Recipe axes: of the runs of one cell (budget, size, seed), the best recipe is the cell's loss.

In: the table of all runs. Out: the rows that fits should use, and what to say of best values that
lie at the end of their list.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from flops_fit_core.data import Runs


def best_of_cells(runs: Runs) -> Runs:
    """Keep of every cell the usable run with the lowest loss; unusable runs stay, for the record."""
    usable = runs.usable()
    best: dict[str, int] = {}
    for row in np.flatnonzero(usable):
        cell = _cell(runs, int(row))
        if cell not in best or runs.loss[row] < runs.loss[best[cell]]:
            best[cell] = int(row)
    keep = ~usable
    keep[list(best.values())] = True
    return runs.where(keep)


def at_the_end(best: Runs, axes: Mapping[str, tuple[Any, ...]]) -> list[str]:
    """Say for each axis of numbers in how many cells the best value is the smallest or the largest of its list."""
    said = []
    for name, values in axes.items():
        if not all(isinstance(value, Real) and not isinstance(value, bool) for value in values):
            continue  # nothing lies beyond the end of a list of names or pairs
        chosen = [row[name] for row, ok in zip(best.hparams or (), best.usable(), strict=True) if ok and name in row]
        for end, word in ((min(values), "smallest"), (max(values), "largest")):
            count = sum(value == end for value in chosen)
            if count and len(values) > 1:
                said.append(
                    f"the best {name} is {end}, the {word} of its list, in {count} of {len(chosen)} cells: "
                    "extend the list on that side"
                )
    return said


def _cell(runs: Runs, row: int) -> str:
    parts = [None if c is None else c[row] for c in (runs.budget, runs.size, runs.n_tokens, runs.seed)]
    return json.dumps(
        [None if part is None else (part if isinstance(part, tuple | dict) else str(part)) for part in parts]
    )

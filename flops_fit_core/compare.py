"""Several fits of the same runs side by side, and in plain words where they contradict each other.

In: fits and budgets. Out: a `Table`, and sentences for the diagnostics.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from flops_fit_core.data.fit import Estimate, Fit, Prediction
from flops_fit_core.data.result import Table
from flops_fit_core.errors import FlopsFitError, InputError, InputTypeError
from flops_fit_core.summary import digits
from flops_fit_core.text import si

_QUANTITIES = {"N_opt": "n_params", "D_opt": "n_tokens", "loss": "loss"}
_JUDGED = ("N_opt", "loss")  # D_opt follows from N_opt and the budget


def compare(fits: Sequence[Fit], budgets: Sequence[float] | None = None) -> Table:
    """The fits' answers in columns, one row for each budget and quantity, intervals in brackets.

    These are prediction intervals where a fit says how wrong its law may be, else of sampling alone. A fit that averages
    several stands with its members beside it. The table's notes say where the fits were not fitted to equally many runs, and
    where the first and another contradict each other at the largest budget that was fitted (the smallest of those asked for
    where no fit knows it): see `disagreements`.

    Args:
        fits: of the same runs.
        budgets: FLOPs; without them the largest fitted budget and ten and a hundred times that.

    Raises:
        InputError: no fit is given, or no budget is and no fit knows its largest.
        InputTypeError: `budgets` is no list.
    """
    if isinstance(fits, Fit) or not fits:
        raise InputError(
            "compare takes the list of several fits, such as compare(flops_fit.fit(runs, ['ensemble', 'surface']))"
        )
    budgets = None if budgets is None else listed(budgets)
    columns = _with_members(fits)
    names, fits = list(columns), list(columns.values())
    largest = largest_budget(fits)
    if budgets is None:
        if largest is None:
            raise InputError("these fits do not know their largest budget: give budgets=[...]")
        budgets = [largest, 10 * largest, 100 * largest]
    rows, data = [], []
    bracketed: set[str] = set()
    for budget in budgets:
        answers = [_predict(fit, budget) for fit in fits]
        for quantity, field in _QUANTITIES.items():
            estimates = [None if answer is None else getattr(answer, field) for answer in answers]
            rows.append((si(budget, 5), quantity, *map(_cell, estimates)))
            bracketed |= {name for name, e in zip(names, estimates, strict=True) if e and e.low is not None}
            values = {name: None if e is None else e.value for name, e in zip(names, estimates, strict=True)}
            data.append({"compute_budget": float(budget), "quantity": quantity, **values})
    judged = largest or min(budgets, default=None)
    apart = disagreements(fits, judged, names) if judged else []
    notes = (*_brackets(columns, bracketed), *_different_runs(columns), *apart)
    return Table(head=("C", "quantity", *names), rows=tuple(rows), data=tuple(data), notes=notes)


def _brackets(columns: Mapping[str, Fit], bracketed: Collection[str]) -> list[str]:
    """What stands in brackets: of a fit that does not say how wrong its law may be, the sampling interval alone."""
    kinds: dict[str, list[str]] = {}
    for name, fit in columns.items():
        if name in bracketed:
            kind = f"{100 * fit.confidence:g} % {'prediction' if fit.model_error else 'sampling'} intervals"
            kinds.setdefault(kind, []).append(name)
    whose = [kind + f" ({', '.join(names)})" * (len(kinds) > 1) for kind, names in kinds.items()]
    return [f"in brackets: {' and '.join(whose)}"] if whose else []


def _with_members(fits: Sequence[Fit]) -> dict[str, Fit]:
    """Every fit by its name, and after it its members by theirs."""
    columns = {}
    for name, fit in zip(names_of(fits), fits, strict=True):
        columns[name] = fit
        columns |= {f"{member} in {name}": each for member, each in fit.members.items()}
    return columns


def listed(budgets: Any) -> list[float]:
    """Budgets as a list.

    Raises:
        InputTypeError: they are none.
    """
    if not isinstance(budgets, str):
        with contextlib.suppress(TypeError):
            return list(budgets)
    raise InputTypeError(f"budgets={budgets!r} is not a list: give [{budgets!r}]")


def _different_runs(columns: Mapping[str, Fit]) -> list[str]:
    """How many runs each was fitted to, where that is not the same for all: then the answers may well differ."""
    used = {fit.n_used for fit in columns.values()}
    if len(used) < 2 or not all(used):
        return []
    marked = {name: sum(item.used for item in fit.excluded) for name, fit in columns.items()}
    said = [
        f"{name} {fit.n_used}" + f", {marked[name]} of them marked as outliers" * (marked[name] > 0)
        for name, fit in columns.items()
    ]
    return [f"not fitted to the same runs: {'; '.join(said)}"]


def largest_budget(fits: Sequence[Fit]) -> float | None:
    """The largest C among the runs of these fits, or ``None`` where no fit knows its own."""
    return max((fit.largest_budget for fit in fits if fit.largest_budget), default=None)


def disagreements(fits: Sequence[Fit], budget: float, names: Sequence[str] | None = None) -> list[str]:
    """Where another fit's answer, or its exponent a, lies beyond the intervals of the first, which gives the answer.

    Two answers disagree where their intervals do not overlap; where only one has an interval, where that
    does not hold the other's value. Two answers without intervals are not judged.

    Args:
        fits: of the same runs, the one that gives the answer first.
        budget: FLOPs.
        names: what to call them; ``None``: by their fitters.
    """
    if len(fits) < 2:
        return []
    names = names_of(fits) if names is None else names
    first = _predict(fits[0], budget)
    if first is None:
        return []
    at, exponent = f" at {si(budget, 5)} FLOPs", _exponent(fits[0], budget)
    return [
        f"{names[0]} and {name} disagree about {quantity} beyond their intervals: "
        f"{_cell(one)} against {_cell(two)}, {two.value / one.value - 1:+.1%}. One law does not describe these runs: "
        "look at the hold-out errors and the excluded runs of both, and train a larger budget to tell them apart"
        for name, fit in zip(names[1:], fits[1:], strict=True)
        for quantity, one, two in (
            *_pairs(first, _predict(fit, budget), at),
            ("the exponent a of N_opt ~ C^a", exponent, _exponent(fit, budget)),
        )
        if one is not None and two is not None and _apart(one, two)
    ]


def names_of(fits: Sequence[Fit]) -> list[str]:
    """Fitters' names; numbered where one name comes twice."""
    names = [fit.fitter for fit in fits]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: i + 1].count(name)})" for i, name in enumerate(names)
    ]


def _pairs(first: Prediction, other: Prediction | None, at: str) -> Iterator[tuple[str, Estimate, Estimate]]:
    for quantity in _JUDGED if other is not None else ():
        yield quantity + at, getattr(first, _QUANTITIES[quantity]), getattr(other, _QUANTITIES[quantity])


def _exponent(fit: Fit, budget: float) -> Estimate | None:
    """Its a of N_opt ~ C^a, where the parameter of that name is that: another law may call something else so."""
    a, ends = fit.params.get("a"), [_predict(fit, times * budget) for times in (0.5, 2.0)]
    n = [end.n_params.value for end in ends if end is not None and 0 < end.n_params.value < math.inf]
    if a is None or len(n) < 2:
        return None
    return a if math.isclose(math.log(n[1] / n[0]) / math.log(4.0), a.value, rel_tol=0.01) else None


def _apart(one: Estimate, two: Estimate) -> bool:
    if one.low is None and two.low is None:
        return False
    low_1, high_1, low_2, high_2 = (
        end if end is not None else estimate.value for estimate in (one, two) for end in (estimate.low, estimate.high)
    )
    return high_1 < low_2 or high_2 < low_1


def _predict(fit: Fit, budget: float) -> Prediction | None:
    """The fit's answer, or ``None`` where its law has no optimum."""
    try:
        return fit.predict(budget)
    except InputError:
        raise
    except FlopsFitError:
        return None


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return "no optimum"
    interval = "" if estimate.low is None else f" [{digits(estimate.low)}, {digits(estimate.high)}]"
    return digits(estimate.value) + interval

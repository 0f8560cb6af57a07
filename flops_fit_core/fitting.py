"""Fit a table of runs with several fitters; a fit that cannot be made is a diagnostic, not a loss.

In: runs, fitters and a cost model. Out: the fits, and what to say of those that failed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import attrs
import numpy as np

from flops_fit_core.data import CostModel, Diagnostic, Fit, Runs
from flops_fit_core.data.runs import NO_FLOPS, NON_EMBEDDING
from flops_fit_core.errors import FitError, FlopsFitError, InputError, PluginError, nearest
from flops_fit_core.stages import Fitter
from flops_fit_core.text import si

_OFF = 0.2
"""Where the runs' own FLOPs are this far from 6ND in the median (relative), a fit by 6ND says so."""
_ABSURD = 1000.0
"""And where they are so many times more or less, a unit is wrong: images cost some hundred times 6ND, for their patches."""

log = logging.getLogger("flops_fit")


def fit_one(fitter: Fitter, runs: Runs, cost: CostModel) -> Fit:
    """Fit and remember the fitter, so that the fit can answer whatever its name."""
    runs = runs if runs.label else attrs.evolve(runs, label=[runs.name(row) for row in range(len(runs))])
    fit = fitter.fit(runs, cost)  # which may drop rows before it names some, so each has its name from the start
    if not isinstance(fit, Fit):
        raise PluginError(
            f"fitter {_name(fitter)} returned a {type(fit).__name__} from fit(): it must return a flops_fit.Fit"
        )
    of_table = [note for note in runs.notes if note not in fit.notes]  # a fitter need not repeat them
    fit = attrs.evolve(
        fit, notes=(*of_table, *fit.notes, *_six_nd_of_what(runs, fit.cost), *_off_six_nd(runs, fit.cost))
    )
    # a fitter may hand out a copy of itself that knows more (lmfit's result); one that wraps another is its own law
    return fit if type(fit.law) is type(fitter) else attrs.evolve(fit, law=fitter)


def fit_all(fitters: Sequence[Fitter], runs: Runs, cost: CostModel) -> tuple[tuple[Fit, ...], list[Diagnostic]]:
    """Fit with every fitter; training already paid for is never lost to an exception."""
    fits: list[Fit] = []
    diagnostics: list[Diagnostic] = []
    for fitter in fitters:
        try:
            fits.append(fit_one(fitter, runs, cost))
        except FlopsFitError as error:
            diagnostics.append(Diagnostic(kind="fit", message=f"{_name(fitter)}: {error}"))
        except Exception as error:
            log.exception("fitter %s failed", _name(fitter))
            diagnostics.append(Diagnostic(kind="fit", message=f"{_name(fitter)}: {type(error).__name__}: {error}"))
    if fits and type(fits[0].law) is not type(fitters[0]):
        message = f"{_name(fitters[0])} gave no fit, so {fits[0].fitter!r} gives the answer"
        diagnostics.append(Diagnostic(kind="fit", message=message))
    return tuple(fits), diagnostics


def cost_named(choice: str | CostModel, runs: Runs) -> CostModel:
    """The cost model that a word names: ``"6nd"``, or ``"measured"`` for the runs' own FLOPs.

    Raises:
        InputError: the word names none.
        FitError: the runs have no FLOPs of their own.
    """
    if isinstance(choice, CostModel):
        return choice
    if choice == "6nd":
        return CostModel.six_nd()
    if choice == "measured":
        if runs.flops is None:
            raise FitError(
                "flop_counter='measured' needs runs with a column 'flops': these have none; '6nd' needs none"
            )
        if NO_FLOPS in runs.notes and NON_EMBEDDING not in runs.notes:  # without look-up tables 6ND is of another N
            raise FitError(
                "flop_counter='measured' needs the runs' own FLOPs, and their table had no column 'flops': C was filled "
                "in as 6·N·D. Name the column that holds C, such as flops=total_flops among the columns, or fit with '6nd'"
            )
        return CostModel.from_runs(runs)
    raise InputError(
        f"flop_counter={choice!r} names no cost model.{nearest(str(choice).lower(), ('6nd', 'measured'))} "
        "Give '6nd', 'measured' (the runs' own FLOPs), or a CostModel"
    )


def _six_nd_of_what(runs: Runs, cost: CostModel) -> tuple[str, ...]:
    """What N and C are in a fit by 6ND to runs whose N is without look-up tables."""
    if cost.name != "6nd" or NON_EMBEDDING not in runs.notes:
        return ()
    return (
        "N is without look-up tables, and C is 6·N·D of that N: in the fit, in its predictions and in every budget that you "
        'ask for. The whole model costs more: flop_counter="measured" keeps the runs\' own C',
    )


def _off_six_nd(runs: Runs, cost: CostModel) -> tuple[str, ...]:
    """What to say of a fit by 6ND to runs that know better what they cost."""
    if cost.name != "6nd" or runs.flops is None:
        return ()
    known = runs.usable() & (runs.flops > 0)
    if not known.any():
        return ()
    ratio = float(np.median(runs.flops[known] / cost.flops(runs.n_params[known], runs.n_tokens[known])))
    if abs(ratio - 1) <= _OFF:
        return ()
    if not 1 / _ABSURD <= ratio <= _ABSURD:
        return (
            f"these runs' own FLOPs are {si(ratio, 3)} times 6·N·D in the median: look at the units of flops, n_params and "
            "n_tokens, such as millions, petaFLOPs or GPU hours",
        )
    return (
        f"C is taken as 6·N·D, but these runs' own FLOPs differ from it by {ratio - 1:+.0%} in the median: "
        'flop_counter="measured" fits with their own',
    )


def cost_of(runs: Runs) -> CostModel:
    """The cost model of a sweep's own runs: 6ND where that is how they were counted."""
    cost = CostModel.from_runs(runs)
    if len(cost.n_params) and bool((abs(cost.flops_per_token / (6 * cost.n_params) - 1) < 1e-9).all()):
        return CostModel.six_nd()
    return cost


def _name(fitter: Fitter) -> str:
    return type(fitter).__name__

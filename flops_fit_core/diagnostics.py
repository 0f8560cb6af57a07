"""What to doubt about a study or a fit: the known ways in which such sweeps mislead, looked for one by one.

In: records, the table of runs and the fits. Out: `Diagnostic` values in plain words, or a fit with these among its notes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import attrs
import numpy as np

from flops_fit_core.budgets import budgets_of, flops_of
from flops_fit_core.cells import best_of_cells
from flops_fit_core.compare import disagreements, largest_budget
from flops_fit_core.data import Diagnostic, Fit, RunRecord, Runs
from flops_fit_core.errors import FitError, FlopsFitError
from flops_fit_core.noise import slice_scatter
from flops_fit_core.text import si

MAX_EPOCHS = 4
MIN_BUDGETS = 3
MIN_SIZES = 3
"""Sizes of a budget below which its lowest loss is at an edge whatever the runs are."""
FAR = 40.0
_OFF_BUDGET = 1.5
"""Times that a run's budget may be off its C before a unit is the likelier reason."""
_FEW_TOKENS, _MANY_TOKENS, _SMALLEST_SWEEP = 0.3, 1e5, 1e7
"""Units of data per parameter, and C in FLOPs, beyond which hardly any sweep is: language models' optimum is near 20."""
_SHOWN = 12


def diagnose(records: Sequence[RunRecord], runs: Runs, fits: Sequence[Fit], parametrization: str) -> list[Diagnostic]:
    """Every diagnostic that can be read off the records and fits of a study."""
    judged = _judged(runs)
    return [
        *_simulated(records),
        *_unfinished(records),
        *_too_few_budgets(judged),
        *_edges(judged),
        *_epochs(records),
        *_short_runs(records),
        *_one_learning_rate(records, parametrization),
        *_left_out(fits, runs),
        *said_of(fits, runs),
        *(doubt for fit in fits[:1] for doubt in (*_no_optimum(fit, judged), *_misfit(fit, judged))),
    ]


def doubted_of(fits: Sequence[Fit], runs: Runs) -> list[Fit]:
    """Fits of a table that belongs to no study, with what to doubt among their notes; where they disagree, the first's."""
    first, *others = (doubted(fit, runs) for fit in fits)
    apart = (diagnostic.message for diagnostic in _disagreements(fits, runs))
    return [attrs.evolve(first, notes=(*first.notes, *apart)), *others]


def doubted(fit: Fit, runs: Runs) -> Fit:
    """The fit of a table that belongs to no study, with what its runs and it give to doubt among its notes."""
    judged = _judged(_not_left_out(runs, fit))
    found = [
        *_units(judged),
        *_off_budgets(judged),
        *_too_few_budgets(judged),
        *_edges(judged),
        *_no_optimum(fit, judged),
        *_misfit(fit, judged),
    ]
    return attrs.evolve(fit, notes=(*fit.notes, *(diagnostic.message for diagnostic in found)))


def said_of(fits: Sequence[Fit], runs: Runs) -> list[Diagnostic]:
    """What the fits themselves have to say, a note of several once, and where they contradict each other."""
    by = {note: dict.fromkeys(each.fitter for each in fits if note in each.notes) for fit in fits for note in fit.notes}
    apart = _disagreements(fits, runs)
    for each in apart:  # among the first fit's notes where the runs belong to no study
        by.pop(each.message, None)
    return [*(Diagnostic(kind="fit", message=f"{', '.join(names)}: {note}") for note, names in by.items()), *apart]


def far_extrapolation(compute_budget: float, extrapolation: float) -> Diagnostic | None:
    """A prediction beyond forty times the largest budget."""
    if extrapolation <= FAR:
        return None
    return Diagnostic(
        kind="extrapolation",
        message=f"{si(compute_budget)} FLOPs is {extrapolation:.3g} times the largest budget that was trained; beyond {FAR:g} "
        "times the law's form is a guess: train a larger budget",
    )


def _disagreements(fits: Sequence[Fit], runs: Runs) -> list[Diagnostic]:
    """Fits that contradict each other at the largest budget."""
    stated = () if runs.budget is None else tuple(runs.budget[np.isfinite(runs.budget)])
    budget = float(max(stated)) if stated else largest_budget(fits)
    if not fits or budget is None:
        return []
    return [Diagnostic(kind="disagreement", message=text) for text in disagreements(fits, budget)]


def _judged(runs: Runs) -> Runs:
    """The runs that can be fitted, the best recipe of each cell, at their budgets: as the table states them, or as C groups."""
    runs = runs.where(runs.usable())
    try:
        runs = attrs.evolve(runs, budget=budgets_of(runs, bands=False)[0])
    except FitError:  # C scatters: there are no budgets to judge
        runs = attrs.evolve(runs, budget=None)
    return best_of_cells(runs) if runs.budget is not None and any(runs.hparams or ()) else runs


def _not_left_out(runs: Runs, fit: Fit) -> Runs:
    """The runs that the fit did not leave out; a name that several runs share does not say which was."""
    names = [runs.name(row) for row in range(len(runs))]
    count, left_out = Counter(names), {item.run for item in fit.excluded if not item.used}
    return runs.where([name not in left_out or count[name] > 1 for name in names])


def _slices(runs: Runs) -> list[tuple[float, Runs]]:
    """Each budget with its runs, where these have enough sizes to show a minimum; ascending."""
    if runs.budget is None:
        return []
    slices = [(float(budget), runs.where(runs.budget == budget)) for budget in np.unique(runs.budget)]
    return [(budget, here) for budget, here in slices if len(np.unique(here.n_params)) >= MIN_SIZES]


def _listed(items: Sequence[str]) -> str:
    more = f"; and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return "; ".join(items[:_SHOWN]) + more


def _no_optimum(fit: Fit, runs: Runs) -> list[Diagnostic]:
    """Budgets at which the fit gives no optimum, or one outside the sizes that were trained there.

    Without budgets the optimum of the largest C is held against all sizes.
    """
    slices = _slices(runs)
    judged = slices or ([(fit.largest_budget, runs)] if fit.largest_budget else [])
    try:
        optima = [fit.predict(budget).n_params.value for budget, _ in judged]
    except FlopsFitError as error:
        return [Diagnostic(kind="optimum", message=f"{fit.fitter} gives no answer: {error}")]
    outside = [text for (budget, here), n in zip(judged, optima, strict=True) if (text := _beyond(budget, here, n))]
    if not outside:
        return []
    where = f"{len(outside)} of {len(slices)} budgets" if slices else "the largest C"
    return [
        Diagnostic(
            kind="optimum",
            message=f"{fit.fitter} puts the optimum outside the sizes that were trained at {where}: {_listed(outside)}. "
            "Nothing was measured there: add sizes on that side, or doubt the law",
        )
    ]


def _beyond(budget: float, runs: Runs, n: float) -> str:
    """A budget's optimum against the sizes of its runs; empty where it lies among them, or where there are no runs."""
    if not len(runs):
        return ""
    low, high = float(runs.n_params.min()), float(runs.n_params.max())
    return "" if low <= n <= high else f"{si(budget)} (N = {si(n)}; trained {si(low)} to {si(high)})"


def _misfit(fit: Fit, runs: Runs) -> list[Diagnostic]:
    """Budgets at which the lowest trained loss contradicts the fit: two or more, and half or more of them."""
    slices = _slices(runs)
    noise = None if runs.budget is None else slice_scatter(np.log(runs.n_params), np.log(runs.loss), runs.budget)
    if noise is None:  # whether a miss is more than noise cannot be told
        return []
    try:
        misses = [(_miss(fit, here, noise), budget) for budget, here in slices]
    except FlopsFitError:  # no optimum: `_no_optimum` says so
        return []
    bad = [(miss, budget) for miss, budget in misses if miss]
    if len(bad) < max(2, len(slices) / 2):
        return []
    largest, budget = max(bad, key=lambda each: abs(each[0]))
    flagged = any("undercooled" in flags for flags in runs.flags or ())
    advice = (
        "Leave runs flagged undercooled out of the fit with exclude_undercooled=True, or train" if flagged else "Train"
    )
    return [
        Diagnostic(
            kind="misfit",
            message=f"{fit.fitter} does not describe these runs: at {len(bad)} of {len(slices)} budgets the lowest trained "
            f"loss lies beyond its own interval, by up to {largest:+.1%} (at {si(budget)} FLOPs). {advice} "
            "other sizes or at other rates",
        )
    ]


def _miss(fit: Fit, runs: Runs, noise: float) -> float:
    """Lowest loss of one budget's runs against the fit's, relative; 0 where the fit's interval allows for it."""
    assert runs.budget is not None
    best = int(np.argmin(runs.loss))
    loss, answer = float(runs.loss[best]), fit.predict(float(runs.budget[best])).loss
    if answer.low is None or answer.high is None:
        return 0.0
    try:  # the run is seldom at the optimum: the law says how much its N and D cost it
        shift, above = fit.loss(runs.n_params[best], runs.n_tokens[best]) / answer.value, answer.high
    except FitError:  # of the optimum alone: a run may be worse than that, not better
        shift, above = 1.0, np.inf
    stderr = 0.0 if runs.loss_stderr is None else float(np.nan_to_num(runs.loss_stderr[best]))
    margin = 2 * np.hypot(stderr, noise * loss)
    return 0.0 if answer.low * shift - margin <= loss <= above * shift + margin else loss / (answer.value * shift) - 1


def _simulated(records: Sequence[RunRecord]) -> list[Diagnostic]:
    count = sum(bool(record.recipe.get("simulated")) for record in records)
    if not count:
        return []
    said = "nothing was trained, and the answer says nothing of your model"
    if count < len(records):
        said = "for those nothing was trained, and the answer is of both kinds"
    return [Diagnostic(kind="simulated", message=f"{count} of {len(records)} losses are simulated: {said}")]


def _left_out(fits: Sequence[Fit], runs: Runs) -> list[Diagnostic]:
    """Runs that were trained to their end and that the first fit left out: no table shows that."""
    if not fits:
        return []
    trained = {runs.name(int(row)) for row in np.flatnonzero(runs.usable())}
    found = [f"{item.run}: {item.reason}" for item in fits[0].excluded if item.run in trained and not item.used]
    if not found:
        return []
    message = (
        f"{len(found)} of {len(trained)} trained runs are not in the fit: {_listed(found)}. Look at them in the figure"
    )
    return [Diagnostic(kind="left out", message=message)]


def _unfinished(records: Sequence[RunRecord]) -> list[Diagnostic]:
    found = []
    for status in ("diverged", "failed"):
        bad = [record for record in records if record.status == status]
        if bad:
            reasons = Counter(record.message.splitlines()[0] if record.message else "no message" for record in bad)
            most = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(3))
            fix = (
                "a lower learning rate or a longer warm-up"
                if status == "diverged"
                else "the same call tries them again"
            )
            found.append(
                Diagnostic(
                    kind=status, message=f"{len(bad)} of {len(records)} runs {status} and are in no fit ({most}): {fix}"
                )
            )
    return found


def _units(runs: Runs) -> list[Diagnostic]:
    """Runs whose N, D or C is of another order than any sweep's: columns in millions, or swapped."""
    if not len(runs):
        return []
    ratio = float(np.median(runs.n_tokens / runs.n_params))
    largest = float(np.max(6 * runs.n_params * runs.n_tokens))
    if _FEW_TOKENS <= ratio <= _MANY_TOKENS and largest >= _SMALLEST_SWEEP:
        return []
    return [
        Diagnostic(
            kind="columns",
            message=f"the usual run has {si(ratio, 3)} units of data per parameter, and the largest costs 6·N·D = "
            f"{si(largest, 3)} FLOPs: if that is not so, n_params or n_tokens is in thousands, millions or billions, or the two "
            "were swapped",
        )
    ]


def _off_budgets(runs: Runs) -> list[Diagnostic]:
    """Runs that state a budget which is far from what they cost."""
    if runs.budget is None:
        return []
    ratio = runs.budget / flops_of(runs)
    off = np.flatnonzero(np.abs(np.log(ratio)) > math.log(_OFF_BUDGET))
    if not len(off):
        return []
    worst = off[np.argmax(np.abs(np.log(ratio[off])))]
    return [
        Diagnostic(
            kind="columns",
            message=f"{len(off)} of {len(runs)} runs state a budget more than {_OFF_BUDGET:g} times off their own C, such as "
            f"{runs.name(int(worst))}, whose budget is {ratio[worst]:.3g} times its C (6·N·D where the table has no FLOPs): look "
            "at the units of budget, flops, n_params and n_tokens",
        )
    ]


def _too_few_budgets(runs: Runs) -> list[Diagnostic]:
    if runs.budget is None or not len(runs):
        return []
    n = len(np.unique(runs.budget))
    if n >= MIN_BUDGETS:
        return []
    what = "2 budgets show a line and not whether it is one" if n == 2 else "1 budget shows no trend"
    return [Diagnostic(kind="budgets", message=f"{what}: train {MIN_BUDGETS} or more")]


def _edges(runs: Runs) -> list[Diagnostic]:
    """Budgets whose lowest loss is at the smallest or largest N alone: their minimum was not seen."""
    slices = _slices(runs)
    if not slices and runs.budget is not None and len(runs):
        message = f"no budget was trained at {MIN_SIZES} sizes or more, so no minimum was seen: add sizes"
        return [Diagnostic(kind="edge", message=message)]
    at: dict[str, list[str]] = {"smallest": [], "largest": []}
    for budget, here in slices:
        sizes, rows = np.unique(here.n_params, return_inverse=True)
        loss = np.bincount(rows, here.loss) / np.bincount(rows)
        if loss[1:-1].min() > min(loss[0], loss[-1]):  # a tie within, of losses that were rounded, is a minimum seen
            end = "smallest" if loss[0] <= loss[-1] else "largest"
            at[end].append(f"{si(budget)} FLOPs: N = {si(float(sizes[0 if end == 'smallest' else -1]))}")
    return [
        Diagnostic(
            kind="edge",
            message=f"at {len(found)} of {len(slices)} budgets the lowest loss is at the {end} size ({_listed(found)}), so the "
            f"minimum was not seen there: add {other} sizes",
        )
        for (end, found), other in zip(at.items(), ("smaller", "larger"), strict=True)
        if found
    ]


def _epochs(records: Sequence[RunRecord]) -> list[Diagnostic]:
    many = [record.epochs for record in records if record.epochs > MAX_EPOCHS]
    if not many:
        return []
    return [
        Diagnostic(
            kind="epochs",
            message=f"{len(many)} runs saw their data more than {MAX_EPOCHS} times (up to {max(many):.3g}): repeated data is worth "
            "less than new data (Muennighoff et al. 2023, arXiv 2305.16264), so D is overstated: use more data",
        )
    ]


def _short_runs(records: Sequence[RunRecord]) -> list[Diagnostic]:
    short = [record for record in records if record.status == "done" and record.recipe.get("too_short")]
    if not short:
        return []
    return [
        Diagnostic(
            kind="short",
            message=f"{len(short)} of {len(records)} runs are too short for their schedule ({short[0].recipe['too_short']}): "
            "larger budgets or smaller batches make them longer",
        )
    ]


def _one_learning_rate(records: Sequence[RunRecord], parametrization: str) -> list[Diagnostic]:
    done = [record for record in records if record.status == "done" and "lr" in record.recipe]
    rates = {record.recipe["lr"] for record in done}
    sizes = {record.run.n_params for record in done}
    if parametrization != "standard" or len(rates) != 1 or len(sizes) < 2:
        return []
    return [
        Diagnostic(
            kind="learning rate",
            message=f"every size was trained at the learning rate {rates.pop():g}. Without µP the best rate falls with size, "
            "and one rate for all bends the exponents (Porian et al. 2024, arXiv 2406.19146): give lr a rule of the run, "
            "such as lr=lambda run: 0.01 * 32 / run.size",
        )
    ]

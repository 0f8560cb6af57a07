"""What to doubt about a study: the known ways in which such sweeps mislead, looked for one by one.

In: records, the table of runs and the fits. Out: `Diagnostic` values in plain words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from flops_fit_core.cells import best_of_cells
from flops_fit_core.compare import disagreements, largest_budget
from flops_fit_core.data import Diagnostic, Fit, RunRecord, Runs
from flops_fit_core.errors import FitError, FlopsFitError
from flops_fit_core.text import si

MAX_EPOCHS = 4
MIN_BUDGETS = 3
FAR = 40.0


def diagnose(records: Sequence[RunRecord], runs: Runs, fits: Sequence[Fit], parametrization: str) -> list[Diagnostic]:
    """Every diagnostic that can be read off the records and fits."""
    return [
        *_unfinished(records),
        *_too_few_budgets(runs),
        *_edges(runs),
        *_epochs(records),
        *_short_runs(records),
        *_one_learning_rate(records, parametrization),
        *(Diagnostic(kind="fit", message=f"{fit.fitter}: {note}") for fit in fits for note in fit.notes),
        *_disagreements(fits, runs),
        *_no_optimum(fits, runs),
        *_misfit(fits, runs),
    ]


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
    budget = largest_budget(fits) if runs.budget is None else float(runs.budget.max())
    if not fits or budget is None:
        return []
    return [Diagnostic(kind="disagreement", message=text) for text in disagreements(fits, budget)]


def _no_optimum(fits: Sequence[Fit], runs: Runs) -> list[Diagnostic]:
    """Budgets at which the first fit gives no optimum, or one outside the sizes that were trained there."""
    if not fits or runs.budget is None:
        return []
    fit, usable, outside = fits[0], runs.usable(), []
    for budget in sorted({*runs.budget[usable]}):
        sizes = runs.n_params[usable & (runs.budget == budget)]
        try:
            n = fit.predict(budget).n_params.value
        except FlopsFitError as error:
            return [Diagnostic(kind="optimum", message=f"{fit.fitter} gives no answer: {error}")]
        if not sizes.min() <= n <= sizes.max():
            outside.append(f"{si(budget)} (N = {si(n)}; trained {si(float(sizes.min()))} to {si(float(sizes.max()))})")
    if not outside:
        return []
    return [
        Diagnostic(
            kind="optimum",
            message=f"{fit.fitter} puts the optimum outside the sizes that were trained at {'; '.join(outside)}: "
            "nothing was measured there; add sizes on that side, or doubt the law",
        )
    ]


def _misfit(fits: Sequence[Fit], runs: Runs) -> list[Diagnostic]:
    """Budgets at which the lowest trained loss contradicts the first fit: two or more, and half or more of them."""
    if not fits or runs.budget is None:
        return []
    runs = best_of_cells(runs) if any(runs.hparams or ()) else runs
    runs = runs.where(runs.usable())
    assert runs.budget is not None
    budgets, noise = np.unique(runs.budget), _scatter(runs)
    try:
        misses = [_miss(fits[0], runs.where(runs.budget == budget), noise) for budget in budgets]
    except FlopsFitError:  # no optimum: `_no_optimum` says so
        return []
    bad = [(miss, float(budget)) for miss, budget in zip(misses, budgets, strict=True) if miss]
    if len(bad) < max(2, len(budgets) / 2):
        return []
    largest, budget = max(bad, key=lambda each: abs(each[0]))
    return [
        Diagnostic(
            kind="misfit",
            message=f"{fits[0].fitter} does not describe these runs: at {len(bad)} of {len(budgets)} budgets the lowest trained "
            f"loss lies beyond its own interval, by up to {largest:+.1%} (at {si(budget)} FLOPs). Leave runs flagged "
            "undercooled out of the fit with exclude_undercooled=True, or train other sizes or at other rates",
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


def _scatter(runs: Runs) -> float:
    """How much runs scatter (ln loss, robust): four neighbouring sizes of a budget against their own parabola.

    No law is asked, and whole budgets are not one parabola where large models were trained too briefly.
    """
    assert runs.budget is not None
    found = []
    for budget in np.unique(runs.budget):
        here = runs.budget == budget
        x, rows = np.unique(np.log(runs.n_params[here]), return_inverse=True)
        y = np.bincount(rows, np.log(runs.loss[here])) / np.bincount(rows)
        seeds = len(rows) / len(x)  # a mean of several scatters less than a run
        for i in range(len(x) - 3):
            z, w = x[i : i + 4] - x[i], y[i : i + 4]
            found.append(np.sqrt(seeds) * np.linalg.norm(w - np.polyval(np.polyfit(z, w, 2), z)))
    return float(1.4826 * np.median(found)) if found else 0.0


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


def _too_few_budgets(runs: Runs) -> list[Diagnostic]:
    if runs.budget is None:
        return []
    n = len({*runs.budget[runs.usable()]})
    if n == 0 or n >= MIN_BUDGETS:
        return []
    return [
        Diagnostic(
            kind="budgets", message=f"{n} budgets show a line and not whether it is one: train {MIN_BUDGETS} or more"
        )
    ]


def _edges(runs: Runs) -> list[Diagnostic]:
    """Budgets whose lowest loss is at the smallest or largest N: their minimum was not seen."""
    if runs.budget is None:
        return []
    found = []
    usable = runs.usable()
    for budget in sorted({*runs.budget[usable]}):
        here = usable & (runs.budget == budget)
        sizes, rows = np.unique(runs.n_params[here], return_inverse=True)
        loss = np.bincount(rows, runs.loss[here]) / np.bincount(rows)
        best = int(np.argmin(loss))
        if len(sizes) > 1 and best in (0, len(sizes) - 1):
            end, other = ("smallest", "smaller") if best == 0 else ("largest", "larger")
            found.append(
                Diagnostic(
                    kind="edge",
                    message=f"at {si(budget)} FLOPs the lowest loss is at the {end} size (N = {si(float(sizes[best]))}), so its "
                    f"minimum was not seen: add {other} sizes",
                )
            )
    return found


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

"""Fitter ``isoflop``: a parabola in ln N for every budget, then power laws through the minima (Approach 2).

In: runs grouped by compute budget. Out: a `Fit` of N_opt = k_n·C^a, D_opt = k_d·C^b and
L_opt = E + k_l·C^c, with intervals; each budget's curve and its fate are in ``Fit.details``.

``Fit.details["budgets"]`` is a list, ascending in budget, of plain JSON mappings:

* ``budget``: C, FLOPs; ``n_points``: usable runs; ``n_range``: smallest and largest N;
* ``n_opt``, ``d_opt``, ``loss_opt``: the parabola's minimum; ``None`` where it has none;
* ``parabola``: [c0, c1, c2] of L = c0 + c1·ln N + c2·(ln N)², with ln N as it is, not centred; or ``None``;
* ``slice``: the additive law's own curve at this budget, or ``None``: ``coefficients`` [e, a, b] of
  L = e + a·N^(-alpha) + b·N^decay, with ``alpha``, ``decay``, ``n_opt``, ``d_opt``, ``loss_opt``;
* ``outliers``: labels of the runs that were left out of the curve;
* ``used``: whether the minimum went into the power laws; ``reason``: why not, else empty.

``Fit.details["slice_law"]`` holds a, k_n, b, k_d through the slices' minima, ``alpha`` and ``beta``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from flops_fit_core.budgets import budgets_of
from flops_fit_core.data import CostModel, Excluded, Fit, Runs
from flops_fit_core.errors import FitError
from flops_fit_core.text import si
from flops_fit_lmfit import holdout, options, slices, trend
from flops_fit_lmfit.budget_cost import cost_of_budgets
from flops_fit_lmfit.budget_slice import BudgetSlice, budget_slices, noise_variance
from flops_fit_lmfit.estimates import estimates
from flops_fit_lmfit.exact_slice import exact_slices
from flops_fit_lmfit.holdout import Held, Law
from flops_fit_lmfit.outliers import find_outliers
from flops_fit_lmfit.slices import PARABOLA
from flops_fit_lmfit.trend import Laws
from flops_fit_lmfit.usable import Selection, require_trend

Floats = NDArray[np.float64]

MIN_RUNS_FOR_INTERVAL = 10


@attrs.frozen(kw_only=True, field_transformer=options.own_first)
class IsoFlopFitter(Selection):
    """Fits the compute-optimal frontier from IsoFLOP slices (Hoffmann et al. 2022, arXiv 2203.15556, section 3.2).

    The parabola is an approximation. Where the true law is additive with alpha ≠ beta, its minimum is
    biased, by more the wider the sizes spread and the less they are centred: for alpha 0.34, beta 0.28
    and centred sizes within ±8 times the optimum, D_opt at 1e24 FLOPs comes out 2.9 % low (Czech et al.
    2026, arXiv 2603.22339). So every budget also gets the additive law's exact slice,
    ``e + a·N^(-alpha) + b·N^decay``, whose exponents come from the additive law through all runs and
    whose minimum has no such bias; `Fit.details` and `Fit.notes` show both.

    A budget's minimum is left out, with its reason in `Fit.excluded`, where the budget has fewer than
    four sizes, its lowest loss is at the smallest or largest size, its curve is concave, or its vertex
    lies outside the sizes. Outliers, far too high or too low, are left out of their curve and named.
    Seeds count as runs of their own; ``loss_stderr`` weighs them.

    With two usable budgets E cannot be told: it is set to zero, and so the loss is a lower bound beyond
    them. With fewer than two the fit is refused.

    Attributes:
        outliers: ``"exclude"`` leaves them out (`flops_fit_lmfit.outliers`); ``"flag"`` only names them.
        bootstrap: resamples for the intervals; 0 turns them off. Noise is resampled, not runs: a slice of
            seven runs drawn with replacement has lost its ends too often (intervals up to three times too
            wide; measured). Each run's residual is freed of its leverage, all budgets share one pool, and
            the minima get the scatter about the power law that this noise does not explain.
            Coverage at nominal 90 %, of the noise-free fit's a, N_opt and loss at 100 times the top budget: 84 to
            95 % (five budgets of five to nine sizes, noise 0.3 and 1 %, 0 to 10 % outliers; 150 replicates,
            standard error 2.5 %). The parabola's bias is not in the interval.
        hold_out: predict every budget from those below it, where there are enough.
        confidence: of the intervals.
        seed: of the bootstrap.
        min_flops: leave out runs below this compute.
        exclude_undercooled: leave out runs that were too short for their schedule.
        mix_schedules: fit runs of different learning-rate schedules together.
    """

    outliers: str = attrs.field(default="exclude", validator=options.one_of("exclude", "flag"))
    bootstrap: int = attrs.field(default=1000, validator=options.resamples)
    hold_out: bool = attrs.field(default=True, validator=options.switch)
    confidence: float = attrs.field(default=0.90, validator=options.share)
    seed: int = attrs.field(default=0, validator=options.count())

    def fit(self, runs: Runs, cost: CostModel) -> Fit:
        """Fit the curves and the power laws through their minima.

        Raises:
            FitError: fewer than two budgets have a usable minimum; it says why each was left out. All losses are equal.
        """
        usable = self.usable(runs)
        runs = usable.runs
        require_trend(runs)
        budget, notes = budgets_of(runs, bands=False)
        cost, cost_notes = cost_of_budgets(runs, budget, cost)
        outliers = find_outliers(runs, cost, low=True)
        left_out = outliers.mask & (self.outliers == "exclude")
        groups, laws = _frontier(runs, left_out)
        used = [group for group in groups if not group.reason]
        draws, draw_notes = self._draws(used, laws)
        exact, slice_law, slice_notes = exact_slices(groups, runs.where(~outliers.mask), laws)
        held = self._held(runs, cost, outliers.mask) if self.hold_out else ()
        return Fit(
            fitter="isoflop",
            params=estimates(laws.params, draws, self.confidence),
            cost=cost,
            confidence=self.confidence,
            draws=draws,
            objective=laws.loss.objective,
            converged=laws.loss.converged,
            gradient_norm=laws.loss.gradient_norm,
            n_used=sum(int(group.kept.sum()) for group in used),
            excluded=(
                *usable.excluded,
                *outliers.excluded(runs, used=self.outliers == "flag"),
                *(Excluded(run=f"budget {si(group.budget)}", reason=group.reason) for group in groups if group.reason),
            ),
            hold_out=holdout.summary(held),
            model_error=holdout.model_error(held),
            largest_budget=used[-1].budget,
            formula=trend.FORMULA,
            notes=(
                *usable.notes,
                *notes,
                *cost_notes,
                *laws.notes(),
                *slice_notes,
                *draw_notes,
                *outliers.notes(runs),
            ),
            details={
                "budgets": [group.plain(one) for group, one in zip(groups, exact, strict=True)],
                "slice_law": slice_law,
            },
            law=self,
        )

    def optimum(self, params: Mapping[str, Any], cost: CostModel, budget: float) -> tuple[Floats, Floats, Floats]:
        """N, D and loss at the compute optimum; vectorised over arrays of parameter draws."""
        return trend.optimum(params, cost, budget)

    def _held(self, runs: Runs, cost: CostModel, bad: NDArray[np.bool_]) -> tuple[Held, ...]:
        """Every budget predicted from those below it."""

        def fit_laws(below: Runs) -> list[Law]:
            left_out = find_outliers(below, cost, low=True).mask & (self.outliers == "exclude")
            params = _frontier(below, left_out)[1].params
            return [Law(loss=None, optimum=lambda budget: trend.optimum(params, cost, budget))]

        held = holdout.rolling(runs, fit_laws, judges=~bad)
        return held[0] if held else ()

    def _draws(self, used: list[BudgetSlice], laws: Laws) -> tuple[dict[str, Floats], tuple[str, ...]]:
        """The laws' parameters in every resample, or none and why."""
        runs = sum(len(group.rows) for group in used)
        if self.bootstrap == 0:
            return {}, ("no intervals: bootstrap=0",)
        if runs < MIN_RUNS_FOR_INTERVAL:
            return {}, (f"no intervals: {runs} runs at usable budgets, and {MIN_RUNS_FOR_INTERVAL} are needed",)
        rng = np.random.default_rng(self.seed)
        pool = np.concatenate([group.noise() for group in used])
        pool = pool - pool.mean()
        optima = [group.resampled(rng.choice(pool, size=(self.bootstrap, len(group.rows)))) for group in used]
        log_n, log_d, loss = (np.stack(columns, axis=-1) for columns in zip(*optima, strict=True))
        beyond = np.sqrt(laws.between) * rng.standard_normal(log_n.shape)
        draws = laws.draws(log_n + beyond, log_d - beyond * [group.data_slope() for group in used], loss)
        whole = np.isfinite(np.stack(list(draws.values()))).all(axis=0)
        if whole.mean() < 0.5:
            return {}, ("no intervals: most resamples have no minimum at enough budgets",)
        lost = int((~whole).sum())
        note = (f"{lost} of {self.bootstrap} resamples had no minimum at enough budgets",) if lost else ()
        return {name: values[whole] for name, values in draws.items()}, note


def _frontier(runs: Runs, left_out: NDArray[np.bool_]) -> tuple[list[BudgetSlice], Laws]:
    """Every budget's curve, and the laws through the usable minima, weighed by how well each is told.

    Raises:
        FitError: fewer than two budgets have a usable minimum.
    """
    groups = budget_slices(runs, budgets_of(runs, bands=False)[0], left_out)
    used = [group for group in groups if not group.reason]
    if len(used) < 2:
        raise FitError(_too_few(groups, len(runs)))
    log_n, log_d, loss = (np.array(v) for v in zip(*(g.minima(PARABOLA, g.coefficients) for g in used), strict=True))
    noise = noise_variance(used) * loss**2
    spread = np.array([slices.covariance(PARABOLA, g.x, g.coefficients, g.weights) for g in used])
    log_c = np.log([group.budget for group in used])
    return groups, Laws.fit(log_c, (log_n, log_d, loss), (spread[:, 0] * noise, spread[:, 1] * noise))


def _too_few(groups: list[BudgetSlice], runs: int) -> str:
    fates = "; ".join(f"{si(g.budget)} FLOPs, {len(g.rows)} runs: {g.reason or 'a minimum'}" for g in groups)
    return (
        f"isoflop needs a minimum at two or more compute budgets (three to judge the trend); {runs} usable runs show one at "
        f"{sum(not g.reason for g in groups)} of {len(groups)}: {fates or 'no budget at all'}"
    )

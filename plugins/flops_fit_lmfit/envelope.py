"""Fitter ``envelope``: the lowest loss at each compute, over all training curves (Approach 1).

In: runs with their loss curves, or their final points alone. Out: a `Fit` of N_opt = k_n·C^a,
D_opt = k_d·C^b and L_opt = E + k_l·C^c through the envelope, with intervals.

``Fit.details["envelope"]`` holds the envelope as plain JSON: ``source`` (``"curves"`` or ``"final points"``),
and the lists ``c``, ``n``, ``d``, ``loss``, one value a point.
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
from flops_fit_lmfit import holdout, options, trend
from flops_fit_lmfit.budget_cost import cost_of_budgets
from flops_fit_lmfit.estimates import estimates
from flops_fit_lmfit.holdout import Held, Law
from flops_fit_lmfit.outliers import Outliers, find_outliers
from flops_fit_lmfit.trend import Laws
from flops_fit_lmfit.usable import Selection, require_trend

Floats = NDArray[np.float64]

MIN_RUNS_FOR_INTERVAL = 10
_WINDOW = 10
_DENSE = 10 * _WINDOW
"""Points of a curve below which a window would cover so much of it as to lift it."""
_CHUNK = 100
_KINDS = {"eval_loss": "held-out losses", "loss": "training losses"}
"""What a curve may hold, the better first."""
_ENOUGH = 0.5
"""Share of the runs that must have a curve of one kind for curves to be followed."""


@attrs.frozen(kw_only=True, field_transformer=options.own_first)
class EnvelopeFitter(Selection):
    """Fits the compute-optimal frontier from the lower envelope (Hoffmann et al. 2022, arXiv 2203.15556, section 3.1).

    At each of `points` log-spaced values of C the run with the lowest loss among those whose curve passes
    there gives N_opt; where it is the smallest or the largest model of them the optimum may lie beyond, and
    the point is left out. Runs that tie for the lowest loss give the geometric mean of their N. Curves are the held-out
    losses where half of the runs or more have them at two or more points, else the training losses where half have
    those, smoothed over ten of them where there are a hundred or more; runs without are left out, and named.

    Three warnings. A curve with a decaying learning rate lies above the loss of a shorter run that was
    planned to end there, so the envelope of such curves favours runs near their end. N_opt can only be a
    size that was trained, or the middle of some that tie: use many sizes. And a resample lacks some of the runs, so
    that its lowest losses are no lower than those of all runs: at trained budgets the loss's sampling interval lies
    above its value.

    Without enough curves the lowest final loss of each compute budget is the envelope. It is made of the lowest losses
    alone, so one that is too low to be true (a typo, a leaked validation set) would be the answer. A lowest loss is what
    it is: standard errors judge outliers here, and weigh nothing.

    Attributes:
        points: values of C along the curves.
        use_curves: ``False`` takes final points even where there are curves.
        outliers: ``"exclude"`` leaves runs out, with their curves, whose final loss is far too high or too low
            (`flops_fit_lmfit.outliers`); ``"flag"`` only names them.
        hold_out: predict every budget from those below it, where there are enough.
        bootstrap: resamples of whole runs for the intervals; 0 turns them off.
        confidence: of the intervals.
        seed: of the bootstrap.
        min_flops: leave out runs below this compute.
        exclude_undercooled: leave out runs that were too short for their schedule.
        mix_schedules: fit runs of different learning-rate schedules together.
    """

    points: int = attrs.field(default=50, validator=options.count(3))
    use_curves: bool = attrs.field(default=True, validator=options.switch)
    outliers: str = attrs.field(default="exclude", validator=options.one_of("exclude", "flag"))
    hold_out: bool = attrs.field(default=True, validator=options.switch)
    bootstrap: int = attrs.field(default=1000, validator=options.resamples)
    confidence: float = attrs.field(default=0.90, validator=options.share)
    seed: int = attrs.field(default=0, validator=options.count())

    def fit(self, runs: Runs, cost: CostModel) -> Fit:
        """Find the envelope and fit the power laws through it.

        Raises:
            FitError: the envelope has fewer than two points away from the smallest and largest model, or all losses are
                equal.
        """
        usable = self.usable(runs)
        runs = usable.runs
        require_trend(runs)
        outliers = find_outliers(runs, cost, low=True)
        table, cost, notes = self._table(self._kept(runs, outliers), cost)
        inside, optima, laws = _frontier(table, cost)
        draws, draw_notes = self._draws(table, inside, laws, cost)
        held = self._held(runs, cost, ~outliers.mask) if self.hold_out else ()
        columns = {"c": table.c[inside], "n": np.exp(optima[0]), "d": np.exp(optima[1]), "loss": optima[2]}
        return Fit(
            fitter="envelope",
            params=estimates(laws.params, draws, self.confidence),
            cost=cost,
            confidence=self.confidence,
            draws=draws,
            objective=laws.loss.objective,
            converged=laws.loss.converged,
            gradient_norm=laws.loss.gradient_norm,
            n_used=len(table.n),
            excluded=(
                *usable.excluded,
                *outliers.excluded(runs, used=self.outliers == "flag"),
                *table.excluded(inside),
            ),
            hold_out=holdout.summary(held),
            model_error=holdout.model_error(held),
            largest_budget=float(table.c[inside].max()),
            formula=trend.FORMULA,
            notes=(*usable.notes, *notes, *laws.notes(), *draw_notes, *outliers.notes(runs)),
            details={"envelope": {"source": table.source, **{k: v.tolist() for k, v in columns.items()}}},
            law=self,
        )

    def optimum(self, params: Mapping[str, Any], cost: CostModel, budget: float) -> tuple[Floats, Floats, Floats]:
        """N, D and loss at the compute optimum; vectorised over arrays of parameter draws."""
        return trend.optimum(params, cost, budget)

    def _table(self, runs: Runs, cost: CostModel) -> tuple[_Table, CostModel, tuple[str, ...]]:
        """Losses of the runs at values of C, the cost model of these, and how the budgets are known."""
        most = 0
        for kind, losses in _KINDS.items() if self.use_curves else ():
            curves = _curves(runs, cost, kind)
            if len(curves) >= max(2, _ENOUGH * len(runs)):
                return _along_curves(runs, curves, self.points, losses), cost, ()
            most = max(most, len(curves))
        few = (f"{most} of {len(runs)} runs have a curve: too few, so the envelope is of final points",) if most else ()
        budget, notes = budgets_of(runs, bands=False)
        cost, more = cost_of_budgets(runs, budget, cost)
        return _final_points(runs, budget), cost, (*few, *notes, *more)

    def _kept(self, runs: Runs, outliers: Outliers) -> Runs:
        """The runs to fit."""
        return runs if self.outliers == "flag" else runs.where(~outliers.mask)

    def _held(self, runs: Runs, cost: CostModel, judges: NDArray[np.bool_]) -> tuple[Held, ...]:
        """Every budget predicted from those below it."""

        def fit_laws(below: Runs) -> list[Law]:
            kept = self._kept(below, find_outliers(below, cost, low=True))
            params = _frontier(self._table(kept, cost)[0], cost)[2].params
            return [Law(loss=None, optimum=lambda budget: trend.optimum(params, cost, budget))]

        held = holdout.rolling(runs, fit_laws, judges=judges)
        return held[0] if held else ()

    def _draws(
        self, table: _Table, inside: NDArray[np.bool_], laws: Laws, cost: CostModel
    ) -> tuple[dict[str, Floats], tuple[str, ...]]:
        """The laws' parameters through the envelopes of resampled runs, or none and why."""
        runs = len(table.n)
        if self.bootstrap == 0:
            return {}, ("no intervals: bootstrap=0",)
        if runs < MIN_RUNS_FOR_INTERVAL:
            return {}, (f"no intervals: {runs} runs, and {MIN_RUNS_FOR_INTERVAL} are needed",)
        rng = np.random.default_rng(self.seed)
        drawn = rng.multinomial(runs, np.full(runs, 1 / runs), size=self.bootstrap) > 0
        parts = []
        for chunk in range(0, self.bootstrap, _CHUNK):
            n, loss = (values[:, inside] for values in table.best(drawn[chunk : chunk + _CHUNK]))
            log_d = np.log(cost.tokens(n, table.c[inside]))
            parts.append(laws.draws(np.log(n), log_d, loss))
        draws = {name: np.concatenate([part[name] for part in parts]) for name in laws.params}
        whole = np.isfinite(np.stack(list(draws.values()))).all(axis=0)
        if whole.mean() < 0.5:
            return {}, ("no intervals: most resamples have an envelope of too few points",)
        return {name: values[whole] for name, values in draws.items()}, ()


@attrs.frozen(kw_only=True, eq=False)
class _Table:
    """Losses of runs (rows) at values of C (columns); infinite where a run has none.

    Attributes:
        n: N of the runs, shape (r,).
        c: C, FLOPs, shape (m,).
        loss: shape (r, m).
        source: ``"curves"`` or ``"final points"``.
        without: runs that have no curve, where curves are the source.
    """

    n: Floats
    c: Floats
    loss: Floats
    source: str
    without: tuple[Excluded, ...] = ()

    def best(self, drawn: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """N and loss of the envelope for subsets of the runs (b, r): shapes (b, m), NaN where nothing is drawn.

        Losses are often rounded, so that several runs have the lowest: N is then the geometric mean of theirs.
        """
        losses = np.where(drawn[:, :, None], self.loss, np.inf)
        lowest = losses.min(axis=1)
        tied = losses == lowest[:, None]
        log_n = np.einsum("brm,r->bm", tied, np.log(self.n)) / tied.sum(axis=1)
        found = np.isfinite(lowest)
        return np.where(found, np.exp(log_n), np.nan), np.where(found, lowest, np.nan)

    def inside(self) -> NDArray[np.bool_]:
        """Where the lowest loss is at neither the smallest nor the largest model that has one, shape (m,)."""
        there = np.isfinite(self.loss)
        smallest = np.where(there, self.n[:, None], np.inf).min(axis=0, initial=np.inf)
        largest = np.where(there, self.n[:, None], -np.inf).max(axis=0, initial=-np.inf)
        n = self.best(np.ones((1, len(self.n)), dtype=bool))[0][0] if len(self.n) else np.full(len(self.c), np.nan)
        return np.asarray((n > smallest * (1 + 1e-9)) & (n < largest * (1 - 1e-9)))

    def excluded(self, inside: NDArray[np.bool_]) -> tuple[Excluded, ...]:
        """The runs and the values of C that were left out."""
        reason = "minimum at the edge: the lowest loss is at the smallest or largest model"
        if self.source == "final points":
            return tuple(Excluded(run=f"budget {si(c)}", reason=reason) for c in self.c[~inside])
        if inside.all():
            return self.without
        low, high = self.c[~inside].min(), self.c[~inside].max()
        points = f"{(~inside).sum()} of {len(inside)} points, C from {si(low)} to {si(high)}"
        return (*self.without, Excluded(run=points, reason=reason))


def _frontier(table: _Table, cost: CostModel) -> tuple[NDArray[np.bool_], tuple[Floats, Floats, Floats], Laws]:
    """Which points are away from the edge; ln N, ln D and loss there; the laws through them.

    Raises:
        FitError: there are fewer than two.
    """
    inside = table.inside()
    if inside.sum() < 2:
        raise FitError(
            f"envelope: {len(table.n)} usable runs give {inside.sum()} values of C at which the lowest loss is at "
            "neither the smallest nor the largest model; two are needed (three to judge the trend): add sizes and budgets"
        )
    n, loss = (values[0, inside] for values in table.best(np.ones((1, len(table.n)), dtype=bool)))
    c, none = table.c[inside], np.zeros(int(inside.sum()))
    optima = np.log(n), np.log(cost.tokens(n, c)), loss
    return inside, optima, Laws.fit(np.log(c), optima, (none, none))


def _final_points(runs: Runs, budget: Floats) -> _Table:
    c = np.unique(budget)
    return _Table(
        n=runs.n_params,
        c=c,
        loss=np.where(budget[:, None] == c, runs.loss[:, None], np.inf),
        source="final points",
    )


def _along_curves(runs: Runs, curves: Mapping[int, tuple[Floats, Floats]], points: int, losses: str) -> _Table:
    """Curves read at log-spaced C, linearly in logarithms."""
    log_c = np.linspace(min(c[0] for c, _ in curves.values()), max(c[-1] for c, _ in curves.values()), points)
    log_loss = np.stack([np.interp(log_c, c, y, left=np.inf, right=np.inf) for c, y in curves.values()])
    reason = f"no curve: its {losses} are at fewer than two points, and the envelope is of curves"
    return _Table(
        n=runs.n_params[list(curves)],
        c=np.exp(log_c),
        loss=np.exp(log_loss),
        source="curves",
        without=tuple(Excluded(run=runs.name(row), reason=reason) for row in range(len(runs)) if row not in curves),
    )


def _curves(runs: Runs, cost: CostModel, kind: str) -> dict[int, tuple[Floats, Floats]]:
    """Ln C and ln loss, by row, of every run that has a curve of two or more points; training losses smoothed."""
    found = {row: curve for row in range(len(runs)) if (curve := _curve(runs, row, cost, kind))}
    return found if kind == "eval_loss" else {row: (c, _smooth(y)) for row, (c, y) in found.items()}


def _curve(runs: Runs, row: int, cost: CostModel, kind: str) -> tuple[Floats, Floats] | None:
    curve = runs.curves[row] if runs.curves is not None else ()
    points = [(p.n_tokens, value) for p in curve if (value := getattr(p, kind)) and value > 0 and np.isfinite(value)]
    if len({tokens for tokens, _ in points if tokens > 0}) < 2:
        return None
    tokens, loss = np.array(sorted(point for point in points if point[0] > 0), dtype=np.float64).T
    return np.log(cost.flops(runs.n_params[row], tokens)), np.log(loss)


def _smooth(y: Floats) -> Floats:
    """Mean over a Gaussian window of ten points, shorter at the ends; ten of few would be most of the descent."""
    if len(y) < _DENSE:
        return y
    kernel = np.exp(-0.5 * (np.arange(-_WINDOW, _WINDOW + 1) / (_WINDOW / 4)) ** 2)
    full = np.convolve(y, kernel), np.convolve(np.ones_like(y), kernel)
    return np.asarray((full[0] / full[1])[_WINDOW : _WINDOW + len(y)])

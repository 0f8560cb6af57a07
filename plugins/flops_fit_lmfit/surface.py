"""Fitter ``surface``: the additive law L(N, D) = E + A/N^alpha + B/D^beta (Hoffmann et al. 2022, Approach 3).

In: runs and a cost model. Out: a `Fit` at the global optimum of the objective, with bootstrap intervals,
hold-out errors and what the runs cannot say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import lmfit
import numpy as np
from numpy.typing import ArrayLike, NDArray

from flops_fit_core.data import CostModel, Estimate, Fit, Runs
from flops_fit_core.errors import InputError
from flops_fit_lmfit import additive, bootstrap, constrained, holdout, identify, options, polish, profile
from flops_fit_lmfit.estimates import estimates
from flops_fit_lmfit.objective import OBJECTIVES
from flops_fit_lmfit.outliers import Outliers, find_outliers
from flops_fit_lmfit.solve import AdditiveFit, fit_additive, noise_scale, solve_from
from flops_fit_lmfit.usable import Selection, require_additive, require_points

Floats = NDArray[np.float64]

MOST_SHORT = 0.05
"""Of the refits, the share that may stop short before the spread of all of them is no interval."""
NOT_TOLD = "no sampling interval: the runs do not tell every parameter, so that refits wander without end"


def _known_params(_: Any, __: Any, params: lmfit.Parameters | None) -> None:
    if params is not None:
        polish.check_params(params)


@attrs.frozen(kw_only=True, field_transformer=options.own_first)
class SurfaceFitter(Selection):
    """Fits the additive law by one robust or least-squares objective, at its global optimum.

    Runs count alike, so that a point trained with more seeds counts more. Where standard errors of the
    losses are known, each residual is divided by its own standard deviation: the run's standard error and, in
    quadrature, the scatter that the usual standard error leaves unexplained (so that runs with equal standard
    errors are fitted as if none were known).

    The intervals are the case bootstrap's. In simulation (``docs/coverage.md``) nominal 90 % hold 90 to 92 % with
    adaptive Huber and outliers excluded, and 95 to 97 %, wider than they need be, with delta 1e-3 on 35 runs.
    A standard deviation of the draws is given only where it describes them: A and B, the terms at N = 1 and at D = 1,
    can be so heavy-tailed that a few draws make it up.

    Attributes:
        objective: ``log_huber`` (Hoffmann's), ``log_mse``, ``lin_huber`` or ``lin_mse``; a sum over runs.
        delta: Huber's delta, or ``"adaptive"``: 1.345 robust standard deviations of the residuals.
        outliers: ``"flag"`` names the runs that `flops_fit_lmfit.outliers` marks, ``"exclude"`` leaves them out,
            ``"keep"`` looks for none.
        bootstrap: resamples for the sampling intervals; 0 turns them off.
        confidence: of the intervals.
        seed: of the bootstrap.
        params: lmfit's ``Parameters`` named E, A, B, alpha, beta: fixed, bounded or tied as the user likes;
            those not named are free. With it, fit and refits run through lmfit.
        hold_out: predict every budget from those below it.
        min_flops: leave out runs below this compute.
        exclude_undercooled: leave out runs that were too short for their schedule.
        mix_schedules: fit runs of different learning-rate schedules together.
        lmfit_result: on ``Fit.law``: lmfit's own ``MinimizerResult`` of that fit.
    """

    objective: str = attrs.field(default="log_huber", validator=options.one_of(*OBJECTIVES))
    delta: float | str = attrs.field(default=1e-3, validator=options.number(above=0, instead=("adaptive",)))
    outliers: str = attrs.field(default="flag", validator=options.one_of("flag", "exclude", "keep"))
    bootstrap: int = attrs.field(default=1000, validator=options.resamples)
    confidence: float = attrs.field(default=0.90, validator=options.share)
    seed: int = attrs.field(default=0, validator=options.count())
    params: lmfit.Parameters | None = attrs.field(default=None, validator=_known_params)
    hold_out: bool = attrs.field(default=True, validator=options.switch)
    lmfit_result: Any = attrs.field(default=None, init=False, eq=False, repr=False)

    def settings(self) -> Mapping[str, Any]:
        """What identifies the fitter: its options."""
        given = {f.name: getattr(self, f.name) for f in attrs.fields(type(self)) if f.init}
        return given | {"params": None if self.params is None else self.params.dumps()}

    def fit(self, runs: Runs, cost: CostModel) -> Fit:
        """Fit the law to the usable runs.

        Raises:
            FitError: fewer than five different points, one budget, all N or all D equal.
        """
        usable = self.usable(runs)
        runs = usable.runs
        self._require(runs)
        if self.outliers == "exclude":
            outliers = self._outliers(runs, cost)
            kept = runs.where(~outliers.mask)
            self._require(kept)
            found, result = self._solve(kept)
        else:
            kept = runs
            found, result = self._solve(kept)
            outliers = self._outliers(runs, cost, found)
        unidentified, determined = (
            identify.unidentified(found) if self.params is None else constrained.unidentified(found, result)
        )
        draws, about_draws = self._draws(found) if determined else ({}, (NOT_TOLD,))
        held = self._held(runs, cost, outliers) if self.hold_out else ()
        top = float(np.max(cost.flops(kept.n_params, kept.n_tokens)))
        law = attrs.evolve(self)
        object.__setattr__(law, "lmfit_result", result)
        return Fit(
            fitter="surface",
            params=self._estimates(found, draws, cost, top),
            cost=cost,
            confidence=self.confidence,
            draws={name: draws[name] for name in additive.NAMES} if draws else {},
            objective=found.objective,
            converged=found.converged and determined,
            gradient_norm=found.gradient_norm,
            n_used=len(kept),
            excluded=(*usable.excluded, *outliers.excluded(runs, used=self.outliers == "flag")),
            hold_out=holdout.summary(held),
            model_error=holdout.model_error(held),
            largest_budget=top,
            formula=additive.FORMULA,
            notes=(
                *usable.notes,
                *(holdout.grouping(runs) if held else ()),
                *unidentified,
                *identify.oddities(found),
                *(identify.saturated(found) if self.params is None else ()),
                *about_draws,
                *outliers.notes(runs),
            ),
            details={"objective": self.objective, "delta": found.delta},
            law=law,
        )

    def profile(self, runs: Runs, name: str, cost: CostModel | None = None) -> Estimate:
        """A parameter with its profile-likelihood interval, which needs no resampling.

        It takes the law as true and the runs' errors as alike and independent; where it is far from the bootstrap's
        interval, they are not. An end is infinite where the runs leave that side open.

        Args:
            runs: as for `fit`.
            name: E, A, B, alpha or beta.
            cost: C as a function of N and D, by which ``outliers="exclude"`` judges; ``None``: 6ND.

        Raises:
            InputError: no such parameter, or parameters of the user's own, which a profile does not know.
            FitError: as for `fit`, or the runs do not identify the parameter.
        """
        if self.params is not None:
            raise InputError(
                "profile holds one parameter and frees all others, so it takes no params of your own: leave params out, or "
                "read the bootstrap's interval of the fit with them"
            )
        kept = self._kept(self.usable(runs).runs, CostModel.six_nd() if cost is None else cost)
        self._require(kept)
        found = self._free(kept)
        low, high = profile.interval(found, name, self.confidence)
        return Estimate(value=found.params[name], low=low, high=high)

    def loss(self, params: Mapping[str, ArrayLike], n: ArrayLike, d: ArrayLike) -> Floats:
        """Loss of N parameters after D units of data."""
        return additive.loss(params, n, d)

    def optimum(self, params: Mapping[str, Any], cost: CostModel, budget: float) -> tuple[Floats, Floats, Floats]:
        """N, D and loss at the compute optimum; vectorised over arrays of parameter draws."""
        return additive.optimum(params, cost, budget)

    def _require(self, runs: Runs) -> None:
        if self.params is None:
            require_additive(runs)
        else:
            require_points(runs, len(additive.NAMES), "the additive law")

    def _outliers(self, runs: Runs, cost: CostModel, found: AdditiveFit | None = None) -> Outliers:
        """The runs that are marked; `found`, the fit of all of them where it is at hand, saves the rule its own."""
        if self.outliers == "keep":
            return Outliers.none(len(runs))
        robust = self.objective == "log_huber" and self.params is None
        return find_outliers(runs, cost, additive=found.params if found is not None and robust else None)

    def _kept(self, runs: Runs, cost: CostModel) -> Runs:
        """The runs to fit."""
        return runs.where(~self._outliers(runs, cost).mask) if self.outliers == "exclude" else runs

    def _free(self, runs: Runs) -> AdditiveFit:
        """The fit with all parameters free."""
        n, d, loss = runs.n_params, runs.n_tokens, runs.loss
        free = fit_additive(n, d, loss, objective=self.objective, delta=self.delta)
        if runs.loss_stderr is None:
            return free
        scale = noise_scale(free, runs.loss_stderr)
        return fit_additive(n, d, loss, objective=self.objective, delta=self.delta, scale=scale)

    def _solve(self, runs: Runs) -> tuple[AdditiveFit, Any]:
        """The fit and lmfit's result: the same point, unless the user's own parameters bind."""
        free = self._free(runs)
        if self.params is not None:
            return constrained.fit(free, self.params)
        result = polish.polish(free.problem, [free.theta])
        if result.objective < free.objective:  # by more than rounding only where the optimum is at infinity
            free = solve_from(free, polish.theta_of(free.problem, result))
        return free, result

    def _held(self, runs: Runs, cost: CostModel, outliers: Outliers) -> tuple[holdout.Held, ...]:
        def below(runs: Runs) -> tuple[holdout.Law]:
            self._require(runs)
            kept = self._kept(runs, cost)
            params = (self._free(kept) if self.params is None else self._solve(kept)[0]).params
            return (
                holdout.Law(
                    loss=lambda n, d: additive.loss(params, n, d), optimum=lambda c: additive.optimum(params, cost, c)
                ),
            )

        fitted = ~outliers.gross if self.outliers == "exclude" else None
        held = holdout.rolling(runs, below, judges=~outliers.mask, fitted=fitted)
        return held[0] if held else ()

    def _draws(self, found: AdditiveFit) -> tuple[dict[str, Floats], tuple[str, ...]]:
        """The bootstrap's parameters by name, and what to say about them."""
        if self.bootstrap == 0:
            return {}, ()
        k = len(found.problem.loss)
        if k < bootstrap.FEWEST_RUNS:
            return {}, (f"no sampling interval: {k} runs are too few to resample, {bootstrap.FEWEST_RUNS} are needed",)
        if not found.converged:
            return {}, ("no sampling interval: the fit itself did not converge",)
        if self.params is not None:
            theta, short = constrained.refit(found, self.params, draws=self.bootstrap, seed=self.seed), 0
        else:
            refits = bootstrap.refit(found.problem, found.theta, draws=self.bootstrap, seed=self.seed)
            theta, short = refits.theta, int((~refits.converged).sum())
        if short > MOST_SHORT * self.bootstrap:
            return {}, (f"{NOT_TOLD}: {short} of {self.bootstrap} did not converge",)
        notes = (f"{short} of {self.bootstrap} bootstrap refits did not converge fully",) if short else ()
        return found.problem.params(theta), notes

    def _estimates(
        self, found: AdditiveFit, draws: Mapping[str, Floats], cost: CostModel, top: float
    ) -> dict[str, Estimate]:
        values = {name: float(value) for name, value in found.problem.params(found.theta).items()}
        values |= {name: float(value) for name, value in additive.local_exponents(values, cost, top).items()}
        slopes = additive.local_exponents(draws, cost, top) if draws else {}
        drawn = {**draws, **{name: slope[np.isfinite(slope)] for name, slope in slopes.items()}}
        if self.params is not None:
            drawn = constrained.moving(drawn)
        return estimates(values, drawn, self.confidence)

"""Fitter ``frontier``: a seven-parameter law along the compute-efficient frontier, made to extrapolate.

In: runs and a cost model. Out: a `Fit` of `frontier_law`, with its rolling hold-out errors and no sampling
interval: a fit with priors is never bootstrapped alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import ArrayLike, NDArray

from flops_fit_core.data import CostModel, Estimate, Fit, Runs
from flops_fit_core.errors import InputError, nearest
from flops_fit_lmfit import additive, frontier_law, holdout, identify, options
from flops_fit_lmfit.frontier_law import COORDINATES
from flops_fit_lmfit.frontier_solve import PRIOR_STRENGTH, PRIORS, Solution, scatter, solve
from flops_fit_lmfit.outliers import Outliers, find_outliers
from flops_fit_lmfit.solve import additive_start
from flops_fit_lmfit.standard_errors import StandardErrors
from flops_fit_lmfit.usable import Selection, require_points

Floats = NDArray[np.float64]

NO_INTERVAL = (
    "no sampling interval: this law is fitted with priors, and a bootstrap of such a fit covered 0 to 33 % where "
    "the truth was far from them; fitter 'ensemble' gives one"
)
NOT_RESAMPLED = "no sampling interval: this fitter resamples nothing; fitters 'surface' and 'ensemble' do"
UNTOLD = "what the runs do not tell, this law takes from its priors: do not trust its optimum"


Priors = Mapping[str, tuple[float, float] | None]


def _in_force(priors: Priors | None) -> Priors | None:
    """The default priors with the given ones in their places; what is no dict stays, to be refused by its own name."""
    return {**PRIORS, **priors} if isinstance(priors, Mapping) else priors


def _known_priors(_: Any, __: Any, priors: Any) -> None:
    if not isinstance(priors, Mapping | None):
        raise InputError(
            f"priors is {priors!r}: give a dict of (mean, standard deviation), such as {{'a': (0.5, 0.1)}}, or None"
        )
    for name, prior in (priors or {}).items():
        if name not in COORDINATES:
            raise InputError(
                f"no prior on {name!r}: known are {', '.join(COORDINATES)}.{nearest(str(name), COORDINATES)}"
            )
        if not (prior is None or _is_prior(prior)):
            raise InputError(
                f"prior {name!r} is {prior!r}: give None for no prior, or a finite mean and a standard deviation above 0, "
                "such as (0.5, 0.1)"
            )


def _is_prior(prior: Any) -> bool:
    two = isinstance(prior, Sequence | np.ndarray) and len(prior) == 2
    return two and all(map(options.is_number, prior)) and prior[1] > 0


def _noise(about_additive: Floats, about_frontier: float) -> float | None:
    """What delta and priors are measured by: the mean of both laws' scatter, or of the one that is known."""
    known = [about_frontier] if math.isfinite(about_frontier) else []
    if np.isfinite(about_additive).all():  # a term that ran away predicts nothing
        known.append(scatter(about_additive, len(additive.NAMES)))
    return math.exp(np.mean(np.log(known))) if known else None


@attrs.frozen(kw_only=True, field_transformer=options.own_first)
class FrontierFitter(Selection):
    """Fits L = E + K·C^(−gamma)·(q·exp(−p·u) + p·exp(q·u)) / (p + q), u = ln N − n0 − a·ln C.

    exp(n0)·C^a is the optimum of every budget. The additive law with C = 6ND is the special case p = alpha,
    q = beta, a = beta/(alpha + beta), gamma = alpha·beta/(alpha + beta); freed of those two ties, the frontier may
    bend otherwise than the slices do, as it does in published sweeps.

    What is minimised, with r = ln L_pred − ln L:

        sum over runs of w·rho(r)  +  prior_strength · sigma² / 2 · sum of ((theta − mean) / sd)²

    rho is Huber's with delta 1.345 sigma. The weights are proportional to C and have mean 1: what is asked
    for lies beyond the largest budgets. A likelihood of independent errors would have prior_strength 1; ten,
    because the errors of a law's form are shared by neighbouring runs, so that they say less than their number.
    The search starts from an additive fit and four other points.

    Sigma is found first and then held, as in MM-estimation (Yohai 1987): a robust scale that is found in turn with
    the minimum under such weights shrinks with it, and then delta and priors count too little. It is the geometric
    mean of two robust sigmas (1.4826 × MAD, over sqrt(1 − parameters / runs)): about the additive fit, and about the
    frontier law as the outlier rule fits it, without weights and with priors at strength 1.

    Attributes:
        priors: Gaussian priors, (mean, standard deviation) by coordinate: ``ln_E``, ``ln_K``, ``ln_gamma``,
            ``n0`` (these at the centre of the data), ``a``, ``ln_p``, ``ln_q``. A dict changes the priors that it
            names and leaves the other defaults: ``{"a": (0.5, 0.05)}``; ``{"a": None}`` switches one off, ``None`` all.
            The defaults say what published sweeps have in common: gamma about 0.175, a about 0.5, p and q
            about 0.35.
        prior_strength: how many times the noise variance counts against the priors.
        weight_power: run weights are proportional to C to this power; 0 makes them equal.
        outliers: ``"exclude"`` leaves the runs out that `flops_fit_lmfit.outliers` marks; ``"flag"`` names them.
        hold_out: predict every budget from those below it.
        min_flops: leave out runs below this compute.
        exclude_undercooled: leave out runs that were too short for their schedule.
        mix_schedules: fit runs of different learning-rate schedules together.
    """

    priors: Priors | None = attrs.field(default=PRIORS, converter=_in_force, validator=_known_priors)
    prior_strength: float = attrs.field(default=PRIOR_STRENGTH, validator=options.number(least=0))
    weight_power: float = attrs.field(default=1.0, validator=options.number())
    outliers: str = attrs.field(default="exclude", validator=options.one_of("exclude", "flag"))
    hold_out: bool = attrs.field(default=True, validator=options.switch)

    @property
    def _active(self) -> dict[str, tuple[float, float]]:
        """The priors that count."""
        if self.prior_strength == 0:
            return {}
        return {name: prior for name, prior in (self.priors or {}).items() if prior is not None}

    def fit(self, runs: Runs, cost: CostModel) -> Fit:
        """Fit the law to the usable runs.

        Raises:
            FitError: fewer than seven different points, one budget, all N or all D equal.
        """
        usable = self.usable(runs)
        runs = usable.runs
        require_points(runs, len(COORDINATES), "the frontier law")
        outliers = find_outliers(runs, cost)
        kept = self.keep(runs, outliers)
        start = additive_start(kept)
        unidentified, determined = identify.unidentified(start)
        found = self.solve(kept, cost, start.params, outliers.sigma)
        held = self._held(runs, cost, outliers) if self.hold_out else ()
        return attrs.evolve(
            self.describe(found, kept, cost),
            converged=found.converged and determined,
            excluded=(*usable.excluded, *outliers.excluded(runs, used=self.outliers == "flag")),
            hold_out=holdout.summary(held),
            model_error=holdout.model_error(held),
            notes=(
                *usable.notes,
                *(holdout.grouping(runs) if held else ()),
                *identify.unfinished(found.converged, found.gradient_norm),
                *(f"of the additive law, where this one starts: {note}" for note in unidentified),
                *((UNTOLD,) if self._active and not determined else ()),
                *outliers.notes(runs),
                NO_INTERVAL if self._active else NOT_RESAMPLED,
            ),
        )

    def describe(self, found: Solution, runs: Runs, cost: CostModel) -> Fit:
        """The solution as a `Fit` of the runs that it was found for."""
        return Fit(
            fitter="frontier",
            params={name: Estimate(value=value) for name, value in found.params.items()},
            cost=cost,
            objective=found.value,
            converged=found.converged,
            gradient_norm=found.gradient_norm,
            n_used=len(runs),
            largest_budget=float(np.max(cost.flops(runs.n_params, runs.n_tokens))),
            formula=frontier_law.FORMULA,
            notes=identify.unfinished(found.converged, found.gradient_norm),
            details={"sigma": found.sigma, "delta": found.objective.delta},
            law=self,
        )

    def keep(self, runs: Runs, outliers: Outliers) -> Runs:
        """The runs to fit."""
        return runs if self.outliers == "flag" else runs.where(~outliers.mask)

    def solve(self, runs: Runs, cost: CostModel, start: Mapping[str, float], sigma: float) -> Solution:
        """The law's parameters for usable runs, every one of them.

        Args:
            runs: usable runs.
            cost: C as a function of N and D.
            start: an additive fit of the same runs (E, A, B, alpha, beta), where the search begins.
            sigma: scatter about the frontier law, as `find_outliers` sees it; NaN where it is unknown.
        """
        n, d, loss = runs.n_params, runs.n_tokens, runs.loss
        predicted = additive.loss(start, n, d)
        return solve(
            n,
            cost.flops(n, d),
            loss,
            start,
            priors=self._active,
            prior_strength=self.prior_strength,
            weight_power=self.weight_power,
            errors=StandardErrors.of(runs.loss_stderr, predicted),
            sigma=_noise(np.log(predicted / loss), sigma),
        )

    def _held(self, runs: Runs, cost: CostModel, outliers: Outliers) -> tuple[holdout.Held, ...]:
        fitted = ~outliers.gross if self.outliers == "exclude" else None
        held = holdout.rolling(runs, lambda below: (self.law_of(below, cost),), judges=~outliers.mask, fitted=fitted)
        return held[0] if held else ()

    def law_of(self, runs: Runs, cost: CostModel) -> holdout.Law:
        """Fit usable runs and hand out the law alone, as hold-out asks for it.

        Raises:
            FitError: too few runs, one budget, all N or all D equal.
        """
        require_points(runs, len(COORDINATES), "the frontier law")
        start = additive_start(runs).params
        outliers = find_outliers(runs, cost, additive=start)
        kept = self.keep(runs, outliers)
        if len(kept) < len(runs):
            start = additive_start(kept).params
        return self.law(self.solve(kept, cost, start, outliers.sigma).params, cost)

    def law(self, params: Mapping[str, float], cost: CostModel) -> holdout.Law:
        """The fitted law as hold-out asks for it."""
        return holdout.Law(
            loss=lambda n, d: self.loss(params, n, d, cost), optimum=lambda budget: self.optimum(params, cost, budget)
        )

    def loss(
        self, params: Mapping[str, ArrayLike], n: ArrayLike, d: ArrayLike, cost: CostModel | None = None
    ) -> Floats:
        """Loss of N parameters after D units of data; C by `cost`, 6ND where it is not given."""
        return frontier_law.loss(params, n, (CostModel.six_nd() if cost is None else cost).flops(n, d))

    def optimum(self, params: Mapping[str, Any], cost: CostModel, budget: float) -> tuple[Floats, Floats, Floats]:
        """N, D and loss on the frontier; vectorised over arrays of parameter draws."""
        return frontier_law.optimum(params, cost, budget)

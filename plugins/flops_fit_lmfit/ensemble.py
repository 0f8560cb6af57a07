"""Fitter ``ensemble``, the default: the average of ``frontier`` and ``surface``, each trusted by its own hold-out.

In: runs and a cost model. Out: a `Fit` that holds both members' parameters and the frontier's weight; its
sampling interval is the additive member's, in logarithms, centred on the average. Both members are in
``Fit.members``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import ArrayLike, NDArray

from flops_fit_core.compare import disagreements
from flops_fit_core.data import CostModel, Estimate, Fit, Runs
from flops_fit_core.errors import FitError
from flops_fit_core.serial import unplain
from flops_fit_core.stages import Fitter
from flops_fit_lmfit import additive, forecast, frontier_law, holdout, options
from flops_fit_lmfit.estimates import estimates
from flops_fit_lmfit.frontier import FrontierFitter
from flops_fit_lmfit.holdout import Held
from flops_fit_lmfit.outliers import Outliers, find_outliers
from flops_fit_lmfit.solve import additive_start
from flops_fit_lmfit.surface import SurfaceFitter
from flops_fit_lmfit.usable import Selection, require_additive, require_points
from flops_fit_lmfit.weights import ODDS, frontier_weight, in_words, rolling_blend

Floats = NDArray[np.float64]

FORMULA = (
    "ln L = w*ln L_frontier + (1 - w)*ln L_surface, ln N_opt likewise, w = weight; "
    f"surface: {additive.FORMULA}; frontier: {frontier_law.FORMULA}"
)
LAWS = {"surface": additive, "frontier": frontier_law}
MEMBERS = ("frontier", "surface")
EARLY_BUDGETS, EARLY_RUNS = 3, 15
"""What an origin needs below it to say something of the weights; its errors are not shown, nor in the model's error."""
COUNTS = 0.01
"""Weight from which on the frontier law is part of the answer."""
_NEEDED = f"no rolling hold-out: it needs {holdout.MIN_BUDGETS} budgets with {holdout.MIN_RUNS} runs below another one, so the "
NO_HOLD_OUT = {
    2: f"{_NEEDED}odds are the shipped {ODDS:g}:1 for 'frontier' and the model's error the shipped default",
    1: f"{_NEEDED}model's error is the shipped default",
}
"""What to say where nothing could be held out, by the number of members."""


@attrs.frozen(kw_only=True, field_transformer=options.own_first)
class EnsembleFitter(Selection):
    """Averages ln L and ln N_opt of the frontier law and of the additive law with adaptive Huber.

    The frontier law extrapolates far better where the additive law is a little wrong, as in every published
    sweep, and worse where it is exactly true. Their odds are 3:1 where no budget leaves four budgets and twenty runs
    below it; else weights follow from rolling hold-out (`flops_fit_lmfit.holdout`) on these very runs, from three
    budgets on: from the members' own errors, less what both miss alike and what the additive law errs by while it is true
    (`flops_fit_lmfit.weights`).

    On published sweeps the ensemble's error of later budgets' losses is half the plain additive fit's (``docs/holdout.md``).
    Where the additive law is true, it is 0.94 to 1.04 times the plain fit's by the same measure, on average over four laws
    (six to nine budgets, noise 0.3 and 1 %). Of the true loss ten and a hundred times beyond the largest budget it is 0.88
    to 1.08 times, for the worst of those laws 1.12 times; for the worst of eight laws drawn at random 1.28 times, of eight
    that range to extreme asymmetry 1.38 times, and of twelve drawn from anywhere at all 1.52 times.

    The sampling interval is that of the additive member's case bootstrap, in logarithms, centred on the
    average: a fit with priors must not be bootstrapped. The prediction interval adds the model's error, which is nowhere
    less than how far apart the members lie (`flops_fit_core.predict`).

    Attributes:
        outliers: ``"exclude"`` leaves the runs out that `flops_fit_lmfit.outliers` marks; ``"flag"`` names them.
        bootstrap: resamples for the sampling interval; 0 turns it off.
        confidence: of the intervals.
        seed: of the bootstrap.
        min_flops: leave out runs below this compute.
        exclude_undercooled: leave out runs that were too short for their schedule.
        mix_schedules: fit runs of different learning-rate schedules together.
    """

    outliers: str = attrs.field(default="exclude", validator=options.one_of("exclude", "flag"))
    bootstrap: int = attrs.field(default=1000, validator=options.resamples)
    confidence: float = attrs.field(default=0.90, validator=options.share)
    seed: int = attrs.field(default=0, validator=options.count())

    @property
    def member_laws(self) -> dict[str, Fitter]:
        """The fitters of the members, whatever other plugins offer by their names."""
        return {"surface": SurfaceFitter(), "frontier": FrontierFitter()}

    def fit(self, runs: Runs, cost: CostModel) -> Fit:
        """Fit both members and average them; the additive one alone where there are too few runs for both.

        Raises:
            FitError: too few runs for the additive law, one budget, all N or all D equal.
        """
        usable = self.usable(runs)
        runs = usable.runs
        require_additive(runs)
        outliers = find_outliers(runs, cost)
        kept = runs if self.outliers == "flag" else runs.where(~outliers.mask)
        late = holdout.late_origins(runs)
        held = self._held(runs, cost, outliers, late) if late else dict.fromkeys(MEMBERS, ())
        members, notes = self._members(kept, cost, outliers.sigma)
        members = {
            name: holdout.judged(fit, [one for one in held[name] if one.origin in late])
            for name, fit in members.items()
        }
        blended = rolling_blend(held["frontier"], held["surface"], late)
        weight = frontier_weight(held["frontier"], held["surface"]) if "frontier" in members else 0.0
        params = _params(members, weight)
        draws = members["surface"].draws
        top = float(np.max(cost.flops(kept.n_params, kept.n_tokens)))
        fit = Fit(
            fitter="ensemble",
            params=self._exponents(params, draws, cost, top) | params,
            cost=cost,
            confidence=self.confidence,
            draws={name: draws[name] for name in additive.NAMES} if draws else {},
            objective=members["surface"].objective,
            converged=members["surface"].converged and (weight < COUNTS or members["frontier"].converged),
            gradient_norm=max(fit.gradient_norm or 0.0 for fit in members.values()),
            n_used=len(kept),
            excluded=(*usable.excluded, *outliers.excluded(runs, used=self.outliers == "flag")),
            largest_budget=top,
            formula=FORMULA,
            notes=(
                *usable.notes,
                *(holdout.grouping(runs) if blended else (NO_HOLD_OUT[len(members)],)),
                *notes,
                *(f"member {name!r}: {note}" for name in members if name != "surface" for note in members[name].notes),
                *(in_words(weight, held["frontier"], held["surface"]) if "frontier" in members else ()),
                *outliers.notes(runs),
            ),
            details={
                "members": {name: unplain(attrs.evolve(fit, draws={}).to_dict()) for name, fit in members.items()}
            },
            law=self,
        )
        fit = holdout.judged(fit, blended)
        apart = disagreements([fit, members["surface"]], top, ["ensemble", "its member 'surface'"])
        return attrs.evolve(fit, notes=(*fit.notes, *apart))  # the other member has no interval to be judged by

    def _members(self, runs: Runs, cost: CostModel, sigma: float) -> tuple[dict[str, Fit], list[str]]:
        """The members' fits by name, and what to say about them."""
        fitter = SurfaceFitter(
            delta="adaptive",
            outliers="keep",
            bootstrap=self.bootstrap,
            confidence=self.confidence,
            seed=self.seed,
            hold_out=False,
            mix_schedules=True,
        )
        surface = fitter.fit(runs, cost)
        said = fitter.usable(runs).notes  # of all runs, by the ensemble itself
        notes = [note for note in surface.notes if note not in said]
        members = {"surface": surface}
        try:
            require_points(runs, len(frontier_law.NAMES), "the frontier law")
            frontier = FrontierFitter()
            members["frontier"] = frontier.describe(frontier.solve(runs, cost, surface.values, sigma), runs, cost)
        except FitError as error:
            notes.append(f"the additive law alone answers: {error}")
        return members, notes

    def _held(
        self, runs: Runs, cost: CostModel, outliers: Outliers, late: frozenset[float]
    ) -> dict[str, tuple[Held, ...]]:
        """Rolling hold-out of the members, in step; of none where nothing above a late origin could be judged.

        Gross outliers that the fit leaves out are left out below every origin too, also where only what lies above shows
        them: the errors are those of a fit without them. A run that is only just bad may look good from there.
        """
        frontier = FrontierFitter(outliers=self.outliers)

        def below(runs: Runs) -> tuple[holdout.Law, holdout.Law]:
            require_points(runs, len(frontier_law.NAMES), "the frontier law")
            start = additive_start(runs)
            seen = find_outliers(runs, cost, additive=start.params)
            kept = frontier.keep(runs, seen)
            if len(kept) < len(runs):
                start = additive_start(kept)
            surface = holdout.Law(
                loss=lambda n, d: additive.loss(start.params, n, d),
                optimum=lambda c: additive.optimum(start.params, cost, c),
                spread=lambda ahead: forecast.spread(start, kept, ahead),
            )
            return frontier.law(frontier.solve(kept, cost, start.params, seen.sigma).params, cost), surface

        held = holdout.rolling(
            runs,
            below,
            judges=~outliers.mask,
            fitted=~outliers.gross if self.outliers == "exclude" else None,
            min_budgets=EARLY_BUDGETS,
            min_runs=EARLY_RUNS,
        )
        if not any(one.origin in late for law in held for one in law):
            return dict.fromkeys(MEMBERS, ())
        return dict(zip(MEMBERS, held, strict=True))

    def _exponents(
        self, params: Mapping[str, Estimate], draws: Mapping[str, Floats], cost: CostModel, top: float
    ) -> dict[str, Estimate]:
        """Local exponents of N_opt ~ C^a and D_opt ~ C^b at the largest budget."""
        values: dict[str, Any] = {name: estimate.value for name, estimate in params.items()}

        def slopes(of: Mapping[str, Any]) -> dict[str, Floats]:
            (n0, d0, _), (n1, d1, _) = (self.optimum(of, cost, top * factor) for factor in (0.5, 2.0))
            with np.errstate(all="ignore"):
                return {"a": np.log(n1 / n0) / np.log(4.0), "b": np.log(d1 / d0) / np.log(4.0)}

        points = {name: float(slope) for name, slope in slopes(values).items()}
        drawn = slopes({**values, **draws}) if draws else {}
        finite = {name: slope[np.isfinite(slope)] for name, slope in drawn.items()}  # a draw may have no optimum
        return estimates(points, finite, self.confidence)

    def loss(self, params: Mapping[str, Any], n: ArrayLike, d: ArrayLike, cost: CostModel | None = None) -> Floats:
        """Loss of N parameters after D units of data; C by `cost`, 6ND where it is not given."""
        weight = params["weight"]
        log_loss = (1.0 - weight) * np.log(additive.loss(_part(params, "surface_"), n, d))
        if "frontier_E" in params:
            c = (CostModel.six_nd() if cost is None else cost).flops(n, d)
            log_loss = log_loss + weight * np.log(frontier_law.loss(_part(params, "frontier_"), n, c))
        return np.asarray(np.exp(log_loss))

    def optimum(self, params: Mapping[str, Any], cost: CostModel, budget: float) -> tuple[Floats, Floats, Floats]:
        """N and loss by the averages of the members' ln N_opt and ln L_opt, D = C / cost(N).

        The average law's loss at that N is a little higher, and absurd where the members' N lie orders of magnitude
        apart. Where `params` also hold additive draws (E, A, B, alpha, beta), the answer moves, in logarithms, as the
        additive optimum moves from the member's point to each draw.
        """
        with np.errstate(all="ignore"):  # a law or a draw of it may have no optimum: infinite or not a number
            at = additive.optimum(_part(params, "surface_"), cost, budget)
            n, _, loss = at
            if "frontier_E" in params:
                weight = params["weight"]
                there = frontier_law.optimum(_part(params, "frontier_"), cost, budget)
                n, loss = (at[i] ** (1.0 - weight) * there[i] ** weight for i in (0, 2))
            if "E" in params:
                drawn = additive.optimum(params, cost, budget)
                n, loss = n * (drawn[0] / at[0]), loss * (drawn[2] / at[2])
            return n, cost.tokens(n, budget), loss


def _params(members: Mapping[str, Fit], weight: float) -> dict[str, Estimate]:
    """The weight, and every member's parameters with its name before theirs."""
    params = {"weight": Estimate(value=weight)}
    for name, member in members.items():
        keys = (*LAWS[name].NAMES, *(key for key in ("lnA", "lnB") if key in member.params))
        params |= {f"{name}_{key}": member.params[key] for key in keys}
    return params


def _part(params: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in params.items() if name.startswith(prefix)}

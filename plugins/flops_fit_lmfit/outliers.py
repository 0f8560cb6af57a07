"""Runs whose loss is far too high, or on request far too low, for the law: found before the fit, each with its reason.

In: usable runs and a cost model. Out: `Outliers`, a mask with a reason for every run it marks. Whether
they are left out of a fit or only named is the caller's choice.

The rule: fit the frontier law robustly (Huber, delta 1.345 robust sigmas) to every run, all with one weight
and the priors at their plain strength (weights that grow with C, or strong priors, bend the law away from
clean runs of the small budgets, which then look bad); mark the runs whose ln L lies more than five robust
sigmas (1.4826 × MAD, seven degrees of freedom taken off) above it, at most 30 % of a budget (of three runs or fewer:
one) and of the table, the worst first. Bad runs swell sigma, so it is taken again from the others until the marks stay.
Where standard errors of the losses are known, a run's sigma holds what its own has beyond the usual one.

A second look, where sigma is larger than the scatter of the budgets' own curves: bad runs, several or at the ends of the
budgets, can bend even a robust law to themselves. So the law is also fitted without the worst 30 % of every budget (least
trimmed squares: Rousseeuw 1984), without its smallest size, without its largest, and again to the runs that its marks
leave, each time by the sigma of the fit before, by which a marked run must be bad too. The marks of the least sigma are
right where they explain the rest far better: where sigma, times how far the runs lie from their budgets' own curves,
falls below 0.6 of what it was. A law that does not hold at the ends of the budgets lets sigma fall as well, but the runs
there lie nearly on the curves.

Sigma is at least 0.7 times the scatter of the runs' excess about the budgets' own curves, as seven parameters can follow a
few dozen runs too closely. With fewer than 35 runs it is poorly known, and the limit grows as Student's t does. It is never
below 1e-6, so that data without noise lose nothing.

Only high losses are marked: a run can fail to learn, none learns too well. A curve through one budget alone is bent by
one wrong number all the same (a typo, a leaked validation set), so fitters ``isoflop`` and ``envelope`` have low losses
marked too, by the same limit and within the same 30 %. The frontier law judges, because runs that bend away from the
additive law show an error of that law and not of theirs.

In simulated sweeps with 10 % of the runs too high (``docs/outliers.md``: 35 to 64 runs, noise 0.3 and 1 %) it marks 97
to 99 % of those that are 10 to 100 % too high, which is all that 30 % of a budget allow, 93 to 99 % of those that are 5 to
50 % too high, and none of the others. A single run that is too low is found in 98 of 100 sweeps, at noise 0.3 %, where it
is 3 % off among 35 runs, 5 % among 20, 10 % among 15.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs
import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from flops_fit_core.budgets import budgets_of
from flops_fit_core.data import CostModel, Excluded, Runs
from flops_fit_core.noise import NEIGHBOURS, slice_misses, slice_scatter
from flops_fit_lmfit import additive as additive_law
from flops_fit_lmfit import frontier_law
from flops_fit_lmfit.frontier_law import COORDINATES
from flops_fit_lmfit.frontier_solve import scatter, solve
from flops_fit_lmfit.solve import fit_additive
from flops_fit_lmfit.standard_errors import StandardErrors

Floats = NDArray[np.float64]

THRESHOLD = 5.0
GROSS = 10.0
"""Robust sigmas beyond which a run is bad by any table of runs that it stands in."""
MOST = 0.3
ENOUGH = 35
"""Runs from which on the threshold is what it says; with fewer it is as improbable by Student's t."""
ROUNDS = 5
SHARE = 0.7
"""Of the scatter of the budgets' own curves: the least that sigma can be."""
CLEARER = 0.6
"""Times sigma times the distance of runs from their budgets' own curves below which other marks are the right ones."""
SETTLED = 1e-3
"""Relative change of sigma between two fits of the law below which it judges: none is known so well, and a fit whose delta
and priors are measured by it hardly moves."""
FEWEST = 10
"""Runs below which nothing is marked: seven parameters leave too little to judge by."""


@attrs.frozen(kw_only=True, eq=False)
class Outliers:
    """What `find_outliers` marked.

    Attributes:
        mask: True where a run is an outlier, shape (k,).
        excess: ln L − ln L_pred of every run, shape (k,).
        sigma: the residuals' robust sigma.
        beyond: what the runs' own standard errors add to it in quadrature, shape (k,).
        low: True where a run that is not marked is as far below the law, shape (k,).
        law: parameters of the frontier law that judged; empty where nothing did.
    """

    mask: NDArray[np.bool_]
    excess: Floats
    sigma: float
    beyond: Floats
    low: NDArray[np.bool_]
    law: Mapping[str, float] = attrs.field(factory=dict)

    @classmethod
    def none(cls, runs: int) -> Outliers:
        """Of so many runs, none is marked, and sigma is not known."""
        nothing = np.zeros(runs, dtype=bool)
        return cls(mask=nothing, excess=np.zeros(runs), sigma=float("nan"), beyond=np.zeros(runs), low=nothing)

    @property
    def gross(self) -> NDArray[np.bool_]:
        """True where a run is marked and more than `GROSS` robust sigmas off, shape (k,)."""
        with np.errstate(invalid="ignore"):  # where nothing was looked for, sigma is not known
            return self.mask & (np.abs(self.excess) > GROSS * np.hypot(self.sigma, self.beyond))

    def notes(self, runs: Runs) -> tuple[str, ...]:
        """The runs that are too low to be true, by name; they are used all the same."""
        return tuple(
            f"{runs.name(int(row))} is used, but too low to be true: {self._reason(int(row)).removeprefix('outlier: ')}"
            for row in np.flatnonzero(self.low)
        )

    def excluded(self, runs: Runs, *, used: bool) -> tuple[Excluded, ...]:
        """The marked runs by name, each with its reason; `used` says whether the fit kept them."""
        return tuple(
            Excluded(run=runs.name(int(row)), reason=self._reason(int(row)), used=used)
            for row in np.flatnonzero(self.mask)
        )

    def _reason(self, row: int) -> str:
        excess, sigma = float(self.excess[row]), float(np.hypot(self.sigma, self.beyond[row]))
        side = "above" if excess > 0 else "below"
        return (
            f"outlier: loss {abs(np.expm1(excess)):.2%} {side} the frontier law, "
            f"{abs(excess) / sigma:.1f} robust sigmas of {sigma:.2%}"
        )


def find_outliers(
    runs: Runs,
    cost: CostModel,
    *,
    low: bool = False,
    additive: Mapping[str, float] | None = None,
    threshold: float = THRESHOLD,
    most: float = MOST,
) -> Outliers:
    """Mark runs whose loss is far above the frontier law.

    Args:
        runs: usable runs (every N, D and loss positive and finite).
        cost: C as a function of N and D.
        low: mark runs far below it as well.
        additive: a robust additive fit of the same runs to start from, where there is one.
        threshold: how many robust sigmas from the law is too far, for 35 runs or more.
        most: the largest share of a budget's runs that is marked.
    """
    if len(runs) < FEWEST:
        return Outliers.none(len(runs))
    n, d, loss = runs.n_params, runs.n_tokens, runs.loss
    start = fit_additive(n, d, loss).params if additive is None else additive
    errors = StandardErrors.of(runs.loss_stderr, additive_law.loss(start, n, d))
    budget = budgets_of(runs)[0]
    rule = _Rule(
        n=n,
        c=cost.flops(n, d),
        loss=loss,
        budget=budget,
        start=start,
        limit=_limit(threshold, len(runs)),
        most=most,
        low=low,
        beyond=np.zeros(len(runs)) if errors is None else errors.beyond_usual(),
    )
    found = rule.judge(np.ones(len(runs), dtype=bool))
    of_slices = rule.of_slices(found.excess, ~found.mask)
    if not 0.0 < of_slices < found.sigma:
        return found
    looks = (rule.without_worst(found), *rule.without_ends())
    others = [rule.settle(used, found) for used in looks if used.sum() >= FEWEST]
    best = min(others, key=lambda other: other.sigma, default=found)
    return best if rule.explains(best, found) else found


@attrs.frozen(kw_only=True, eq=False)
class _Rule:
    """The rule on one table: arrays of shape (k,) and what `find_outliers` was told."""

    n: Floats
    c: Floats
    loss: Floats
    budget: Floats
    start: Mapping[str, float]
    limit: float
    most: float
    low: bool
    beyond: Floats

    def of_slices(self, excess: Floats, kept: NDArray[np.bool_]) -> float:
        """Scatter of the kept runs' excess about their budgets' own curves; 0 where no budget has enough of them."""
        return slice_scatter(np.log(self.n[kept]), excess[kept], self.budget[kept]) or 0.0

    def judge(self, used: NDArray[np.bool_], before: Outliers | None = None) -> Outliers:
        """Every run by the law of the `used` ones; sigma is that of the runs that are not marked, at first of those.

        Where another law judged `before`, this one is fitted by its sigma, and marked is what is bad by both sigmas.
        """
        least = 0.0 if before is None else before.sigma
        law = solve(
            self.n[used],
            self.c[used],
            self.loss[used],
            self.start,
            prior_strength=1.0,
            weight_power=0.0,
            sigma=before and before.sigma,
            settled=SETTLED,
            starts=2,
            near=before and before.law,
        ).params
        excess = np.log(self.loss / frontier_law.loss(law, self.n, self.c))
        distance = self._distance(excess)
        mask = ~used
        for _ in range(ROUNDS):
            sigma = scatter(excess[~mask])
            marked = self._mark(distance, max(sigma, least))
            if np.array_equal(marked, mask):
                break
            mask = marked
        sigma = max(sigma, SHARE * self.of_slices(excess, ~mask))
        mask = self._mark(distance, max(sigma, least))
        low = ~mask & (excess < -self.limit * np.hypot(sigma, self.beyond))
        return Outliers(mask=mask, excess=excess, sigma=sigma, beyond=self.beyond, low=low, law=law)

    def _distance(self, excess: Floats) -> Floats:
        """How far from the law a run is on the side, or the sides, that can be bad."""
        return np.abs(excess) if self.low else excess

    def _mark(self, distance: Floats, sigma: float) -> NDArray[np.bool_]:
        """`mark` by this rule's limits."""
        return mark(distance / np.hypot(sigma, self.beyond), self.budget, threshold=self.limit, most=self.most)

    def settle(self, used: NDArray[np.bool_], before: Outliers) -> Outliers:
        """Marks that stay when the law is fitted again to the runs that they leave, from the law of the `used` ones on.

        `before` is what judged first.
        """
        found = self.judge(used, before)
        for _ in range(ROUNDS):
            again = self.judge(~found.mask, found)
            if np.array_equal(again.mask, found.mask):
                break
            found = again
        return again

    def explains(self, other: Outliers, found: Outliers) -> bool:
        """Whether other marks leave less scatter about the law and, times that about the budgets' own curves, far less.

        Bad runs lie off both. Where a law does not hold at the ends, the runs there lie off the law but nearly on those curves.
        """
        before, after = (
            slice_misses(np.log(self.n[kept]), other.excess[kept], self.budget[kept])
            for kept in (~found.mask, ~other.mask)
        )
        if not len(after):
            return False
        rougher = math.sqrt(float(np.mean(after**2)) / float(np.mean(before**2)))
        return other.sigma < found.sigma and rougher * other.sigma < CLEARER * found.sigma

    def without_worst(self, found: Outliers) -> NDArray[np.bool_]:
        """All runs but those furthest from the law, the share of every budget that may be marked."""
        worst, distance = np.zeros(len(self.n), dtype=bool), self._distance(found.excess)
        for value in np.unique(self.budget):
            here = np.flatnonzero(self.budget == value)
            worst[here[np.argsort(-distance[here], kind="stable")[: int(self.most * len(here))]]] = True
        return ~worst

    def without_ends(self) -> list[NDArray[np.bool_]]:
        """All runs but the smallest size of every budget of four or more, and all but the largest: a bad one bends a law most."""
        smallest, largest = (np.zeros(len(self.n), dtype=bool) for _ in range(2))
        for value in np.unique(self.budget):
            here = self.budget == value
            sizes = np.unique(self.n[here])
            if len(sizes) >= NEIGHBOURS:
                smallest |= here & (self.n == sizes[0])
                largest |= here & (self.n == sizes[-1])
        return [~smallest, ~largest]


def _limit(threshold: float, runs: int) -> float:
    """The threshold, raised for few runs to what is as improbable by Student's t with the degrees of freedom left."""
    spare = len(COORDINATES)
    return max(threshold, -float(stdtrit(runs - spare, stdtr(ENOUGH - spare, -threshold))))


def mark(sigmas: Floats, budget: Floats, *, threshold: float = THRESHOLD, most: float = MOST) -> NDArray[np.bool_]:
    """The rule on residuals in units of sigma: those above `threshold`, the worst first, at most a share `most` of runs.

    The share is of each budget, of which one may always go, and of all runs.
    """
    high = sigmas > threshold
    for value in np.unique(budget[high]):
        _spare(high, np.flatnonzero(budget == value), sigmas, most, least=1)
    _spare(high, np.arange(len(sigmas)), sigmas, most)
    return high


def _spare(high: NDArray[np.bool_], rows: NDArray[np.intp], sigmas: Floats, most: float, least: int = 0) -> None:
    """Take back the marks of `rows` beyond the share of them that may have one; the worst keep theirs."""
    worst_first = rows[np.argsort(-sigmas[rows], kind="stable")]
    high[worst_first[max(least, int(most * len(rows))) :]] = False

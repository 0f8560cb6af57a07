"""How much of the ensemble's answer is whose, by what its members missed in rolling hold-out.

In: the held-out budgets of the frontier law and of the additive one, in step. Out: the frontier law's weight; the
held-out budgets of the average itself.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from flops_fit_lmfit.holdout import LEAST_STEP, NORMAL_90, SHIPPED, Held

Floats = NDArray[np.float64]

ODDS = 3.0
"""Of the frontier law against the additive one, and that the additive law's form is off at all, before any hold-out: what
six published sweeps taught."""
_ROUNDING = 1e-12
"""Spread of a forecast's error below which it is rounding."""


def frontier_weight(frontier: Sequence[Held], surface: Sequence[Held]) -> float:
    """Weight of the frontier law: its share by the members' own errors, less as far as the additive law's form looks right.

    A few held-out budgets hardly tell two laws apart that both fit, and where the additive law is true, trusting the other
    costs much. What the additive law's own forecasts say of its form is told more surely (`form_is_off`): as far as that
    has made it less probable that the form is off, the weight is less than the share.

    Args:
        frontier: the frontier law's held-out budgets.
        surface: the additive law's, in step.

    Returns:
        From 0 to 1; 0.75 where nothing was held out.
    """
    prior = ODDS / (ODDS + 1.0)
    return share(frontier, surface) * min(form_is_off(surface) / prior, 1.0)


def share(frontier: Sequence[Held], surface: Sequence[Held]) -> float:
    """The frontier law's share: prior odds times the inverse ratio of the members' own squared hold-out errors.

    Both members miss the same runs by those runs' noise and by what no law could have known below the origin; that part,
    their errors' covariance, says nothing about which to trust and is taken out of both squares. Odds of 1:1 would
    then give the average with the least squared error on the held-out runs (Bates and Granger 1969, "The combination of
    forecasts"). The prior odds of 3:1 count as much as one held-out budget: after m of them 3^(1 / (1 + m)) is left. An
    own error that is negative counts as none: then that member alone answers.

    Returns:
        From 0 to 1; 0.75 where nothing was held out, or both laws predict the same.
    """
    own = own_squares(frontier, surface)
    of_frontier, of_surface = np.maximum(own.mean(axis=0), 0.0) if len(own) else (0.0, 0.0)
    if of_frontier + of_surface == 0:
        return ODDS / (ODDS + 1.0)
    odds = ODDS ** (1 / (1 + len(own)))
    return float(odds * of_surface / (odds * of_surface + of_frontier))


def form_is_off(surface: Sequence[Held]) -> float:
    """Probability that the additive law's form is a little off, by how it foretold one budget after the other.

    Where its form is right, the mean error of a forecast is normal with the forecast's own spread. Where it is off, the
    shipped model error comes on top (one standard deviation of it is 0.73 % of loss per unit of ln h), as in published
    sweeps. Prior odds of 3:1 are multiplied by the ratio of the two likelihoods of every step from an origin to the next
    budget at least 1.5 times as large; the next step sets out there, as forecasts of what comes next are all but
    independent of each other (Dawid 1984, "The prequential approach").

    Args:
        surface: the additive law's held-out budgets; those whose spread is unknown say nothing.

    Returns:
        From 0 to 1; 0.75 where nothing is said.
    """
    log_odds, reached = math.log(ODDS), 0.0
    for held in sorted(surface, key=lambda held: (held.origin, held.budget)):
        if held.origin < reached * (1 - 1e-9) or held.distance < math.log(LEAST_STEP):
            continue
        reached, error = held.budget, float(np.mean(held.errors))
        if math.isfinite(error) and math.isfinite(held.spread):
            right = max(held.spread, _ROUNDING) ** 2
            off = right + (SHIPPED.loss / NORMAL_90 * held.distance) ** 2
            log_odds += 0.5 * (math.log(right / off) + error**2 * (1.0 / right - 1.0 / off))
    return float(expit(log_odds))


def own_squares(frontier: Sequence[Held], surface: Sequence[Held]) -> Floats:
    """Each member's mean squared error of ln loss in every held-out budget, less the covariance with the other's, (m, 2).

    A budget for which a law ran away, so that its error is not finite, is passed over.
    """
    own = np.empty((len(frontier), 2))
    for row, pair in zip(own, zip(frontier, surface, strict=True), strict=True):
        f, s = (np.array(held.errors) for held in pair)
        with np.errstate(invalid="ignore"):
            row[:] = np.mean(f * (f - s)), np.mean(s * (s - f))
    return own[np.isfinite(own).all(axis=1)]


def rolling_blend(frontier: Sequence[Held], surface: Sequence[Held], late: Collection[float]) -> tuple[Held, ...]:
    """What the ensemble itself would have predicted at the `late` origins, by what was known there."""
    blended = []
    for f, s in ((f, s) for f, s in zip(frontier, surface, strict=True) if f.origin in late):
        known = [i for i, one in enumerate(frontier) if one.budget <= f.origin * (1 + 1e-9)]
        if not any(frontier[i].origin in late for i in known):
            known = []
        weight = frontier_weight([frontier[i] for i in known], [surface[i] for i in known])
        blended.append(
            attrs.evolve(
                f,
                errors=tuple(weight * a + (1.0 - weight) * b for a, b in zip(f.errors, s.errors, strict=True)),
                log_n=weight * f.log_n + (1.0 - weight) * s.log_n,
                log_n_error=weight * f.log_n_error + (1.0 - weight) * s.log_n_error,
            )
        )
    return tuple(blended)

"""How much of the ensemble's answer is whose, by what its members missed in rolling hold-out.

In: the held-out budgets of the frontier law and of the additive one, in step. Out: the frontier law's weight; the
held-out budgets of the average itself.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Self

import attrs
import numpy as np
from numpy.typing import NDArray

from flops_fit_lmfit.holdout import Held

Floats = NDArray[np.float64]

ODDS = 3.0
"""For the frontier law, against the additive one, before any hold-out: what six published sweeps taught."""
BLUR = 0.2
"""Of the variance of a true additive law's forecasts: the members' own squared errors are known no better than that."""
NO_JUDGE = (
    f"no forecast of a held-out budget could be judged, so that the odds are the shipped {ODDS:g}:1 for 'frontier'"
)
_ROUNDING = 1e-9
"""Spread of a forecast's error below which it is rounding, of the runs' losses and of the fits."""


@attrs.frozen
class OwnSquares:
    """The members' own mean squared errors of ln loss: what is left when that is taken away which says nothing of the laws.

    Both members miss the same runs by those runs' noise and by what no law could have known below the origin; that part,
    their errors' covariance, is taken out of both. Out of the additive law's is taken what it errs by even if it is true, as
    the runs below the origin do not tell its parameters (`Held.spread`): with all runs that is far less, while the frontier
    law's bias stays. Budgets count by the inverse of that variance: what was hard to foretell says little of a law.

    Attributes:
        frontier: the frontier law's; it and the next are at least `BLUR` times that variance, which is added to both.
        surface: the additive law's.
        held: how many held-out budgets say so; those for which a law ran away, so that its error is not finite, or whose
            spread is unknown are passed over.
    """

    frontier: float = 1.0
    surface: float = 1.0
    held: int = 0

    @classmethod
    def of(cls, frontier: Sequence[Held], surface: Sequence[Held]) -> Self:
        """Of held-out budgets in step."""
        rows = np.array([_own(f, s) for f, s in zip(frontier, surface, strict=True)]).reshape(-1, 3)
        rows = rows[np.isfinite(rows).all(axis=1)]
        if not len(rows):
            return cls()
        of_frontier, of_surface, variance = map(float, np.average(rows, axis=0, weights=1.0 / rows[:, 2]))
        left = (max(square, 0.0) + BLUR * variance for square in (of_frontier, of_surface - variance))
        return cls(*left, held=len(rows))


def _own(frontier: Held, surface: Held) -> tuple[float, float, float]:
    """Of one held-out budget: the members' squares less their covariance, and the variance of a true additive law's error."""
    f, s = np.array(frontier.errors), np.array(surface.errors)
    with np.errstate(invalid="ignore", over="ignore"):
        variance = np.square(np.maximum(surface.spread, _ROUNDING))
        return float(np.mean(f * (f - s))), float(np.mean(s * (s - f))), float(variance)


def frontier_weight(frontier: Sequence[Held], surface: Sequence[Held]) -> float:
    """Weight of the frontier law: prior odds times the inverse ratio of the members' own errors, to the fourth power.

    Errors squared would give the best average of unbiased forecasts (Bates and Granger 1969, "The combination of
    forecasts"). What is left of these (`OwnSquares`) are the laws' own biases, which averaging does not cancel as it
    cancels noise: hence the square of that. The prior odds of 3:1 count as much as one held-out budget: after m of them
    3^(1 / (1 + m)) is left.

    Args:
        frontier: the frontier law's held-out budgets.
        surface: the additive law's, in step.

    Returns:
        From 0 to 1; 0.75 where nothing was held out.
    """
    own = OwnSquares.of(frontier, surface)
    odds, ratio = ODDS ** (1 / (1 + own.held)), own.frontier / own.surface
    return odds / (odds + ratio * ratio)


def in_words(weight: float, frontier: Sequence[Held], surface: Sequence[Held]) -> tuple[str, ...]:
    """How much of the answer is whose, and why, for `Fit.notes`; nothing where nothing was held out.

    Args:
        weight: `frontier_weight` of the others.
        frontier: the frontier law's held-out budgets.
        surface: the additive law's, in step.
    """
    own = OwnSquares.of(frontier, surface)
    if not own.held:
        return (NO_JUDGE,) if frontier else ()
    errors = [f"{100 * math.sqrt(square):.2g} %" for square in (own.frontier, own.surface)]
    return (
        f"the answer is {100 * weight:.0f} % that of 'frontier' and {100 * (1 - weight):.0f} % that of 'surface': their own "
        f"errors in {own.held} forecast{'s' * (own.held > 1)} of held-out budgets, less what both miss alike, are {errors[0]} and "
        f"{errors[1]}",
    )


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

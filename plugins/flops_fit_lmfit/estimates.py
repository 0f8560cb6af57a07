"""What draws of a parameter say of its value: an interval, and a standard deviation where there is one worth the name.

In: values and draws by name. Out: an `Estimate` for each.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flops_fit_core.data import Estimate

Floats = NDArray[np.float64]

MIDDLE = (0.1587, 0.8413)
"""Ends of the middle 68 % of the draws: one standard deviation on either side, were they normal."""
HEAVY = 3.0
"""The most half-widths of the middle 68 % that a standard deviation may be and still describe the draws."""


def estimates(values: Mapping[str, float], draws: Mapping[str, Floats], confidence: float) -> dict[str, Estimate]:
    """Every value with what its draws say of it; those without draws stand alone."""
    return {name: estimate(value, draws.get(name), confidence) for name, value in values.items()}


def estimate(value: float, draws: Floats | None, confidence: float) -> Estimate:
    """A value with its percentile interval over the draws, and their standard deviation.

    The standard deviation is left out where it is more than three times half the width of the middle 68 % of the draws,
    which it equals where they are normal: a few in the tail make it up. A term at N, D or C = 1, such as A or k_n, lies
    so far from the runs that its draws are often like that.
    """
    if draws is None or len(draws) < 2:
        return Estimate(value=value)
    tail = (1.0 - confidence) / 2.0
    with np.errstate(over="ignore", invalid="ignore"):  # A and B are heavy-tailed: a draw may overflow
        low, high, *middle = _quantiles(draws, [tail, 1.0 - tail, *MIDDLE])
        stderr = float(np.std(draws, ddof=1))
        told = np.isfinite(stderr) and stderr <= HEAVY * (middle[1] - middle[0]) / 2.0
    return Estimate(value=value, low=float(low), high=float(high), stderr=stderr if told else None)


def _quantiles(draws: Floats, at: list[float]) -> Floats:
    """Quantiles; between a draw and one that is infinite the higher of the two, as there is no number between."""
    found = np.quantile(draws, at)
    return np.where(np.isnan(found), np.quantile(draws, at, method="higher"), found)

"""Case bootstrap of the additive law: thousands of refits to resampled runs, in NumPy alone.

In: a fitted `Objective` and a seed. Out: coordinates of every refit. Whole runs are resampled, whatever their
budget: nominal 90 % intervals then hold 90 to 92 % in simulation (adaptive Huber; ``docs/coverage.md``).
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import numpy as np
from numpy.typing import NDArray

from flops_fit_lmfit.newton import Minima, minimise
from flops_fit_lmfit.objective import Objective

Floats = NDArray[np.float64]

FEWEST_RUNS = 10
"""Runs below which resampling says nothing about the spread."""
PARAMETERS = 5
CHUNK = 500
FEW_RUNS = 200
SMOOTHER = 10.0


@attrs.frozen(kw_only=True, eq=False)
class Refits:
    """What `refit` found.

    Attributes:
        theta: coordinates of the refits, shape (draws, 5).
        value: their objectives, shape (draws,).
        converged: whether each reached its minimum, shape (draws,).
    """

    theta: Floats
    value: Floats
    converged: NDArray[np.bool_]


def refit(problem: Objective, theta: Floats, *, draws: int, seed: int) -> Refits:
    """Fit the law to `draws` resamples of the runs, each started at the fit `theta` (5,) to all of them.

    Args:
        problem: what was minimised; residual scales and Huber's delta stay as they are.
        theta: its minimum.
        draws: how many resamples.
        seed: of the resampling.
    """
    parts = [_refit(problem, theta, counts) for counts in resamples(problem, draws=draws, seed=seed)]
    return Refits(
        theta=np.concatenate([part.theta for part in parts]),
        value=np.concatenate([part.value for part in parts]),
        converged=np.concatenate([part.converged for part in parts]),
    )


def _refit(problem: Objective, theta: Floats, counts: Floats) -> Minima:
    """The minimum reached from the fit; for few runs also from a smoother objective's, and the lower of the two.

    Huber's loss with a small delta has kinks enough for a second minimum close by: in 4,000 resamples of 123
    published runs the fit alone led 8 of them to it, and the two starts none (and none of 2,000 of 240 runs).
    """
    warm = minimise(problem, theta, counts)
    if not problem.is_huber or len(problem.loss) > FEW_RUNS:
        return warm
    smooth = minimise(attrs.evolve(problem, delta=SMOOTHER * problem.delta), theta, counts)
    other = minimise(problem, smooth.theta, counts)
    lower = other.value < warm.value * (1 - 1e-12)
    return Minima(
        theta=np.where(lower[:, None], other.theta, warm.theta),
        value=np.where(lower, other.value, warm.value),
        decrease=np.where(lower, other.decrease, warm.decrease),
        converged=np.where(lower, other.converged, warm.converged),
    )


def resamples(problem: Objective, *, draws: int, seed: int) -> Iterator[Floats]:
    """How often each run is drawn: chunks of shape (at most 500, k).

    A resample with fewer different points (N, D) than the law has parameters is drawn again.
    """
    rng = np.random.default_rng(seed)
    k = len(problem.loss)
    _, point = np.unique(np.stack([problem.n, problem.d]), axis=1, return_inverse=True)
    point = point.reshape(-1)
    while draws > 0:
        rows = rng.integers(k, size=(min(CHUNK, draws), k))
        rows = rows[(_counts(point[rows], k) > 0).sum(axis=1) >= PARAMETERS]
        draws -= len(rows)
        yield _counts(rows, k).astype(np.float64)


def _counts(rows: NDArray[np.intp], k: int) -> NDArray[np.intp]:
    """How often each of 0..k-1 stands in each row of `rows` (m, k)."""
    m = len(rows)
    return np.bincount((rows + k * np.arange(m)[:, None]).reshape(-1), minlength=m * k).reshape(m, k)

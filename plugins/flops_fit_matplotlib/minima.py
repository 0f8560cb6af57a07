"""Each budget's own optimum, as its runs alone show it: what a law's line may be compared with.

In: a `Result` and its `Sweep`. Out: an `Optimum` for every budget with a few sizes: the minimum of a parabola in ln N
where the runs show one, else the best run.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

from flops_fit_core.data import Result
from flops_fit_core.inputs import MIN_SIZES
from flops_fit_matplotlib.curves import FEWEST, Optimum, Sweep, parabolas

Floats = NDArray[np.float64]


def minima(result: Result, sweep: Sweep) -> list[Optimum]:
    """The optima, ascending in budget; those of fitter ``isoflop`` where it is among the fits."""
    fitted = _fitted(result, sweep)
    each = []
    for budget in sweep.budgets:
        own = _minimum(sweep, budget) if fitted is None else fitted.get(budget)
        each.append(own if own is not None and own.seen else _best(sweep, budget))
    return [one for one in each if one is not None]


def _fitted(result: Result, sweep: Sweep) -> dict[float, Optimum | None] | None:
    budgets = np.unique(sweep.budget[sweep.usable])
    for fit in result.fits:
        if "budgets" in fit.details:
            return {curve.budget: curve.optimum for curve in parabolas(fit, budgets)}
    return None


def _minimum(sweep: Sweep, budget: float) -> Optimum | None:
    """The vertex of a parabola through the mean loss of each size, where the runs rise on both sides of it."""
    # A law may be robust to a run that it flags; a parabola of squares through six runs is not.
    runs = sweep.runs.where(sweep.at(budget) & sweep.fitted & ~sweep.flagged)
    x, of = np.unique(np.log(runs.n_params), return_inverse=True)
    if len(x) < MIN_SIZES:
        return None
    loss = np.bincount(of, runs.loss) / np.bincount(of)
    curve = Polynomial.fit(x, loss, 2)
    if not 0 < np.argmin(loss) < len(x) - 1 or curve.deriv(2)(x[0]) <= 0:
        return None
    (vertex,) = curve.deriv().roots()
    if not x[0] < vertex < x[-1]:
        return None
    # D as it was trained and not as a cost model has it: a run may cost a little more or less than its budget.
    log_d = Polynomial.fit(np.log(runs.n_params), np.log(runs.n_tokens), 2)(vertex)
    return Optimum(
        budget=budget,
        n_params=float(np.exp(vertex)),
        n_tokens=float(np.exp(log_d)),
        loss=float(curve(vertex)),
        seen=True,
    )


def _best(sweep: Sweep, budget: float) -> Optimum | None:
    """The run of lowest loss; of so few sizes that they make no slice, none: a run alone is the best of nothing."""
    rows = np.flatnonzero(sweep.at(budget) & sweep.fitted)
    runs = sweep.runs
    if len(np.unique(runs.n_params[rows])) < FEWEST:
        return None
    row = rows[np.argmin(runs.loss[rows])]
    return Optimum(
        budget=budget, n_params=float(runs.n_params[row]), n_tokens=float(runs.n_tokens[row]), loss=float(runs.loss[row]),
        seen=False,
    )  # fmt: skip

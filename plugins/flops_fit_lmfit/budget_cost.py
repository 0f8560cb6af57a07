"""Whether a cost model describes the budgets that runs were given, and the runs' own where it does not.

In: runs, their budgets, the cost model that was asked for. Out: the cost model that keeps
cost(N)·D = C on these budgets, and a note where it is another one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flops_fit_core.data import CostModel, Runs

Floats = NDArray[np.float64]

TOLERANCE = 0.02
_KNOTS = 9


def cost_of_budgets(runs: Runs, budget: Floats, cost: CostModel) -> tuple[CostModel, tuple[str, ...]]:
    """Keep `cost` where its typical run costs its budget within 2 %; else take FLOPs per token from the runs.

    Those are budget / D, as a parabola of ln N in logarithms: budgets counted in another way than
    `cost` counts (6ND is up to 1.35 times the stated budget in one published sweep) stay consistent.

    Args:
        runs: usable runs.
        budget: their budgets, FLOPs, shape (n,).
        cost: what was asked for.
    """
    off = np.log(cost.flops(runs.n_params, runs.n_tokens) / budget)
    if len(off) == 0 or np.median(np.abs(off)) <= TOLERANCE:
        return cost, ()
    x = np.log(runs.n_params)
    centre = x.mean()
    degree = min(2, len(np.unique(np.round(x, 6))) - 1)
    law = np.polyfit(x - centre, np.log(budget / runs.n_tokens), degree)
    knots = np.linspace(x.min(), x.max(), _KNOTS if degree else 1)
    own = CostModel.measured(np.exp(knots), np.exp(np.polyval(law, knots - centre)))
    low, high = np.exp([off.min(), off.max()])
    note = (
        f"by the cost model {cost.name!r} the runs cost {low:.5g} to {high:.5g} times their budgets: FLOPs per token "
        "were taken from the runs (budget / D), so that cost(N)·D = C"
    )
    return own, (note,)

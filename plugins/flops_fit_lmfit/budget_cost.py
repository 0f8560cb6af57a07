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
_EXPLAINED = 0.8
_KNOTS = 9


def cost_of_budgets(runs: Runs, budget: Floats, cost: CostModel) -> tuple[CostModel, tuple[str, ...]]:
    """Keep `cost` unless FLOPs per token are off as a function of N; then correct it by the runs' own budget / D.

    That function is a parabola in ln N, in logarithms. It counts where it exceeds 2 % somewhere and explains four
    fifths of the squared differences (99.5 % in a published sweep whose 6ND is 0.93 to 1.35 times the stated budget):
    then budgets and cost are made consistent. Where single runs scatter instead (13 % explained in a published set put
    to the nearest of nominal budgets), the cost model is not at fault.

    Args:
        runs: usable runs.
        budget: their budgets, FLOPs, shape (n,).
        cost: what was asked for.
    """
    if len(runs) == 0:
        return cost, ()
    off = np.log(cost.flops(runs.n_params, runs.n_tokens) / budget)
    x = np.log(runs.n_params)
    centre = x.mean()
    degree = min(2, len(np.unique(np.round(x, 6))) - 1)
    law = np.polyfit(x - centre, off, degree)
    typical = np.polyval(law, x - centre)
    scatter = ((off - typical) ** 2).sum()
    if np.abs(typical).max() <= TOLERANCE or scatter > (1 - _EXPLAINED) * (off**2).sum():
        return cost, ()
    knots = np.linspace(x.min(), x.max(), _KNOTS if degree else 1)
    sizes = np.exp(knots)
    own = CostModel.measured(sizes, cost.per_token(sizes) / np.exp(np.polyval(law, knots - centre)))
    low, high = np.exp([typical.min(), typical.max()])
    note = (
        f"by the cost model {cost.name!r} runs of these sizes cost {low:.5g} to {high:.5g} times their budgets: FLOPs "
        "per token were taken from the runs (budget / D), so that cost(N)·D = C"
    )
    return own, (note,)

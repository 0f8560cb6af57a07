"""What the contracts feed to a stage: a model family without torch, its data, runs and a fit of known truth.

In: nothing. Out: values whose right answer is known in closed form or by brute force.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import ArrayLike, NDArray

from flops_fit_core.data import CostModel, CurvePoint, Estimate, Fit, Plan, Result, Run, RunRecord, Runs, Workload

Floats = NDArray[np.float64]

#: Chinchilla's law (Hoffmann et al. 2022, arXiv 2203.15556, equation 10).
LAW: Mapping[str, float] = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}

BUDGETS = (1e17, 3e17, 1e18, 3e18, 1e19)


class Family:
    """Models in plain Python: N = 12·width², as a transformer's blocks have; a width must be a multiple of 4."""

    def __init__(self, width: int) -> None:
        if width % 4:
            raise ValueError(f"width {width} is not a multiple of the 4 heads")
        self.width = width

    def num_params(self) -> int:
        """N."""
        return 12 * self.width**2


class Sequences:
    """Sequences of 16 whole numbers, each with its successors as targets."""

    def __len__(self) -> int:
        return 4096

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        start = np.arange(index, index + 16)
        return start, start + 1


def absolute_loss(outputs: Any, targets: Any) -> Any:
    """Mean distance; never called by stages that do not train."""
    return abs(outputs - targets).mean()


def plain_workload() -> Workload:
    """A workload that needs no torch."""
    return Workload(
        name="plain", model_cls=Family, size_param="width", dataset=Sequences(), loss_fn=absolute_loss, data_unit="tokens"
    )  # fmt: skip


def additive_loss(n: ArrayLike, d: ArrayLike) -> Floats:
    """L = E + A/N^alpha + B/D^beta with `LAW`."""
    n, d = np.asarray(n, dtype=np.float64), np.asarray(d, dtype=np.float64)
    return np.asarray(LAW["E"] + LAW["A"] / n ** LAW["alpha"] + LAW["B"] / d ** LAW["beta"])


def best(loss: Callable[[Floats, Floats], Floats], budget: float) -> tuple[float, float]:
    """N and loss of the minimum of ``loss(N, C / 6N)``, by looking at 200,001 values of N from 1e3 to 1e13."""
    n = np.geomspace(1e3, 1e13, 200_001)
    losses = np.asarray(loss(n, budget / (6 * n)))
    lowest = int(np.argmin(losses))
    return float(n[lowest]), float(losses[lowest])


def known_records(
    loss: Callable[[Floats, Floats], Floats] = additive_loss,
    budgets: Sequence[float] = BUDGETS,
    noise: float = 1e-3,
    sizes: int = 9,
) -> tuple[RunRecord, ...]:
    """An IsoFLOP sweep of a known law: sizes within 6 times the optimum of each budget, C = 6ND.

    Args:
        loss: the law.
        budgets: C, FLOPs.
        noise: standard deviation of ln(loss), seeded.
        sizes: at each budget.
    """
    rng = np.random.default_rng(0)
    records = []
    for budget in budgets:
        optimum, _ = best(loss, budget)
        for factor in np.geomspace(1 / 6, 6, sizes):
            width = max(4, 4 * round((optimum * factor / 12) ** 0.5 / 4))
            n = Family(width).num_params()
            d = round(budget / (6 * n))
            run = Run(budget=budget, size=width, n_params=n, n_tokens=d, flops=6.0 * n * d, study="known")
            drawn = float(loss(np.array(float(n)), np.array(float(d)))) * float(np.exp(noise * rng.standard_normal()))
            point = CurvePoint(n_tokens=d, loss=drawn, eval_loss=drawn)
            records.append(
                RunRecord(run=run, loss=drawn, n_tokens=d, flops=run.flops, flops_spent=run.flops, curve=(point,))
            )
    return tuple(records)


@attrs.frozen(kw_only=True)
class KnownLaw:
    """`LAW` as the law of a fit: what reporters are shown. It fits nothing."""

    def fit(self, runs: Runs, cost: CostModel) -> Fit:
        """The truth, with draws about it that give it intervals."""
        rng = np.random.default_rng(1)
        draws = {name: value * np.exp(0.003 * rng.standard_normal(200)) for name, value in LAW.items()}
        return Fit(
            fitter="known",
            params={name: Estimate(value=value, low=0.99 * value, high=1.01 * value) for name, value in LAW.items()},
            cost=cost,
            draws=draws,
            n_used=len(runs),
            largest_budget=max(BUDGETS),
            formula="L(N, D) = E + A/N^alpha + B/D^beta",
            law=self,
        )

    def loss(self, params: Mapping[str, Any], n: ArrayLike, d: ArrayLike) -> Floats:
        """L(N, D)."""
        n, d = np.asarray(n, dtype=np.float64), np.asarray(d, dtype=np.float64)
        return np.asarray(params["E"] + params["A"] / n ** params["alpha"] + params["B"] / d ** params["beta"])

    def optimum(self, params: Mapping[str, Any], cost: CostModel, budget: float) -> tuple[Floats, Floats, Floats]:
        """Equation 4 of Hoffmann et al. 2022, for C = 6ND."""
        alpha, beta = params["alpha"], params["beta"]
        scale = (alpha * params["A"] / (beta * params["B"])) ** (1 / (alpha + beta))
        n = np.asarray(scale * (budget / 6) ** (beta / (alpha + beta)))
        d = cost.tokens(n, budget)
        return n, d, self.loss(params, n, d)


def known_result(output_dir: Any = None) -> Result:
    """A study of `known_records` in which one run diverged, with its fit."""
    records = list(known_records())
    records[3] = attrs.evolve(records[3], status="diverged", loss=None, message="the loss was nan after 100 steps")
    runs = Runs.from_records(records)
    cost = CostModel.six_nd()
    return Result(
        workload="plain",
        plan=Plan(runs=tuple(record.run for record in records)),
        records=tuple(records),
        runs=runs,
        fits=(KnownLaw().fit(runs, cost),),
        cost=cost,
        output_dir=output_dir,
    )

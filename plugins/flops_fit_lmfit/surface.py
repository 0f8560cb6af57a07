"""Fitter ``surface``: the additive law L(N, D) = E + A/N^alpha + B/D^beta (Hoffmann et al. 2022, Approach 3).

In: runs and a cost model. Out: a `Fit` at the global optimum of the objective.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import ArrayLike, NDArray

from flops_fit_core.data import CostModel, Estimate, Fit, Runs
from flops_fit_lmfit import additive
from flops_fit_lmfit.solve import fit_additive

Floats = NDArray[np.float64]


@attrs.frozen(kw_only=True)
class SurfaceFitter:
    """Fits the additive law by one robust or least-squares objective.

    Attributes:
        objective: ``log_huber`` (Hoffmann's), ``log_mse``, ``lin_huber`` or ``lin_mse``.
        delta: Huber's delta, or ``"adaptive"``: 1.345 robust standard deviations of the residuals.
    """

    objective: str = "log_huber"
    delta: float | str = 1e-3

    def fit(self, runs: Runs, cost: CostModel) -> Fit:
        """Fit the law to the usable runs."""
        runs = runs.where(runs.usable())
        found = fit_additive(runs.n_params, runs.n_tokens, runs.loss, objective=self.objective, delta=self.delta)
        values = found.params | {"lnA": np.log(found.params["A"]), "lnB": np.log(found.params["B"])}
        values |= additive.exponents(values)
        return Fit(
            fitter="surface",
            params={name: Estimate(value=float(value)) for name, value in values.items()},
            cost=cost,
            objective=found.objective,
            converged=found.converged,
            gradient_norm=found.gradient_norm,
            n_used=len(runs),
            largest_budget=float(np.max(cost.flops(runs.n_params, runs.n_tokens))),
            formula=additive.FORMULA,
            law=self,
        )

    def loss(self, params: Mapping[str, ArrayLike], n: ArrayLike, d: ArrayLike) -> Floats:
        """Loss of N parameters after D units of data."""
        return additive.loss(params, n, d)

    def optimum(self, params: Mapping[str, Any], cost: CostModel, budget: float) -> tuple[Floats, Floats, Floats]:
        """N, D and loss at the compute optimum; vectorised over arrays of parameter draws."""
        return additive.optimum(params, cost, budget)

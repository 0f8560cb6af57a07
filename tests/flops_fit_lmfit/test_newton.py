"""The search for a minimum says that it is there where it is, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from flops_fit_lmfit import newton
from flops_fit_lmfit.objective import OBJECTIVES
from flops_fit_lmfit.solve import fit_additive
from known_laws import ADDITIVE, additive_sweep

LAWS = {**ADDITIVE, "no irreducible loss": {"E": 0.0, "A": 400.0, "B": 400.0, "alpha": 0.3, "beta": 0.3}}


@pytest.mark.parametrize("noise", [1e-6, 1e-5, 1e-4, 1e-3])
@pytest.mark.parametrize("law", LAWS.values(), ids=list(LAWS))
def test_a_minimum_is_recognised_where_rounding_blurs_the_objective(law: dict[str, float], noise: float) -> None:
    # The last steps change an objective of 1e-9 by less than its own rounding error, so that it cannot judge them.
    for seed in range(4):
        runs, _ = additive_sweep(law, noise=noise, seed=seed)
        for objective in OBJECTIVES:
            for delta in (1e-3, "adaptive") if objective == "log_huber" else (1e-3,):
                found = fit_additive(runs.n_params, runs.n_tokens, runs.loss, objective=objective, delta=delta)
                assert found.converged, (seed, objective, delta, found.gradient_norm)


def test_a_search_that_was_cut_short_is_not_converged() -> None:
    runs, _ = additive_sweep(ADDITIVE["chinchilla"], noise=1e-5)
    found = fit_additive(runs.n_params, runs.n_tokens, runs.loss)
    start = found.theta + np.array([0.05, 0.3, -0.3, 0.05, -0.05])
    short = newton.minimise(found.problem, start, np.ones(len(runs)), max_steps=3)
    assert not short.converged[0]
    assert short.value[0] > found.objective * 1.01

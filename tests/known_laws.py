"""Known laws and sweeps of them, for tests: what a fitter should find is here."""

import numpy as np

from flops_fit_core.data import CostModel, Runs
from flops_fit_lmfit import additive, frontier_law

SIX_ND = CostModel.six_nd()

ADDITIVE = {
    "chinchilla": {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658},
    "symmetric": {"E": 1.7, "A": 400.0, "B": 1200.0, "alpha": 0.33, "beta": 0.33},
    "data-hungry": {"E": 2.2, "A": 4000.0, "B": 600.0, "alpha": 0.50, "beta": 0.28},
}
FRONTIER = {"E": 1.5, "K": 255.0, "gamma": 0.12, "n0": 1.75, "a": 0.41, "p": 0.35, "q": 0.33}


def additive_sweep(law, **options):
    """Runs of an additive law, sizes log-spaced around each optimum; and which of them diverged (`_sweep`)."""
    return _sweep(lambda n, d: additive.loss(law, n, d), lambda c: additive.optimum(law, SIX_ND, c)[0], **options)


def frontier_sweep(law=FRONTIER, **options):
    """The same of a frontier law, C = 6ND."""
    return _sweep(
        lambda n, d: frontier_law.loss(law, n, 6 * n * d), lambda c: frontier_law.optimum(law, SIX_ND, c)[0], **options
    )


def _sweep(
    loss, best_n, *, noise=0.0, budgets=5, sizes=7, span=8.0, top=1e20, decades=2.0, diverged=0.0, too_high=(0.05, 0.5), seed=0
):  # fmt: skip
    """Sizes from 1/`span` to `span` times the optimum; a diverged run is too high by a share between those two."""
    rng = np.random.default_rng(seed)
    budget = np.repeat(np.geomspace(top / 10**decades, top, budgets), sizes)
    n = np.array([float(best_n(c)) for c in budget]) * np.tile(np.geomspace(1 / span, span, sizes), budgets)
    n = n * np.repeat(np.exp(0.2 * rng.standard_normal(budgets)), sizes)  # nobody centres a sweep exactly
    d = budget / (6 * n)
    bad = rng.uniform(size=len(n)) < diverged
    factor = np.where(bad, 1 + rng.uniform(*too_high, size=len(n)), 1.0)
    losses = loss(n, d) * np.exp(noise * rng.standard_normal(len(n))) * factor
    return Runs(n_params=n, n_tokens=d, loss=losses, budget=budget, flops=budget), bad

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
# E, A, B, alpha, beta, smallest N, smallest C: from symmetric to extremely asymmetric, N from 1e3 to 1e12.
SURFACES = {
    "symmetric": ({"E": 2.0, "A": 400.0, "B": 400.0, "alpha": 0.31, "beta": 0.31}, 1e7, 1e18),
    "chinchilla": ({"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}, 1e8, 1e20),
    "replication": ({"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}, 1e9, 1e22),
    "data-hungry": ({"E": 0.5, "A": 30.0, "B": 3e5, "alpha": 0.155, "beta": 0.465}, 1e5, 1e15),
    "size-hungry": ({"E": 1.0, "A": 3e5, "B": 20.0, "alpha": 0.465, "beta": 0.155}, 1e6, 1e16),
    "extreme": ({"E": 0.1, "A": 5.0, "B": 2e6, "alpha": 0.07, "beta": 0.62}, 1e10, 1e24),
    "extreme the other way": ({"E": 0.3, "A": 2e6, "B": 5.0, "alpha": 0.62, "beta": 0.07}, 1e8, 1e19),
    "tiny models": ({"E": 0.02, "A": 40.0, "B": 60.0, "alpha": 0.8, "beta": 0.5}, 1e3, 1e9),
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

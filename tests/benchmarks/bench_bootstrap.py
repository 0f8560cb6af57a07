"""Refitting the additive law to resampled runs: CPU seconds for 4,000 refits of 240 runs, beside scipy.

The peer is scipy ``least_squares`` (huber, analytic Jacobian, same centred coordinates, started at the fit), on a
few of the same resamples. The gap is each refit's objective over the lower of the two. Run:
python tests/benchmarks/bench_bootstrap.py [rounds]
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np
from bench_fit import simulated
from scipy.optimize import least_squares

from flops_fit_core.text import markdown_table
from flops_fit_lmfit import bootstrap
from flops_fit_lmfit.solve import AdditiveFit, fit_additive

DRAWS = 4000
PEER_DRAWS = 40


def by_scipy(fit: AdditiveFit, counts: np.ndarray) -> np.ndarray:
    """Coordinates of refits, one after the other."""
    found = []
    for count in counts.astype(int):
        rows = np.repeat(np.arange(len(count)), count)
        result = least_squares(
            lambda t, rows=rows: fit.problem.residuals(t[None])[0][rows],
            fit.theta,
            jac=lambda t, rows=rows: fit.problem.jacobian(t)[rows],
            loss="huber",
            f_scale=fit.delta,
            x_scale="jac",
            ftol=1e-12,
            xtol=1e-12,
            gtol=1e-12,
        )
        found.append(result.x)
    return np.array(found)


def main(rounds: int = 5) -> None:
    """Print the table."""
    runs = simulated()
    fit = fit_additive(runs.n_params, runs.n_tokens, runs.loss)
    counts = next(bootstrap.resamples(fit.problem, draws=PEER_DRAWS, seed=0))
    ours, peer = [], []
    for _ in range(rounds):
        start = time.process_time()
        refits = bootstrap.refit(fit.problem, fit.theta, draws=DRAWS, seed=0)
        ours.append(time.process_time() - start)
        start = time.process_time()
        theta = by_scipy(fit, counts)
        peer.append((time.process_time() - start) * DRAWS / PEER_DRAWS)
    mine = bootstrap.refit(fit.problem, fit.theta, draws=PEER_DRAWS, seed=0).value
    theirs = fit.problem.value(theta, counts)
    best = np.minimum(mine, theirs)
    cases = (("flops-fit bootstrap", ours, mine), (f"scipy least_squares (from {PEER_DRAWS})", peer, theirs))
    rows = [
        [
            name,
            f"{statistics.median(seconds):.2f}",
            f"{statistics.median(seconds) / statistics.median(ours):.1f}",
            f"{(value / best - 1).max():.1e}",
        ]
        for name, seconds, value in cases
    ]
    print(markdown_table([f"{DRAWS} refits of {len(runs)} runs", "CPU s", "times ours", "largest gap"], rows))
    print(f"\nrefits that did not converge: {int((~refits.converged).sum())}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

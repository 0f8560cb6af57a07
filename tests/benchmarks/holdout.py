"""Rolling hold-out on published sweeps: fit below a budget, predict the runs above it.

Origins are the budgets with at least four budgets and 35 runs at or below them; a held-out budget is judged by its
runs within 4x in N of its best. Errors are means over a budget's runs, then its origin's budgets, then origins. The
ensemble chooses its weights from the runs below the origin alone. The second table counts held-out budgets whose
lowest loss and optimal N (of a parabola through those runs) lie inside the ensemble's 90 % intervals.

Run: python tests/benchmarks/holdout.py [bootstrap]
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from flops_fit_core.data import CostModel, Fit, Runs
from flops_fit_core.stages import Fitter
from flops_fit_core.text import markdown_table
from flops_fit_lmfit import EnsembleFitter, FrontierFitter, SurfaceFitter
from flops_fit_lmfit.holdout import Held, Law, over_origins, rolling
from published import PUBLISHED

COST = CostModel.six_nd()


def fitters(bootstrap: int) -> dict[str, Fitter]:
    """What is compared, the plain fit first."""
    return {
        "surface (plain)": SurfaceFitter(bootstrap=0, hold_out=False, outliers="keep"),
        "surface, adaptive Huber": SurfaceFitter(delta="adaptive", bootstrap=0, hold_out=False, outliers="exclude"),
        "frontier, no priors": FrontierFitter(priors=None, hold_out=False),
        "frontier, no priors, no weights": FrontierFitter(priors=None, weight_power=0.0, hold_out=False),
        "frontier, outliers kept": FrontierFitter(outliers="flag", hold_out=False),
        "frontier": FrontierFitter(hold_out=False),
        "ensemble": EnsembleFitter(bootstrap=bootstrap),
    }


def hold_out(fitter: Fitter, runs: Runs) -> tuple[tuple[Held, ...], dict[float, Fit]]:
    """The held-out budgets, and the fit of every origin."""
    fits: dict[float, Fit] = {}

    def below(runs: Runs) -> tuple[Law]:
        assert runs.budget is not None
        fit = fits[float(runs.budget.max())] = fitter.fit(runs, COST)
        return (Law.of(fitter, fit),)

    return rolling(runs, below, min_runs=35)[0], fits


def inside(held: tuple[Held, ...], fits: dict[float, Fit]) -> dict[str, tuple[int, int]]:
    """How many held-out optima lie inside each interval, of how many."""
    hits: dict[str, list[bool]] = {}
    for one in held:
        answer = fits[one.origin].predict(one.budget)
        seen = {"loss": one.slice_loss, "n_params": math.exp(one.log_n - one.log_n_error)}
        for name, value in seen.items():
            estimate = getattr(answer, name)
            if math.isfinite(value) and estimate.low is not None:
                hits.setdefault(f"{name}, sampling", []).append(
                    estimate.sampling_low <= value <= estimate.sampling_high
                )
                hits.setdefault(f"{name}, prediction", []).append(estimate.low <= value <= estimate.high)
    return {name: (sum(found), len(found)) for name, found in hits.items()}


def main(bootstrap: int = 500) -> None:
    """Print both tables."""
    sets = {name: read() for name, read in PUBLISHED.items()}
    measures: dict[str, Callable[[Held], float]] = {
        "loss": lambda one: one.loss_error,
        "bias": lambda one: one.bias,
        "regret": lambda one: one.regret,
    }
    rows, covered = [], []
    for name, fitter in fitters(bootstrap).items():
        start = time.process_time()
        results = {key: hold_out(fitter, runs) for key, runs in sets.items()}
        seconds = time.process_time() - start
        cells = []
        for measure in measures.values():
            values = [100 * over_origins(held, measure) for held, _ in results.values()]
            cells += [f"{value:.2f}" for value in values] if measure is measures["loss"] else []
            cells.append(f"{np.mean(values):.2f}")
        rows.append((name, *cells, f"{seconds:.1f}"))
        if name == "ensemble":
            for key, (held, fits) in results.items():
                covered += [(key, what, f"{a} of {b}") for what, (a, b) in inside(held, fits).items()]
    print("Error of later budgets, %\n")
    print(markdown_table(("fitter", *sets, "mean", "mean bias", "mean regret", "CPU s"), rows))
    print("\nLater budgets inside the ensemble's 90 % intervals\n")
    print(markdown_table(("set", "interval", "inside"), covered))


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))

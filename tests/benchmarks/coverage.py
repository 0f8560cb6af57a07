"""How often the sampling intervals of fitter ``surface`` hold the truth, in simulated IsoFLOP sweeps.

In: a number of replicates and a seed. Out: a Markdown table (``--write docs/coverage.md`` keeps it).
Five budgets by seven sizes on a known law, lognormal noise, a few runs far too high. Every interval is the
case bootstrap's at nominal 90 %.

    python tests/benchmarks/coverage.py --replicates 1000 --write docs/coverage.md
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import numpy as np

from flops_fit_core.data import CostModel, Runs
from flops_fit_core.text import markdown_table
from flops_fit_lmfit import additive
from flops_fit_lmfit.surface import SurfaceFitter

TRUTH = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
BUDGETS = np.geomspace(1e18, 1e20, 5)
SIZES = np.geomspace(0.25, 4.0, 7)
OUTLIERS = 0.03
NOISES = (0.003, 0.01)
AHEAD = (10.0, 100.0)
COST = CostModel.six_nd()
QUANTITIES = ("alpha", "beta", "E", *(f"{what} at {ahead:g}x" for ahead in AHEAD for what in ("N_opt", "loss")))
FITTERS = {
    "Huber, delta 1e-3 (default)": SurfaceFitter(outliers="keep", hold_out=False),
    "adaptive Huber, outliers excluded": SurfaceFitter(delta="adaptive", outliers="exclude", hold_out=False),
}


@attrs.frozen
class Tally:
    """Whether each replicate's interval held the truth, and its width: arrays (replicates, quantities)."""

    held: np.ndarray
    width: np.ndarray

    def coverage(self) -> np.ndarray:
        """Share of intervals that held the truth."""
        return self.held.mean(axis=0)

    def stderr(self) -> np.ndarray:
        """Binomial standard error of `coverage`."""
        share = self.coverage()
        return np.sqrt(share * (1 - share) / len(self.held))


def sweep(noise: float, rng: np.random.Generator) -> Runs:
    """One simulated sweep: losses off by lognormal noise, three in a hundred far too high."""
    n, d = [], []
    for budget in BUDGETS:
        best = float(additive.optimum(TRUTH, COST, float(budget))[0])
        n.append(best * SIZES)
        d.append(COST.tokens(best * SIZES, budget))
    n_all, d_all = np.concatenate(n), np.concatenate(d)
    loss = additive.loss(TRUTH, n_all, d_all) * np.exp(noise * rng.normal(size=n_all.size))
    high = rng.random(n_all.size) < OUTLIERS
    loss = np.where(high, loss * rng.uniform(1.05, 1.5, size=n_all.size), loss)
    return Runs(n_params=n_all, n_tokens=d_all, loss=loss, budget=np.repeat(BUDGETS, len(SIZES)))


def truths() -> list[float]:
    """True values of `QUANTITIES`."""
    ahead = [additive.optimum(TRUTH, COST, float(BUDGETS[-1] * factor)) for factor in AHEAD]
    return [TRUTH["alpha"], TRUTH["beta"], TRUTH["E"], *(float(o[i]) for o in ahead for i in (0, 2))]


def intervals(fitter: SurfaceFitter, runs: Runs) -> Iterator[tuple[float, float]]:
    """The sampling intervals of `QUANTITIES`."""
    fit = fitter.fit(runs, COST)
    for name in ("alpha", "beta", "E"):
        yield fit.params[name].low, fit.params[name].high  # type: ignore[misc]
    for factor in AHEAD:
        answer = fit.predict(float(BUDGETS[-1] * factor))
        for estimate in (answer.n_params, answer.loss):
            yield estimate.sampling_low, estimate.sampling_high  # type: ignore[misc]


def simulate(fitter: SurfaceFitter, noise: float, replicates: int, seed: int) -> Tally:
    """Fit `replicates` simulated sweeps."""
    held, width = [], []
    for replicate in range(replicates):
        runs = sweep(noise, np.random.default_rng([seed, replicate]))
        ends = np.array(list(intervals(attrs.evolve(fitter, seed=replicate), runs)))
        held.append((ends[:, 0] <= truths()) & (truths() <= ends[:, 1]))
        width.append(ends[:, 1] - ends[:, 0])
    return Tally(np.array(held), np.array(width))


def report(tallies: Sequence[tuple[str, float, Tally]], replicates: int, seed: int, seconds: float) -> str:
    """The Markdown page."""
    head = ["fit", "noise", *QUANTITIES]
    rows = []
    for name, noise, tally in tallies:
        cells = [f"{100 * c:.1f} ± {100 * s:.1f}" for c, s in zip(tally.coverage(), tally.stderr(), strict=True)]
        rows.append([name, f"{100 * noise:g} %", *cells])
    law = f"E = {TRUTH['E']}, A = {TRUTH['A']}, B = {TRUTH['B']}, alpha = {TRUTH['alpha']}, beta = {TRUTH['beta']}"
    return "\n".join(
        [
            "# Coverage of the sampling intervals",
            "",
            "How many of the case bootstrap's nominal 90 % intervals hold the truth, in per cent (± one binomial",
            f"standard error): {replicates} simulated sweeps a row, seed {seed}, 1,000 resamples each,",
            f"{seconds / 60:.0f} minutes of CPU time in all. Each sweep has {len(BUDGETS)} budgets "
            f"({BUDGETS[0]:.0e} to {BUDGETS[-1]:.0e} FLOPs) of {len(SIZES)} sizes",
            f"(a quarter to four times the optimum) on the law {law};",
            f"lognormal noise as given; {100 * OUTLIERS:g} % of the runs are 5 to 50 % too high.",
            "N_opt and loss are at 10 and 100 times the largest budget. The law itself is taken as true: these intervals",
            "say nothing about the error of its form, which prediction intervals add.",
            "",
            markdown_table(head, rows),
            "",
            "Made by `python tests/benchmarks/coverage.py --replicates "
            f"{replicates} --seed {seed} --write docs/coverage.md`.",
            "",
        ]
    )


def main() -> None:
    """Run the simulation and print, or write, the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20260729)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    began = time.process_time()
    tallies = [
        (name, noise, simulate(fitter, noise, options.replicates, options.seed))
        for name, fitter in FITTERS.items()
        for noise in NOISES
    ]
    page = report(tallies, options.replicates, options.seed, math.ceil(time.process_time() - began))
    if options.write:
        options.write.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()

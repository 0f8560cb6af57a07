"""How often the intervals of fitters ``surface`` and ``ensemble`` hold the truth, in simulated IsoFLOP sweeps.

In: a number of replicates and a seed. Out: a Markdown table (``--write docs/coverage.md`` keeps it).
Five budgets by seven sizes on a known law, lognormal noise, a few runs far too high. Every interval is at nominal
90 %: the case bootstrap's, and the prediction interval, which adds the error of the law's form. Budgets are the smallest,
the middle and the largest of the sweep, and ten and a hundred times that.

    python tests/benchmarks/coverage.py --replicates 1000 --write docs/coverage.md
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
from loky import get_reusable_executor

from flops_fit_core.data import CostModel, Runs
from flops_fit_core.text import markdown_table
from flops_fit_lmfit import additive
from flops_fit_lmfit.ensemble import EnsembleFitter
from flops_fit_lmfit.surface import SurfaceFitter

TRUTH = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
BUDGETS = np.geomspace(1e18, 1e20, 5)
SIZES = np.geomspace(0.25, 4.0, 7)
OUTLIERS = 0.03
NOISES = (0.003, 0.01)
AHEAD = (0.01, 0.1, 1.0, 10.0, 100.0)
COST = CostModel.six_nd()
PARAMETERS = ("alpha", "beta", "E")
FITTERS: dict[str, SurfaceFitter | EnsembleFitter] = {
    "surface": SurfaceFitter(outliers="keep", hold_out=False),
    "adaptive": SurfaceFitter(delta="adaptive", outliers="exclude", hold_out=False),
    "ensemble": EnsembleFitter(),
}


@attrs.frozen
class Tally:
    """Whether each replicate's interval held the truth: arrays (replicates, quantities) of truth values.

    Attributes:
        sampling: of `PARAMETERS` and `answers`.
        prediction: of `answers`.
    """

    sampling: np.ndarray
    prediction: np.ndarray


def answers() -> list[str]:
    """What is asked, by name, at so many times the largest budget."""
    return [f"{what} at {times:g}x" for times in AHEAD for what in ("N_opt", "loss")]


def covered(held: np.ndarray) -> np.ndarray:
    """Share of intervals that held the truth."""
    return held.mean(axis=0)


def stderr(held: np.ndarray) -> np.ndarray:
    """Binomial standard error of `covered`."""
    share = covered(held)
    return np.sqrt(share * (1 - share) / len(held))


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
    """True values of `PARAMETERS` and `answers`."""
    optima = [additive.optimum(TRUTH, COST, float(BUDGETS[-1] * times)) for times in AHEAD]
    return [*(TRUTH[name] for name in PARAMETERS), *(float(o[i]) for o in optima for i in (0, 2))]


def holds(fitter: SurfaceFitter | EnsembleFitter, runs: Runs) -> tuple[list[bool], list[bool]]:
    """Whether each sampling and each prediction interval holds the truth; an ensemble's exponents are its member's."""
    fit = fitter.fit(runs, COST)
    prefix = "surface_" if isinstance(fitter, EnsembleFitter) else ""
    parameters = [fit.params[prefix + name] for name in PARAMETERS]
    found = [fit.predict(float(BUDGETS[-1] * times)) for times in AHEAD]
    estimates = [estimate for answer in found for estimate in (answer.n_params, answer.loss)]
    sampling = [*((p.low, p.high) for p in parameters), *((e.sampling_low, e.sampling_high) for e in estimates)]
    prediction = [(e.low, e.high) for e in estimates]
    inside = [
        [low <= truth <= high for (low, high), truth in zip(ends, truths()[-len(ends) :], strict=True)]
        for ends in (sampling, prediction)
    ]
    return inside[0], inside[1]


def simulate(fitter: SurfaceFitter | EnsembleFitter, noise: float, replicates: int, seed: int) -> Tally:
    """Fit `replicates` simulated sweeps."""
    held = [
        holds(attrs.evolve(fitter, seed=replicate), sweep(noise, np.random.default_rng([seed, replicate])))
        for replicate in range(replicates)
    ]
    return Tally(*(np.array(column) for column in zip(*held, strict=True)))


def table(held: Sequence[tuple[str, np.ndarray]], quantities: Sequence[str]) -> str:
    """Coverage in per cent: a row for each quantity, a column for each fit and noise."""
    columns = [[f"{100 * c:.1f} ± {100 * s:.1f}" for c, s in zip(covered(h), stderr(h), strict=True)] for _, h in held]
    return markdown_table(["", *(name for name, _ in held)], list(zip(quantities, *columns, strict=True)))


def report(tallies: Sequence[tuple[str, Tally]], options: argparse.Namespace) -> str:
    """The Markdown page."""
    law = f"E = {TRUTH['E']}, A = {TRUTH['A']}, B = {TRUTH['B']}, alpha = {TRUTH['alpha']}, beta = {TRUTH['beta']}"
    return f"""# Coverage of the intervals

How many nominal 90 % intervals hold the truth, in per cent (± one binomial standard error): {options.replicates} simulated sweeps a
column, seed {options.seed}, 1,000 resamples each. Each sweep has {len(BUDGETS)} budgets ({BUDGETS[0]:.0e} to
{BUDGETS[-1]:.0e} FLOPs) of {len(SIZES)} sizes (a quarter to four times the optimum) on the law
{law};
lognormal noise as given; {100 * OUTLIERS:g} % of the runs are 5 to 50 % too high.
N_opt and loss are at so many times the largest budget: 0.01x is the smallest of the sweep. Columns: `surface` as it comes
(Huber, delta 1e-3), `surface` with adaptive Huber and outliers excluded, and the ensemble.

## Sampling intervals

The law itself is taken as true: these intervals say nothing about the error of its form. The ensemble's alpha, beta and E are
its additive member's; its N_opt and loss carry that member's interval moved to the average, which does not cover the
ensemble's own error where, as here, the additive law is exactly true.

{table([(name, tally.sampling) for name, tally in tallies], (*PARAMETERS, *answers()))}

## Prediction intervals

Beyond the largest budget they hold the error that the law's form may have out there, which is nil in this simulation and in
no real sweep: there they are meant to be wider than these sweeps need ({{doc}}`holdout` has real ones). Inside the sweep a
single law has no such error, and `surface` has but one interval; the ensemble's holds how far its members differ.

{table([(name, tally.prediction) for name, tally in tallies], answers())}

Made by `python tests/benchmarks/coverage.py --replicates {options.replicates} --seed {options.seed} --write docs/coverage.md`.
"""


def main() -> None:
    """Run the simulation and print, or write, the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20260729)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    columns = [(name, fitter, noise) for name, fitter in FITTERS.items() for noise in NOISES]
    pool = get_reusable_executor(env={"OMP_NUM_THREADS": "1"})
    longest_first = [(fitter, noise) for _, fitter, noise in reversed(columns)]
    jobs = [pool.submit(simulate, fitter, noise, options.replicates, options.seed) for fitter, noise in longest_first]
    tallies = [
        (f"{name}, {100 * noise:g} %", job.result())
        for (name, _, noise), job in zip(columns, reversed(jobs), strict=True)
    ]
    page = report(tallies, options)
    if options.write:
        options.write.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()

"""How well the outlier rule tells bad runs from clean ones, in simulated IsoFLOP sweeps where a tenth of the runs diverged.

In: a number of sweeps. Out: a Markdown page (``--write docs/outliers.md`` keeps it): how many of the bad runs are
caught, how many clean ones are lost, and what is left of the harm to ln N_opt a hundred times beyond the sweep.

    python tests/benchmarks/outliers.py --write docs/outliers.md
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import attrs
import numpy as np
from loky import get_reusable_executor

sys.path.insert(0, str(Path(__file__).parents[1]))

from flops_fit_core.data import CostModel, Runs
from flops_fit_core.text import markdown_table
from flops_fit_lmfit import EnsembleFitter, additive, frontier_law
from flops_fit_lmfit.outliers import MOST, find_outliers
from known_laws import ADDITIVE, FRONTIER, additive_sweep, frontier_sweep

COST = CostModel.six_nd()
DESIGNS = ((5, 7), (6, 7), (8, 8), (5, 10))
NOISES = (0.003, 0.01)
DIVERGED = 0.1
TOO_HIGH = ((0.05, 0.5), (0.1, 1.0))
"""By how much a diverged run's loss is too high, uniformly between."""
TARGET = 1e22
FITTER = EnsembleFitter(bootstrap=0)


@attrs.frozen(kw_only=True)
class Count:
    """What the rule did in one or several sweeps.

    Attributes:
        bad: runs that diverged.
        allowed: as many of them as the share of a budget lets the rule take.
        caught: diverged runs that it marked.
        clean: the other runs.
        lost: those of them that it marked.
        lost_at_the_top: runs of the largest budget that it marked in the same sweep without a diverged run.
    """

    bad: int
    allowed: int
    caught: int
    clean: int
    lost: int
    lost_at_the_top: int

    def __add__(self, other: Count) -> Count:
        mine, theirs = attrs.asdict(self), attrs.asdict(other)
        return Count(**{name: mine[name] + theirs[name] for name in mine})


def sweeps(
    seed: int, *, noise: float, budgets: int, sizes: int, diverged: float = 0.0, too_high: tuple[float, float]
) -> list[tuple[Runs, np.ndarray, float]]:
    """A sweep of every known law, which of its runs diverged, and the law's N_opt at `TARGET`."""
    options = {"noise": noise, "budgets": budgets, "sizes": sizes, "diverged": diverged, "seed": seed}
    made = [
        (*additive_sweep(law, **options, too_high=too_high), float(additive.optimum(law, COST, TARGET)[0]))
        for law in ADDITIVE.values()
    ]
    return [
        *made,
        (*frontier_sweep(**options, too_high=too_high), float(frontier_law.optimum(FRONTIER, COST, TARGET)[0])),
    ]


def count(runs: Runs, bad: np.ndarray, clean: Runs) -> Count:
    """The rule on one sweep, and on the same sweep without a diverged run."""
    assert runs.budget is not None
    mask = find_outliers(runs, COST).mask
    by_budget = [(int((bad & here).sum()), int(MOST * here.sum())) for here in masks(runs.budget)]
    assert clean.budget is not None
    top = clean.budget == clean.budget.max()
    return Count(
        bad=int(bad.sum()),
        allowed=sum(min(pair) for pair in by_budget),
        caught=int((mask & bad).sum()),
        clean=int((~bad).sum()),
        lost=int((mask & ~bad).sum()),
        lost_at_the_top=int(find_outliers(clean, COST).mask[top].sum()),
    )


def masks(budget: np.ndarray) -> list[np.ndarray]:
    """Who is of each budget."""
    return [budget == value for value in np.unique(budget)]


def log_n_error(runs: Runs, truth: float) -> float:
    """Error of ln N_opt at `TARGET`."""
    return math.log(FITTER.fit(runs, COST).predict(TARGET).n_params.value / truth)


def row(budgets: int, sizes: int, noise: float, too_high: tuple[float, float], repeats: int) -> tuple[str, ...]:
    """One row of the table."""
    counts, errors = [], []
    for seed in range(repeats):
        options = {"noise": noise, "budgets": budgets, "sizes": sizes, "too_high": too_high}
        pairs = zip(sweeps(seed, **options), sweeps(seed, **options, diverged=DIVERGED), strict=True)
        for (clean, _, truth), (runs, bad, _) in pairs:
            counts.append(count(runs, bad, clean))
            errors.append([log_n_error(clean, truth), log_n_error(runs, truth)])
    total = sum(counts[1:], counts[0])
    alone, spoilt = np.sqrt(np.mean(np.square(errors), axis=0))
    return (
        f"{budgets} × {sizes}",
        f"{100 * noise:g} %",
        f"{100 * too_high[0]:g} to {100 * too_high[1]:g} %",
        f"{100 * total.caught / total.bad:.1f} %",
        f"{100 * total.allowed / total.bad:.1f} %",
        f"{total.lost} of {total.clean}",
        str(total.lost_at_the_top),
        f"{spoilt / alone:.2f}",
    )


def page(repeats: int) -> str:
    """The Markdown page."""
    head = (
        "budgets × sizes",
        "noise",
        "too high by",
        "caught",
        "at most",
        "clean runs lost",
        "top runs lost",
        "ln N error",
    )
    jobs = [(*design, noise, high, repeats) for design in DESIGNS for noise in NOISES for high in TOO_HIGH]
    rows = list(get_reusable_executor(env={"OMP_NUM_THREADS": "1"}).map(row, *zip(*jobs, strict=True)))
    return f"""# Outliers

Simulated sweeps of {len(ADDITIVE)} additive laws and one frontier law, {repeats} of each a row. A tenth of the runs, by
chance, diverged: their loss is too high by a share drawn uniformly as given. The rule marks a run more than five robust
sigmas above the law ([concepts](concepts.md#outliers)), so at 1 % noise nothing that is 5 % too high can be told from noise;
and it takes at most {100 * MOST:g} % of a budget's runs, so where chance puts more of them in one budget it cannot take all: the
column *at most* says what that allows.

{markdown_table(head, rows)}

*Top runs lost*: runs of the largest budget that the rule takes from the same sweeps where none diverged. *ln N error*: root
mean square error of ln N_opt at a hundred times the largest budget, by the ensemble, as a ratio to the same without a
diverged run.

Made by `python tests/benchmarks/outliers.py --repeats {repeats} --write docs/outliers.md`.
"""


def main() -> None:
    """Print, or write, the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    text = page(options.repeats)
    if options.write:
        options.write.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

"""Fitting the additive law to 240 runs: CPU time and objective gap, beside what others would use.

Peers: scipy ``least_squares`` (huber, analytic Jacobian), lmfit's default, scipy ``curve_fit``, and the PyPI package
``chinchilla`` (0.2.0) where it is installed. Same runs, same objective, tolerance 1e-15, rounds interleaved,
medians of CPU time, children counted. The gap is relative to the best objective that anyone found. Run:
python tests/benchmarks/bench_fit.py [rounds]
"""

from __future__ import annotations

import itertools
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import lmfit
import numpy as np
from scipy.optimize import curve_fit, least_squares

from flops_fit_core.data import CostModel, Runs
from flops_fit_core.text import markdown_table
from flops_fit_lmfit import SurfaceFitter, additive
from flops_fit_lmfit.objective import Objective

TRUTH = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
TIGHT = {"ftol": 1e-15, "xtol": 1e-15, "gtol": 1e-15}
# Corners of the grid of Hoffmann et al. 2022 (ln E, ln A, ln B, alpha, beta), and one start in the middle.
GRID = list(itertools.product((0.0, 1.0), (5.0, 15.0), (5.0, 15.0), (0.3, 0.8), (0.3, 0.8)))
ONE = [(0.5, 6.0, 8.0, 0.4, 0.4)]
OURS = {"log_huber": "flops-fit surface", "log_mse": "flops-fit surface, log_mse"}

Peer = Callable[[Runs], dict[str, float]]


def simulated(seed: int = 0) -> Runs:
    """240 runs as Chinchilla's: N and D over two orders of magnitude, noise 1 %, a few far too high."""
    rng = np.random.default_rng(seed)
    n, d = np.exp(rng.uniform(np.log(5e7), np.log(1.5e10), 240)), np.exp(rng.uniform(np.log(3e8), np.log(3e11), 240))
    loss = additive.loss(TRUTH, n, d) * np.exp(0.01 * rng.standard_t(3, size=240))
    return Runs(n_params=n, n_tokens=d, loss=loss)


def sweep(seed: int = 0) -> Runs:
    """240 runs of ten budgets, each 1 % off the law as a whole as in real sweeps: the outlier rule looks a second time."""
    rng = np.random.default_rng(seed)
    budget = np.repeat(np.geomspace(6e18, 3e21, 10), 24)
    n = 0.09 * np.sqrt(budget) * np.tile(np.geomspace(0.1, 10.0, 24), 10)
    off = 0.01 * np.repeat(rng.standard_normal(10), 24) + 0.003 * rng.standard_t(3, size=240)
    loss = additive.loss(TRUTH, n, budget / (6 * n)) * np.exp(off)
    return Runs(n_params=n, n_tokens=budget / (6 * n), loss=loss, budget=budget)


def ours(objective: str, outliers: str = "keep") -> Peer:
    """Fitter ``surface``: global search, polish through lmfit, what is not identified; outliers named on request."""
    fitter = SurfaceFitter(objective=objective, outliers=outliers, hold_out=False, bootstrap=0)
    return lambda runs: fitter.fit(runs, CostModel.six_nd()).values


def named(theta: np.ndarray) -> dict[str, float]:
    """Parameters of raw coordinates (ln E, ln A, ln B, alpha, beta)."""
    e, a, b, alpha, beta = (float(value) for value in theta)
    return {"E": np.exp(e), "A": np.exp(a), "B": np.exp(b), "alpha": alpha, "beta": beta}


def log_law(runs: Runs, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ln L and its derivatives by raw coordinates."""
    x, y = np.log(runs.n_params), np.log(runs.n_tokens)
    with np.errstate(over="ignore", invalid="ignore"):
        e, p, q = np.exp(theta[0]), np.exp(theta[1] - theta[3] * x), np.exp(theta[2] - theta[4] * y)
        total = e + p + q
        return np.log(total), np.stack([np.full_like(p, e), p, q, -p * x, -q * y], axis=1) / total[:, None]


def by_least_squares(starts: list[tuple[float, ...]]) -> Peer:
    """scipy's robust least squares on the raw logarithms, as one would write it."""

    def fit(runs: Runs) -> dict[str, float]:
        target = np.log(runs.loss)
        results = [
            least_squares(
                lambda t: log_law(runs, t)[0] - target,
                start,
                jac=lambda t: log_law(runs, t)[1],
                loss="huber",
                f_scale=1e-3,
                x_scale="jac",
                **TIGHT,
            )
            for start in starts
        ]
        return named(min(results, key=lambda r: r.cost).x)

    return fit


def by_lmfit(runs: Runs) -> dict[str, float]:
    """lmfit's default method (Levenberg-Marquardt), log residuals."""
    params = lmfit.Parameters()
    for name, value in zip(("e", "a", "b", "alpha", "beta"), ONE[0], strict=True):
        params.add(name, value=value)
    target = np.log(runs.loss)
    result = lmfit.minimize(
        lambda p: log_law(runs, np.array([par.value for par in p.values()]))[0] - target, params, **TIGHT
    )
    return named(np.array([par.value for par in result.params.values()]))


def by_curve_fit(runs: Runs) -> dict[str, float]:
    """scipy's curve_fit, log losses."""
    found, _ = curve_fit(
        lambda _, *theta: log_law(runs, np.array(theta))[0], runs.n_params, np.log(runs.loss), p0=ONE[0], **TIGHT
    )
    return named(found)


def by_chinchilla(runs: Runs) -> dict[str, float]:
    """The package ``chinchilla``: BFGS from the corners of the grid, in processes."""
    from chinchilla import Chinchilla
    from chinchilla._metrics import log_huber

    e, a, b, alpha, beta = (sorted({start[i] for start in GRID}) for i in range(5))
    with tempfile.TemporaryDirectory() as folder:
        study = Chinchilla(
            folder,
            param_grid={"e": e, "a": a, "b": b, "alpha": alpha, "beta": beta},
            loss_fn=lambda y_true, y_pred: log_huber(y_true, y_pred, delta=1e-3),
            log_level=40,
        )
        study.visualizer.optim = lambda *_, **__: None
        for n, d, loss in zip(runs.n_params, runs.n_tokens, runs.loss, strict=True):
            study.database.append(C=6 * n * d, N=n, D=d, loss=loss)
        study.fit()
        return dict(study.get_params())


def installed(package: str) -> str:
    """Its version, or nothing where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def cpu() -> float:
    """CPU seconds of this process and its finished children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def peers() -> dict[str, tuple[str, Peer]]:
    """Peers by name, each with its objective."""
    scipy, lm = f"scipy {installed('scipy')}", f"lmfit {installed('lmfit')}"
    table = {
        OURS["log_huber"]: ("log_huber", ours("log_huber")),
        "flops-fit surface, outliers named (default)": ("log_huber", ours("log_huber", "flag")),
        f"{scipy} least_squares, huber, analytic Jacobian, 1 start": ("log_huber", by_least_squares(ONE)),
        f"{scipy} least_squares, huber, analytic Jacobian, 32 starts": ("log_huber", by_least_squares(GRID)),
        OURS["log_mse"]: ("log_mse", ours("log_mse")),
        f"{lm} default (leastsq), 1 start": ("log_mse", by_lmfit),
        f"{scipy} curve_fit, 1 start": ("log_mse", by_curve_fit),
    }
    if installed("chinchilla"):
        table[f"chinchilla {installed('chinchilla')}, 32 starts"] = ("log_huber", by_chinchilla)
    return table


def of_budgets(rounds: int) -> str:
    """CPU time of the same fit of runs that have budgets, in words."""
    runs, seconds = sweep(), dict[str, list[float]]()
    for _ in range(rounds):
        for outliers in ("keep", "flag"):
            start = cpu()
            ours("log_huber", outliers)(runs)
            seconds.setdefault(outliers, []).append(cpu() - start)
    fit, named_too = (1e3 * statistics.median(each) for each in seconds.values())
    return f"240 runs of ten budgets, log_huber: {fit:.1f} ms CPU, with outliers named {named_too:.1f} ms"


def main(rounds: int = 7) -> None:
    """Print the table."""
    runs = simulated()
    seconds: dict[str, list[float]] = {}
    value: dict[str, float] = {}
    table = peers()
    for turn in range(rounds):
        for name, (objective, fit) in table.items():
            if turn and seconds[name][0] > 20:
                continue  # once is enough for a peer that takes minutes
            start = cpu()
            params = fit(runs)
            seconds.setdefault(name, []).append(cpu() - start)
            problem = Objective(n=runs.n_params, d=runs.n_tokens, loss=runs.loss, kind=objective)
            value[name] = float(problem.value(problem.theta(params)[None], np.ones(len(runs)))[0])
    best = {kind: min(value[name] for name, (k, _) in table.items() if k == kind) for kind, _ in table.values()}
    ours_ms = {kind: statistics.median(seconds[name]) for kind, name in OURS.items()}
    rows = [
        [
            name,
            objective,
            f"{1e3 * statistics.median(seconds[name]):.1f}",
            f"{statistics.median(seconds[name]) / ours_ms[objective]:.1f}",
            f"{value[name] / best[objective] - 1:.1e}",
        ]
        for name, (objective, _) in table.items()
    ]
    print(markdown_table(["fit of 240 runs", "objective", "CPU ms", "times ours", "objective gap"], rows))
    print(f"\n{of_budgets(rounds)}")
    if not installed("chinchilla"):
        print("\nchinchilla is not installed: pip install chinchilla==0.2.0 adds it to the table")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

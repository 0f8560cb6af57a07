"""Published sweeps as `Runs`, for tests and benchmarks; where the data folder is absent, tests are skipped."""

import csv
from pathlib import Path

import numpy as np
import pytest

from flops_fit_core.data import Runs

DATA = Path(__file__).parents[2] / "shared" / "data"
NOMINAL = np.array([6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21, 3e21])


def _columns(name: str, *columns: str) -> list[np.ndarray]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return [np.array([float(row[column]) for row in rows]) for column in columns]


def chinchilla_epoch() -> Runs:
    """240 runs (without the five highest losses), grouped by C at the nearest nominal budget."""
    n, c, loss = _columns("chinchilla_epoch_245.csv", "Model Size", "Training FLOP", "loss")
    keep = np.sort(np.argsort(loss, kind="stable")[:240])
    n, c, loss = n[keep], c[keep], loss[keep]
    budget = NOMINAL[np.argmin(np.abs(np.log(c)[:, None] - np.log(NOMINAL)), axis=1)]
    return Runs(n_params=n, n_tokens=c / (6 * n), loss=loss, budget=budget, flops=c)


def _iso(name: str) -> Runs:
    n, d, loss, budget = _columns(name, "params", "tokens", "loss", "budget")
    return Runs(n_params=n, n_tokens=d, loss=loss, budget=budget)


def chinchilla_isoflops() -> Runs:
    """123 runs at nine budgets, their outliers kept."""
    return _iso("chinchilla_isoflops_123.csv")


def marin_comma() -> Runs:
    """85 runs, 6ND 0.93 to 1.35 times the stated budget."""
    return _iso("marin_comma_85.csv")


PUBLISHED = {
    "chinchilla_epoch": chinchilla_epoch,
    "chinchilla_isoflops": chinchilla_isoflops,
    "marin_comma": marin_comma,
}

"""Known truths: surfaces whose parameters are given, and published sweeps with certified optima."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flops_fit_core.data import Runs
from known_laws import SURFACES

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def grid(truth: dict[str, float], smallest_n: float, smallest_c: float, *, budgets: int = 5, sizes: int = 7) -> Runs:
    """Noise-free runs on budgets four times apart, N over a factor of 64."""
    c = np.repeat(smallest_c * 4.0 ** np.arange(budgets), sizes)
    n = np.tile(smallest_n * np.geomspace(1.0, 64.0, sizes), budgets) * np.repeat(2.0 ** np.arange(budgets), sizes)
    d = c / (6.0 * n)
    loss = truth["E"] + truth["A"] / n ** truth["alpha"] + truth["B"] / d ** truth["beta"]
    return Runs(n_params=n, n_tokens=d, loss=loss, budget=c)


@pytest.fixture(params=list(SURFACES))
def surface(request: pytest.FixtureRequest) -> tuple[dict[str, float], Runs]:
    """A known law and noise-free runs on it."""
    truth, n, c = SURFACES[request.param]
    return truth, grid(truth, n, c)


def read(name: str) -> list[dict[str, str]]:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(rows: list[dict[str, str]], name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in rows])


def published(name: str) -> Runs:
    """One of the sets of `certified.json`."""
    if name == "epoch_240":
        rows = read("chinchilla_epoch_245.csv")
        n, c, loss = (column(rows, key) for key in ("Model Size", "Training FLOP", "loss"))
        kept = np.sort(np.argsort(loss)[:-5])
        return Runs(n_params=n[kept], n_tokens=(c / (6.0 * n))[kept], loss=loss[kept])
    rows = read({"iso_epochai_123": "chinchilla_isoflops_123.csv", "marin_comma_85": "marin_comma_85.csv"}[name])
    n, d, loss, budget = (column(rows, key) for key in ("params", "tokens", "loss", "budget"))
    return Runs(n_params=n, n_tokens=d, loss=loss, budget=budget)


@pytest.fixture(params=["epoch_240", "iso_epochai_123", "marin_comma_85"])
def certified(request: pytest.FixtureRequest) -> tuple[str, Runs, dict[str, Any]]:
    """A published set: its name, its runs, and its certified optima by objective."""
    runs = published(request.param)
    optima = json.loads((SHARED / "certified.json").read_text(encoding="utf-8"))[request.param]
    return request.param, runs, optima


@pytest.fixture
def epoch_240() -> Runs:
    """Chinchilla's runs as digitised by Epoch AI, without the five highest losses."""
    return published("epoch_240")

"""Losses from a known surface L(N, D) plus seeded noise: a sweep's dry run, and the fitters' ground truth.

In: planned runs. Out: the records that training would have left, in no time; no model is built and
no data is read, so what comes back says nothing about the user's own architecture.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import numpy as np

from flops_fit_core.data import CurvePoint, Run, RunRecord, Workload
from flops_fit_core.errors import InputError
from flops_fit_core.store import Workspace

CURVE_POINTS = 8


def _at_least_zero(_: Any, field: attrs.Attribute[float], value: float) -> None:
    if not (isinstance(value, (int, float)) and math.isfinite(value) and value >= 0):
        raise InputError(f"simulate: {field.name}={value!r} cannot be used: give a finite number, 0 or more")


def _positive(_: Any, field: attrs.Attribute[float], value: float) -> None:
    if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
        raise InputError(f"simulate: {field.name}={value!r} cannot be used: give a finite number above 0")


@attrs.frozen(kw_only=True)
class SimulateTrainer:
    """Takes every loss from L(N, D) = E + A/N^alpha + B/D^beta, times a lognormal factor.

    The defaults are Chinchilla's law (Hoffmann et al. 2022, arXiv 2203.15556, equation 10), whose
    compute optimum lies within a factor of 2.5 of N = sqrt(C/120) from C = 1e9 to 1e24.

    Attributes:
        E: irreducible loss, nats per unit of data.
        A: the part of the loss that parameters reduce, at N = 1.
        alpha: its exponent.
        B: the part of the loss that data reduce, at D = 1.
        beta: its exponent.
        noise: standard deviation of ln(loss); each (size, D, seed) has its own fixed draw.
    """

    E: float = attrs.field(default=1.69, validator=_at_least_zero)
    A: float = attrs.field(default=406.4, validator=_positive)
    B: float = attrs.field(default=410.7, validator=_positive)
    alpha: float = attrs.field(default=0.34, validator=_positive)
    beta: float = attrs.field(default=0.28, validator=_positive)
    noise: float = attrs.field(default=0.002, validator=_at_least_zero)

    def groups(self, runs: Sequence[Run]) -> list[list[Run]]:
        """One run each: nothing is shared."""
        return [[run] for run in runs]

    def train(self, group: Sequence[Run], workload: Workload, workspace: Workspace) -> Iterator[RunRecord]:
        """Yield a record for each run; the workload is not looked at."""
        for run in group:
            yield self._simulate(run, workspace)

    def _simulate(self, run: Run, workspace: Workspace) -> RunRecord:
        start = time.perf_counter()
        factor = math.exp(self.noise * _standard_normal(run))
        loss = factor * self.law(run.n_params, run.n_tokens)
        # D, D/2, D/4, …: what a curve of log-spaced points would show; held-out loss at the last alone.
        tokens = sorted({max(1, run.n_tokens >> i) for i in range(1, CURVE_POINTS)} - {run.n_tokens})
        curve = [CurvePoint(n_tokens=n, loss=factor * self.law(run.n_params, n)) for n in tokens]
        curve.append(CurvePoint(n_tokens=run.n_tokens, loss=loss, eval_loss=loss))
        workspace.set_curve(run, ())
        for point in curve:
            workspace.log(run, point)
        return RunRecord(
            run=run,
            loss=loss,
            loss_stderr=loss * self.noise or None,
            n_tokens=run.n_tokens,
            flops=run.flops,
            flops_spent=run.flops,
            seconds=time.perf_counter() - start,
            curve=tuple(curve),
            recipe={"schedule": "simulated", "simulated": True},
        )

    def law(self, n_params: float, n_tokens: float) -> float:
        """The loss without noise of N parameters after D units of data."""
        return float(self.E + self.A / n_params**self.alpha + self.B / n_tokens**self.beta)


def _standard_normal(run: Run) -> float:
    """One draw that is the run's own, whatever the study: another seed or size, another draw."""
    identity = int(attrs.evolve(run, study="").run_id, 16)
    return float(np.random.default_rng(identity).standard_normal())

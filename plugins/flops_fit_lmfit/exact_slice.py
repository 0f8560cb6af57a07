"""The additive law's own curve through each budget, beside the parabola, and the power laws through its minima.

In: budget slices and the runs. Out: the curves e + a·N^(-alpha) + b·N^decay as JSON values, and how far
the parabola's optimum lies from theirs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flops_fit_core.data import Runs
from flops_fit_core.errors import FitError
from flops_fit_core.text import si
from flops_fit_lmfit import slices, trend
from flops_fit_lmfit.budget_slice import BudgetSlice
from flops_fit_lmfit.slices import Shape
from flops_fit_lmfit.solve import fit_additive
from flops_fit_lmfit.trend import Laws

Floats = NDArray[np.float64]

_SHOWN = 0.01
_MIN_RUNS = 6


def exact_slices(
    groups: list[BudgetSlice], runs: Runs, laws: Laws
) -> tuple[list[dict[str, Any] | None], dict[str, float] | None, tuple[str, ...]]:
    """Fit e, a and b of every budget, with alpha and beta from the additive law through all `runs`.

    Along one budget D falls as N rises, so D^(-beta) is N^decay, with decay = beta times the slope of
    -ln D against ln N (1 where C = 6ND). Three coefficients a budget, as many as a parabola has.

    Returns:
        For each budget its curve (``None`` where it has none), the laws through the minima (``None``
        with fewer than two), and a note where the parabolas' optimum differs by more than 1 %.
    """
    exponents = _exponents(runs)
    if exponents is None:
        return [None] * len(groups), None, ("no exact slices: the additive law is not identified by these runs",)
    alpha, beta = exponents
    curves = [_curve(group, group.shape(exponents)) for group in groups]
    points = [(g, c) for g, c in zip(groups, curves, strict=True) if not g.reason and c and c["n_opt"]]
    if len(points) < 2:
        return curves, None, ()
    log_c, log_n, log_d = (
        np.log([values(g, c) for g, c in points])
        for values in (lambda g, _: g.budget, lambda _, c: c["n_opt"], lambda _, c: c["d_opt"])
    )
    kept = np.isin(laws.log_c, log_c)
    powers = trend.power_laws(log_c, log_n, log_d, laws.weights_n[kept])
    law = {"alpha": alpha, "beta": beta, **{name: float(value) for name, value in powers.items()}}
    return curves, law, _note(law, laws)


def _exponents(runs: Runs) -> tuple[float, float] | None:
    """Alpha and beta of the additive law through all runs, robustly; ``None`` where they are not identified."""
    if len(runs) < _MIN_RUNS:
        return None
    try:
        fit = fit_additive(runs.n_params, runs.n_tokens, runs.loss, delta="adaptive")
    except FitError:
        return None
    alpha, beta = fit.params["alpha"], fit.params["beta"]
    return (alpha, beta) if 0.01 < alpha < 3 and 0.01 < beta < 3 else None


def _curve(group: BudgetSlice, shape: Shape) -> dict[str, Any] | None:
    if shape.alpha is None or shape.decay is None or not np.isfinite(group.coefficients).all():
        return None
    found = slices.solve(shape, group.x, group.loss, group.weights)
    if not np.isfinite(found).all():
        return None
    e, a, b = found
    raw = [float(e), float(a * np.exp(shape.alpha * group.centre)), float(b * np.exp(-shape.decay * group.centre))]
    return {"alpha": shape.alpha, "decay": shape.decay, "coefficients": raw, **group.minimum_plain(shape, found)}


def _note(law: dict[str, float], laws: Laws) -> tuple[str, ...]:
    top = float(laws.log_c[-1])
    difference = np.log(laws.params["k_n"] / law["k_n"]) + (laws.params["a"] - law["a"]) * top
    if abs(difference) < _SHOWN:
        return ()
    word = "below" if difference < 0 else "above"
    return (
        f"at the largest budget, {si(float(np.exp(top)))} FLOPs, the parabolas' N_opt is {abs(np.expm1(difference)):.2%} {word} "
        f"that of the additive law's exact slices (a = {law['a']:.5g} instead of {laws.params['a']:.5g}): parabolas are "
        "biased where alpha and beta differ or the sizes are off centre (Czech et al. 2026, arXiv 2603.22339)",
    )

"""The answer as a figure: compute-optimal N, D, loss and D/N against the compute budget.

In: a result and its `Sweep`. Out: a `Figure` of four panels, each with the fits' lines, the first
fit's interval as a band, and each budget's own optimum as a point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from flops_fit_core.data import Fit, Prediction, Result
from flops_fit_matplotlib import style
from flops_fit_matplotlib.curves import Sweep, interval, trajectory

Floats = NDArray[np.float64]

BEYOND = 10.0
"""Lines go on to this multiple of the largest budget that was fitted; what lies there is extrapolation."""


@attrs.frozen(kw_only=True, eq=False)
class _Line:
    """A fit along the compute axis."""

    fit: Fit
    predictions: list[Prediction]
    largest: float

    @property
    def budgets(self) -> Floats:
        return np.array([p.compute_budget for p in self.predictions])

    def values(self, name: str) -> Floats:
        return np.array([getattr(p, name).value for p in self.predictions])


@attrs.frozen(kw_only=True, eq=False)
class _Optima:
    """Each budget's own optimum: the minimum of its curve, else its best run."""

    budget: Floats
    n_params: Floats
    n_tokens: Floats
    loss: Floats
    used: NDArray[np.bool_]
    label: str


def scaling_figure(result: Result, sweep: Sweep) -> Figure | None:
    """Draw the four panels; ``None`` where no fit has an optimum to draw."""
    end = BEYOND * max((_largest(fit, sweep) for fit in result.fits), default=1.0)
    lines = [line for line in (_line(fit, sweep, end) for fit in result.fits) if line.predictions]
    if not lines:
        return None
    figure = Figure(figsize=(9.6, 7.4), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08), facecolor="white")
    panels = figure.subplots(2, 2, sharex=True)
    optima = _optima(sweep)
    unit = result.data_unit
    _panel(panels[0, 0], "n_params", "Optimal parameters N", style.count, lines, optima, sweep)
    _panel(panels[0, 1], "n_tokens", f"Optimal training {unit} D", style.count, lines, optima, sweep)
    _panel(panels[1, 0], "loss", f"Optimal loss per {style.singular(unit)}", style.plain, lines, optima, sweep)
    _ratio_panel(panels[1, 1], unit, lines, optima, sweep)
    for axes in panels[1]:
        axes.set_xlabel("Compute budget C (FLOPs)", fontsize=style.LABEL)
    style.log_axis(panels[1, 0].xaxis, style.power)
    figure.suptitle(
        f"{result.workload}: compute-optimal scaling", fontsize=style.TITLE, x=0.02, ha="left", color=style.INK
    )
    handles, labels = panels[1, 0].get_legend_handles_labels()
    meanings = dict(zip(labels, handles, strict=True))
    figure.legend(
        meanings.values(), meanings.keys(), loc="outside lower center", ncols=3, frameon=False, fontsize=style.TICK
    )
    return figure


def _largest(fit: Fit, sweep: Sweep) -> float:
    return fit.largest_budget or sweep.budgets[-1]


def _line(fit: Fit, sweep: Sweep, end: float) -> _Line:
    largest = _largest(fit, sweep)
    budgets = np.unique(np.append(np.geomspace(sweep.budgets[0] / 2, end, 60), largest))
    return _Line(fit=fit, predictions=trajectory(fit, budgets), largest=largest)


def _optima(sweep: Sweep) -> _Optima:
    if sweep.source == "parabola":
        found = [c for c in sweep.curves if c.n_opt is not None]
        columns = [[c.budget, c.n_opt, c.d_opt, c.loss_opt] for c in found]
        used, label = [c.used for c in found], sweep.optimum
    else:
        rows = [row for row in map(sweep.best, sweep.budgets) if row is not None]
        runs = sweep.runs
        columns = [[sweep.budget[row], runs.n_params[row], runs.n_tokens[row], runs.loss[row]] for row in rows]
        used, label = [True] * len(rows), "best run of a budget"
    budget, n_params, n_tokens, loss = np.array(columns, dtype=np.float64).reshape(-1, 4).T
    return _Optima(
        budget=budget, n_params=n_params, n_tokens=n_tokens, loss=loss, used=np.array(used, dtype=bool), label=label
    )


def _panel(
    axes: Axes,
    name: str,
    ylabel: str,
    number: Callable[[float], str],
    lines: Sequence[_Line],
    optima: _Optima,
    sweep: Sweep,
) -> None:
    _axes(axes, ylabel)
    first = lines[0]
    band = interval(first.predictions, name)
    if band is not None:
        _band(axes, first, *band)
    for line in lines:
        _draw_line(axes, line, line.values(name), main=line is first)
    _draw_optima(axes, optima, getattr(optima, name), sweep)
    style.log_axis(axes.yaxis, number)
    symbol = {"n_params": "N", "n_tokens": "D"}.get(name)
    if symbol is not None:
        _note(axes, _exponent(first, name, symbol))
    elif "E" in first.fit.params:
        _note(axes, _irreducible(first), right=True)


def _irreducible(line: _Line) -> str:
    """E in words; one that fell to its bound of 0 is no measurement of it."""
    value = line.fit.params["E"].value
    lowest = min(prediction.loss.value for prediction in line.predictions)
    return f"irreducible loss E = {value:.4g}" if value > 1e-6 * lowest else "irreducible loss E not identified (0)"


def _ratio_panel(axes: Axes, unit: str, lines: Sequence[_Line], optima: _Optima, sweep: Sweep) -> None:
    _axes(axes, f"{unit.capitalize()} per parameter D/N")
    first = lines[0]
    band = interval(first.predictions, "n_params")
    if band is not None:
        # At a fixed budget D follows from N, so the interval of N is the interval of D/N, turned over.
        low, high = (first.fit.cost.tokens(n, first.budgets) / n for n in reversed(band))
        _band(axes, first, low, high)
    for line in lines:
        _draw_line(axes, line, line.values("n_tokens") / line.values("n_params"), main=line is first)
    _draw_optima(axes, optima, optima.n_tokens / optima.n_params, sweep)
    style.log_axis(axes.yaxis, style.plain)


def _axes(axes: Axes, ylabel: str) -> None:
    style.dress(axes)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylabel(ylabel, fontsize=style.LABEL)


def _band(axes: Axes, line: _Line, low: Floats, high: Floats) -> None:
    kind = "sampling" if line.fit.model_error is None else "prediction"
    label = f"{100 * line.fit.confidence:g} % {kind} interval"
    axes.fill_between(line.budgets, low, high, color=style.ACCENT, alpha=0.15, linewidth=0, label=label, zorder=1)


def _draw_line(axes: Axes, line: _Line, values: Floats, *, main: bool) -> None:
    color, width, order = (style.ACCENT, 2.0, 3) if main else (style.FAINT, 1.4, 2)
    within, beyond = line.budgets <= line.largest, line.budgets >= line.largest
    name = f"{line.fit.fitter} fit, dashed beyond the runs" if main else f"{line.fit.fitter} fit"
    axes.plot(line.budgets[within], values[within], color=color, linewidth=width, label=name, zorder=order)
    axes.plot(line.budgets[beyond], values[beyond], color=color, linewidth=width, linestyle=(0, (3, 2)), zorder=order)


def _draw_optima(axes: Axes, optima: _Optima, values: Floats, sweep: Sweep) -> None:
    colors = style.budget_colors(sweep.budgets)
    for budget, value, used in zip(optima.budget, values, optima.used, strict=True):
        color = colors.get(float(budget), style.NO_BUDGET)
        axes.plot(
            budget, value, "o", color=color if used else "white", markeredgecolor="white" if used else color,
            markersize=7, label=optima.label if used else f"{optima.label}, not used", zorder=4,
        )  # fmt: skip


def _exponent(line: _Line, name: str, symbol: str) -> str:
    """The slope d ln N_opt / d ln C over the budgets that were trained, with the fit's own interval if it has one."""
    estimate = line.fit.params.get({"N": "a", "D": "b"}[symbol])
    if estimate is not None and estimate.low is not None and estimate.high is not None:
        percent = f"{100 * line.fit.confidence:g} %"
        interval = f"{percent} sampling {estimate.low:.3f} to {estimate.high:.3f}"
        return f"${symbol}\\propto C^{{{estimate.value:.3f}}}$  ({interval})"
    within = line.budgets <= line.largest
    slope = np.polyfit(np.log(line.budgets[within]), np.log(line.values(name)[within]), 1)[0]
    return f"${symbol}\\propto C^{{{slope:.3f}}}$"


def _note(axes: Axes, text: str, *, right: bool = False) -> None:
    x, side = (0.97, "right") if right else (0.03, "left")
    axes.text(
        x, 0.96, text, transform=axes.transAxes, ha=side, va="top", fontsize=style.LABEL, color=style.INK,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
    )  # fmt: skip

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
from numpy.typing import NDArray

from flops_fit_core.data import Fit, Prediction, Result
from flops_fit_matplotlib import style
from flops_fit_matplotlib.curves import Sweep, fit_names, interval, trajectory

Floats = NDArray[np.float64]

BEYOND = 10.0
"""Lines go on to this multiple of the largest budget that was fitted; what lies there is extrapolation."""


@attrs.frozen(kw_only=True, eq=False)
class _Line:
    """A fit along the compute axis."""

    fit: Fit
    name: str
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
    named = zip(result.fits, fit_names(result.fits), strict=True)
    lines = [line for line in (_line(fit, name, sweep, end) for fit, name in named) if line.predictions]
    if not lines:
        return None
    figure = style.figure(9.6, 7.8)
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
    figure.align_ylabels(panels)
    style.legend_below(figure, panels[1, 0])
    return figure


def _largest(fit: Fit, sweep: Sweep) -> float:
    return fit.largest_budget or sweep.budgets[-1]


def _line(fit: Fit, name: str, sweep: Sweep, end: float) -> _Line:
    largest = _largest(fit, sweep)
    budgets = np.unique(np.append(np.geomspace(sweep.budgets[0] / 2, end, 60), largest))
    return _Line(fit=fit, name=name, predictions=trajectory(fit, budgets), largest=largest)


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
    _draw_lines(axes, lines, [line.values(name) for line in lines])
    _draw_optima(axes, optima, getattr(optima, name), sweep)
    style.log_axis(axes.yaxis, number)
    symbol = {"n_params": "N", "n_tokens": "D"}.get(name)
    if symbol is not None:
        _note(axes, _exponent(first, name, symbol))
    elif "E" in first.fit.params:
        _note(axes, _irreducible(first))


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
    _draw_lines(axes, lines, [line.values("n_tokens") / line.values("n_params") for line in lines])
    _draw_optima(axes, optima, optima.n_tokens / optima.n_params, sweep)
    style.log_axis(axes.yaxis, style.plain)


def _axes(axes: Axes, ylabel: str) -> None:
    style.dress(axes)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylabel(ylabel, fontsize=style.LABEL)


def _band(axes: Axes, line: _Line, low: Floats, high: Floats) -> None:
    of_form = line.fit.model_error is not None or line.fit.members  # what a prediction has beyond sampling
    kind = "prediction" if of_form else "sampling"
    label = f"{100 * line.fit.confidence:g} % {kind} interval"
    axes.fill_between(line.budgets, low, high, color=style.ACCENT, alpha=0.15, linewidth=0, label=label, zorder=1)


def _draw_lines(axes: Axes, lines: Sequence[_Line], values: Sequence[Floats]) -> None:
    """The first fit broad, the others narrow on top of it: where they agree, all are seen."""
    (first, *others), (answer, *rest) = lines, values
    within, beyond = first.budgets <= first.largest, first.budgets >= first.largest
    broad = {"color": style.ACCENT, "linewidth": 3.0, "zorder": 2}
    label = f"{first.name} fit, dashed beyond the runs"
    axes.plot(first.budgets[within], answer[within], label=label, **broad)
    axes.plot(first.budgets[beyond], answer[beyond], linestyle=style.EXTRAPOLATED, **broad)
    for i, (line, along) in enumerate(zip(others, rest, strict=True)):
        color, dashes = style.other_fit(i)
        axes.plot(line.budgets, along, color=color, linewidth=1.3, linestyle=dashes, label=f"{line.name} fit", zorder=3)


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


def _note(axes: Axes, text: str) -> None:
    """Words above the panel: inside, a long interval would cover some line or band."""
    axes.set_title(text, loc="left", fontsize=style.LABEL, color=style.INK)

"""The answer as a figure: compute-optimal N, D, loss and D/N against the compute budget.

In: a result and its `Sweep`. Out: a `Figure` of four panels, each with the fits' lines, the first
fit's interval as a band, and each budget's own optimum as a point, hollow where its runs do not show one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from flops_fit_core.compare import names_of
from flops_fit_core.data import Fit, Prediction, Result
from flops_fit_matplotlib import style
from flops_fit_matplotlib.curves import Optimum, Sweep, interval, titled, trajectory
from flops_fit_matplotlib.minima import minima

Floats = NDArray[np.float64]

BEYOND = 10.0
"""Lines go on to this multiple of the largest budget that was fitted; what lies there is extrapolation."""

SEEN = "parabola minimum of a budget's runs"
UNSEEN = "best run of a budget, minimum not seen"


@attrs.frozen(kw_only=True, eq=False)
class _Line:
    """A fit along the compute axis, from the smallest budget that the first fit used to the largest that it used."""

    fit: Fit
    name: str
    predictions: list[Prediction]
    smallest: float
    largest: float

    @property
    def budgets(self) -> Floats:
        return np.array([p.compute_budget for p in self.predictions])

    @property
    def within(self) -> NDArray[np.bool_]:
        """Which of its budgets lie within what was fitted, both ends among them."""
        return (self.smallest <= self.budgets) & (self.budgets <= self.largest)

    def values(self, name: str) -> Floats:
        return np.array([getattr(p, name).value for p in self.predictions])


def scaling_figure(result: Result, sweep: Sweep) -> Figure | None:
    """Draw the four panels; ``None`` where no fit has an optimum to draw."""
    end = BEYOND * max((_largest(fit, sweep) for fit in result.fits), default=1.0)
    named = zip(result.fits, names_of(result.fits), strict=True)
    lines = [line for line in (_line(fit, name, sweep, end) for fit, name in named) if line.predictions]
    if not lines:
        return None
    figure = style.figure(9.6, 7.8)
    panels = figure.subplots(2, 2, sharex=True)
    optima = minima(result, sweep)
    unit = result.data_unit
    _panel(panels[0, 0], "n_params", "Optimal parameters N", style.count, lines, optima)
    _panel(panels[0, 1], "n_tokens", f"Optimal training {unit} D", style.count, lines, optima)
    _panel(panels[1, 0], "loss", f"Optimal loss per {style.singular(unit)}", style.plain, lines, optima)
    _ratio_panel(panels[1, 1], unit, lines, optima)
    for axes in panels[1]:
        axes.set_xlabel("Compute budget C (FLOPs)", fontsize=style.LABEL)
    style.log_axis(panels[1, 0].xaxis, style.power)
    figure.suptitle(
        f"{titled(result)}: compute-optimal scaling", fontsize=style.TITLE, x=0.02, ha="left", color=style.INK
    )
    figure.align_ylabels(panels)
    style.legend_below(figure, panels[1, 0])
    return figure


def _largest(fit: Fit, sweep: Sweep) -> float:
    return fit.largest_budget or sweep.budgets[-1]


def _line(fit: Fit, name: str, sweep: Sweep, end: float) -> _Line:
    largest = _largest(fit, sweep)
    fitted = sweep.budget[sweep.fitted & np.isfinite(sweep.budget)]
    smallest = min(fitted.min(initial=largest), largest)
    start = min(sweep.budgets[0], smallest) / 2
    budgets = np.unique(np.append(np.geomspace(start, end, 60), (smallest, largest)))
    return _Line(fit=fit, name=name, predictions=trajectory(fit, budgets), smallest=smallest, largest=largest)


def _panel(
    axes: Axes,
    name: str,
    ylabel: str,
    number: Callable[[float], str],
    lines: Sequence[_Line],
    optima: Sequence[Optimum],
) -> None:
    _axes(axes, ylabel)
    first = lines[0]
    band = interval(first.predictions, name)
    if band is not None:
        _band(axes, first, *band)
    _draw_lines(axes, lines, [line.values(name) for line in lines])
    _draw_optima(axes, optima, lambda best: getattr(best, name))
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


def _ratio_panel(axes: Axes, unit: str, lines: Sequence[_Line], optima: Sequence[Optimum]) -> None:
    _axes(axes, f"{unit.capitalize()} per parameter D/N")
    first = lines[0]
    band = interval(first.predictions, "n_params")
    if band is not None:
        # At a fixed budget D follows from N, so the interval of N is the interval of D/N, turned over.
        low, high = (first.fit.cost.tokens(n, first.budgets) / n for n in reversed(band))
        _band(axes, first, low, high)
    _draw_lines(axes, lines, [line.values("n_tokens") / line.values("n_params") for line in lines])
    _draw_optima(axes, optima, lambda best: best.n_tokens / best.n_params)
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
    below, beyond = first.budgets <= first.smallest, first.budgets >= first.largest
    broad = {"color": style.ACCENT, "linewidth": 3.0, "zorder": 2}
    label = f"{first.name} fit, dashed beyond the runs"
    axes.plot(first.budgets[first.within], answer[first.within], label=label, **broad)
    for outside in (below, beyond):
        axes.plot(first.budgets[outside], answer[outside], linestyle=style.EXTRAPOLATED, **broad)
    for i, (line, along) in enumerate(zip(others, rest, strict=True)):
        color, dashes = style.other_fit(i)
        axes.plot(line.budgets, along, color=color, linewidth=1.3, linestyle=dashes, label=f"{line.name} fit", zorder=3)


def _draw_optima(axes: Axes, optima: Sequence[Optimum], value: Callable[[Optimum], float]) -> None:
    """One colour for all: the axis says which budget each is of."""
    for seen, face, edge in ((True, style.MEASURED, "white"), (False, "white", style.MEASURED)):
        found = [best for best in optima if best.seen is seen]
        if found:
            axes.plot(
                [best.budget for best in found], [value(best) for best in found], "o", color=face, markeredgecolor=edge,
                linestyle="", markersize=7.0 if seen else 5.0, label=SEEN if seen else UNSEEN, zorder=4,
            )  # fmt: skip


def _exponent(line: _Line, name: str, symbol: str) -> str:
    """The slope d ln N_opt / d ln C over the budgets that were trained, with the fit's own interval if it has one."""
    estimate = line.fit.params.get({"N": "a", "D": "b"}[symbol])
    if estimate is not None and estimate.low is not None and estimate.high is not None:
        percent = f"{100 * line.fit.confidence:g} %"
        interval = f"{percent} sampling {estimate.low:.3f} to {estimate.high:.3f}"
        return f"${symbol}\\propto C^{{{estimate.value:.3f}}}$  ({interval})"
    rows = line.within if line.within.sum() > 1 else np.ones(len(line.budgets), dtype=bool)
    if rows.sum() < 2:
        return ""
    slope = np.polyfit(np.log(line.budgets[rows]), np.log(line.values(name)[rows]), 1)[0]
    return f"${symbol}\\propto C^{{{slope:.3f}}}$"


def _note(axes: Axes, text: str) -> None:
    """Words above the panel: inside, a long interval would cover some line or band."""
    axes.set_title(text, loc="left", fontsize=style.LABEL, color=style.INK)

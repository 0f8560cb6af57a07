"""The figure that gives IsoFLOP its name: loss against N, one curve for every compute budget.

In: a result and its `Sweep`. Out: a `Figure`.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from flops_fit_core.compare import names_of
from flops_fit_core.data import Result
from flops_fit_matplotlib import style
from flops_fit_matplotlib.curves import Bools, Floats, Sweep, titled, trajectory

MOST_NAMED = 16
"""Budgets that the legend names; of more, as many evenly chosen ones."""

HEADROOM = 1.0
"""Of the height of the fitted runs: how far above them a run that was not fitted may stretch the axis."""


def isoflop_figure(result: Result, sweep: Sweep) -> Figure:
    """Draw runs, curves, their optima and the first fit's compute-optimal path."""
    figure = style.figure(8.0, 5.6)
    axes = figure.add_subplot()
    style.dress(axes)
    colors = style.budget_colors(sweep.budgets)
    answer = f"{names_of(result.fits)[0]} fit" if len(result.fits) > 1 else "fit"
    above = _above(sweep)
    for budget, color in colors.items():
        _draw_runs(axes, sweep, sweep.at(budget) & ~above, color, answer)
    for curve in sweep.curves:
        color = colors.get(curve.budget, style.NO_BUDGET)
        axes.plot(curve.n_params, curve.loss, color=color, linewidth=1.8, zorder=2)
    _name_shapes(axes, sweep)
    _draw_optima(axes, sweep)
    _draw_path(axes, result, sweep)
    _scale(axes, sweep.runs.loss[sweep.usable & ~above])
    known = np.isfinite(sweep.runs.n_params) & (sweep.runs.n_params > 0)
    _draw_at_edge(axes, sweep, ~sweep.usable & known, colors, marker="v", label="diverged or failed")
    _draw_at_edge(axes, sweep, above, colors, marker="x", label="not fitted, loss above the axis")
    axes.set_xlabel("Parameters N", fontsize=style.LABEL)
    loss = "Held-out loss" if result.records else "Loss"  # what a table's loss was measured on, nobody says
    axes.set_ylabel(f"{loss} per {style.singular(result.data_unit)}", fontsize=style.LABEL)
    axes.set_title(
        f"{titled(result)}: loss at equal compute", fontsize=style.TITLE, loc="left", color=style.INK, pad=12
    )
    _name_budgets(figure, colors, lines=bool(sweep.curves))
    style.legend_below(figure, axes)
    return figure


def _above(sweep: Sweep) -> Bools:
    """Runs that were not fitted, shape (n,), so high that the axis would show little but them."""
    loss, fitted = sweep.runs.loss, sweep.fitted
    if len(np.unique(loss[fitted])) < 2:
        return np.zeros(len(loss), dtype=bool)
    shown = np.concatenate([loss[fitted], *(curve.loss for curve in sweep.curves)])
    low, high = shown.min(), shown.max()
    return np.asarray(sweep.usable & ~fitted & (loss > high + HEADROOM * (high - low)))


def _draw_runs(axes: Axes, sweep: Sweep, rows: Bools, color: style.Color, fit: str) -> None:
    """Draw the runs of `rows`, shape (n,), and mark what `fit`, so called, left out or flagged."""
    runs, here = sweep.runs, rows & sweep.usable
    beaten, out = here & sweep.beaten, here & sweep.left_out & ~sweep.beaten
    kept = here & ~beaten & ~out
    errors = None if runs.loss_stderr is None else np.nan_to_num(runs.loss_stderr[kept])
    axes.errorbar(
        runs.n_params[kept], runs.loss[kept], yerr=errors, fmt="o", color=color, ecolor=color, markersize=5.5,
        markeredgecolor="white", markeredgewidth=0.6, elinewidth=1.2, zorder=3,
    )  # fmt: skip
    if beaten.any():
        axes.plot(
            runs.n_params[beaten], runs.loss[beaten], ".", color=color, markersize=5.0, alpha=0.4,
            label="another recipe did better", zorder=2,
        )  # fmt: skip
    if out.any():
        axes.plot(
            runs.n_params[out], runs.loss[out], "x", color=color, markersize=6.5, markeredgewidth=1.4,
            label=f"left out of the {fit}", zorder=3,
        )  # fmt: skip
    ringed = kept & sweep.flagged
    if ringed.any():
        axes.plot(
            runs.n_params[ringed], runs.loss[ringed], "o", markerfacecolor="none", markeredgecolor=style.INK,
            markersize=11.0, markeredgewidth=1.2, label=f"flagged, in the {fit}", zorder=3,
        )  # fmt: skip


def _draw_optima(axes: Axes, sweep: Sweep) -> None:
    shown = [best for curve in sweep.curves if (best := curve.shown) is not None]
    for seen, face, edge in ((True, style.ACCENT, "white"), (False, "white", style.ACCENT)):
        found = [best for best in shown if best.seen is seen]
        if found:
            axes.plot(
                [best.n_params for best in found], [best.loss for best in found], "D", color=face, markersize=11.0,
                markeredgecolor=edge, markeredgewidth=1.0, label=sweep.optimum(seen=seen), zorder=2.5,  # below the runs
            )  # fmt: skip


def _name_shapes(axes: Axes, sweep: Sweep) -> None:
    """Say in the legend, in no budget's colour, what curves and bars are."""
    if sweep.curves:
        axes.plot([], [], color=style.FAINT, linewidth=1.8, label=sweep.line)
    errors = sweep.runs.loss_stderr
    if errors is not None and np.any(errors[sweep.fitted] > 0):
        axes.plot(
            [], [], "|", color=style.FAINT, markersize=11.0, markeredgewidth=1.2, label="standard error of a run's loss"
        )


def _draw_path(axes: Axes, result: Result, sweep: Sweep) -> None:
    if result.fit is None or len(sweep.budgets) < 2:
        return
    path = trajectory(result.fit, np.geomspace(sweep.budgets[0], sweep.budgets[-1], 40))
    axes.plot(
        [p.n_params.value for p in path], [p.loss.value for p in path], color=style.INK, linewidth=1.2,
        linestyle=(0, (4, 3)), label=f"compute-optimal path, {names_of(result.fits)[0]}", zorder=4,
    )  # fmt: skip


def _scale(axes: Axes, losses: Floats) -> None:
    axes.set_xscale("log")
    style.log_axis(axes.xaxis, style.count)
    if losses.max() > 3 * losses.min():
        axes.set_yscale("log")
        style.log_axis(axes.yaxis, style.plain)


def _draw_at_edge(
    axes: Axes, sweep: Sweep, rows: Bools, colors: dict[float, style.Color], *, marker: str, label: str
) -> None:
    """Runs that have no place on the axis stand at its upper edge, so that a gap in a curve explains itself."""
    for row in np.flatnonzero(rows):
        axes.plot(
            sweep.runs.n_params[row], 1.0, marker, color=colors.get(float(sweep.budget[row]), style.NO_BUDGET),
            markersize=6.5, transform=axes.get_xaxis_transform(), clip_on=False, label=label, zorder=3,
        )  # fmt: skip


def _name_budgets(figure: Figure, colors: dict[float, style.Color], *, lines: bool) -> None:
    """Budgets in the order in which their curves lie."""
    line = {"marker": "o", "markeredgecolor": "white", "linestyle": "-" if lines else ""}
    budgets = list(colors)
    named = [budgets[i] for i in np.unique(np.linspace(0, len(budgets) - 1, MOST_NAMED).round().astype(int))]
    title = "Budget C (FLOPs)" if len(named) == len(budgets) else f"C (FLOPs), {len(named)} of {len(budgets)}"
    figure.legend(
        handles=[Line2D([], [], color=colors[budget], label=style.power(budget), **line) for budget in named],
        title=title, loc="outside right upper",
        frameon=False, fontsize=style.TICK, title_fontsize=style.TICK, alignment="left",
    )  # fmt: skip

"""How figures look: colours, number labels, axes. Set on each artist, never in ``rcParams``.

In: budgets and axes. Out: colours that colour-blind readers and grey prints tell apart by lightness,
ticks that read as people say the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

INK = "#222222"
FAINT = "#8a8a8a"
GRID = "#e4e4e4"
ACCENT = "#b5391f"
TITLE, LABEL, TICK = 12.0, 11.0, 9.5

Color = tuple[float, float, float, float]
NO_BUDGET: Color = (0.55, 0.55, 0.55, 1.0)


def budget_colors(budgets: Sequence[float]) -> dict[float, Color]:
    """A colour for every budget by rank, light to dark; yellow, too pale on white, is left out."""
    ranks = np.linspace(0.82, 0.0, len(budgets)) if len(budgets) > 1 else np.array([0.3])
    palette = matplotlib.colormaps["viridis"]
    return {budget: palette(float(rank)) for budget, rank in zip(budgets, ranks, strict=True)}


def power(value: float) -> str:
    """FLOPs in mathtext: six times ten to the eighteenth."""
    mantissa, exponent = f"{value:.2e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".")
    tens = f"10^{{{int(exponent)}}}"
    return f"${tens}$" if mantissa == "1" else f"${mantissa}\\times{tens}$"


def count(value: float) -> str:
    """Parameters and data as people say them: ``70B``, ``1.4T``, ``250K``."""
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if 0.9995 * size <= value < 1e15:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}" if value < 1e15 else power(value)


def singular(unit: str) -> str:
    """``token`` for ``tokens``."""
    return unit.removesuffix("s")


def plain(value: float) -> str:
    """A number as it is."""
    return f"{value:.4g}"


def log_axis(axis: Axis, label: Callable[[float], str]) -> None:
    """Label a logarithmic axis at powers of ten, with steps between them where it spans few."""
    low, high = sorted(axis.get_view_interval())
    decades = math.log10(high / low)
    axis.set_minor_formatter(NullFormatter())
    if decades < 0.6:
        ticks = [t for t in MaxNLocator(5).tick_values(low, high) if low <= t <= high and t > 0]
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_minor_locator(NullLocator())
    elif decades < 1.3:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    elif decades < 2.6:
        axis.set_major_locator(LogLocator(subs=(1, 3)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))


def dress(axes: Axes) -> None:
    """Two spines, a faint grid, readable ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(FAINT)
    axes.grid(visible=True, which="major", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=TICK, color=FAINT, labelcolor=INK)

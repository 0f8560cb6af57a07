"""How figures look: colours, number labels, axes, legends. Set on each artist, never in ``rcParams``.

In: budgets and axes. Out: colours that colour-blind readers tell apart, and by lightness grey prints, ticks that read as
people say the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

INK = "#222222"
FAINT = "#8a8a8a"
GRID = "#e4e4e4"
ACCENT = "#b5391f"
MEASURED = "#555555"
TITLE, LABEL, TICK = 12.0, 11.0, 9.5

Color = tuple[float, float, float, float]
NO_BUDGET: Color = (0.55, 0.55, 0.55, 1.0)

Dashes = tuple[float, tuple[float, ...]]
EXTRAPOLATED: Dashes = (0, (3, 2))

_OTHER_COLORS = ("#0072b2", "#d99000", INK, "#b07aa1")
"""Blue and black of Okabe and Ito (2008); of their orange and purple darker kin, for thin lines on white."""
_OTHER_DASHES: tuple[Dashes, ...] = (
    (0, (1, 1.2)),
    (0, (6, 2.5, 1.2, 2.5)),
    (0, (6, 2, 1.2, 2, 1.2, 2)),
    (0, (10, 4)),
    (0, (1, 4)),
)


def budget_colors(budgets: Sequence[float]) -> dict[float, Color]:
    """A colour for every budget by rank, light to dark; yellow, too pale on white, is left out."""
    ranks = np.linspace(0.82, 0.0, len(budgets)) if len(budgets) > 1 else np.array([0.3])
    palette = matplotlib.colormaps["viridis"]
    return {budget: palette(float(rank)) for budget, rank in zip(budgets, ranks, strict=True)}


def other_fit(i: int) -> tuple[str, Dashes]:
    """Colour and dashes of the i-th fit after the first: twenty pairs, as four colours and five dashes have."""
    return _OTHER_COLORS[i % len(_OTHER_COLORS)], _OTHER_DASHES[i % len(_OTHER_DASHES)]


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


def figure(width: float, height: float) -> Figure:
    """An empty figure, inches, with air around it, that pyplot does not know."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08), facecolor="white")


def legend_below(figure: Figure, axes: Axes) -> None:
    """Name what `axes` show, every meaning once, under the figure: there it covers no data, whatever they are."""
    handles, labels = axes.get_legend_handles_labels()
    meanings = dict(zip(labels, handles, strict=True))
    if not meanings:
        return
    figure.legend(
        meanings.values(), meanings.keys(), loc="outside lower center", frameon=False, fontsize=TICK, handlelength=3.2,
        ncols=_columns(list(meanings), figure.get_figwidth()),
    )  # fmt: skip


def _columns(labels: Sequence[str], width: float) -> int:
    """How many columns of a legend, at most three, have room in so many inches, by letters and handles of size TICK."""
    lengths = np.array([len(label) for label in labels])

    def needed(columns: int) -> float:
        letters = sum(column.max(initial=0) for column in np.array_split(lengths, columns))
        return float(0.072 * letters + 0.8 * columns)

    return next((columns for columns in (3, 2) if needed(columns) < width - 0.3), 1)

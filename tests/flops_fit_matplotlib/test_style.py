"""Numbers on axes read as people say them, and an axis of any width has labels."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure

from flops_fit_matplotlib import style


@pytest.mark.parametrize(
    ("value", "text"),
    [(1, "1"), (250, "250"), (1000, "1K"), (1500, "1.5K"), (999_999, "1M"), (7e10, "70B"), (1.4e12, "1.4T"),
     (2e15, r"$2\times10^{15}$")],
)  # fmt: skip
def test_counts(value, text):
    assert style.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1e19, "$10^{19}$"), (6e18, r"$6\times10^{18}$"), (1.5e11, r"$1.5\times10^{11}$")]
)
def test_powers(value, text):
    assert style.power(value) == text


@pytest.mark.parametrize("width", [1.01, 1.3, 2.0, 4.0, 11.0, 90.0, 500.0, 1e6, 1e15])
@pytest.mark.parametrize("low", [0.9, 13.0, 2.7e9])
def test_a_logarithmic_axis_of_any_width_has_a_few_different_labels(low, width):
    axes = Figure().add_subplot()
    axes.set_xscale("log")
    axes.plot([low, low * width], [1, 2])
    style.log_axis(axes.xaxis, style.count)
    lower, upper = axes.get_xlim()
    ticks = [t for t in axes.xaxis.get_majorticklocs() if lower <= t <= upper]
    assert 2 <= len(ticks) <= 10
    labels = [axes.xaxis.get_major_formatter()(tick) for tick in ticks]
    assert len(set(labels)) == len(ticks) or width < 1.1


def test_colours_run_from_light_to_dark_for_any_number_of_budgets():
    for k in (1, 2, 9, 40):
        colors = list(style.budget_colors(np.geomspace(1e9, 1e12, k)).values())
        lightness = [float(np.dot(color[:3], (0.2126, 0.7152, 0.0722))) for color in colors]
        assert len(set(colors)) == k
        assert all(a > b for a, b in pairwise(lightness))

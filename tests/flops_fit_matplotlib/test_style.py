"""Numbers on axes read as people say them, an axis of any width has labels, and everybody tells the colours apart."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgb
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


# Linear RGB as dichromats see it: Machado, Oliveira and Fernandes (2009), severity 1.
EYES = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(color, eye):
    """CIELAB of an sRGB colour as an eye sees it, white at D65."""
    c = np.array(to_rgb(color))
    linear = np.clip(np.array(eye) @ np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4), 0, 1)
    to_xyz = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])
    xyz = to_xyz @ linear / to_xyz.sum(axis=1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eye", EYES)
def test_the_colours_of_five_fits_are_far_apart_for_every_eye(eye):
    colors = [style.ACCENT, *(style.other_fit(i)[0] for i in range(4))]
    seen = [lab(color, EYES[eye]) for color in colors]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 20  # 2.3 is just noticeable
    assert all(np.linalg.norm(color - lab("white", EYES[eye])) > 35 for color in seen)


def test_twenty_fits_differ_in_colour_or_dashes_and_none_is_drawn_as_the_first():
    looks = [style.other_fit(i) for i in range(20)]
    assert len(set(looks)) == 20
    assert not any(color == style.ACCENT or dashes == style.EXTRAPOLATED for color, dashes in looks)

"""The IsoFLOP figure shows every run, marks what a fit left out and names its budgets."""

import attrs
import numpy as np
import pytest
from drawings import BUDGETS, SIZES, curves, draw, isoflop_fit, marked, points, surface_fit, sweep, texts
from matplotlib.colors import to_rgba

from flops_fit_core.data import Excluded, Runs


def test_every_run_stands_where_it_belongs_with_its_error_bar():
    (axes,) = draw(fits=[surface_fit()])["isoflop"].axes
    runs = sweep()
    assert len(points(axes)) == len(BUDGETS)
    for (n, loss), c in zip(points(axes), BUDGETS, strict=True):
        np.testing.assert_array_equal(n, runs.n_params[runs.budget == c])
        np.testing.assert_array_equal(loss, runs.loss[runs.budget == c])
    (bars,) = axes.containers[0][2]
    np.testing.assert_allclose([np.ptp(segment[:, 1]) for segment in bars.get_segments()], 0.02)
    assert axes.get_xscale() == "log"


def test_what_the_fit_left_out_is_marked_and_not_hidden():
    runs = sweep()
    fit = isoflop_fit(runs, unused=[2], outliers=["run1"])
    fit = attrs.evolve(fit, excluded=(Excluded(run="run9", reason="x"), Excluded(run="run3", reason="y", used=True)))
    (axes,) = draw(fits=[fit])["isoflop"].axes
    crosses = np.concatenate([line.get_xydata() for line in axes.lines if line.get_marker() == "x"])
    np.testing.assert_allclose(crosses, [[runs.n_params[i], runs.loss[i]] for i in (1, 9)])
    assert sum(len(n) for n, _ in points(axes)) == len(runs) - 2
    assert len(marked(axes, "parabola minimum")) == 3
    assert len(marked(axes, "parabola minimum, not used")) == 1
    assert {"left out of the fit", "flagged, in the fit"} <= texts(axes.figure)
    np.testing.assert_allclose(marked(axes, "flagged, in the fit"), [[runs.n_params[3], runs.loss[3]]])


def test_of_several_fits_the_marks_are_those_of_the_one_whose_path_is_drawn():
    runs = sweep()
    parabolas = attrs.evolve(isoflop_fit(runs, outliers=["run1"]), excluded=(Excluded(run="run9", reason="x"),))
    law = surface_fit(excluded=(Excluded(run="run3", reason="y", used=True),))
    (axes,) = draw(fits=[law, parabolas])["isoflop"].axes
    assert len(marked(axes, "optimum, surface")) == len(BUDGETS)
    assert not any(line.get_marker() == "x" for line in axes.lines)
    np.testing.assert_allclose(marked(axes, "flagged, in the surface fit"), [[runs.n_params[3], runs.loss[3]]])
    (axes,) = draw(fits=[attrs.evolve(law, excluded=(Excluded(run="run3", reason="y"),)), parabolas])["isoflop"].axes
    np.testing.assert_allclose(marked(axes, "left out of the surface fit"), [[runs.n_params[3], runs.loss[3]]])


def test_a_run_that_diverged_is_seen_at_the_edge():
    runs = sweep()
    loss = runs.loss.copy()
    loss[4] = np.nan
    runs = attrs.evolve(runs, loss=loss, status=["done"] * 4 + ["diverged"] + ["done"] * (len(runs) - 5))
    (axes,) = draw(runs, fits=[surface_fit()])["isoflop"].axes
    np.testing.assert_allclose(marked(axes, "diverged or failed"), [[runs.n_params[4], 1.0]])
    assert len(points(axes)[0][0]) == SIZES - 1


def test_a_run_that_was_left_out_far_above_the_others_does_not_squeeze_them():
    runs = sweep()
    loss = runs.loss.copy()
    loss[4] = 50.0
    runs = attrs.evolve(runs, loss=loss)
    fit = surface_fit(excluded=(Excluded(run="run4", reason="outlier"),))
    (axes,) = draw(runs, fits=[fit])["isoflop"].axes
    assert axes.get_ylim()[1] < 1.2 * sweep().loss.max()
    np.testing.assert_allclose(marked(axes, "not fitted, loss above the axis"), [[runs.n_params[4], 1.0]])
    (axes,) = draw(runs, fits=[surface_fit()])["isoflop"].axes  # a run that was fitted is always seen
    assert axes.get_ylim()[1] > 50


def test_of_several_recipes_the_best_of_each_cell_stands_out():
    once, k = sweep(), len(sweep())
    columns = {name: np.concatenate([getattr(once, name)] * 2) for name in ("n_params", "n_tokens", "budget", "flops")}
    worse = np.where(np.arange(2 * k) < k, 0.0, 0.05)
    runs = Runs(
        **columns, loss=np.tile(once.loss, 2) + worse, label=[f"run{i}" for i in range(2 * k)],
        hparams=[{"lr": 0.01}] * k + [{"lr": 0.1}] * k,
    )  # fmt: skip
    (axes,) = draw(runs, fits=[surface_fit()])["isoflop"].axes
    assert [len(n) for n, _ in points(axes)] == [SIZES] * len(BUDGETS)
    faint = np.concatenate([line.get_xydata() for line in axes.lines if line.get_marker() == "."])
    np.testing.assert_allclose(np.sort(faint[:, 1]), np.sort(once.loss + 0.05))
    assert "another recipe did better" in texts(axes.figure)


def test_the_budgets_are_named_in_order_in_colours_that_grey_keeps_apart():
    figure = draw(fits=[surface_fit()])["isoflop"]
    legend = figure.legends[0]
    labels = ["$10^{15}$", r"$3\times10^{15}$", "$10^{16}$", r"$3\times10^{16}$"]
    assert [text.get_text() for text in legend.get_texts()] == labels
    colors = [to_rgba(line.get_color())[:3] for line in legend.get_lines()]
    lightness = [float(np.dot(color, (0.2126, 0.7152, 0.0722))) for color in colors]
    assert np.all(np.diff(lightness) < -0.08)
    (axes,) = figure.axes
    assert [to_rgba(container[0].get_color())[:3] for container in axes.containers] == colors


def test_without_a_fit_the_runs_are_drawn():
    figures = draw(fits=[])
    assert list(figures) == ["isoflop"]
    (axes,) = figures["isoflop"].axes
    assert sum(len(n) for n, _ in points(axes)) == len(sweep())
    assert not curves(axes)


def test_what_the_marks_mean_stands_below_the_panel():
    figure = draw(fits=[isoflop_fit(sweep(), unused=[2], outliers=["run1"])])["isoflop"]
    budgets, marks = figure.legends
    names = {
        "parabola minimum", "parabola minimum, not used", "left out of the fit", "compute-optimal path, isoflop",
        "parabola through a budget's runs", "standard error of a run's loss",
    }  # fmt: skip
    assert {text.get_text() for text in marks.get_texts()} == names
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert marks.get_window_extent().y1 < axes.get_tightbbox().y0
    assert budgets.get_window_extent().x0 > axes.bbox.x1


def test_the_legend_says_what_curves_and_bars_are_in_no_budgets_colour():
    curve, bar = "surface fit at each budget", "standard error of a run's loss"
    figure = draw(fits=[surface_fit(), isoflop_fit(sweep())])["isoflop"]
    budgets, marks = figure.legends
    shown = dict(zip([text.get_text() for text in marks.get_texts()], marks.legend_handles, strict=True))
    assert shown[curve].get_linestyle() == "-"
    assert shown[bar].get_marker() == "|"
    colors = {to_rgba(line.get_color()) for line in budgets.get_lines()}
    assert not colors & {to_rgba(shown[name].get_color()) for name in (curve, bar)}


@pytest.mark.parametrize("errors", [None, np.full(len(sweep()), np.nan), np.zeros(len(sweep()))])
def test_what_is_not_drawn_the_legend_does_not_name(errors):
    names = texts(draw(attrs.evolve(sweep(), loss_stderr=errors), fits=[])["isoflop"])
    assert not any("standard error" in name or "each budget" in name or "through" in name for name in names)

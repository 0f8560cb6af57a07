"""The figures show the runs, curves and optima that the result holds, and leave matplotlib as it was."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import attrs
import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.image import imread

from flops_fit_core.data import CostModel, Estimate, Excluded, Fit, ModelError, Plan, Result, Run, RunRecord, Runs
from flops_fit_core.stages import Reporter
from flops_fit_matplotlib import MatplotlibReporter

E, A, B, ALPHA, BETA = 1.7, 400.0, 410.0, 0.34, 0.28
BUDGETS = (1e15, 3e15, 1e16, 3e16)
SIZES = 7


def optimum(budget):
    n = (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA)) * (budget / 6) ** (BETA / (ALPHA + BETA))
    return n, budget / 6 / n


@attrs.frozen
class Additive:
    """The law itself as a fitter's law, with parameters of its own for each draw."""

    def loss(self, params, n, d):
        return params["E"] + params["A"] / n**ALPHA + params["B"] / d**BETA

    def optimum(self, params, cost, budget):
        g = (ALPHA * params["A"] / (BETA * params["B"])) ** (1 / (ALPHA + BETA))
        n = g * (budget / 6) ** (BETA / (ALPHA + BETA))
        return n, cost.tokens(n, budget), self.loss(params, n, cost.tokens(n, budget))


@attrs.frozen
class OptimumOnly:
    """A law without L(N, D)."""

    def optimum(self, params, cost, budget):
        n = params["k_n"] * budget ** params["a"]
        return n, cost.tokens(n, budget), params["E"] + 100 * budget**-0.1


def sweep(budgets=BUDGETS, sizes=SIZES, around=1.0):
    """Runs that lie on the law, around so many times its optimum at every budget."""
    n = np.concatenate([around * optimum(c)[0] * np.geomspace(1 / 8, 8, sizes) for c in budgets])
    c = np.repeat(budgets, sizes)
    d = c / 6 / n
    return Runs(
        n_params=n, n_tokens=d, loss=E + A / n**ALPHA + B / d**BETA, budget=c, flops=c,
        loss_stderr=np.full(len(n), 0.01), label=[f"run{i}" for i in range(len(n))], status=["done"] * len(n),
    )  # fmt: skip


def surface_fit(**more):
    rng = np.random.default_rng(0)
    values = {"E": E, "A": A, "B": B}
    draws = {name: value * np.exp(0.03 * rng.standard_normal(200)) for name, value in values.items()}
    return Fit(
        fitter="surface", params={name: Estimate(value=value) for name, value in values.items()}, draws=draws,
        largest_budget=BUDGETS[-1], law=Additive(), **more,
    )  # fmt: skip


def isoflop_fit(runs, unused=(), outliers=()):
    """What fitter isoflop leaves in its details, by NumPy's own least squares."""
    rows = []
    for i, c in enumerate(np.unique(runs.budget)):
        here = runs.usable() & (runs.budget == c)
        x, y = np.log(runs.n_params[here]), runs.loss[here]
        c2, c1, c0 = np.polyfit(x, y, 2)
        n_opt = float(np.exp(-c1 / (2 * c2)))
        rows.append({
            "budget": float(c), "n_points": int(here.sum()), "n_range": [float(np.exp(x.min())), float(np.exp(x.max()))],
            "parabola": [float(c0), float(c1), float(c2)], "n_opt": n_opt, "d_opt": float(c / 6 / n_opt),
            "loss_opt": float(c0 - c1 * c1 / (4 * c2)), "outliers": list(outliers) if i == 0 else [],
            "used": i not in unused, "reason": "edge" if i in unused else "",
        })  # fmt: skip
    slope, height = np.polyfit(np.log([r["budget"] for r in rows]), np.log([r["n_opt"] for r in rows]), 1)
    params = {"k_n": float(np.exp(height)), "E": E, "a": float(slope)}
    return Fit(
        fitter="isoflop", params={name: Estimate(value=value) for name, value in params.items()},
        largest_budget=BUDGETS[-1], law=OptimumOnly(), details={"budgets": rows},
    )  # fmt: skip


def result(runs=None, fits=(), **more):
    runs = sweep() if runs is None else runs
    return Result(workload="toy", plan=Plan(runs=()), records=(), runs=runs, fits=tuple(fits), **more)


def draw(*args, **more):
    return MatplotlibReporter().figures(result(*args, **more))


def points(axes):
    """The runs as drawn, budget by budget: (N, loss) arrays."""
    return [container[0].get_xydata().T for container in axes.containers]


def curves(axes):
    return [line.get_xydata().T for line in axes.lines if len(line.get_xdata()) == 120]


def marked(axes, label):
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return line.get_xydata()


def texts(figure):
    return {text.get_text() for text in figure.findobj(matplotlib.text.Text)} - {""}


def test_it_is_a_reporter():
    assert isinstance(MatplotlibReporter(), Reporter)


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


def test_a_law_in_n_and_d_is_drawn_as_its_slice_at_every_budget():
    (axes,) = draw(fits=[surface_fit()])["isoflop"].axes
    for (n, loss), c in zip(curves(axes), BUDGETS, strict=True):
        np.testing.assert_allclose(loss, E + A / n**ALPHA + B / (c / 6 / n) ** BETA, rtol=1e-12)
    minima = marked(axes, "optimum, surface")
    np.testing.assert_allclose(minima[:, 0], [optimum(c)[0] for c in BUDGETS], rtol=1e-9)
    # Each minimum lies on its curve, and nothing on the curve lies below it.
    for (_, loss), (_, low) in zip(curves(axes), minima, strict=True):
        assert low <= loss.min() <= low * 1.001


def test_fitted_parabolas_go_before_slices_whatever_the_order_of_the_fits():
    fit = isoflop_fit(sweep())
    for fits in ([fit], [surface_fit(), fit], [fit, surface_fit()]):
        (axes,) = draw(fits=fits)["isoflop"].axes
        for (n, loss), row in zip(curves(axes), fit.details["budgets"], strict=True):
            c0, c1, c2 = row["parabola"]
            np.testing.assert_allclose(loss, c0 + c1 * np.log(n) + c2 * np.log(n) ** 2, rtol=1e-12)
            assert row["n_range"][0] * 0.7 < n.min() < row["n_range"][0]
        expected = [[row["n_opt"], row["loss_opt"]] for row in fit.details["budgets"]]
        np.testing.assert_allclose(marked(axes, "parabola minimum"), expected)


@pytest.mark.parametrize(("around", "count"), [(1.0, 4), (16.0, 4), (1 / 16, 4), (800.0, 0)])
def test_a_curve_goes_on_to_its_optimum_where_that_is_near(around, count):
    (axes,) = draw(sweep(around=around), fits=[surface_fit()])["isoflop"].axes
    drawn = [line.get_xydata() for line in axes.lines if line.get_marker() == "D"]
    assert sum(map(len, drawn)) == count
    for (x, y), (n, loss) in zip(curves(axes), drawn[0] if drawn else (), strict=bool(drawn)):
        assert x[0] <= n <= x[-1]
        assert np.interp(n, x, y) == pytest.approx(loss, rel=1e-3)


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
    assert len(marked(axes, "parabola minimum")) == len(BUDGETS)
    assert not any(line.get_marker() == "x" for line in axes.lines)
    np.testing.assert_allclose(marked(axes, "flagged, in the surface fit"), [[runs.n_params[3], runs.loss[3]]])
    (axes,) = draw(fits=[attrs.evolve(law, excluded=(Excluded(run="run3", reason="y"),)), parabolas])["isoflop"].axes
    np.testing.assert_allclose(marked(axes, "left out of the surface fit"), [[runs.n_params[3], runs.loss[3]]])


def test_the_legend_of_marks_stands_in_a_frame():
    (axes,) = draw(fits=[surface_fit()])["isoflop"].axes
    frame = axes.get_legend().get_frame()
    assert axes.get_legend().get_frame_on()
    assert 0.7 < frame.get_alpha() < 1
    assert to_rgba(frame.get_facecolor())[:3] == (1, 1, 1)


def test_a_run_that_diverged_is_seen_at_the_edge():
    runs = sweep()
    loss = runs.loss.copy()
    loss[4] = np.nan
    runs = attrs.evolve(runs, loss=loss, status=["done"] * 4 + ["diverged"] + ["done"] * (len(runs) - 5))
    (axes,) = draw(runs, fits=[surface_fit()])["isoflop"].axes
    np.testing.assert_allclose(marked(axes, "diverged or failed"), [[runs.n_params[4], 1.0]])
    assert len(points(axes)[0][0]) == SIZES - 1


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
    (legend,) = figure.legends
    labels = ["$10^{15}$", r"$3\times10^{15}$", "$10^{16}$", r"$3\times10^{16}$"]
    assert [text.get_text() for text in legend.get_texts()] == labels
    colors = [to_rgba(line.get_color())[:3] for line in legend.get_lines()]
    lightness = [float(np.dot(color, (0.2126, 0.7152, 0.0722))) for color in colors]
    assert np.all(np.diff(lightness) < -0.08)
    (axes,) = figure.axes
    assert [to_rgba(container[0].get_color())[:3] for container in axes.containers] == colors


@pytest.mark.parametrize(("unit", "one"), [("tokens", "token"), ("images", "image")])
def test_axes_say_what_they_show_in_the_unit_of_the_data(unit, one):
    figures = draw(fits=[surface_fit()], data_unit=unit)
    (axes,) = figures["isoflop"].axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Parameters N", f"Loss per {one}")
    record = RunRecord(run=Run(budget=1e15, size=1, n_params=1, n_tokens=1, flops=6.0))
    trained = attrs.evolve(result(data_unit=unit), records=(record,))
    (axes,) = MatplotlibReporter().figures(trained)["isoflop"].axes
    assert axes.get_ylabel() == f"Held-out loss per {one}"
    panels = figures["scaling"].axes
    assert [panel.get_ylabel() for panel in panels] == [
        "Optimal parameters N", f"Optimal training {unit} D", f"Optimal loss per {one}",
        f"{unit.capitalize()} per parameter D/N",
    ]  # fmt: skip
    assert [panel.get_xlabel() for panel in panels[2:]] == ["Compute budget C (FLOPs)"] * 2
    assert all(panel.get_xscale() == panel.get_yscale() == "log" for panel in panels)


def lines_of(panel):
    """The main fit's line, its part within the runs and its part beyond."""
    within, beyond = [line for line in panel.lines if len(line.get_xdata()) > 1][:2]
    return within.get_xydata(), beyond.get_xydata()


def test_the_panels_show_the_fit_and_tell_extrapolation_from_it():
    panels = draw(fits=[surface_fit()])["scaling"].axes
    truths = (
        lambda c: optimum(c)[0],
        lambda c: optimum(c)[1],
        lambda c: E + A / optimum(c)[0] ** ALPHA + B / optimum(c)[1] ** BETA,
        lambda c: optimum(c)[1] / optimum(c)[0],
    )
    for panel, truth in zip(panels, truths, strict=True):
        within, beyond = lines_of(panel)
        for c, value in np.concatenate([within, beyond]):
            assert value == pytest.approx(truth(c), rel=1e-9)
        assert within[-1, 0] == beyond[0, 0] == BUDGETS[-1]
        assert beyond[-1, 0] == pytest.approx(10 * BUDGETS[-1])
        dashed = [line.get_linestyle() for line in panel.lines if len(line.get_xdata()) > 1]
        assert dashed[0] == "-"
        assert dashed[1] != "-"


def test_the_band_is_the_interval_of_the_prediction():
    fit = surface_fit()
    panels = draw(fits=[fit])["scaling"].axes
    for panel, name in zip(panels, ("n_params", "n_tokens", "loss", None), strict=True):
        (band,) = panel.collections
        edge = band.get_paths()[0].vertices
        at = BUDGETS[-1]
        drawn = np.unique(edge[np.isclose(edge[:, 0], at, rtol=1e-9), 1])
        prediction = fit.predict(at)
        if name is not None:
            estimate = getattr(prediction, name)
            low, high = estimate.low, estimate.high
        else:
            n = prediction.n_params
            low, high = at / 6 / n.high**2, at / 6 / n.low**2
        np.testing.assert_allclose(drawn, [low, high], rtol=1e-9)
    assert "90 % sampling interval" in texts(panels[0].figure)
    known = attrs.evolve(fit, model_error=ModelError(loss=0.01, n_params=0.3, source="x"))
    assert "90 % prediction interval" in texts(draw(fits=[known])["scaling"])


def test_the_exponents_are_written_in():
    figure = draw(fits=[surface_fit()])["scaling"]
    assert f"$N\\propto C^{{{BETA / (ALPHA + BETA):.3f}}}$" in texts(figure)
    assert f"$D\\propto C^{{{ALPHA / (ALPHA + BETA):.3f}}}$" in texts(figure)
    told = surface_fit()
    told = attrs.evolve(told, params={**told.params, "a": Estimate(value=0.4512, low=0.43, high=0.4777)})
    assert "$N\\propto C^{0.451}$  (90 % sampling 0.430 to 0.478)" in texts(draw(fits=[told])["scaling"])


def test_the_points_of_the_panels_are_each_budgets_own_optimum():
    runs = sweep()
    for fits, expected in (
        ([isoflop_fit(runs)], [row["n_opt"] for row in isoflop_fit(runs).details["budgets"]]),
        ([surface_fit()], [runs.n_params[runs.budget == c][runs.loss[runs.budget == c].argmin()] for c in BUDGETS]),
    ):
        panel = draw(runs, fits=fits)["scaling"].axes[0]
        dots = np.concatenate([line.get_xydata() for line in panel.lines if line.get_marker() == "o"])
        np.testing.assert_allclose(dots, np.column_stack([BUDGETS, expected]))


def test_every_fit_has_its_line_and_the_legend_names_each_meaning_once():
    figure = draw(fits=[surface_fit(), isoflop_fit(sweep(), unused=[0])])["scaling"]
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert sorted(names) == sorted([
        "90 % sampling interval", "surface fit, dashed beyond the runs", "isoflop fit", "parabola minimum",
        "parabola minimum, not used",
    ])  # fmt: skip


def test_without_a_fit_the_runs_are_drawn():
    figures = draw(fits=[])
    assert list(figures) == ["isoflop"]
    (axes,) = figures["isoflop"].axes
    assert sum(len(n) for n, _ in points(axes)) == len(sweep())
    assert not curves(axes)


def test_a_fit_that_knows_only_the_optimum_has_no_curves_but_a_path():
    fit = attrs.evolve(isoflop_fit(sweep()), details={}, fitter="envelope")
    figures = draw(fits=[fit])
    (axes,) = figures["isoflop"].axes
    assert not curves(axes)
    path = marked(axes, "compute-optimal path, envelope")
    assert (path[0, 0], path[-1, 0]) == tuple(pytest.approx(fit.predict(c).n_params.value) for c in (1e15, 3e16))
    assert len(figures["scaling"].axes) == 4


def test_a_law_without_an_optimum_anywhere_leaves_the_runs():
    nowhere = surface_fit()
    nowhere = attrs.evolve(nowhere, params={**nowhere.params, "A": Estimate(value=float("nan"))})
    assert list(draw(fits=[nowhere])) == ["isoflop"]


@pytest.mark.parametrize(
    ("budgets", "sizes"), [((1e15,), 7), ((1e15,), 1), (tuple(np.geomspace(1e9, 1e24, 30)), 5), ((1e9, 1e24), 2)]
)
def test_few_and_many_budgets(budgets, sizes):
    figures = draw(sweep(budgets, sizes), fits=[surface_fit()])
    assert len(figures["isoflop"].axes[0].containers) == len(budgets)
    for figure in figures.values():
        figure.draw_without_rendering()  # warnings of the layout are errors here


def test_scattered_runs_are_drawn_without_a_curve_for_every_value_of_c(tmp_path):
    budgets = np.geomspace(1e15, 1e17, 75)
    n = np.array([optimum(c)[0] for c in budgets])
    runs = Runs(n_params=n, n_tokens=budgets / 6 / n, loss=E + A / n**ALPHA + B / (budgets / 6 / n) ** BETA)
    figure = MatplotlibReporter().report(result(runs, fits=[surface_fit()]), tmp_path).figures["isoflop"]
    assert not curves(figure.axes[0])
    (legend,) = figure.legends
    assert legend.get_title().get_text() == "C (FLOPs), 16 of 75"
    named = [text.get_text() for text in legend.get_texts()]
    assert (len(named), named[0], named[-1]) == (16, "$10^{15}$", "$10^{17}$")


def test_budgets_that_the_runs_do_not_state_are_recovered():
    (axes,) = draw(attrs.evolve(sweep(), budget=None), fits=[surface_fit()])["isoflop"].axes
    assert [len(n) for n, _ in points(axes)] == [SIZES] * len(BUDGETS)
    (axes,) = draw(attrs.evolve(sweep(), budget=None, flops=None), fits=[])["isoflop"].axes
    assert [len(n) for n, _ in points(axes)] == [SIZES] * len(BUDGETS)


def test_bare_runs_are_enough():
    runs = sweep()
    bare = Runs(n_params=runs.n_params, n_tokens=runs.n_tokens, loss=runs.loss)
    assert set(draw(bare, fits=[surface_fit(cost=CostModel.six_nd())])) == {"isoflop", "scaling"}


@pytest.mark.parametrize("loss", [None, np.nan])
def test_without_a_run_that_has_a_loss_nothing_is_drawn_and_that_is_said(tmp_path, loss):
    runs = Runs.empty() if loss is None else attrs.evolve(sweep(), loss=np.full(len(sweep()), np.nan))
    report = MatplotlibReporter().report(result(runs), tmp_path)
    assert (report.figures, report.files) == ({}, ())
    assert "no figure" in report.text
    assert not (tmp_path / "plots").exists()


def test_the_files_are_pictures_of_the_figures(tmp_path):
    report = MatplotlibReporter().report(result(fits=[surface_fit(), isoflop_fit(sweep())]), tmp_path)
    names = ["isoflop.png", "isoflop.svg", "scaling.png", "scaling.svg"]
    assert report.files == tuple(tmp_path / "plots" / name for name in names)
    assert all(str(path) in report.text for path in report.files)
    assert all(isinstance(figure, Figure) for figure in report.figures.values())
    for path in report.files:
        if path.suffix == ".png":
            pixels = imread(path)[..., :3]
            assert min(pixels.shape[:2]) > 900
            ink = (pixels < 0.9).any(axis=-1)
            assert 0.01 < ink.mean() < 0.4
            # Ink in every quarter of the picture: no panel is empty.
            half, across = ink.shape[0] // 2, ink.shape[1] // 2
            quarters = (ink[:half, :across], ink[:half, across:], ink[half:, :across], ink[half:, across:])
            assert all(quarter.mean() > 0.003 for quarter in quarters)
        else:
            assert ET.parse(path).getroot().tag.endswith("svg")
    pixels = imread(tmp_path / "plots" / "isoflop.png")[..., :3]
    (axes,) = report.figures["isoflop"].axes
    for container in axes.containers:
        color = np.array(to_rgba(container[0].get_color())[:3])
        assert (np.abs(pixels - color).max(axis=-1) < 0.01).sum() > 300


def test_nothing_of_matplotlibs_own_is_touched(tmp_path):
    before = dict(matplotlib.rcParams)
    MatplotlibReporter().report(result(fits=[surface_fit()]), tmp_path)
    assert dict(matplotlib.rcParams) == before
    from matplotlib import pyplot

    assert pyplot.get_fignums() == []


def test_it_needs_no_display_and_no_pyplot(tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_reporter import *\n"
        f"report = MatplotlibReporter().report(result(fits=[surface_fit()]), Path({str(tmp_path)!r}))\n"
        "assert len(report.files) == 4\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    gone = ("MPLBACKEND", "DISPLAY", "WAYLAND_DISPLAY")
    environment = {name: value for name, value in os.environ.items() if name not in gone}
    subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, check=True)


def test_drawing_again_replaces_the_files(tmp_path):
    for _ in range(2):
        report = MatplotlibReporter().report(result(), tmp_path)
    assert sorted((tmp_path / "plots").iterdir()) == sorted(report.files)


def test_offering_it_loads_no_matplotlib():
    code = "import sys, flops_fit_matplotlib as m; m.flops_fit_reporters(); assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

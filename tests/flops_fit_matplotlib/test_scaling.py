"""The scaling figure shows what the fits say, which of them says it, and how sure the first is."""

import io

import attrs
import numpy as np
import pytest
from drawings import ALPHA, BETA, BUDGETS, A, B, E, draw, isoflop_fit, optimum, surface_fit, sweep, texts
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from flops_fit_core.data import CostModel, Estimate, ModelError
from flops_fit_lmfit import EnsembleFitter
from known_laws import FRONTIER, frontier_sweep


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


def test_a_law_without_an_optimum_anywhere_leaves_the_runs():
    nowhere = surface_fit()
    nowhere = attrs.evolve(nowhere, params={**nowhere.params, "A": Estimate(value=float("nan"))})
    assert list(draw(fits=[nowhere])) == ["isoflop"]


def test_the_band_of_an_average_holds_how_far_its_members_lie_apart_inside_the_sweep_too():
    runs, _ = frontier_sweep(FRONTIER, noise=0.004)
    fit = EnsembleFitter(bootstrap=100).fit(runs, CostModel.six_nd())
    panels = draw(runs, fits=[fit])["scaling"].axes
    (band,) = panels[0].collections
    edge = band.get_paths()[0].vertices
    inside = edge[(edge[:, 0] < 0.5 * fit.largest_budget)]
    for c in np.unique(inside[:, 0]):
        n = fit.predict(c).n_params
        np.testing.assert_allclose(np.unique(inside[inside[:, 0] == c, 1])[[0, -1]], [n.low, n.high], rtol=1e-9)
        members = [member.predict(c).n_params.value for member in fit.members.values()]
        assert n.high / n.low >= max(members) / min(members)
    assert "90 % prediction interval" in texts(panels[0].figure)


def test_every_fit_is_told_by_its_colour_and_the_first_is_the_broad_one():
    figure = draw(fits=[surface_fit(), isoflop_fit(sweep()), *[attrs.evolve(surface_fit(), fitter=x) for x in "abc"]])
    figure = figure["scaling"]
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    shown = dict(zip(names, legend.legend_handles, strict=True))
    for panel in figure.axes:
        lines = {line.get_label(): line for line in panel.lines if line.get_label().endswith(("fit", "runs"))}
        first, *others = lines.values()
        assert len(others) == 4
        assert all(shown[name].get_color() == line.get_color() for name, line in lines.items())
        assert len({to_rgb(line.get_color()) for line in lines.values()}) == 5
        assert first.get_label() == "surface fit, dashed beyond the runs"
        assert first.get_linewidth() > 2 * max(line.get_linewidth() for line in others)
        assert first.get_linestyle() == "-"
        assert all(line.get_linestyle() != "-" for line in others)


def test_fits_that_agree_are_all_seen():
    figure = draw(fits=[surface_fit(), *[attrs.evolve(surface_fit(), fitter=name) for name in "ab"]])["scaling"]
    picture = io.BytesIO()
    figure.savefig(picture, dpi=200)
    picture.seek(0)
    pixels = imread(picture)[..., :3]
    for panel in figure.axes:
        box = panel.get_position()
        height, width = pixels.shape[:2]
        inside = pixels[
            int((1 - box.y1) * height) : int((1 - box.y0) * height), int(box.x0 * width) : int(box.x1 * width)
        ]
        for color in {to_rgb(line.get_color()) for line in panel.lines if line.get_label().endswith(("fit", "runs"))}:
            assert (np.abs(inside - color).max(axis=-1) < 0.05).sum() > 200

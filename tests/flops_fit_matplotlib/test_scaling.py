"""The scaling figure shows what the fits say, which of them says it, and how sure the first is."""

import io

import attrs
import numpy as np
import pytest
from drawings import ALPHA, BETA, BUDGETS, SIZES, A, B, E, draw, isoflop_fit, optimum, surface_fit, sweep, texts
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from flops_fit_core.data import CostModel, Estimate, Excluded, ModelError, Runs
from flops_fit_lmfit import EnsembleFitter
from flops_fit_matplotlib import style
from known_laws import FRONTIER, frontier_sweep

SEEN = "parabola minimum of a budget's runs"
UNSEEN = "best run of a budget, minimum not seen"


def lines_of(panel):
    """The main fit's line: its part within the runs, and those below and beyond them."""
    return [line.get_xydata() for line in panel.lines if len(line.get_xdata()) > 1][:3]


def test_the_panels_show_the_fit_and_tell_extrapolation_from_it():
    panels = draw(fits=[surface_fit()])["scaling"].axes
    truths = (
        lambda c: optimum(c)[0],
        lambda c: optimum(c)[1],
        lambda c: E + A / optimum(c)[0] ** ALPHA + B / optimum(c)[1] ** BETA,
        lambda c: optimum(c)[1] / optimum(c)[0],
    )
    for panel, truth in zip(panels, truths, strict=True):
        within, below, beyond = lines_of(panel)
        for c, value in np.concatenate([below, within, beyond]):
            assert value == pytest.approx(truth(c), rel=1e-9)
        assert below[-1, 0] == within[0, 0] == BUDGETS[0]
        assert within[-1, 0] == beyond[0, 0] == BUDGETS[-1]
        assert below[0, 0] == pytest.approx(BUDGETS[0] / 2)
        assert beyond[-1, 0] == pytest.approx(10 * BUDGETS[-1])
        styles = [line.get_linestyle() for line in panel.lines if len(line.get_xdata()) > 1]
        assert [style == "-" for style in styles[:3]] == [True, False, False]


def test_the_line_is_dashed_below_what_was_fitted_too():
    left = [Excluded(run=f"run{i}", reason="below the minimum compute") for i in range(SIZES)]
    for panel in draw(fits=[surface_fit(excluded=left)])["scaling"].axes:
        within, below, _ = lines_of(panel)
        assert below[-1, 0] == within[0, 0] == BUDGETS[1]
        assert below[0, 0] == pytest.approx(BUDGETS[0] / 2)


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


def dots(panel, label):
    return np.concatenate([np.empty((0, 2)), *[x.get_xydata() for x in panel.lines if x.get_label() == label]])


def test_the_points_of_the_panels_are_each_budgets_own_minimum():
    runs = sweep()
    rows = isoflop_fit(runs).details["budgets"]
    n, d, loss = ([row[name] for row in rows] for name in ("n_opt", "d_opt", "loss_opt"))
    for fits in ([isoflop_fit(runs)], [surface_fit()], [surface_fit(), isoflop_fit(runs)]):
        panels = draw(runs, fits=fits)["scaling"].axes
        for panel, values in zip(panels, (n, d, loss, np.divide(d, n)), strict=True):
            np.testing.assert_allclose(dots(panel, SEEN), np.column_stack([BUDGETS, values]), rtol=1e-9)
            assert not len(dots(panel, UNSEEN))


def test_the_minimum_is_that_of_the_mean_over_seeds_at_the_data_that_was_trained():
    runs = sweep()
    noise = 0.02 * np.random.default_rng(0).standard_normal(len(runs))
    names = ("n_params", "n_tokens", "budget", "flops")
    columns = {name: np.tile(getattr(runs, name), 2) for name in names}
    columns["n_tokens"] *= 1.25  # the budgets are nominal: the runs cost more
    twice = Runs(
        **columns, loss=np.concatenate([runs.loss + noise, runs.loss - noise]), seed=np.repeat([0, 1], len(runs))
    )
    panels = draw(twice, fits=[surface_fit()])["scaling"].axes
    rows = isoflop_fit(runs).details["budgets"]
    np.testing.assert_allclose(dots(panels[0], SEEN)[:, 1], [row["n_opt"] for row in rows], rtol=1e-9)
    np.testing.assert_allclose(dots(panels[1], SEEN)[:, 1], [1.25 * row["d_opt"] for row in rows], rtol=1e-9)


@pytest.mark.parametrize("around", [16.0, 1 / 16])
def test_where_the_minimum_was_not_seen_the_best_run_is_hollow(around):
    runs = sweep(around=around)
    panels = draw(runs, fits=[surface_fit()])["scaling"].axes
    best = [np.flatnonzero(runs.budget == c)[0 if around > 1 else -1] for c in BUDGETS]
    np.testing.assert_allclose(dots(panels[0], UNSEEN), np.column_stack([BUDGETS, runs.n_params[best]]))
    np.testing.assert_allclose(dots(panels[2], UNSEEN), np.column_stack([BUDGETS, runs.loss[best]]))
    (hollow,) = {line.get_markerfacecolor() for line in panels[0].lines if line.get_label() == UNSEEN}
    assert hollow == "white"
    assert not len(dots(panels[0], SEEN))
    assert UNSEEN in texts(panels[0].figure)


@pytest.mark.parametrize(
    ("losses", "best"),
    [((3.0, 2.1, 3.0), 1), ((2.0, 2.6, 2.9, 1.8, 2.9, 2.6, 2.0), 3), ((2.1, 1.9, 2.7, 3.0, 3.3, 3.7, 4.1), 1)],
    ids=["three sizes", "concave", "vertex outside"],
)
def test_a_parabola_that_shows_no_minimum_gives_none(losses, best):
    runs = sweep(sizes=len(losses))
    panel = draw(attrs.evolve(runs, loss=np.tile(losses, len(BUDGETS))), fits=[surface_fit()])["scaling"].axes[0]
    assert not len(dots(panel, SEEN))
    np.testing.assert_array_equal(dots(panel, UNSEEN)[:, 1], runs.n_params[best :: len(losses)])


def test_runs_that_the_fit_left_out_or_flagged_move_no_minimum():
    runs = sweep()
    loss = np.where(np.arange(len(runs)) % SIZES == 2, runs.loss + 5, runs.loss)
    bad = [runs.name(row) for row in range(2, len(runs), SIZES)]
    good = runs.where(np.arange(len(runs)) % SIZES != 2)
    expected = dots(draw(good, fits=[surface_fit()])["scaling"].axes[0], SEEN)
    assert len(expected) == len(BUDGETS)
    for used in (True, False):
        fit = surface_fit(excluded=tuple(Excluded(run=run, reason="x", used=used) for run in bad))
        panel = draw(attrs.evolve(runs, loss=loss), fits=[fit])["scaling"].axes[0]
        np.testing.assert_array_equal(dots(panel, SEEN), expected)


def test_a_run_alone_at_its_budget_is_nobodys_optimum():
    panel = draw(sweep(np.geomspace(1e15, 1e17, 30), sizes=1), fits=[surface_fit()])["scaling"].axes[0]
    assert not len(dots(panel, SEEN)) + len(dots(panel, UNSEEN))


def test_the_points_have_one_colour_that_is_no_budgets():
    panels = draw(fits=[surface_fit(), isoflop_fit(sweep(), unused=[0])])["scaling"].axes
    marks = [line for panel in panels for line in panel.lines if line.get_marker() == "o"]
    assert {line.get_label() for line in marks} == {SEEN, UNSEEN}
    colors = {
        to_rgb(line.get_markerfacecolor() if line.get_label() == SEEN else line.get_markeredgecolor()) for line in marks
    }
    assert len(colors) == 1
    assert not colors & {color[:3] for color in style.budget_colors(BUDGETS).values()}


def test_every_fit_has_its_line_and_the_legend_names_each_meaning_once():
    figure = draw(fits=[surface_fit(), isoflop_fit(sweep(), unused=[0])])["scaling"]
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert sorted(names) == sorted([
        "90 % sampling interval", "surface fit, dashed beyond the runs", "isoflop fit", SEEN, UNSEEN,
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
        lines = {
            line.get_label(): line for line in panel.lines if line.get_label().endswith(("fit", "beyond the runs"))
        }
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
        for color in {
            to_rgb(line.get_color()) for line in panel.lines if line.get_label().endswith(("fit", "beyond the runs"))
        }:
            assert (np.abs(inside - color).max(axis=-1) < 0.05).sum() > 200

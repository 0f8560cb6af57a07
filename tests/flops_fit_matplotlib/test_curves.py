"""Which runs, curves and optima there are to draw, and where each lies."""

import attrs
import numpy as np
import pytest
from drawings import (
    ALPHA,
    BETA,
    BUDGETS,
    SIZES,
    A,
    B,
    E,
    curves,
    draw,
    isoflop_fit,
    marked,
    optimum,
    points,
    result,
    surface_fit,
    sweep,
    texts,
)  # fmt: skip

from flops_fit_core.data import Excluded, Runs
from flops_fit_matplotlib import MatplotlibReporter


def test_a_law_in_n_and_d_is_drawn_as_its_slice_at_every_budget():
    (axes,) = draw(fits=[surface_fit()])["isoflop"].axes
    for (n, loss), c in zip(curves(axes), BUDGETS, strict=True):
        np.testing.assert_allclose(loss, E + A / n**ALPHA + B / (c / 6 / n) ** BETA, rtol=1e-12)
    minima = marked(axes, "optimum, surface")
    np.testing.assert_allclose(minima[:, 0], [optimum(c)[0] for c in BUDGETS], rtol=1e-9)
    # Each minimum lies on its curve, and nothing on the curve lies below it.
    for (_, loss), (_, low) in zip(curves(axes), minima, strict=True):
        assert low <= loss.min() <= low * 1.001


def test_a_fit_without_a_law_of_n_and_d_is_drawn_as_its_parabolas():
    fit = isoflop_fit(sweep())
    for fits in ([fit], [fit, surface_fit()]):
        (axes,) = draw(fits=fits)["isoflop"].axes
        for (n, loss), row in zip(curves(axes), fit.details["budgets"], strict=True):
            c0, c1, c2 = row["parabola"]
            np.testing.assert_allclose(loss, c0 + c1 * np.log(n) + c2 * np.log(n) ** 2, rtol=1e-12)
            assert row["n_range"][0] * 0.7 < n.min() < row["n_range"][0]
        expected = [[row["n_opt"], row["loss_opt"]] for row in fit.details["budgets"]]
        np.testing.assert_allclose(marked(axes, "parabola minimum"), expected)


def envelope_fit():
    return attrs.evolve(isoflop_fit(sweep()), details={}, fitter="envelope")


@pytest.mark.parametrize("others", [[isoflop_fit(sweep())], [envelope_fit(), isoflop_fit(sweep()), surface_fit()]])
@pytest.mark.parametrize("first", [surface_fit(), isoflop_fit(sweep()), envelope_fit()], ids=lambda fit: fit.fitter)
def test_curves_marks_and_path_are_the_first_fits_whatever_others_there_are(first, others):
    first = attrs.evolve(first, fitter="first")
    (alone,), (axes,) = (draw(fits=fits)["isoflop"].axes for fits in ([first], [first, *others]))
    assert [line.get_label() for line in axes.lines if line.get_label()[0] != "_"] == [
        line.get_label() for line in alone.lines if line.get_label()[0] != "_"
    ]
    for line, same in zip(axes.lines, alone.lines, strict=True):
        np.testing.assert_array_equal(line.get_xydata(), same.get_xydata())


def test_the_marks_of_a_law_lie_on_its_path():
    (axes,) = draw(fits=[surface_fit(), isoflop_fit(sweep())])["isoflop"].axes
    path, marks = marked(axes, "compute-optimal path, surface"), marked(axes, "optimum, surface")
    np.testing.assert_allclose(np.interp(marks[:, 0], *path.T), marks[:, 1], rtol=1e-3)


@pytest.mark.parametrize("around", [12.0, 1 / 12])
def test_an_optimum_outside_the_sizes_of_its_budget_is_hollow_and_the_legend_says_so(around):
    runs = sweep(around=1.0)
    edge = sweep(around=around)
    there = runs.budget == BUDGETS[1]
    columns = {
        name: np.where(there, getattr(edge, name), getattr(runs, name)) for name in ("n_params", "n_tokens", "loss")
    }
    (axes,) = draw(attrs.evolve(runs, **columns), fits=[surface_fit()])["isoflop"].axes
    outside = "optimum, surface, outside the sizes fitted"
    np.testing.assert_allclose(marked(axes, outside)[:, 0], [optimum(BUDGETS[1])[0]], rtol=1e-9)
    inside = [optimum(c)[0] for c in BUDGETS if c != BUDGETS[1]]
    np.testing.assert_allclose(marked(axes, "optimum, surface")[:, 0], inside, rtol=1e-9)
    faces = {line.get_label(): line.get_markerfacecolor() for line in axes.lines}
    assert faces[outside] == "white" != faces["optimum, surface"]
    assert outside in texts(axes.figure)


def test_a_run_that_the_fit_left_out_does_not_make_its_optimum_one_that_was_seen():
    runs = sweep(sizes=8).where(np.tile(np.arange(8) >= 3, len(BUDGETS)))  # one size below each optimum
    smallest = tuple(Excluded(run=runs.name(row), reason="x") for row in range(0, len(runs), 5))
    for excluded, label in ((), "optimum, surface"), (smallest, "optimum, surface, outside the sizes fitted"):
        (axes,) = draw(runs, fits=[surface_fit(excluded=excluded)])["isoflop"].axes
        assert len(marked(axes, label)) == len(BUDGETS)


@pytest.mark.parametrize(("around", "count"), [(1.0, 4), (16.0, 4), (1 / 16, 4), (800.0, 0)])
def test_a_curve_goes_on_to_its_optimum_where_that_is_near(around, count):
    (axes,) = draw(sweep(around=around), fits=[surface_fit()])["isoflop"].axes
    drawn = [line.get_xydata() for line in axes.lines if line.get_marker() == "D"]
    assert sum(map(len, drawn)) == count
    for (x, y), (n, loss) in zip(curves(axes), drawn[0] if drawn else (), strict=bool(drawn)):
        assert x[0] <= n <= x[-1]
        assert np.interp(n, x, y) == pytest.approx(loss, rel=1e-3)


def test_a_fit_that_knows_only_the_optimum_has_no_curves_but_a_path():
    fit = envelope_fit()
    figures = draw(fits=[fit])
    (axes,) = figures["isoflop"].axes
    assert not curves(axes)
    path = marked(axes, "compute-optimal path, envelope")
    assert (path[0, 0], path[-1, 0]) == tuple(pytest.approx(fit.predict(c).n_params.value) for c in (1e15, 3e16))
    assert len(figures["scaling"].axes) == 4


def test_scattered_runs_are_drawn_without_a_curve_for_every_value_of_c(tmp_path):
    budgets = np.geomspace(1e15, 1e17, 75)
    n = np.array([optimum(c)[0] for c in budgets])
    runs = Runs(n_params=n, n_tokens=budgets / 6 / n, loss=E + A / n**ALPHA + B / (budgets / 6 / n) ** BETA)
    figure = MatplotlibReporter().report(result(runs, fits=[surface_fit()]), tmp_path).figures["isoflop"]
    assert not curves(figure.axes[0])
    legend = figure.legends[0]
    assert legend.get_title().get_text() == "C (FLOPs), 16 of 75"
    named = [text.get_text() for text in legend.get_texts()]
    assert (len(named), named[0], named[-1]) == (16, "$10^{15}$", "$10^{17}$")


def test_budgets_that_the_runs_do_not_state_are_recovered():
    (axes,) = draw(attrs.evolve(sweep(), budget=None), fits=[surface_fit()])["isoflop"].axes
    assert [len(n) for n, _ in points(axes)] == [SIZES] * len(BUDGETS)
    (axes,) = draw(attrs.evolve(sweep(), budget=None, flops=None), fits=[])["isoflop"].axes
    assert [len(n) for n, _ in points(axes)] == [SIZES] * len(BUDGETS)


def test_fits_of_one_fitter_are_numbered_wherever_they_are_named():
    figures = draw(fits=[surface_fit(), surface_fit()])
    (axes,) = figures["isoflop"].axes
    assert len(marked(axes, "optimum, surface (1)")) == len(BUDGETS)
    assert len(marked(axes, "compute-optimal path, surface (1)"))
    assert {"surface (1) fit, dashed beyond the runs", "surface (2) fit"} <= texts(figures["scaling"])

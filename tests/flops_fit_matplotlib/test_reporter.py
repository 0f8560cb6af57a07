"""The figures can be read, are saved as pictures, and leave matplotlib as it was."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import attrs
import matplotlib
import numpy as np
import pytest
from drawings import draw, isoflop_fit, overlaps, result, surface_fit, sweep
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.image import imread

from flops_fit_core.data import CostModel, Estimate, Excluded, Run, RunRecord, Runs
from flops_fit_core.stages import Reporter
from flops_fit_matplotlib import MatplotlibReporter


def test_it_is_a_reporter():
    assert isinstance(MatplotlibReporter(), Reporter)


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


@pytest.mark.parametrize(
    ("budgets", "sizes"), [((1e15,), 7), ((1e15,), 1), (tuple(np.geomspace(1e9, 1e24, 30)), 5), ((1e9, 1e24), 2)]
)
def test_few_and_many_budgets(budgets, sizes):
    figures = draw(sweep(budgets, sizes), fits=[surface_fit()])
    assert len(figures["isoflop"].axes[0].containers) == len(budgets)
    assert {name: overlaps(figure) for name, figure in figures.items()} == {"isoflop": [], "scaling": []}


def told(fitter="surface", **more):
    """A fit with the longest words: exponents with their intervals."""
    fit = surface_fit(**more)
    a, b = Estimate(value=0.4512, low=0.4301, high=0.4777), Estimate(value=0.5488, low=0.5223, high=0.5699)
    return attrs.evolve(fit, fitter=fitter, params={**fit.params, "a": a, "b": b})


def with_outliers():
    runs = sweep()
    loss = np.where(np.arange(len(runs)) == 4, np.nan, runs.loss)
    return attrs.evolve(runs, loss=loss, status=["diverged" if np.isnan(x) else "done" for x in loss])


OUT = (Excluded(run="run9", reason="x"), Excluded(run="run3", reason="y", used=True))


@pytest.mark.parametrize(
    "study",
    [
        result(fits=[told()]),
        result(fits=[told("ensemble"), surface_fit(), isoflop_fit(sweep(), unused=[2])], data_unit="images"),
        result(with_outliers(), fits=[told(excluded=OUT), isoflop_fit(with_outliers(), unused=[0])]),
        result(fits=[told(f"law_of_our_company_number_{i}", excluded=OUT) for i in range(6)]),
        result(sweep(np.geomspace(1e10, 1e11, 9)), fits=[told()]),
        result(sweep(around=12.0), fits=[told("law_of_our_company"), told(), isoflop_fit(sweep(), unused=[1])]),
    ],
    ids=["one fit", "three fits", "outliers", "long names", "tiny models", "minima at the edge"],
)
def test_no_word_covers_another_or_a_panel_or_is_cut_off(study):
    figures = MatplotlibReporter().figures(study)
    assert {name: overlaps(figure) for name, figure in figures.items()} == {"isoflop": [], "scaling": []}


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
        "from drawings import *\n"
        f"report = MatplotlibReporter().report(result(fits=[surface_fit()]), {str(tmp_path)!r})\n"
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

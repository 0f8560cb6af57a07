"""`import flops_fit` is light, and the public names are the agreed ones."""

import inspect
import subprocess
import sys

import numpy as np
import pytest

import flops_fit
from flops_fit_core.errors import InputError

HEAVY = {"torch", "scipy", "lmfit", "accelerate", "matplotlib", "pandas", "rich", "loky"}


def loaded_by(code):
    code += "\nimport sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    return set(subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()[-1].split())


def test_import_loads_nothing_heavy():
    assert not loaded_by("import flops_fit") & HEAVY


def test_discovering_plugins_loads_nothing_heavy():
    loaded = loaded_by("import flops_fit\nassert flops_fit.plugins()")
    assert {"flops_fit_gpt", "flops_fit_lmfit", "flops_fit_accelerate"} <= loaded
    assert not loaded & HEAVY


def test_fitting_loads_no_torch():
    loaded = loaded_by(
        "import flops_fit, numpy as np\n"
        "n, d = (g.ravel() for g in np.meshgrid(np.geomspace(1e6, 1e9, 5), np.geomspace(1e8, 1e11, 5)))\n"
        "loss = 1.7 + 400 / n**0.34 + 410 / d**0.28\n"
        "flops_fit.fit(flops_fit.Runs(n_params=n, n_tokens=d, loss=loss), 'surface')"
    )
    assert not loaded & {"torch", "accelerate"}


@pytest.mark.parametrize("name", [
    "find_optimal", "plan_sweep", "read_runs", "fit", "report", "load", "workload", "plugins", "planner", "flop_counter", "trainer",
    "fitter", "reporter", "executor", "hookimpl", "hookspecs",
])  # fmt: skip
def test_the_agreed_names_are_there(name):
    assert hasattr(flops_fit, name)
    assert name in flops_fit.__all__


def test_reading_runs_is_explained_where_people_look():
    explained = inspect.getdoc(flops_fit.read_runs)
    assert all(f"\n{section}:\n" in explained for section in ("Args", "Returns", "Raises"))


def test_runs_of_ones_own_are_drawn(tmp_path):
    n, d = (g.ravel() for g in np.meshgrid(np.geomspace(1e6, 1e9, 5), np.geomspace(1e8, 1e11, 5)))
    runs = flops_fit.Runs(n_params=n, n_tokens=d, loss=1.7 + 400 / n**0.34 + 410 / d**0.28)
    fits = flops_fit.fit(runs, ["surface", "ensemble"])
    report = flops_fit.report(runs, fits, tmp_path, name="mine", data_unit="images")
    assert set(report.figures) == {"isoflop", "scaling"}
    assert all(path.is_relative_to(tmp_path) and path.stat().st_size > 1000 for path in report.files)
    (axes,) = report.figures["isoflop"].axes
    assert axes.get_title(loc="left") == "mine: loss at equal compute"
    assert axes.get_ylabel() == "Loss per image"
    assert set(flops_fit.report(runs, fits[0], str(tmp_path)).figures) == {"isoflop", "scaling"}
    for wrong in ((fits, runs), (runs, []), (runs, [None])):
        with pytest.raises(flops_fit.FlopsFitError, match="report takes runs and what fit"):
            flops_fit.report(*wrong, tmp_path)


def test_a_reporter_sees_what_fits_of_ones_own_runs_give_to_doubt(tmp_path):
    class Tells:
        def report(self, result, out_dir):
            return flops_fit.Report(text="\n".join(map(str, result.diagnostics)))

    n = np.tile([1e6, 2e6, 4e6, 8e6], 2)  # every budget wants a larger model
    d = np.repeat([1e15, 1e16], 4) / 6 / n
    runs = flops_fit.Runs(n_params=n, n_tokens=d, loss=1.7 + 400 / n**0.34 + 410 / d**0.28)
    fits = flops_fit.fit(runs, [flops_fit.fitter(name, bootstrap=0) for name in ("surface", "ensemble")])
    told = flops_fit.report(runs, fits, tmp_path, reporter=Tells()).text
    assert told.count("at 1 of 2 budgets the lowest loss is at the largest size (1e16 FLOPs: N = 8e6)") == 1
    assert "fit: surface, ensemble: 2 budgets show a line" in told
    partly = flops_fit.Runs(**{**runs.columns(), "budget": [np.nan] * 4 + [1e16] * 4})
    assert flops_fit.report(partly, fits, tmp_path, reporter=Tells()).text == told


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    runs = flops_fit.Runs(n_params=[1e6], n_tokens=[1e8], loss=[2.0])
    fit = flops_fit.Fit(fitter="mine", params={})
    file = tmp_path / "runs.csv"
    file.write_text("loss\n")
    for place in (file, str(file / "figures")):
        with pytest.raises(InputError, match=r"runs\.csv' is a file; name a folder"):
            flops_fit.report(runs, fit, place)


def test_every_default_plugin_is_found_through_entry_points():
    found = {plugin.name: plugin for plugin in flops_fit.plugins()}
    assert all(plugin.error is None for plugin in found.values())
    offered = {kind: set() for plugin in found.values() for kind in plugin.offers}
    for plugin in found.values():
        for kind, names in plugin.offers.items():
            offered[kind] |= set(names)
    assert offered["planner"] >= {"isoflop"}
    assert offered["flop_counter"] >= {"torch", "6nd"}
    assert offered["trainer"] >= {"accelerate", "simulate"}
    assert offered["fitter"] >= {"surface", "isoflop", "frontier", "ensemble"}
    assert offered["reporter"] >= {"matplotlib"}
    assert offered["executor"] >= {"serial", "processes"}
    assert offered["workload"] >= {"gpt", "vit"}

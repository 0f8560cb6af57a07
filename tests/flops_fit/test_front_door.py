"""`import flops_fit` is light, and the public names are the agreed ones."""

import subprocess
import sys

import pytest

import flops_fit

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
    "find_optimal", "plan_sweep", "read_runs", "fit", "load", "workload", "plugins", "planner", "flop_counter", "trainer",
    "fitter", "reporter", "executor", "hookimpl", "hookspecs",
])  # fmt: skip
def test_the_agreed_names_are_there(name):
    assert hasattr(flops_fit, name)
    assert name in flops_fit.__all__


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

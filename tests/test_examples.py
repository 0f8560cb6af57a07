"""Every script in ``examples/`` runs: in short with losses from a known law, and (slow) as its reader runs it."""

import os
import subprocess
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest

pytest.importorskip("torch")

import flops_fit

FOLDER = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(path.name for path in FOLDER.glob("[0-9]*.py"))

#: Runs a script planned and drawn as it says, but with losses from a known law and one quick fit in place of training
#: and the bootstrap; what a script trains by itself is cut down by the constants given.
IN_SHORT = """
import importlib.util, sys
import flops_fit
find_optimal, executor = flops_fit.find_optimal, flops_fit.executor
flops_fit.executor = lambda name, **options: executor("serial")
quick = {"trainer": "simulate", "fitter": "isoflop"}
flops_fit.find_optimal = lambda *given, **named: find_optimal(*given, **{**named, **quick})
spec = importlib.util.spec_from_file_location("example", sys.argv[1])
example = importlib.util.module_from_spec(spec)
sys.modules["example"] = example
sys.argv = sys.argv[1:2]
spec.loader.exec_module(example)
for name, value in CONSTANTS.items():
    assert hasattr(example, name), name
    setattr(example, name, value)
if hasattr(example, "main"):
    example.main()
"""


@attrs.frozen
class Script:
    """What to know of a script.

    Attributes:
        output_dir: the study that it leaves; ``None``: it makes no study.
        data_unit: what its D counts.
        constants: values of its module that make it short.
        minimum_inside: budgets, at least, whose fitted minimum lies inside the range of sizes.
    """

    output_dir: str | None
    data_unit: str = "tokens"
    constants: dict = attrs.field(factory=dict)
    minimum_inside: int = 0


KNOWN = {
    "01_demo.py": Script("outputs/demo", minimum_inside=3),
    "02_your_own_model.py": Script("outputs/painter", "pixels", minimum_inside=2),
    "03_gpt.py": Script("outputs/gpt-stdlib", minimum_inside=3),
    "04_vit.py": Script("outputs/vit-photographs", "images", minimum_inside=3),
    "05_mup_lr_sweep.py": Script(
        None, constants={"STEPS": 2, "WIDTHS": (32, 64), "RATES": {"standard": [0.01, 0.02], "u-mup": [0.5, 1.0]}}
    ),
    "06_compound_size.py": Script("outputs/compound_size"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs Python in a folder of its own; token files are kept for all scripts in one place, not the user's."""
    cache = tmp_path_factory.mktemp("cache")

    def start(*words, cwd):
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "FLOPS_FIT_PROGRESS": "0", "MPLBACKEND": "agg"}
        command = [sys.executable, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return start


def test_every_script_is_known_here():
    assert set(KNOWN) >= set(SCRIPTS)


def check_study(script, folder, said):
    """The study is complete, and the script ends with its table and where its figures are."""
    result = flops_fit.load(folder / script.output_dir)
    assert {record.status for record in result.records} == {"done"}
    assert len(result.records) == len(result.plan)
    assert result.data_unit == script.data_unit
    assert (folder / script.output_dir / "table.md").read_text().strip() in said
    assert list((folder / script.output_dir / "plots").glob("*.png"))
    return result


@pytest.mark.parametrize("name", SCRIPTS)
def test_in_short(name, run, tmp_path):
    script = KNOWN[name]
    said = run("-c", IN_SHORT.replace("CONSTANTS", repr(script.constants)), FOLDER / name, cwd=tmp_path)
    if script.output_dir is not None:
        check_study(script, tmp_path, said)


def minima_inside(result):
    """Budgets at which a parabola of loss over log N has its lowest point between the smallest and the largest N."""
    inside = []
    for budget in result.plan.budgets:
        rows = result.runs.where(result.runs.budget == budget)
        a, b, _ = np.polyfit(np.log(rows.n_params), rows.loss, 2)
        if a > 0 and rows.n_params.min() < np.exp(-b / (2 * a)) < rows.n_params.max():
            inside.append(budget)
    return inside


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SCRIPTS if KNOWN.get(name, Script(None)).output_dir])
def test_as_it_is(name, run, tmp_path):
    script = KNOWN[name]
    said = run(FOLDER / name, cwd=tmp_path)
    result = check_study(script, tmp_path, said)
    assert result.fit is not None
    assert len(minima_inside(result)) >= script.minimum_inside

"""Somebody else's distributions, really installed: picked by name, used, explained when broken."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

FOREIGN = Path(__file__).parents[1] / "foreign"


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """An environment of its own that sees this one's packages and has three foreign distributions installed."""
    root = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root], check=True)
    python = root / "bin" / "python"
    packages = Path(
        subprocess.check_output(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
        ).strip()
    )
    # site.addsitedir also follows the .pth files there, such as that of an editable flops-fit
    (packages / "parent.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*install, *(FOREIGN / name for name in ("stages", "broken", "second"))], check=True)
    return python


def run(python, tmp_path, code):
    environment = {**os.environ, "FLOPS_FIT_PROGRESS": "0"}
    done = subprocess.run(
        [python, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_foreign_stage_is_picked_by_name_and_leaves_its_trace(python, tmp_path):
    seen = run(
        python,
        tmp_path,
        """
import json, flops_fit
every = {kind: "foreign" for kind in ("workload", "planner", "flop_counter", "trainer", "fitter", "reporter", "executor")}
result = flops_fit.find_optimal(compute_budgets=[1e9, 1e10], output_dir="out", **every)
print(json.dumps({
    "table": str(result.chinchilla_table()), "sizes": sorted({r.run.size for r in result.records}),
    "metrics": dict(result.records[0].metrics), "conventions": [r.convention for r in result.plan.runs],
    "plugins": dict(result.plugins), "workload": result.workload, "n": result.predict(1e12).n_params.value,
}))
""",
    )
    assert seen["sizes"] == [11, 13, 17, 19]  # planner
    assert set(seen["conventions"]) == {"foreign 777"}  # counter
    assert seen["metrics"] == {"foreign trainer": 1.0}  # trainer
    assert seen["n"] == 12345.0
    assert "12,345" in seen["table"]  # fitter
    assert "D (crumbs)" in seen["table"]
    assert seen["workload"] == "foreign family"
    assert (tmp_path / "out" / "foreign.txt").read_text() == "8 records of the foreign family"  # reporter
    assert (tmp_path / "out" / "executor.txt").read_text().count("foreign") == 8  # executor
    assert len((tmp_path / "run_ends.txt").read_text().splitlines()) == 8  # lifecycle hook
    assert set(seen["plugins"].values()) == {"foreign-stages 7.3"}


def test_a_broken_plugin_leaves_the_others_working_and_explains_itself(python, tmp_path):
    seen = run(
        python,
        tmp_path,
        """
import json, flops_fit
flops_fit.fitter("surface")
def asked(name):
    try:
        flops_fit.fitter(name)
    except flops_fit.FlopsFitError as error:
        return [type(error).__name__, str(error), type(error.__cause__).__name__, isinstance(error, LookupError)]
broken = [p for p in flops_fit.plugins() if p.error is not None]
print(json.dumps({"asked": asked("broken_plugin"), "by distribution": asked("broken-plugin:best"), "unknown": asked("surfase"),
                  "broken": [str(p) for p in broken]}))
""",
    )
    kind, message, cause, lookup = seen["asked"]
    assert (kind, cause, lookup) == ("PluginImportError", "ModuleNotFoundError", True)
    assert "broken-plugin" in message
    assert "a_library_that_nobody_has" in message
    assert seen["by distribution"][0] == "PluginImportError"
    assert "Did you mean 'surface'" in seen["unknown"][1]
    assert "a_library_that_nobody_has" in seen["unknown"][1]
    assert len(seen["broken"]) == 1


def test_two_plugins_with_one_name_are_refused_and_can_be_told_apart(python, tmp_path):
    seen = run(
        python,
        tmp_path,
        """
import json, flops_fit
try:
    flops_fit.fitter("isoflop")
except LookupError as error:
    message = str(error)
print(json.dumps([message, type(flops_fit.fitter("second-isoflop:isoflop")).__module__,
                  type(flops_fit.fitter("flops-fit:isoflop")).__module__]))
""",
    )
    assert "'flops-fit:isoflop'" in seen[0]
    assert "'second-isoflop:isoflop'" in seen[0]
    assert seen[1] == "second_isoflop"
    assert seen[2].startswith("flops_fit_lmfit")

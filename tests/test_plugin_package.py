"""The example of a plugin package, as its README says: installed, found by its name, its own tests passed."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "examples" / "plugin_package"


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """An environment of its own that sees this one's packages and has the example installed."""
    root = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root], check=True)
    python = root / "bin" / "python"
    ask = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.check_output(ask, text=True).strip())
    # site.addsitedir also follows the .pth files there, such as that of an editable flops-fit
    (packages / "parent.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    options = ["-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", *options, PACKAGE], check=True)
    return python


def test_its_own_tests_pass_where_it_is_installed(python, tmp_path):
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, PACKAGE / "tests"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


def test_it_is_picked_by_its_name_without_a_change_anywhere(python, tmp_path):
    code = """
import flops_fit
from flops_fit_core.testing.known import known_records
kaplan, isoflop = flops_fit.fit(flops_fit.Runs.from_records(known_records()), fitter=["kaplan", "flops-fit:isoflop"])
print(kaplan.fitter, kaplan.predict(1e24).loss.value < isoflop.predict(1e24).loss.value)
"""
    done = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["kaplan", "True"]  # a law without a floor promises more

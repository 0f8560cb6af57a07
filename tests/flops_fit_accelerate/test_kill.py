"""SIGKILL at fifty instants of a real sweep changes no bit of any record."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_sweep_that_is_killed_fifty_times_ends_with_the_same_records(tmp_path):
    script = Path(__file__).with_name("kill_harness.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "50"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "FLOPS_FIT_PROGRESS": "0"},
        capture_output=True, text=True, timeout=3000, check=False,
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    phases = {
        phase: int(n) for phase, n in re.findall(r"(\w+) (\d+)", done.stdout.split("kills by phase:")[1].split("\n")[0])
    }
    assert sum(phases.values()) == 50
    assert phases["checkpoint"] >= 10
    assert phases["record"] >= 10
    assert phases["step"] >= 5

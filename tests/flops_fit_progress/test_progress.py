"""What people see of a sweep: plain lines in a file, bars on a terminal, nothing when silenced."""

import contextlib
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

import flops_fit_progress
from flops_fit_core.data import Plan, Run, RunRecord
from flops_fit_core.hookspecs import GROUP

RUNS = tuple(
    Run(budget=c, size=n, n_params=n, n_tokens=int(c / 6 / n), flops=c) for c in (1e9, 3e9) for n in (1000, 4000)
)


def sweep(runs=RUNS):
    """Two runs at a time, the first of them diverges."""
    flops_fit_progress.flops_fit_sweep_start(Plan(runs=runs))
    for first, second in zip(runs[::2], runs[1::2], strict=True):
        for run in (first, second):
            flops_fit_progress.flops_fit_run_start(run)
        for run in (first, second):
            flops_fit_progress.flops_fit_run_progress(run, run.n_tokens // 2, 3.25)
        lost = RunRecord(run=first, status="diverged", message="the loss [step 7] was nan")
        flops_fit_progress.flops_fit_run_end(lost)
        flops_fit_progress.flops_fit_run_end(RunRecord(run=second, loss=2.125, seconds=61))
    flops_fit_progress.flops_fit_sweep_end(None)


@pytest.fixture
def spoken(monkeypatch):
    monkeypatch.delenv("FLOPS_FIT_PROGRESS", raising=False)
    yield
    flops_fit_progress.flops_fit_sweep_end(None)


def test_every_hook_is_spelt_as_the_specification_says():
    import pluggy

    from flops_fit_core import hookspecs

    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(flops_fit_progress)
    manager.check_pending()
    assert len(manager.get_hookcallers(flops_fit_progress)) == 5


def test_without_a_terminal_there_is_a_line_for_every_run(spoken, capfd):
    sweep()
    out, err = capfd.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == "flops-fit: 4 runs to train, 8e9 FLOPs"
    assert re.fullmatch(
        r"flops-fit: \[1/4\] 19%, \d:\d\d:\d\d left; C=1e9 N=1,?000 diverged: the loss \[step 7\] was nan \(.*\)",
        lines[1],
    )
    assert re.fullmatch(r"flops-fit: \[2/4\] 25%, .* left; C=1e9 N=4,?000 loss 2\.1250 \(0:01:01\)", lines[2])
    assert lines[-1].startswith("flops-fit: 2 diverged, 2 done in ")
    assert len(lines) == 6
    assert "\x1b" not in err


def a_run_joins():
    """A sweep of two runs to which the planner adds one."""
    flops_fit_progress.flops_fit_sweep_start(Plan(runs=RUNS[:2]))
    for run in RUNS[:3]:
        flops_fit_progress.flops_fit_run_start(run)
        flops_fit_progress.flops_fit_run_end(RunRecord(run=run, loss=2.0))
    flops_fit_progress.flops_fit_sweep_end(None)


def test_a_run_that_the_planner_adds_is_said(spoken, capfd):
    a_run_joins()
    err = capfd.readouterr().err
    assert err.count("added by the planner") == 1
    assert re.search(r"\[2/2\].*\nflops-fit: added by the planner: C=3e9 N=1,?000\nflops-fit: \[3/3\]", err)


def test_a_long_run_is_heard_of_once_a_minute(spoken, capfd):
    from flops_fit_progress.lines import Lines
    from flops_fit_progress.tally import Tally

    now = [0.0]
    tally = Tally.of(Plan(runs=RUNS))
    tally.clock = lambda: now[0]
    lines = Lines(tally)
    lines.run_start(RUNS[0])
    for n in range(1, 241):
        now[0] = n
        lines.run_progress(RUNS[0], RUNS[0].n_tokens * n // 480, None if n < 100 else 4.5)
    _, first, *others = capfd.readouterr().err.splitlines()
    assert len(others) == 3
    assert "loss" not in first
    assert others[-1].endswith("C=1e9 N=1,000 at 50%, loss 4.5000")


def test_the_variable_silences_it(monkeypatch, capfd):
    monkeypatch.setenv("FLOPS_FIT_PROGRESS", "0")
    sweep()
    assert capfd.readouterr() == ("", "")


def test_a_sweep_with_nothing_to_train_says_nothing(spoken, capfd):
    sweep(runs=())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("stderr", [None, "closed"])
def test_a_broken_stream_never_stops_a_sweep(spoken, monkeypatch, tmp_path, stderr):
    if stderr == "closed":
        stderr = (tmp_path / "log").open("w")
        monkeypatch.setattr(sys, "stderr", stderr)
        flops_fit_progress.flops_fit_sweep_start(Plan(runs=RUNS))
        stderr.close()
        flops_fit_progress.flops_fit_run_end(RunRecord(run=RUNS[0], loss=1.0))
    monkeypatch.setattr(sys, "stderr", stderr)
    sweep()


def test_hooks_outside_a_sweep_do_nothing(spoken, capfd):
    flops_fit_progress.flops_fit_run_start(RUNS[0])
    flops_fit_progress.flops_fit_run_progress(RUNS[0], 5, None)
    flops_fit_progress.flops_fit_run_end(RunRecord(run=RUNS[0], loss=1.0))
    flops_fit_progress.flops_fit_sweep_end(None)
    assert capfd.readouterr() == ("", "")


def on_a_terminal(code):
    """Run code with a pseudo-terminal as its standard error; return what it wrote there."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "FLOPS_FIT_PROGRESS": "1"}
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stderr=theirs, stdout=subprocess.PIPE, env=environment, text=True)
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # the terminal's other side is closed
        while part := os.read(ours, 65536):
            seen += part
    os.close(ours)
    out, _ = process.communicate()
    return out, seen.decode(), process.returncode


LOAD = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from test_progress import *\n"


def test_on_a_terminal_there_are_bars_for_the_sweep_and_every_run_under_way():
    _, seen, code = on_a_terminal(LOAD + "import flops_fit_progress.bars as bars; bars.SECONDS_BETWEEN = 0.0; sweep()")
    assert code == 0
    assert "━" in seen
    frames = re.sub(r"\x1b\[[0-9;]*m", "", seen).split("\x1b[2K")
    together = [f for f in frames if "sweep" in f and "C=1e9 N=1,000" in f and "C=1e9 N=4,000" in f]
    assert together
    assert "C=1e9 N=1,000 diverged: the loss [step 7] was nan" in re.sub(r"\x1b\[[0-9;]*m", "", seen)
    assert "4/4 runs, 0:00:00 left" in seen
    assert "2 diverged, 2 done in 0:00:0" in frames[-1]


def test_on_a_terminal_a_run_that_the_planner_adds_is_said():
    _, seen, code = on_a_terminal(LOAD + "a_run_joins()")
    assert code == 0
    assert "added by the planner: C=3e9 N=1,000" in re.sub(r"\x1b\[[0-9;]*m", "", seen)


def test_what_is_printed_meanwhile_stands_on_lines_of_its_own():
    code = (
        "flops_fit_progress.flops_fit_sweep_start(Plan(runs=RUNS))\n"
        "flops_fit_progress.flops_fit_run_start(RUNS[0])\n"
        "print('a warning', file=sys.stderr)\n"
        "flops_fit_progress.flops_fit_sweep_end(None)\n"
    )
    _, seen, _ = on_a_terminal(LOAD + code)
    assert "a warning\r\n" in seen


def test_ctrl_c_leaves_a_usable_terminal_and_the_traceback():
    code = (
        "flops_fit_progress.flops_fit_sweep_start(Plan(runs=RUNS))\n"
        "flops_fit_progress.flops_fit_run_start(RUNS[0])\n"
        "raise KeyboardInterrupt\n"
    )
    _, seen, code = on_a_terminal(LOAD + code)
    assert code != 0
    assert "KeyboardInterrupt" in seen
    assert seen.rfind("\x1b[?25h") > seen.rfind("\x1b[?25l")


def test_a_sweep_after_an_interrupted_one_starts_afresh():
    code = (
        "flops_fit_progress.flops_fit_sweep_start(Plan(runs=RUNS))\n"
        "flops_fit_progress.flops_fit_run_start(RUNS[0])\n"
        "sweep()\n"
    )
    _, seen, code = on_a_terminal(LOAD + code)
    assert code == 0
    assert "no run ended, 4 not trained" in seen
    assert "2 diverged, 2 done" in seen


def test_rich_is_loaded_only_for_bars():
    code = LOAD + "sweep(); assert 'rich' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)

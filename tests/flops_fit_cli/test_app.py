"""The command line as a process, as a shell starts it."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib import metadata

import numpy as np
import pytest
from typer.testing import CliRunner

from flops_fit_cli.app import app

COMMANDS = ("plan", "run", "fit", "report", "plugins")


#: Makes a library look as if it were not installed.
HIDE = """
import importlib.abc, sys
class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] == {name!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hide())
"""


def process(*args, cwd=None, env=None, hide=None):
    """Run ``flops-fit`` with these arguments, as a shell does; without the library `hide`."""
    program = ["-m", "flops_fit_cli"]
    if hide is not None:
        program = ["-c", HIDE.format(name=hide) + "import flops_fit_cli\nflops_fit_cli.main()"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "FLOPS_FIT_PROGRESS": "0", **(env or {})}
    command = [sys.executable, *program, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)


def call(*args):
    """The same within this process, where starting Python over and over would take most of the time."""
    done = CliRunner().invoke(app, [*map(str, args)], prog_name="flops-fit")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return subprocess.CompletedProcess(args, done.exit_code, done.stdout, done.stderr)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("FLOPS_FIT_PROGRESS", "0")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Runs on a known law, five sizes at each of four budgets, under names of somebody else's."""
    path = tmp_path_factory.mktemp("runs") / "runs.csv"
    lines = ["params,tokens,eval_loss"]
    for budget in (1e18, 1e19, 1e20, 1e21):
        for n in np.sqrt(budget / 120) * np.array([0.25, 0.5, 1, 2, 4]):
            d = budget / (6 * n)
            lines.append(f"{n:.0f},{d:.0f},{1.7 + 400 / round(n) ** 0.34 + 410 / round(d) ** 0.28!r}")
    path.write_text("\n".join(lines) + "\n")
    return path


NAMES = ("--columns", "n_params=params", "n_tokens=tokens", "loss=eval_loss")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    done = call(command, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: flops-fit {command}")
    assert "--json" in done.stdout
    assert not done.stderr


def test_the_commands_are_listed():
    done = process("--help", hide="scipy")  # as nothing heavy is imported, it is quick
    assert done.returncode == 0, done.stderr
    assert all(f"\n  {command}" in done.stdout for command in COMMANDS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("plann gpt", "'plan'"),
        ("plan gpt --budget 1e12", "--budgets"),
        ("plan gpt --budgets 1e12 3e12x", "--budgets"),
        ("plan gpt", "--budgets"),
        ("plan gptt --budgets 1e12 3e12", "Did you mean 'gpt'"),
        ("plan gpt --budgets 1e12 3e12 --planner isoflops", "Did you mean 'isoflop'"),
        ("plan gpt --budgets 1e12 3e12 --set trainr.lr=1", "Did you mean 'trainer'"),
        ("plan gpt --budgets 1e12 3e12 --set trainer..lr=1", "'trainer..lr=1' is not STAGE.OPTION=VALUE"),
        ("plan gpt --budgets 1e12 3e12 --set trainer.simulate.lr=1", "Chosen: accelerate"),
        ("fit nowhere.csv --fitter surface isoflop --set fitter.surfac.delta=1", "Did you mean 'surface'"),
        ("report nowhere --set reporter.matplotlib.dpi=3", "no reporter 'matplotlib' was chosen"),
        ("fit nowhere.csv", "nowhere.csv"),
        ("fit nowhere.csv --columns loss", "is not NAME=COLUMN"),
        ("report nowhere", "nowhere"),
        ("report nowhere --set reporter.dpi=3", "--reporter"),
    ],
)
def test_what_cannot_be_done_is_said_with_the_nearest_and_status_2(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call(*words.split())
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    assert not list(tmp_path.iterdir())


def test_a_process_fails_without_a_traceback(tmp_path):
    done = process("fit", "nowhere.csv", cwd=tmp_path, hide="torch")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("flops-fit fit: ")
    assert "Traceback" not in done.stderr


def test_fit_answers_for_a_target_without_torch(table):
    done = process("fit", table, *NAMES, "--target", "1e24", "1e25", "--fitter", "surface", "--json", hide="torch")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    values = {name: estimate["value"] for name, estimate in found["fits"][0]["params"].items()}
    assert values["E"] == pytest.approx(1.7, rel=1e-3)
    assert values["alpha"] == pytest.approx(0.34, rel=1e-3)
    assert values["beta"] == pytest.approx(0.28, rel=1e-3)
    assert [p["compute_budget"] for p in found["predictions"]] == [1e24, 1e25]
    a, b = 0.34, 0.28  # Hoffmann et al. 2022, equation 4
    optimum = (a * 400 / (b * 410)) ** (1 / (a + b)) * (1e24 / 6) ** (b / (a + b))
    assert found["predictions"][0]["n_params"]["value"] == pytest.approx(optimum, rel=1e-2)


def test_fit_prints_every_fitter_and_the_table(table):
    done = call("fit", table, *NAMES, "--target", "1e24", "--fitter", "surface", "isoflop")
    assert done.returncode == 0, done.stderr
    assert "surface" in done.stdout
    assert "isoflop" in done.stdout
    shown = done.stdout[done.stdout.index("by fitter 'surface'") : done.stdout.index("side by side")].splitlines()
    head, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown if line.startswith("|")]
    assert head == ["C", "quantity", "value", "90 % sampling", "90 % prediction"]
    assert [row[:2] for row in rows] == [["1e24", "N_opt"], ["1e24", "D_opt"], ["1e24", "loss"]]


def test_fit_draws_the_runs_where_it_is_told_to(table, tmp_path):
    words = ("fit", table, *NAMES, "--fitter", "surface", "--out-dir", tmp_path)
    done = call(*words)
    assert done.returncode == 0, done.stderr
    pictures = [tmp_path / "plots" / name for name in ("isoflop.png", "isoflop.svg", "scaling.png", "scaling.svg")]
    assert done.stdout.splitlines()[-4:] == [f"wrote {path}" for path in pictures]
    assert all(path.stat().st_size > 1000 for path in pictures)
    assert json.loads(call(*words, "--json").stdout)["files"] == [str(path) for path in pictures]


def test_fit_doubts_a_target_far_beyond_the_runs(table):
    words = ("fit", table, *NAMES, "--target", "1e24", "--fitter", "surface")
    said = "1e24 FLOPs is 1e+03 times the largest budget"
    assert f"note: {said}" in call(*words).stdout
    assert json.loads(call(*words, "--json").stdout)["predictions"][0]["warning"].startswith(said)


def test_a_wrong_target_or_option_of_a_fitter_is_status_2(table):
    for words, said in (
        (["--target", "-1"], "-1"),
        (["--fitter", "surfac"], "Did you mean 'surface'"),
        (["--set", "fitter.deltaa=1", "--fitter", "surface"], "deltaa"),
        (["--flop-counter", "7nd"], "7nd"),
    ):
        done = call("fit", table, *NAMES, *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr


def test_an_option_goes_to_one_of_several_fitters_or_to_all(table):
    def fits(*words):
        done = call("fit", table, *NAMES, "--fitter", "surface", "isoflop", "--json", "--set", *words)
        assert done.returncode == 0, done.stderr
        return {fit["fitter"]: fit for fit in json.loads(done.stdout)["fits"]}

    one = fits("fitter.surface.objective=log_mse", "fitter.confidence=0.5", "fitter.isoflop.confidence=0.8")
    assert {name: fit["confidence"] for name, fit in one.items()} == {"surface": 0.5, "isoflop": 0.8}
    assert one["surface"]["objective"] != fits("fitter.bootstrap=0")["surface"]["objective"]
    done = call("fit", table, *NAMES, "--fitter", "surface", "isoflop", "--set", "fitter.delta=1e-2")
    assert (done.returncode, done.stdout) == (2, "")
    assert "fitter 'isoflop' has no option 'delta'" in done.stderr
    assert "--set fitter.NAME.OPTION=VALUE" in done.stderr


def test_fit_says_what_the_runs_give_to_doubt(table, tmp_path):
    short = tmp_path / "short.csv"
    lines = table.read_text().splitlines(keepends=True)
    short.write_text("".join(lines[:1] + [line for i, line in enumerate(lines[1:]) if i % 5 < 3]))  # no large sizes
    done = call("fit", short, *NAMES, "--fitter", "surface", "--set", "fitter.bootstrap=0")
    assert done.returncode == 0, done.stderr
    assert "note: at 2 of 4 budgets the lowest loss is at the largest size (1e18 FLOPs: N = " in done.stdout


def test_names_of_columns_are_needed(table):
    done = call("fit", table)
    assert done.returncode == 2
    assert "loss" in done.stderr
    assert "--columns n_params=params n_tokens=tokens loss=eval/loss" in done.stderr
    assert "columns={" not in done.stderr


def test_bad_rows_are_left_out_where_it_is_told_to(table, tmp_path):
    some, all_bad = tmp_path / "some.csv", tmp_path / "all.csv"
    some.write_text(table.read_text() + "1000000,2000000,\n")
    all_bad.write_text("params,tokens,eval_loss\n1e6,1e8,\n")
    done = call("fit", some, *NAMES)
    assert (done.returncode, done.stdout) == (2, "")
    assert "1 of 21 rows cannot be used: line 22: eval_loss is missing" in done.stderr
    assert done.stderr.endswith("or leave them all out: --bad-rows drop\n")
    done = call("fit", all_bad, *NAMES, "--bad-rows", "drop")
    assert done.returncode == 2
    assert "leaving them all out (--bad-rows drop) would leave none" in done.stderr
    done = call("fit", some, *NAMES, "--bad-rows", "drop", "--fitter", "surface", "--set", "fitter.bootstrap=0")
    assert done.returncode == 0, done.stderr
    assert "1 of 21 rows was left out, as it cannot be used: line 22" in done.stdout
    assert "'error', 'drop'" in call("fit", some, "--bad-rows", "skip").stderr


def test_fit_compares_several_fitters(table):
    words = ("fit", table, *NAMES, "--set", "fitter.bootstrap=0", "--fitter", "surface")
    assert "side by side" not in call(*words).stdout
    for target, budgets in (((), ["1e21"]), (("--target", "1e23", "1e24"), ["1e23", "1e24"])):
        done = call(*words, "isoflop", *target)
        assert done.returncode == 0, done.stderr
        shown = done.stdout[done.stdout.index("side by side") :].splitlines()
        head, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown if line.startswith("|")]
        assert head == ["C", "quantity", "surface", "isoflop"]
        assert [row[:2] for row in rows] == [[c, name] for c in budgets for name in ("N_opt", "D_opt", "loss")]


SWEEP = ("--budgets", "1e10", "2e10", "4e10", "--set", "workload.head_dim=4", "planner.sizes_per_budget=5")


def test_plan_lists_the_runs_of_all_budgets():
    done = call("plan", "vit", *SWEEP, "trainer.batch_size=16", "--seeds", "0", "1", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert {run["budget"] for run in plan["runs"]} == {1e10, 2e10, 4e10}
    assert {run["seed"] for run in plan["runs"]} == {0, 1}
    assert all(run["size"] % 4 == 0 and run["n_tokens"] % 16 == 0 for run in plan["runs"])
    assert plan["total_flops"] == pytest.approx(sum(run["flops"] for run in plan["runs"]))
    assert plan["data_unit"] == "images"


def test_plan_takes_sizes_as_given_and_prints_a_table():
    done = call("plan", "vit", "--sizes", "8", "16", "24", "32", "--budgets", "1e10", "2e10")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("| budget C")
    assert "8 runs" in done.stdout


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A sweep with the trainer that trains nothing; its folder and what it printed."""
    folder = tmp_path_factory.mktemp("study") / "outputs"
    words = ("--trainer", "simulate", "--fitter", "surface", "--target", "1e12")
    return folder, process("run", "vit", *SWEEP, *words, "--output-dir", folder, "--json")


def test_run_answers_and_leaves_a_study(study):
    folder, done = study
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [p["compute_budget"] for p in result["predictions"]] == [1e10, 2e10, 4e10, 1e12]
    assert len(result["runs"]) >= 12
    assert {run["status"] for run in result["runs"]} == {"done"}
    assert result["fits"][0]["fitter"] == "surface"
    assert (folder / "sweep.json").exists()


def test_report_prints_the_study_and_writes_its_figures_again(study, tmp_path):
    folder, _ = study
    done = call("report", folder, "--out-dir", tmp_path / "figures", "--target", "1e12")
    assert done.returncode == 0, done.stderr
    assert "1e12" in done.stdout
    written = [line.removeprefix("wrote ") for line in done.stdout.splitlines() if line.startswith("wrote ")]
    assert any(name.endswith(".png") for name in written)
    assert all(os.path.getsize(name) > 1000 for name in written if name.endswith(".png"))  # noqa: PTH202
    assert call("report", folder, "--set", "reporter.formats=png").returncode == 2


def test_another_data_set_in_the_same_folder_is_status_2(study):
    folder, _ = study
    words = ("--set", "workload.pool=token", "--trainer", "simulate", "--fitter", "surface", "--output-dir", folder)
    done = call("run", "vit", "--budgets", "1e10", "2e10", *words)
    assert done.returncode == 2
    assert "pool" in done.stderr


def test_one_budget_trains_nothing(tmp_path):
    done = call("run", "vit", "--budgets", "1e10", "--trainer", "simulate", "--output-dir", tmp_path / "outputs")
    assert done.returncode == 2
    assert "at least two" in done.stderr
    assert not (tmp_path / "outputs" / "runs").exists()


def test_plugins_lists_what_is_installed():
    done = call("plugins", "--json")
    found = {plugin["name"]: plugin for plugin in json.loads(done.stdout)}
    assert found["vit"]["offers"] == {"workload": ["vit"]}
    assert "surface" in found["lmfit"]["offers"]["fitter"]
    assert done.returncode == any(plugin["error"] for plugin in found.values())
    assert "vit (flops-fit " in call("plugins").stdout


def test_a_broken_plugin_is_listed_with_its_reason_and_status_1(tmp_path):
    info = tmp_path / "broken_one-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-one\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[flops_fit]\nbroken = module_that_is_nowhere\n")
    done = process("plugins", env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert "broken (broken-one 1.0): broken: " in done.stdout
    assert "module_that_is_nowhere" in done.stdout
    assert "vit (" in done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [("flops-fit pl", ["plan", "plugins"]), ("flops-fit plan g", ["gpt"]), ("flops-fit fit r.csv --fi", ["--fitter"])],
)
def test_the_shell_completes_commands_names_and_options(words, expected):
    complete = {"_FLOPS_FIT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = process(env=complete)
    assert done.stdout.split() == expected, done.stderr


def test_without_typer_it_says_what_to_install():
    done = process("plugins", hide="typer")
    assert done.returncode == 1
    assert 'pip install "flops-fit[cli]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_the_console_script_is_this_program():
    scripts = metadata.entry_points(group="console_scripts", name="flops-fit")
    assert [script.value for script in scripts] == ["flops_fit_cli:main"]


@pytest.mark.slow
def test_ctrl_c_stops_with_status_130_and_the_same_command_goes_on(tmp_path):
    words = ["run", "vit", "--budgets", "2e9", "4e9", "--sizes", "16", "24", "32", "40", "--output-dir", tmp_path / "o"]
    words += ["--fitter", "surface", "--set", "trainer.batch_size=16"]
    running = subprocess.Popen(
        [sys.executable, "-m", "flops_fit_cli", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    while not list(tmp_path.glob("o/runs/*/record.json")):
        assert running.poll() is None, running.stderr.read()
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate()
    assert running.returncode == 130
    assert "goes on from there" in said
    assert "Traceback" not in said
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("o/runs/*/record.json")}
    again = process(*words)
    assert again.returncode == 0, again.stderr
    assert len(list(tmp_path.glob("o/runs/*/record.json"))) == 8
    assert all(path.stat().st_mtime_ns == before for path, before in finished.items())

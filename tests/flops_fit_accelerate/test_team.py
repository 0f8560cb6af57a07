"""Several processes train as one: the same data, steps and losses, and one end for all."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import toys
from torch import nn

HERE = Path(__file__).parent


def launch(folder, scenario, processes, driver="drive_team.py"):
    """Run the driver on several processes; return the finished process and what each told."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command += [str(HERE / driver), str(folder), scenario]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    told = [json.loads(path.read_text()) for path in sorted(folder.glob("told-*.json"))]
    return done, told


def both(tmp_path, scenario):
    done, [alone] = launch(tmp_path / "one", scenario, 1)
    assert done.returncode == 0, done.stderr
    done, told = launch(tmp_path / "two", scenario, 2)
    assert done.returncode == 0, done.stderr
    assert told[0] == told[1]
    return alone, told[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "scenario", ["plain", "stream", "masked", "accumulate", "trunk", "tracked", "shifted", "empty share"]
)
def test_two_processes_train_as_one(tmp_path, scenario):
    alone, team = both(tmp_path, scenario)
    for a, b in zip(alone, team, strict=True):
        assert (a["processes"], b["processes"]) == (1, 2)
        assert (a["n_tokens"], a["spent"], len(a["curve"])) == (b["n_tokens"], b["spent"], len(b["curve"]))
        for one, two in zip(a["curve"][:10], b["curve"][:10], strict=True):
            assert two == [one[0], pytest.approx(one[1], abs=1e-6)]
        assert b["loss"] == pytest.approx(a["loss"], abs=1e-3)
        assert b["stderr"] == pytest.approx(a["stderr"], rel=1e-2)


@pytest.mark.slow
def test_batch_norm_and_dropout_train_on_two_processes(tmp_path):
    """Each process normalises its own part of a batch, so that only D and the end of it are the same."""
    alone, team = both(tmp_path, "norms")
    assert [r["n_tokens"] for r in alone] == [r["n_tokens"] for r in team]
    assert [r["status"] for r in team] == ["done", "done"]
    model = toys.Mlp().eval()  # the recorded loss is that of the weights that are kept
    model.load_state_dict(toys.weights(tmp_path / "two", toys.run(1120)))
    x, y = toys.points(100, seed=1).tensors
    with torch.no_grad():
        assert team[0]["loss"] == pytest.approx(nn.functional.cross_entropy(model(x), y).item(), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["diverges", "is nan"])
def test_all_processes_agree_that_a_loss_is_not_finite(tmp_path, scenario):
    """Also one that only one of them has seen."""
    done, [first, second] = launch(tmp_path / "a", scenario, 2)
    assert done.returncode == 0, done.stderr
    assert first == second
    assert [record["status"] for record in first] == ["diverged", "done"]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["raises", "dies"])
def test_one_process_that_fails_ends_the_job_and_the_next_goes_on(tmp_path, scenario):
    start = time.monotonic()
    done, told = launch(tmp_path / "a", scenario, 2)
    assert time.monotonic() - start < 60
    assert done.returncode != 0
    assert not told
    causes = list((tmp_path / "a").rglob("error-rank*.txt"))
    if scenario == "raises":
        assert "broken on purpose" in causes[0].read_text()
        assert "broken on purpose" in done.stderr
    else:
        assert "Signal 9" in done.stderr or "SIGKILL" in done.stderr
    assert list((tmp_path / "a").rglob("state.pt"))
    done, told = launch(tmp_path / "a", "plain", 2)
    assert done.returncode == 0, done.stderr
    done, whole = launch(tmp_path / "whole", "plain", 2)
    assert told == whole


@pytest.mark.slow
def test_a_job_may_go_on_on_another_number_of_processes(tmp_path):
    launch(tmp_path / "a", "dies", 2)
    assert list((tmp_path / "a").rglob("state.pt"))
    done, [told] = launch(tmp_path / "a", "plain", 1)
    assert done.returncode == 0, done.stderr
    done, [whole] = launch(tmp_path / "whole", "plain", 1)
    for a, b in zip(told, whole, strict=True):
        assert (a["status"], a["n_tokens"]) == ("done", b["n_tokens"])
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-3)


@pytest.mark.slow
def test_an_exception_on_all_processes_is_a_failed_run_and_the_sweep_goes_on(tmp_path):
    done, [first, second] = launch(tmp_path / "a", "all raise", 2)
    assert done.returncode == 0, done.stderr
    assert [record["status"] for record in first] == ["failed", "done"]
    assert "broken on purpose" in first[0]["message"]
    assert second[1] == first[1]


@pytest.mark.slow
def test_batches_without_any_target_are_a_failed_run_and_the_sweep_goes_on(tmp_path):
    done, [first, second] = launch(tmp_path / "a", "nothing", 2)
    assert done.returncode == 0, done.stderr
    assert [record["status"] for record in first] == ["failed", "done"]
    assert "every target is masked" in first[0]["message"]
    assert second == first


@pytest.mark.slow
def test_a_study_gives_every_process_the_same_result(tmp_path):
    done, told = launch(tmp_path / "two", "", 2, "drive_study.py")
    assert done.returncode == 0, done.stderr
    assert told[0] == told[1]
    done, [alone] = launch(tmp_path / "one", "", 1, "drive_study.py")
    assert done.returncode == 0, done.stderr
    assert set(told[0]["processes"]) == {2}
    assert told[0]["losses"] == pytest.approx(alone["losses"], abs=1e-3)


def test_fewer_processes_than_asked_are_noticed():
    """What `accelerate launch --cpu --num_processes 2` leaves in the environment of the one process that it starts."""
    launched = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "ACCELERATE_USE_CPU": "True"}
    code = "from flops_fit_accelerate import AccelerateTrainer; AccelerateTrainer().team"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **launched}, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "one was started" in done.stderr
    assert "torchrun" in done.stderr

"""The simulated losses are the law's, with the noise that was asked for, and the same every time."""

import subprocess
import sys

import attrs
import numpy as np
import pytest

from flops_fit_core.data import Run, Runs, Workload
from flops_fit_core.errors import InputError
from flops_fit_core.stages import Trainer
from flops_fit_core.store import Workspace
from flops_fit_simulate import SimulateTrainer

TRUTH = {"E": 1.5, "A": 300.0, "B": 500.0, "alpha": 0.3, "beta": 0.35}


class Untouchable:
    def __getattribute__(self, name):
        raise AssertionError(f"simulate looked at {name!r}")


WORKLOAD = Workload(name="none", model_cls=Untouchable(), size_param="size", dataset=Untouchable())


def run(n_params=10**6, n_tokens=2 * 10**7, **more):
    return Run(
        budget=6.0 * n_params * n_tokens, size=n_params, n_params=n_params, n_tokens=n_tokens,
        flops=6.0 * n_params * n_tokens, **more,
    )  # fmt: skip


def train(trainer, runs, workspace):
    return [record for group in trainer.groups(runs) for record in trainer.train(group, WORKLOAD, workspace)]


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path)


def test_it_is_a_trainer():
    assert isinstance(SimulateTrainer(), Trainer)


def test_without_noise_the_loss_is_the_law_itself(workspace):
    runs = [run(n, d) for n in (10**3, 10**6, 10**10) for d in (10**4, 10**8, 10**12)]
    records = train(SimulateTrainer(noise=0.0, **TRUTH), runs, workspace)
    for record in records:
        n, d = record.run.n_params, record.run.n_tokens
        assert record.loss == pytest.approx(1.5 + 300 * n**-0.3 + 500 * d**-0.35, rel=1e-14)
        assert record.loss_stderr is None


def test_noise_has_the_asked_spread_about_the_law(workspace):
    trainer = SimulateTrainer(noise=0.02)
    records = train(trainer, [run(seed=seed) for seed in range(800)], workspace)
    residuals = np.log([r.loss / trainer.law(r.run.n_params, r.run.n_tokens) for r in records])
    assert abs(residuals.mean()) < 4 * 0.02 / np.sqrt(800)
    assert residuals.std() == pytest.approx(0.02, rel=4 / np.sqrt(2 * 800))
    assert records[0].loss_stderr == pytest.approx(0.02 * records[0].loss)


def test_the_draw_belongs_to_seed_and_run_and_not_to_the_study(workspace):
    def loss(planned):
        return train(SimulateTrainer(), [planned], workspace)[0].loss

    assert loss(run()) == loss(run()) == loss(run(study="another"))
    trainer = SimulateTrainer()
    others = [run(), run(seed=1), run(n_params=10**6 + 1), run(n_tokens=2 * 10**7 + 1)]
    draws = {round(loss(r) / trainer.law(r.n_params, r.n_tokens), 12) for r in others}
    assert len(draws) == 4


def test_the_record_is_as_training_would_have_left_it(workspace):
    planned = run(seed=3)
    (record,) = train(SimulateTrainer(), [planned], workspace)
    assert (record.status, record.run) == ("done", planned)
    assert (record.n_tokens, record.flops) == (planned.n_tokens, planned.flops)
    assert 0 < record.seconds < 60
    assert record.recipe["schedule"]
    workspace.save(record)
    assert workspace.record(planned) == record


def test_the_curve_falls_to_the_loss_and_is_told_to_whoever_watches(tmp_path):
    seen = []
    workspace = Workspace(tmp_path, on_progress=lambda run, n_tokens, loss: seen.append((n_tokens, loss)))
    (record,) = train(SimulateTrainer(), [run()], workspace)
    tokens = [point.n_tokens for point in record.curve]
    losses = [point.loss for point in record.curve]
    assert tokens == sorted(set(tokens))
    assert losses == sorted(losses, reverse=True)
    assert record.curve[-1].eval_loss == losses[-1] == record.loss
    assert (tokens[-1], len(tokens)) == (record.n_tokens, 8)
    assert seen == list(zip(tokens, losses, strict=True))
    assert workspace.curve(record.run) == record.curve


def test_training_again_does_not_lengthen_the_curve(workspace):
    for _ in range(2):
        (record,) = train(SimulateTrainer(), [run()], workspace)
    assert workspace.curve(record.run) == record.curve


def test_a_run_of_one_token_has_one_point(workspace):
    (record,) = train(SimulateTrainer(), [run(n_tokens=1)], workspace)
    assert len(record.curve) == 1


@pytest.mark.parametrize("budget", [1e9, 1e12, 1e15, 1e18, 1e21, 1e24])
def test_every_budget_shows_a_minimum_with_the_defaults(workspace, budget):
    sizes = np.sqrt(budget / 120) * np.logspace(-1, 1, 9)
    runs = [run(int(n), int(budget / 6 / int(n))) for n in sizes]
    table = Runs.from_records(train(SimulateTrainer(), runs, workspace))
    assert table.usable().all()
    curvature, slope, _ = np.polyfit(np.log(table.n_params), table.loss, 2)
    minimum = np.exp(-slope / (2 * curvature))
    assert curvature > 0
    assert sizes[1] < minimum < sizes[-2]
    # Both ends stand above the minimum by many times the noise.
    assert min(table.loss[0], table.loss[-1]) > table.loss.min() * (1 + 5 * SimulateTrainer().noise)


@pytest.mark.parametrize("option", ["E", "noise", "A", "B", "alpha", "beta"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), "big", None])
def test_an_option_that_makes_no_law_is_refused(option, value):
    with pytest.raises(InputError, match=rf"{option}={value!r}"):
        SimulateTrainer(**{option: value})


@pytest.mark.parametrize("option", ["A", "B", "alpha", "beta"])
def test_a_law_without_one_of_its_terms_is_refused(option):
    with pytest.raises(InputError, match="above 0"):
        SimulateTrainer(**{option: 0.0})


def test_the_settings_are_the_law():
    assert attrs.asdict(SimulateTrainer(noise=0.5))["noise"] == 0.5


def test_it_loads_no_torch():
    code = "import sys, flops_fit_simulate; flops_fit_simulate.SimulateTrainer(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

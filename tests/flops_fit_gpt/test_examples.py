"""The GPT examples: what they plan in every test run, what they find in the slow one."""

import importlib.util
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import flops_fit

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    """Token files of these tests lie in a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name[:2]}", EXAMPLES / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class PlannedError(Exception):
    """Carries the plan out of an example."""


def plan_of(name, monkeypatch):
    """What the example's call of `find_optimal` would train."""
    find_optimal = flops_fit.find_optimal

    def plan_only(*arguments, **options):
        raise PlannedError(find_optimal(*arguments, **options, train=False))

    monkeypatch.setattr(flops_fit, "find_optimal", plan_only)
    monkeypatch.setattr(sys, "argv", [name])
    with pytest.raises(PlannedError) as caught:
        load(name).main()
    return caught.value.args[0]


@pytest.mark.parametrize(("name", "budgets"), [("01_demo.py", 4), ("03_gpt.py", 4), ("06_compound_size.py", 3)])
def test_every_budget_is_spent_on_six_sizes_or_more(name, budgets, monkeypatch):
    plan = plan_of(name, monkeypatch)
    sizes = Counter(run.budget for run in plan.runs)
    assert len(sizes) >= budgets
    assert min(sizes.values()) >= 6
    for run in plan.runs:
        assert run.flops == pytest.approx(run.budget, rel=0.01)


def test_compound_size_moves_depth_width_and_heads():
    decoder = load("06_compound_size.py").decoder
    for size in (1, 4, 9):
        model = decoder(size)
        width = model.embedding.weight.shape[1]
        assert (width, width // model.head_dim, len(model.blocks)) == (8 * size, size, (size + 1) // 2)
    counts = [decoder(size).num_params() for size in range(1, 13)]
    assert counts == sorted(set(counts))


def test_learning_rate_sweep_crosses_every_width_with_every_rate():
    example = load("05_mup_lr_sweep.py")
    workload = flops_fit.workload("gpt", parametrization="u-mup")
    runs = example.planned(workload, example.RATES["u-mup"])
    assert len(example.WIDTHS) >= 4
    assert all(len(rates) >= 7 for rates in example.RATES.values())
    assert len({run.run_id for run in runs}) == len(example.WIDTHS) * len(example.RATES["u-mup"])
    assert len({run.n_tokens for run in runs}) == 1


@pytest.mark.slow
def test_the_demo_finds_minima_inside_its_sizes_and_resumes(tmp_path):
    """Minutes long: real training, minima inside for three budgets, ends five standard errors above them."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(EXAMPLES / "01_demo.py")]
    first = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "| C (FLOPs) |" in first.stdout
    folder = next((tmp_path / "outputs").iterdir())
    result = flops_fit.load(folder)
    assert {record.status for record in result.records} == {"done"}
    inside = 0
    for budget in result.plan.budgets:
        done = sorted((r for r in result.records if r.run.budget == budget), key=lambda r: r.run.n_params)
        lowest = min(done, key=lambda record: record.loss)
        fitted = result.predict(budget).n_params.value
        ends_are_high = all(end.loss > lowest.loss + 5 * end.loss_stderr for end in (done[0], done[-1]))
        inside += ends_are_high and done[0].run.n_params < fitted < done[-1].run.n_params
    assert inside >= 3

    stamps = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/record.json")}
    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert again.stdout == first.stdout
    assert {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/record.json")} == stamps

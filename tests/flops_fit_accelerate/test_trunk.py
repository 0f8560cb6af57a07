"""Runs that share a trunk are the runs they would have been alone, for less."""

import attrs
import pytest
import torch
import toys
from test_resume import Fuse, Killed

import flops_fit
from flops_fit_accelerate import AccelerateTrainer
from flops_fit_core.text import si


def trainer(**options):
    settings = {"lr": 1e-2, "batch_size": 16, "schedule": "wsd", "keep_weights": True, "checkpoint_tokens": 200}
    return AccelerateTrainer(**settings | options)


RUNS = [toys.run(n_tokens) for n_tokens in (1600, 480, 800)]


def test_branches_agree_with_runs_from_scratch_to_the_bit(train, tmp_path):
    w = toys.workload()
    shared = train(trainer(), w, *RUNS, folder="shared")
    alone = [train(trainer(share_trunk=False), w, one, folder="alone")[0] for one in RUNS]
    for one, a, b in zip(RUNS, shared, alone, strict=True):
        assert (a.loss, a.flops, a.n_tokens) == (b.loss, b.flops, b.n_tokens)
        assert toys.equal_weights(tmp_path / "shared", tmp_path / "alone", one)
        assert a.recipe["schedule"] == "wsd"
        assert b.flops_spent == b.flops


@pytest.mark.parametrize(
    ("option", "groups"),
    [
        ({"lr": lambda run: 10 / run.n_tokens}, 3),
        ({"batch_size": lambda run: 8 if run.n_tokens < 1000 else 32}, 2),
        ({"betas": lambda run: (0.9, 1 - 1 / run.n_tokens)}, 3),
        ({"weight_decay": lambda run: run.n_tokens / 1000}, 3),
    ],
)
def test_runs_whose_numbers_depend_on_d_share_only_what_is_the_same(train, tmp_path, option, groups):
    w = toys.workload()
    assert len(trainer(**option).groups(RUNS)) == groups
    shared = train(trainer(**option), w, *RUNS, folder="shared")
    alone = [train(trainer(share_trunk=False, **option), w, one, folder="alone")[0] for one in RUNS]
    for one, a, b in zip(RUNS, shared, alone, strict=True):
        assert (a.loss, a.curve, a.recipe) == (b.loss, b.curve, b.recipe)
        assert toys.equal_weights(tmp_path / "shared", tmp_path / "alone", one)
    assert all(a.flops_spent == a.flops for a in shared) == (groups == 3)


def test_the_trunk_is_paid_once(train):
    shared = train(trainer(), toys.workload(), *RUNS)
    spent = {record.n_tokens: record.flops_spent for record in shared}
    branches = {480: 320, 800: 640, 1600: 1280}  # ten steps of cooldown, or a fifth of D
    assert spent[480] == 48_000
    assert spent[800] == 100 * (800 - branches[480])
    assert spent[1600] == 100 * (1600 - branches[800])
    assert sum(spent.values()) < 0.75 * sum(record.flops for record in shared)


def test_the_result_says_what_was_saved(tmp_path):
    result = flops_fit.find_optimal(
        toys.Plain, "width", {}, toys.points(200), torch.nn.CrossEntropyLoss(), [2e5, 4e5, 8e5], sizes=[4, 5, 6, 7],
        data_unit="points", trainer=trainer(keep_weights=False), fitter="isoflop", reporter=None, output_dir=tmp_path,
    )  # fmt: skip
    whole, spent = (sum(getattr(r, name) for r in result.records) for name in ("flops", "flops_spent"))
    assert 0.5 < spent / whole < 0.8
    line = (
        f"trained for {si(spent, 3)} FLOPs, {round(100 * (1 - spent / whole))} % less than from scratch (shared trunks)"
    )
    assert line in str(result).splitlines()
    assert line in result._repr_html_()
    assert line in str(flops_fit.load(tmp_path))
    assert (tmp_path / "table.md").read_text().splitlines()[-1] == line
    alone = attrs.evolve(result, records=[attrs.evolve(r, flops_spent=r.flops) for r in result.records])
    assert f"trained for {si(whole, 3)} FLOPs" in str(alone).splitlines()


def test_runs_of_other_sizes_seeds_or_hparams_share_nothing():
    runs = [
        toys.run(800),
        toys.run(1600),
        toys.run(800, size=4),
        toys.run(800, seed=1),
        toys.run(800, hparams={"lr": 0.1}),
    ]
    assert sorted(map(len, trainer().groups(runs))) == [1, 1, 1, 2]
    assert [len(group) for group in AccelerateTrainer().groups(runs)] == [1] * 5


@pytest.mark.parametrize("stop", [10, 22, 45, 75, 90, 110, 140])
def test_a_stopped_group_goes_on_and_pays_the_same(train, tmp_path, stop):
    fuse = Fuse(torch.nn.CrossEntropyLoss())
    w = toys.workload(loss_fn=fuse, eval_dataset=toys.points(64))
    whole = train(trainer(), w, *RUNS, folder="whole")
    fuse.left = stop
    with pytest.raises(Killed):
        train(trainer(), w, *RUNS, folder="stopped")
    resumed = train(trainer(), w, *RUNS, folder="stopped")
    for a, b in zip(whole, resumed, strict=True):
        assert attrs.evolve(a, seconds=0, metrics={}) == attrs.evolve(b, seconds=0, metrics={})
        assert toys.equal_weights(tmp_path / "whole", tmp_path / "stopped", a.run)


def test_nothing_of_a_trunk_is_left_behind(train, tmp_path):
    train(trainer(), toys.workload(), *RUNS, folder="a")
    assert not [path for path in (tmp_path / "a" / "trunks").rglob("*") if path.name == "state.pt"]
    assert not list((tmp_path / "a" / "runs").rglob("state.pt"))


def test_a_trunk_that_diverges_is_recorded_for_every_run(train):
    records = train(trainer(lr=1e30, clip_norm=None), toys.workload(), *RUNS)
    assert [record.status for record in records] == ["diverged"] * 3


def test_a_run_too_short_for_its_schedule_is_flagged(train):
    [record] = train(trainer(min_warmup_steps=30), toys.workload(), toys.run(480))
    assert "shorter" in record.recipe["too_short"]

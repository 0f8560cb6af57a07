"""A run that was stopped anywhere and goes on ends with the same bits as one that never was."""

import shutil

import attrs
import pytest
import torch
import toys
from torch.utils.data import DataLoader, RandomSampler

from flops_fit_accelerate import AccelerateTrainer
from flops_fit_core.store import Workspace


class Killed(BaseException):
    """Stands for the end of the process: nothing that trains may catch it."""


class Fuse:
    """A loss that goes through and blows at its n-th call."""

    def __init__(self, loss_fn, error=Killed):
        self.loss_fn, self.left, self.error = loss_fn, None, error

    def __call__(self, outputs, targets):
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                self.left = None
                raise self.error
        return self.loss_fn(outputs, targets)


def trainer(**options):
    return AccelerateTrainer(
        **{"lr": 1e-2, "batch_size": 16, "keep_weights": True, "checkpoint_every": 0.0, "eval_samples": 32} | options
    )


def loader_with_workers(data):
    return DataLoader(data, batch_size=16, shuffle=True, num_workers=1)


def loader_with_own_sampler(data):
    return DataLoader(data, batch_size=16, sampler=RandomSampler(data, replacement=True))


DATA = {
    "map-style": lambda: toys.points(),
    "augmented": lambda: toys.Noisy(toys.points()),
    "loader": lambda: DataLoader(toys.points(), batch_size=16, shuffle=True),
    "own sampler": lambda: loader_with_own_sampler(toys.points()),
    "stream": lambda: toys.Reread(toys.points()),
    "augmented stream": lambda: toys.Reread(toys.Noisy(toys.points())),
    "loader of a stream": lambda: DataLoader(toys.Reread(toys.points()), batch_size=16),
}


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize(("every", "stops"), [(0.0, (1, 20, 25, 15)), (1e9, (1, 20, 40, 62))])
def test_stopped_runs_end_with_the_same_bits(train, tmp_path, kind, every, stops):
    """D is nearly three epochs; the run is stopped in each of them, with and without a checkpoint to go on from."""
    held_out = {"eval_dataset": toys.points()}
    fuse = Fuse(torch.nn.CrossEntropyLoss())
    w = toys.workload(toys.Mlp, DATA[kind](), loss_fn=fuse, **held_out)
    made, one = trainer(checkpoint_every=every), toys.run(1120)
    [whole] = train(made, w, one, folder="whole")
    for stop in stops:
        fuse.left = stop
        with pytest.raises(Killed):
            train(made, w, one, folder="stopped")
    [resumed] = train(made, w, one, folder="stopped")
    assert resumed.loss == whole.loss
    assert resumed.curve == whole.curve
    assert toys.equal_weights(tmp_path / "whole", tmp_path / "stopped", one)
    assert not Workspace(tmp_path / "stopped").checkpoint_dir(one).exists()


def test_worker_processes_read_the_same_after_a_stop(train, tmp_path):
    fuse = Fuse(torch.nn.CrossEntropyLoss())
    w = toys.workload(
        toys.Mlp, loader_with_workers(toys.Noisy(toys.points())), loss_fn=fuse, eval_dataset=toys.points()
    )
    made, one = trainer(), toys.run(800)
    [whole] = train(made, w, one, folder="whole")
    fuse.left = 30
    with pytest.raises(Killed):
        train(made, w, one, folder="stopped")
    [resumed] = train(made, w, one, folder="stopped")
    assert resumed.loss == whole.loss
    assert toys.equal_weights(tmp_path / "whole", tmp_path / "stopped", one)


def test_a_language_model_with_tied_weights_and_masks_goes_on(train, tmp_path):
    fuse = Fuse(toys.token_loss)
    w = toys.workload(toys.CountingLm, toys.Sentences(), loss_fn=fuse)
    made, one = trainer(accumulate=2), toys.run(4000)
    [whole] = train(made, w, one, folder="whole")
    fuse.left = 77
    with pytest.raises(Killed):
        train(made, w, one, folder="stopped")
    [resumed] = train(made, w, one, folder="stopped")
    assert (resumed.loss, resumed.n_tokens, resumed.curve) == (whole.loss, whole.n_tokens, whole.curve)
    assert toys.equal_weights(tmp_path / "whole", tmp_path / "stopped", one)


class Growing(toys.Plain):
    """A model that makes buffers, and makes them larger, as it goes."""

    def __init__(self, width=8):
        super().__init__(width)
        self.register_buffer("first", None)
        self.register_buffer("window", torch.zeros(0, 6))
        self.register_buffer("unsaved", torch.zeros(0), persistent=False)

    def forward(self, x):
        if self.training:
            if self.first is None:
                self.first = x.detach().mean(0)
                self.net[0].register_buffer("late", torch.ones(6))
            self.net[0].late *= 1.01
            self.window = torch.cat([self.window, x.detach()])[-50:]
            self.unsaved = torch.cat([self.unsaved, torch.ones(1)])
        return super().forward(x * self.net[0].late + self.first + self.window.mean(0) + self.unsaved.sum() / 100)


def own_rates(model, lr, betas, weight_decay):
    """An optimizer with a rate, and a momentum, for each kind of parameter."""
    groups = [{"params": [p], "lr": lr / (1 + p.dim()), "betas": (0.5 + p.dim() / 5, 0.95)} for p in model.parameters()]
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)


@pytest.mark.parametrize("stop", [1, 3, 31, 55])
@pytest.mark.parametrize("options", [{"model": Growing}, {"optimizer": own_rates}], ids=["buffers", "rates"])
def test_buffers_made_on_the_way_and_rates_of_one_s_own_come_back(train, tmp_path, options, stop):
    fuse = Fuse(torch.nn.CrossEntropyLoss())
    w, one = toys.workload(loss_fn=fuse, **options), toys.run(640)
    [whole] = train(trainer(), w, one, folder="whole")
    fuse.left = stop
    with pytest.raises(Killed):
        train(trainer(), w, one, folder="stopped")
    [resumed] = train(trainer(), w, one, folder="stopped")
    assert (resumed.status, resumed.loss, resumed.curve) == ("done", whole.loss, whole.curve)
    assert toys.equal_weights(tmp_path / "whole", tmp_path / "stopped", one)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a compiler")
def test_a_compiled_model_goes_on(train, tmp_path):
    fuse = Fuse(torch.nn.CrossEntropyLoss())
    w, one, made = toys.workload(toys.Plain, loss_fn=fuse), toys.run(640), trainer(compile=True)
    [whole] = train(made, w, one, folder="whole")
    fuse.left = 30
    with pytest.raises(Killed):
        train(made, w, one, folder="stopped")
    [resumed] = train(made, w, one, folder="stopped")
    assert (resumed.status, resumed.loss, resumed.curve) == ("done", whole.loss, whole.curve)
    assert toys.equal_weights(tmp_path / "whole", tmp_path / "stopped", one)
    [bare] = train(trainer(), w, one)
    assert resumed.loss == pytest.approx(bare.loss, rel=1e-4)


def test_a_checkpoint_spares_the_steps_before_it(train):
    calls = []

    class Count(Fuse):
        def __call__(self, outputs, targets):
            calls.append(1)
            return super().__call__(outputs, targets)

    fuse = Count(torch.nn.CrossEntropyLoss())
    w, made, one = toys.workload(loss_fn=fuse, eval_dataset=toys.points()), trainer(), toys.run(1600)
    fuse.left = 90
    with pytest.raises(Killed):
        train(made, w, one, folder="a")
    calls.clear()
    train(made, w, one, folder="a")
    assert len(calls) < 11 + 4 * 20  # the steps that were left, and the held-out batches


def test_checkpoints_by_units_of_data(train, tmp_path):
    fuse = Fuse(torch.nn.CrossEntropyLoss())
    w, one = toys.workload(loss_fn=fuse), toys.run(1600)
    fuse.left = 80
    with pytest.raises(Killed):
        train(trainer(checkpoint_every=1e9, checkpoint_tokens=400, eval_share=0), w, one, folder="a")
    from flops_fit_accelerate.checkpoint import read_state

    state = read_state(Workspace(tmp_path / "a").checkpoint_dir(one))
    assert 1200 <= state["progress"]["tokens"] <= 1216


def test_a_damaged_checkpoint_is_named_with_its_remedy(train, tmp_path):
    fuse = Fuse(torch.nn.CrossEntropyLoss())
    w, one = toys.workload(loss_fn=fuse), toys.run(640)
    fuse.left = 30
    with pytest.raises(Killed):
        train(trainer(), w, one, folder="a")
    path = Workspace(tmp_path / "a").checkpoint_dir(one) / "state.pt"
    path.write_bytes(path.read_bytes()[:100])
    [record] = train(trainer(), w, one, folder="a")
    assert record.status == "failed"
    assert "state.pt" in record.message
    assert "remove it" in record.message


def test_a_full_disk_says_what_is_lost_and_leaves_the_last_checkpoint(train, tmp_path, monkeypatch):
    """The third write of a checkpoint fails half-way; what the second wrote is gone on from."""
    import errno

    from flops_fit_accelerate import checkpoint

    real, writes = torch.save, []

    def full(state, file):
        writes.append(state["progress"]["step"])
        if len(writes) == 3:
            file.write(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(state, file)

    w, one = toys.workload(), toys.run(640)
    [whole] = train(trainer(), w, one, folder="whole")
    monkeypatch.setattr(checkpoint.torch, "save", full)
    [record] = train(trainer(), w, one, folder="a")
    assert record.status == "failed"
    assert "No space left" in record.message
    assert "since is lost" in record.message
    folder = Workspace(tmp_path / "a").checkpoint_dir(one)
    assert [path.name for path in folder.iterdir()] == ["state.pt"]
    assert checkpoint.read_state(folder)["progress"]["step"] == writes[1]
    [resumed] = train(trainer(), w, one, folder="a")
    assert resumed.loss == whole.loss


def test_the_record_of_a_resumed_run_counts_its_time_once(train):
    fuse = Fuse(torch.nn.CrossEntropyLoss())
    w, made, one = toys.workload(loss_fn=fuse), trainer(), toys.run(1600)
    [whole] = train(made, w, one)
    fuse.left = 60
    with pytest.raises(Killed):
        train(made, w, one, folder="a")
    [resumed] = train(made, w, one, folder="a")
    assert resumed.seconds > 0
    assert attrs.evolve(resumed, seconds=0, metrics={}) == attrs.evolve(whole, seconds=0, metrics={})


def test_a_file_that_may_grow_no_further_is_a_full_disk(train, tmp_path):
    """The same with the operating system's own error: a process that may write no file as large as a checkpoint."""
    import subprocess
    import sys
    from pathlib import Path

    code = """
import resource, signal, sys, toys
from flops_fit_accelerate import AccelerateTrainer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
trainer = AccelerateTrainer(lr=1e-2, batch_size=16, checkpoint_tokens=160)
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
[record] = toys.train(trainer, toys.workload(), [toys.run(640)], sys.argv[1])
print(record.status, record.message)
print([path.name for path in __import__("pathlib").Path(sys.argv[1]).rglob("checkpoint/*")])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a")],
        cwd=Path(toys.__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("failed StoreError"), done.stdout + done.stderr
    assert "since is lost" in done.stdout
    assert done.stdout.splitlines()[1] == "[]"
    [record] = train(trainer(), toys.workload(), toys.run(640), folder="a")
    assert record.status == "done"

"""Trackers: what is read back from TensorBoard's event files is what was trained; what the others are told."""

import time

import accelerate.tracking
import pytest
import torch
import toys
from accelerate.tracking import GeneralTracker, on_main_process
from accelerate.utils import LoggerType
from test_resume import Fuse, Killed

from flops_fit_accelerate import AccelerateTrainer

pytestmark = pytest.mark.filterwarnings("ignore")  # tensorboard's own


class Recorder(GeneralTracker):
    """Remembers what it is told."""

    name, requires_logging_directory = "recorder", False

    def __init__(self, project="", **options):
        super().__init__()
        self.told = [(project, options)]

    @property
    def tracker(self):
        return self

    @on_main_process
    def store_init_configuration(self, values):
        self.told.append(("N", values["N"]))

    @on_main_process
    def log(self, values, step=None, **_):
        self.told.append((step, values))

    @on_main_process
    def finish(self):
        self.told.append("finished")


def trainer(log_with, **options):
    settings = {"lr": 1e-2, "batch_size": 16, "log_with": log_with, "eval_share": 1.0}
    return AccelerateTrainer(**settings | options)


def events(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder))
    found.Reload()
    return found


def logged(root, record, name="loss"):
    return [(e.step, e.value) for e in events(root / "trackers" / record.run.run_id).Scalars(name)]


def curve(record):
    return [(p.n_tokens, pytest.approx(p.loss)) for p in record.curve]


def test_tensorboard_holds_one_run_for_each_run(train, tmp_path):
    runs = [toys.run(640), toys.run(640, seed=1)]
    for record in train(trainer("tensorboard"), toys.workload(), *runs, folder="a"):
        assert logged(tmp_path / "a", record) == curve(record)
        assert logged(tmp_path / "a", record, "eval_loss")[-1] == (640, pytest.approx(record.loss))
        folder = tmp_path / "a" / "trackers" / record.run.run_id
        rates = [events(folder).Scalars(f"{name}_per_second")[0].value for name in ("tokens", "flops")]
        assert rates[1] == pytest.approx(100 * rates[0])
        text = "".join(path.read_text() for path in folder.rglob("hparams.yml"))
        for name in ("N: 100", "D: 640", "C: 64000"):
            assert name in text


@pytest.mark.parametrize("checkpoint_tokens", [400, None])
def test_a_run_that_goes_on_shows_every_step_once(train, tmp_path, checkpoint_tokens):
    """From a checkpoint in its middle, and from its beginning."""
    fuse = Fuse(torch.nn.CrossEntropyLoss())
    w = toys.workload(loss_fn=fuse, eval_dataset=toys.points())
    how = trainer("tensorboard", checkpoint_tokens=checkpoint_tokens, eval_share=0.0)
    fuse.left = 50
    with pytest.raises(Killed):
        train(how, w, toys.run(1600), folder="a")
    time.sleep(1)  # event files are read in the order of their names, which hold the second
    [record] = train(how, w, toys.run(1600), folder="a")
    assert logged(tmp_path / "a", record) == curve(record)


def test_beside_other_trackers_every_run_keeps_its_folder(train, tmp_path):
    other, runs = Recorder(), [toys.run(160), toys.run(160, seed=1)]
    for record in train(trainer(["tensorboard", other]), toys.workload(), *runs, folder="a"):
        assert logged(tmp_path / "a", record) == curve(record)
    assert [item for item in other.told if item == "finished"] == ["finished"] * 2
    assert [item for item in other.told if item[0] == "N"] == [("N", 100)] * 2


def test_a_run_that_raises_is_closed(train):
    other = Recorder()
    fuse = Fuse(torch.nn.CrossEntropyLoss(), RuntimeError("boom"))
    fuse.left = 14
    [record] = train(trainer(other), toys.workload(loss_fn=fuse), toys.run(640))
    assert (record.status, other.told[-1]) == ("failed", "finished")


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_wandb_and_trackio_are_told_which_run_it_is(train, monkeypatch, name):
    made = []

    def recorder(*arguments, **options):
        made.append(Recorder(*arguments, **options))
        return made[-1]

    recorder.requires_logging_directory = False
    monkeypatch.setitem(accelerate.tracking.LOGGER_TYPE_TO_CLASS, name, recorder)
    monkeypatch.setattr(accelerate.tracking, "get_available_trackers", lambda: [LoggerType(name)])
    runs = [toys.run(160, study="s"), toys.run(160, study="s", hparams={"lr": 0.1})]
    train(trainer(name), toys.workload(), *runs)
    (first, a), (second, b) = (tracker.told[0] for tracker in made)
    assert first == second == "flops-fit"
    assert (a["group"], a["resume"]) == ("s", "allow")
    assert a["name"].startswith("Mlp-8-D160-seed0-")
    assert a["name"] != b["name"]
    assert (a.get("id"), b.get("id")) == ((runs[0].run_id, runs[1].run_id) if name == "wandb" else (None, None))

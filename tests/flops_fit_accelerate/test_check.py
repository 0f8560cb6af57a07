"""What cannot be trained is refused before anything is, with what to do."""

import pytest
import torch
import toys
from accelerate import tracking
from accelerate.utils import LoggerType
from torch import nn
from torch.utils.data import TensorDataset

from flops_fit_accelerate import AccelerateTrainer
from flops_fit_core.data import Workload
from flops_fit_core.errors import FlopsFitError, InputError, InputTypeError, TrainingError
from flops_fit_core.probe import SampleUnits

GOOD = toys.workload()


def workload(**changes):
    """An unchecked workload, as a foreign pipeline might hand it over."""
    fields = {
        "name": "w", "model_cls": toys.Mlp, "size_param": "width", "dataset": toys.points(), "loss_fn": nn.CrossEntropyLoss(),
        "data_unit": "points", "units": SampleUnits(), "example": GOOD.example,
    }  # fmt: skip
    return Workload(**fields | changes)


def check(trainer=None, runs=None, **changes):
    (trainer or AccelerateTrainer()).check(workload(**changes), runs or [toys.run()])


class NoModule:
    def __init__(self, width):
        pass

    def num_params(self):
        return 1


def frozen(width):
    model = toys.Mlp(width)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


def test_what_can_be_trained_passes_and_draws_no_random_numbers():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    check()
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"loss_fn": nn.CrossEntropyLoss}, InputTypeError, "instance"),
        ({"loss_fn": 3}, InputTypeError, "not callable"),
        ({"loss_fn": lambda outputs: outputs.sum()}, InputTypeError, "outputs, targets"),
        ({"loss_fn": nn.CrossEntropyLoss(reduction="none")}, TrainingError, "scalar"),
        ({"loss_fn": lambda o, t: nn.functional.cross_entropy(o, t).detach()}, TrainingError, "no gradient"),
        ({"loss_fn": lambda o, t: nn.functional.cross_entropy(o, t).item()}, TrainingError, "scalar tensor"),
        ({"loss_fn": lambda o, t: nn.functional.mse_loss(o, t)}, TrainingError, "cannot be trained"),
        ({"model_cls": frozen}, TrainingError, "no gradient"),
        ({"model_cls": NoModule}, InputTypeError, "torch.nn.Module"),
        ({"dataset": None}, InputTypeError, "dataset=None"),
        ({"dataset": [1, 2]}, InputTypeError, "list"),
        ({"dataset": iter([(1, 2)])}, InputTypeError, "one-shot iterator"),
        ({"dataset": TensorDataset(torch.zeros(0, 6))}, InputError, "empty"),
        ({"dataset": toys.points(20)}, InputError, "one batch of 32"),
        ({"dataset": toys.Reread(toys.points(40))}, InputError, "eval_dataset"),
        ({"eval_dataset": {}}, InputError, "no held-out set"),
        ({"eval_dataset": {"val": TensorDataset(torch.zeros(0, 6))}}, InputError, "'val'"),
        ({"optimizer": lambda model, lr, betas, weight_decay: None}, InputTypeError, "torch.optim.Optimizer"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(changes, error, words):
    with pytest.raises(error, match=words) as caught:
        check(**changes)
    assert isinstance(caught.value, FlopsFitError)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lr": lambda run: -1.0}, "lr is -1"),
        ({"batch_size": lambda run: 0}, "batch_size"),
        ({"mixed_precision": "fp16"}, "GPU"),
        ({"accumulate": 33}, "batch of 32 .*accumulate=33 micro-batches on 1 process:.* smaller accumulate"),
        ({"lr": lambda run: run.width}, "lr, a function of the run, raised AttributeError: .*'width'.* size 8 .*n_params"),
        ({"lr": lambda run: None}, "lr is None .* positive"),
        ({"betas": lambda run: 0.9}, r"betas is 0.9 .* size 8"),
        ({"betas": (0.9, 1.5)}, r"betas=\(0.9, 1.5\) must be two numbers"),
        ({"warmup": 2.0}, "warmup=2.0 must be a number from 0 to 1"),
        ({"cooldown": 3.0}, "cooldown=3.0 must be a number from 0 to 1"),
        ({"final_lr": 1.5}, "final_lr=1.5"),
    ],
)  # fmt: skip
def test_a_recipe_that_makes_no_sense_is_refused(options, words):
    """As the trainer's own option, and for one run of the sweep."""
    if "mixed_precision" in options and torch.cuda.is_available():
        pytest.skip("fp16 works here")
    with pytest.raises((TrainingError, InputError), match=words):
        check(AccelerateTrainer(**options))
    with pytest.raises((TrainingError, InputError), match=words):
        check(runs=[toys.run(), toys.run(hparams=options)])


def test_a_tracker_that_cannot_log_is_refused(monkeypatch):
    """A typo, a class, a tracker whose package is missing; alone and beside one that can."""
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: [LoggerType.TENSORBOARD])
    for name, words in {
        "tensorbord": "'tensorbord' is no tracker .* Did you mean 'tensorboard'",
        "wandb": "'wandb' needs a package .* pip install wandb.* Installed: 'tensorboard'",
        tracking.GeneralTracker: "is no tracker",
    }.items():
        for log_with in (name, ["tensorboard", name]):
            with pytest.raises(InputError, match=words):
                check(AccelerateTrainer(log_with=log_with))


@pytest.mark.parametrize("log_with", ["tensorboard", LoggerType.TENSORBOARD, "all", ["mine", "tensorboard"]])
def test_a_tracker_that_can_log_passes(monkeypatch, log_with):
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: [LoggerType.TENSORBOARD])
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "mine", tracking.GeneralTracker)
    check(AccelerateTrainer(log_with=log_with))

"""Every wrong input is refused before training, naming value, reason and fix; nothing is written."""

import math
import os

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, IterableDataset, TensorDataset  # noqa: E402

import flops_fit  # noqa: E402

BUDGETS = [1e7, 3e7, 1e8]


class MLP(nn.Module):
    def __init__(self, width=8, depth=1):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, x):
        return self.layers(x).squeeze(-1)

    def num_params(self):
        return sum(p.numel() for p in self.parameters())


def data(n=256):
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, x.sum(1))


def ask(tmp_path, **changes):
    arguments = {
        "model_cls": MLP, "model_size_param": "width", "dataset": data(), "loss_fn": nn.MSELoss(),
        "compute_budgets": BUDGETS, "data_unit": "samples", "output_dir": tmp_path / "out", "fitter": "surface",
    }  # fmt: skip
    return flops_fit.find_optimal(**{**arguments, **changes})


class NoCount(MLP):
    num_params = None


class ZeroCount(MLP):
    def num_params(self):
        return 0


class WordCount(MLP):
    def num_params(self):
        return "many"


class Stream(IterableDataset):
    def __iter__(self):
        return iter(())


def half(outputs):
    return outputs.mean()


def vector(outputs, targets):
    return (outputs - targets) ** 2


def detached(outputs, targets):
    return ((outputs - targets) ** 2).mean().detach()


BAD = {
    "no num_params": ({"model_cls": NoCount}, TypeError, "num_params"),
    "num_params 0": ({"model_cls": ZeroCount}, ValueError, "returned 0"),
    "num_params a word": ({"model_cls": WordCount}, TypeError, "'many'"),
    "no such size parameter": ({"model_size_param": "widht"}, ValueError, "Did you mean 'width'"),
    "size parameter in kwargs": ({"model_kwargs": {"width": 8}}, ValueError, "model_kwargs holds 'width'"),
    "unknown model argument": ({"model_kwargs": {"dept": 8}}, ValueError, "Did you mean 'depth'"),
    "a model for its class": ({"model_cls": MLP()}, TypeError, "give the class itself"),
    "a loss class": ({"loss_fn": nn.MSELoss}, TypeError, r"loss_fn=MSELoss\(\)"),
    "a loss that is a word": ({"loss_fn": "mse"}, TypeError, "not callable"),
    "a loss of one argument": ({"loss_fn": half}, TypeError, "outputs, targets"),
    "a loss that is a vector": ({"loss_fn": vector}, ValueError, "scalar"),
    "a loss that is a sum": ({"loss_fn": nn.MSELoss(reduction="sum")}, ValueError, "reduction='mean'"),
    "a loss without gradient": ({"loss_fn": detached}, ValueError, "no gradient"),
    "no loss": ({"loss_fn": None}, ValueError, "loss_fn=None"),
    "a list as data": ({"dataset": [1, 2]}, TypeError, "TensorDataset"),
    "no data": ({"dataset": None}, TypeError, "dataset=None"),
    "a data set class": ({"dataset": Stream}, TypeError, "instance"),
    "empty data": ({"dataset": data(0)}, ValueError, "empty"),
    "an empty stream": ({"dataset": Stream()}, ValueError, "empty"),
    "data shorter than a batch": ({"dataset": data(9)}, ValueError, "9 samples"),
    "a one-shot iterator": ({"dataset": iter(data())}, TypeError, "one-shot"),
    "no budgets": ({"compute_budgets": None}, TypeError, "compute_budgets"),
    "empty budgets": ({"compute_budgets": []}, ValueError, "empty"),
    "a scalar budget": ({"compute_budgets": 1e8}, TypeError, "not a list"),
    "a negative budget": ({"compute_budgets": [1e7, -1e8]}, ValueError, "-1"),
    "a zero budget": ({"compute_budgets": [1e7, 0]}, ValueError, "positive"),
    "a NaN budget": ({"compute_budgets": [1e7, math.nan]}, ValueError, "nan"),
    "a word as budget": ({"compute_budgets": ["1e8", 1e9]}, TypeError, "'1e8'"),
    "a budget twice": ({"compute_budgets": [1e8, 1e8]}, ValueError, "more than once"),
    "one budget": ({"compute_budgets": [1e8]}, ValueError, "at least two"),
    "few sizes": ({"sizes": [8, 16, 24]}, ValueError, "4 or more"),
    "a size twice": ({"sizes": [8, 16, 16, 24]}, ValueError, "more than once"),
    "no unit": ({"data_unit": None}, ValueError, "data_unit="),
    "unknown planner": ({"planner": "isoflopp"}, LookupError, "Did you mean 'isoflop'"),
    "unknown mode": ({"mode": "moc"}, ValueError, "'mock'"),
    "bad seed": ({"seeds": [-1]}, ValueError, "-1"),
    "no seeds": ({"seeds": ()}, ValueError, "at least one"),
    "workload and model": ({"workload": "gpt"}, ValueError, "one or the other"),
    "model arguments a list": ({"model_kwargs": [8]}, TypeError, "not a dict"),
    "an optimizer class": ({"optimizer": torch.optim.SGD}, TypeError, "optimizer="),
    "a collation that is a word": ({"collate_fn": "stack"}, TypeError, "collate_fn='stack'"),
    "no folder": ({"output_dir": None}, TypeError, "output_dir=None"),
    "recipe axis a number": ({"hparams": {"lr": 1e-3}}, TypeError, "not a list"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_and_nothing_is_written(case, tmp_path):
    changes, kind, words = BAD[case]
    with pytest.raises(flops_fit.FlopsFitError, match=words) as caught:
        ask(tmp_path, **changes)
    assert isinstance(caught.value, kind)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_keyword_is_a_type_error(tmp_path):
    with pytest.raises(TypeError, match="budgets"):
        ask(tmp_path, budgets=[1e8])


def test_a_budget_with_too_few_usable_sizes_says_which_failed_why(tmp_path):
    class Even(MLP):
        def __init__(self, width):
            if width not in (8, 16):
                raise ValueError(f"only 8 and 16, not {width}")
            super().__init__(width)

    with pytest.raises(flops_fit.FlopsFitError, match="only 8 and 16"):
        ask(tmp_path, model_cls=Even, sizes=[8, 16, 24, 32])
    assert list(tmp_path.iterdir()) == []


def test_numpy_integers_are_numbers(tmp_path):
    class Count(MLP):
        def num_params(self):
            return np.int64(super().num_params())

    plan = ask(tmp_path, model_cls=Count, train=False, seeds=np.arange(2), sizes=np.array([4, 8, 16, 32]))
    assert len(plan) == 3 * 4 * 2
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_that_is_a_file(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(flops_fit.FlopsFitError, match="is a file"):
        ask(tmp_path)
    assert (tmp_path / "out").read_text() == "mine"


def test_an_output_folder_that_holds_something_else(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(flops_fit.FlopsFitError, match=r"thesis\.tex"):
        ask(tmp_path)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(flops_fit.FlopsFitError, match="not writable"):
        ask(tmp_path)


def test_a_loader_shorter_than_one_batch(tmp_path):
    with pytest.raises(flops_fit.FlopsFitError, match="fewer than one batch of 512"):
        ask(tmp_path, dataset=DataLoader(data(), batch_size=512))

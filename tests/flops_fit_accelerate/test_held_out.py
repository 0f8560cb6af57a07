"""The held-out part of a stream: its stated size is what was read, in pieces enough for a standard error."""

import pytest
import torch
import toys
from torch.utils.data import DataLoader

from flops_fit_accelerate import AccelerateTrainer


def trainer(**options):
    return AccelerateTrainer(**{"lr": 1e-2, "batch_size": 16, "keep_weights": True, "eval_share": 1.0} | options)


STREAMS = {
    "stream": lambda n: toys.Reread(toys.points(n)),
    "loader of a stream": lambda n: DataLoader(toys.Reread(toys.points(n)), batch_size=16),
}


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize(("n", "wanted", "read"), [(100, None, 100), (100, 2048, 100), (100, 16, 16), (10, 2048, 10)])
def test_the_number_that_was_read_is_recorded(train, tmp_path, kind, n, wanted, read):
    w = toys.workload(eval_dataset=STREAMS[kind](n))
    [record] = train(trainer(eval_samples=wanted), w, toys.run(1600), folder="a")
    assert record.recipe["eval_samples"] == record.metrics["eval_units"] == read
    assert any(point.eval_loss is not None for point in record.curve)
    model = toys.Mlp()
    model.load_state_dict(toys.weights(tmp_path / "a", record.run))
    inputs, targets = toys.points(n).tensors
    with torch.no_grad():
        each = torch.nn.functional.cross_entropy(model.eval()(inputs[:read]), targets[:read], reduction="none")
    assert record.loss == pytest.approx(float(each.mean()))
    assert record.loss_stderr == pytest.approx(float(each.std()) / read**0.5, rel=0.5)


def test_what_a_stream_sets_aside_is_as_large_as_said(train):
    w = toys.workload(dataset=toys.Reread(toys.points(200)))
    [record] = train(trainer(eval_samples=40), w, toys.run(640))
    assert record.recipe["eval_samples"] == record.metrics["eval_units"] == 40
    assert record.loss_stderr > 0

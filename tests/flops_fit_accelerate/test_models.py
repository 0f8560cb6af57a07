"""Batches and models of other people: dicts, tuples, Hugging Face, tied weights, buffers."""

import functools

import attrs
import pytest
import torch
import toys
from safetensors.torch import load_model
from torch import nn
from torch.utils.data import DataLoader, Dataset

from flops_fit_accelerate import AccelerateTrainer
from flops_fit_accelerate.targets import targets_of
from flops_fit_core.store import Workspace


def trainer(**options):
    return AccelerateTrainer(**{"lr": 1e-2, "batch_size": 8, "keep_weights": True, "eval_samples": 16} | options)


class Dicts(Dataset):
    """Samples as dicts, of unequal length where they are ragged."""

    def __init__(self, ragged=False, names=("input_ids", "labels")):
        self.data, self.ragged, self.names = toys.Sentences(80, masked=False), ragged, names

    def __len__(self):
        return 80

    def __getitem__(self, i):
        x, _ = self.data[i]
        x = x[: 4 + i % 5] if self.ragged else x
        return dict(zip(self.names, (x, x.clone()), strict=True))


def pad(samples):
    """A collation with masked targets where a sample is shorter."""
    x = nn.utils.rnn.pad_sequence([s["input_ids"] for s in samples], batch_first=True)
    y = nn.utils.rnn.pad_sequence([s["labels"] for s in samples], batch_first=True, padding_value=-100)
    return {"input_ids": x, "labels": y}


@pytest.mark.parametrize("ragged", [False, True])
def test_a_hugging_face_model_brings_its_own_loss(train, tmp_path, ragged):
    pytest.importorskip("transformers")
    hugging_face = functools.partial(toys.gpt2, dropout=0.1)
    data = DataLoader(Dicts(ragged), batch_size=8, shuffle=True, collate_fn=pad)
    w = toys.workload(toys.gpt2, data, batch_size=8)
    w = attrs.evolve(w, model_cls=hugging_face)
    made, one = trainer(), toys.run(2000)
    made.check(w, [one])
    [record] = train(made, w, one, folder="a")
    assert (record.status, record.message) == ("done", "")
    assert record.loss < record.curve[0].loss
    assert 2000 <= record.n_tokens < 2064
    model = hugging_face(8)  # dropout, tied weights and buffers came back
    load_model(model, str(Workspace(tmp_path / "a").run_dir(one) / "weights.safetensors"))
    assert model.lm_head.weight is model.transformer.wte.weight


def test_labels_that_a_model_shifts_weigh_as_many_as_it_predicts(train, tmp_path):
    """The first label of a sequence is no target: the loss is that of each predicted token, however batches are cut."""
    pytest.importorskip("transformers")
    w, one = toys.workload(toys.gpt2, toys.Ragged(), eval_dataset=toys.Ragged(40)), toys.run(900)
    whole, cut = (
        train(trainer(lr=1e-3, batch_size=16, accumulate=n, eval_samples=None), w, one, folder=str(n))[0]
        for n in (1, 4)
    )
    assert len(whole.curve) >= 10
    for a, b in zip(whole.curve[:10], cut.curve[:10], strict=True):
        assert b.loss == pytest.approx(a.loss, rel=1e-6)
    model = toys.gpt2(8).eval()
    load_model(model, str(Workspace(tmp_path / "1").run_dir(one) / "weights.safetensors"))
    batch = torch.utils.data.default_collate(list(map(toys.Ragged(40).__getitem__, range(40))))
    with torch.no_grad():
        logits = model(batch["input_ids"]).logits
    by_hand = toys.token_loss(logits[:, :-1], batch["labels"][:, 1:])
    assert whole.loss == pytest.approx(by_hand.item(), rel=1e-6)
    assert whole.metrics["eval_units"] == int((batch["labels"][:, 1:] != -100).sum())


class Unshifted(toys.Lm):
    """A model that returns its own loss, of every label."""

    def forward(self, input_ids, labels):
        return {"loss": toys.token_loss(super().forward(input_ids), labels)}


class Maskless(toys.Lm):
    """A model that returns its own loss and knows no masks."""

    def forward(self, input_ids, labels):
        logits = super().forward(input_ids).log_softmax(-1)
        return {"loss": -logits.gather(-1, labels[..., None]).mean()}


@pytest.mark.parametrize(
    ("model", "options", "targets"),
    [
        (Unshifted, {}, "units"),
        (Maskless, {}, "units"),
        (toys.gpt2, {}, "one less each"),
        (toys.gpt2, {"data_unit": "sequences"}, "one less each"),
        (toys.gpt2, {"units": len}, "units"),
    ],
)
def test_what_the_loss_is_a_mean_over_is_asked_of_the_model(model, options, targets):
    if model is toys.gpt2:
        pytest.importorskip("transformers")
    w = toys.workload(model, toys.Ragged(), loss_fn=None, **options)
    made = w.build(8)
    before = torch.get_rng_state()
    count = targets_of(w, made)
    assert torch.equal(torch.get_rng_state(), before)
    assert made.training
    shifted = int((w.example["labels"][:, 1:] != -100).sum())
    assert count(w.example) == (w.units(w.example) if targets == "units" else shifted)


class OnDicts(toys.Lm):
    def forward(self, words):
        return {"logits": super().forward(words)}


def test_dict_batches_and_dict_outputs_with_a_loss_of_one_s_own(train):
    def loss_fn(outputs, targets):
        return toys.token_loss(outputs["logits"], targets)

    data = Dicts(names=("words", "targets"))
    w = toys.workload(OnDicts, data, batch_size=8, loss_fn=loss_fn)
    [record] = train(trainer(), w, toys.run(2000))
    assert (record.status, record.n_tokens) == ("done", 2048)  # whole batches of 64 tokens
    [cut] = train(trainer(accumulate=2), w, toys.run(2000))
    assert cut.loss == pytest.approx(record.loss, abs=1e-4)


def test_several_inputs_as_a_tuple(train):
    class Two(toys.Counted):
        def __init__(self, width):
            super().__init__()
            self.a, self.b = nn.Linear(6, width), nn.Linear(width, 4)

        def forward(self, x, scale):
            return self.b(torch.tanh(self.a(x) * scale[:, None]))

    class Pairs(Dataset):
        def __init__(self):
            self.data = toys.points(80)

        def __len__(self):
            return 80

        def __getitem__(self, i):
            x, y = self.data[i]
            return {"x": x, "scale": torch.tensor(1.0), "labels": y}

    w = toys.workload(Two, Pairs(), batch_size=8)
    [record] = train(trainer(), w, toys.run(320))
    assert record.status == "done"


def test_frozen_parameters_stay(train, tmp_path):
    class Half(toys.Plain):
        def __init__(self, width):
            super().__init__(width)
            nn.init.ones_(self.net[0].weight)
            self.net[0].weight.requires_grad_(False)

    w, one = toys.workload(Half, batch_size=8), toys.run(320)
    [record] = train(trainer(), w, one, folder="a")
    assert record.status == "done"
    assert (toys.weights(tmp_path / "a", one)["net.0.weight"] == 1).all()

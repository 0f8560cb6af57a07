"""Batches and models of other people: dicts, tuples, Hugging Face, tied weights, buffers."""

import attrs
import pytest
import torch
import toys
from safetensors.torch import load_model
from torch import nn
from torch.utils.data import DataLoader, Dataset

from flops_fit_accelerate import AccelerateTrainer
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


def hugging_face(width):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=16, n_positions=16, n_embd=width, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    model = transformers.GPT2LMHeadModel(config)
    model.num_params = model.num_parameters
    return model


@pytest.mark.parametrize("ragged", [False, True])
def test_a_hugging_face_model_brings_its_own_loss(train, tmp_path, ragged):
    data = DataLoader(Dicts(ragged), batch_size=8, shuffle=True, collate_fn=pad)
    w = toys.workload(toys.Lm, data, batch_size=8, loss_fn=None)
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

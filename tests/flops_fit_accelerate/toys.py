"""Tiny models, data and runs for the tests of the trainer."""

import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import Dataset, IterableDataset

from flops_fit_core.data import Run, Workload
from flops_fit_core.probe import prepare
from flops_fit_core.store import Workspace
from flops_fit_core.training import train_group


class Counted(nn.Module):
    def num_params(self):
        return sum(p.numel() for p in self.parameters())


class Mlp(Counted):
    """Dropout and batch norm: training draws random numbers and keeps running statistics."""

    def __init__(self, width=8, classes=4):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(6, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, classes)
        )

    def forward(self, x):
        return self.net(x)


class Plain(Counted):
    """No dropout, no batch norm: the same function on one process and on several."""

    def __init__(self, width=8, classes=4):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, classes))

    def forward(self, x):
        return self.net(x)


class Lm(Counted):
    """A one-layer language model with tied weights."""

    def __init__(self, width=8, vocabulary=16):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embed.weight, std=0.2)
        self.mix = nn.Linear(width, width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        x = self.embed(tokens)
        x = x + torch.tanh(self.mix(x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]))
        return self.head(x)


class CountingLm(Lm):
    """A language model whose outputs depend on a buffer that no state_dict holds."""

    def __init__(self, width=8, vocabulary=16):
        super().__init__(width, vocabulary)
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, tokens):
        self.calls += 1
        return super().forward(tokens) * (1 + 1e-3 * torch.sin(self.calls))


def token_loss(logits, targets):
    return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)


def points(n=400, classes=4, seed=0):
    """Points in six dimensions, labelled by a random linear map."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=generator)
    return torch.utils.data.TensorDataset(x, (x @ torch.randn(6, classes, generator=generator)).argmax(1))


class Sentences(Dataset):
    """Token sequences with a pattern; some targets are masked, more of them in later samples."""

    def __init__(self, n=200, length=8, masked=True):
        generator = torch.Generator().manual_seed(1)
        start = torch.randint(0, 16, (n, 1), generator=generator)
        step = torch.randint(1, 4, (n, 1), generator=generator)
        tokens = (start + step * torch.arange(length + 1)) % 16
        self.x, self.y = tokens[:, :-1], tokens[:, 1:].clone()
        if masked:
            for i in range(n):
                self.y[i, : i % (length - 1)] = -100

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


class Ragged(Dataset):
    """Token sequences as Hugging Face has them, `labels` a copy of `input_ids` with more or less of a prompt masked."""

    def __init__(self, n=200, empty=()):
        self.data, self.empty = Sentences(n, masked=False), empty

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        x, _ = self.data[i]
        labels = x.clone()
        labels[: len(x) if i in self.empty else i % 7] = -100
        return {"input_ids": x, "labels": labels}


def gpt2(width, dropout=0.0):
    """A Hugging Face model, which returns its own loss and shifts labels itself."""
    from transformers import GPT2Config, GPT2LMHeadModel

    drop = dict.fromkeys(("attn_pdrop", "resid_pdrop", "embd_pdrop"), dropout)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=16, n_positions=16, n_embd=width, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0, **drop
        )
    )
    model.num_params = model.num_parameters
    return model


class Reread(IterableDataset):
    """A stream over a map-style data set, the same at every pass."""

    def __init__(self, data, endless=False):
        self.data, self.endless = data, endless

    def __iter__(self):
        while True:
            for i in range(len(self.data)):
                yield self.data[i]
            if not self.endless:
                return


class Noisy(Dataset):
    """Augmentation: every sample draws from the generators of Python, NumPy and torch."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        import random

        import numpy as np

        x, y = self.data[i]
        return x + 0.1 * torch.randn(6) + random.random() * 0.1 + float(np.random.rand()) * 0.1, y


def workload(model=Mlp, dataset=None, batch_size=16, **options):
    """A prepared workload."""
    tokens = model is gpt2 or issubclass(model, Lm)
    options.setdefault("loss_fn", None if model is gpt2 else token_loss if tokens else nn.CrossEntropyLoss())
    options.setdefault("data_unit", "tokens" if tokens else "points")
    made = Workload(
        name=model.__name__, model_cls=model, size_param=options.pop("size_param", "width"),
        dataset=points() if dataset is None else dataset, **options,
    )  # fmt: skip
    return prepare(made, batch_size)[0]


def run(n_tokens=640, size=8, **options):
    """A run of `n_tokens` units, 100 FLOPs each."""
    return Run(budget=100.0 * n_tokens, size=size, n_params=100, n_tokens=n_tokens, flops=100.0 * n_tokens, **options)


def train(trainer, prepared, runs, root):
    """Train runs as the pipeline does; return their records."""
    workspace = Workspace(root)
    records = {}
    for group in trainer.groups(runs):
        for record in train_group(trainer, group, prepared, workspace):
            records[record.run.run_id] = record
    return [records[one.run_id] for one in runs]


def weights(root, one):
    return load_file(Workspace(root).run_dir(one) / "weights.safetensors")


def equal_weights(root_a, root_b, one):
    a, b = weights(root_a, one), weights(root_b, one)
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)

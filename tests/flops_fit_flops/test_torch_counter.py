"""Counts against hand counts of matrix products: ratio 1.000, whatever way the model has to be run."""

import functools
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812
from torch.utils.checkpoint import checkpoint  # noqa: E402

from flops_fit_core.data import Workload  # noqa: E402
from flops_fit_core.errors import CountError, InputError, TrainingError  # noqa: E402
from flops_fit_flops import TorchFlopCounter  # noqa: E402

BATCH, TIME, VOCABULARY = 4, 16, 50


class Model(nn.Module):
    def num_params(self):
        return sum(p.numel() for p in self.parameters())


def workload(model_cls, example, loss_fn=F.cross_entropy, units=None, **model_kwargs):
    return Workload(
        name=model_cls.__name__,
        model_cls=model_cls,
        size_param="size",
        model_kwargs=model_kwargs,
        data_unit="tokens",
        units=units or (lambda batch: len(batch[0])),
        loss_fn=loss_fn,
        example=example,
    )


def images():
    return torch.rand(BATCH, 1, 28, 28), torch.randint(0, 8, (BATCH,))


def text_workload(model_cls, **model_kwargs):
    ids = torch.randint(0, VOCABULARY, (BATCH, TIME))
    loss = lambda outputs, targets: F.cross_entropy(outputs.flatten(0, 1), targets.flatten())  # noqa: E731
    return workload(model_cls, (ids, ids), loss, lambda batch: batch[0].numel(), **model_kwargs)


def count(the_workload, size=16):
    return TorchFlopCounter().count(the_workload, size)


class MLP(Model):
    def __init__(self, size):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(784, size), nn.ReLU(), nn.Linear(size, 10))

    def forward(self, x):
        return self.net(x)


MLP_FLOPS = 6 * (784 * 16 + 16 * 10)


class Block(nn.Module):
    def __init__(self, size, heads=4, causal=True):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.qkv, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.mlp = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size))

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, d))
        return x + self.mlp(self.norm2(x))


class GPT(Model):
    def __init__(self, size, layers=2, tied=False, checkpointing=None):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, size), nn.Embedding(TIME, size)
        self.blocks = nn.ModuleList(Block(size) for _ in range(layers))
        self.head = nn.Linear(size, VOCABULARY, bias=False)
        if tied:
            self.head.weight = self.tokens.weight
        self.checkpointing = checkpointing

    def forward(self, ids):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x) if self.checkpointing is None else checkpoint(block, x, **self.checkpointing)
        return self.head(x)


def gpt_flops(d, layers=2):
    """Weights once per token, scores and values of all TIME positions: one multiply-add = 2, times 3 for backward."""
    return 3 * 2 * (layers * (12 * d * d + 2 * TIME * d) + VOCABULARY * d)


def test_mlp():
    assert count(workload(MLP, images())).flops_per_token == MLP_FLOPS


def test_gpt_with_attention_in_full():
    assert count(text_workload(GPT)).flops_per_token == gpt_flops(16)


def test_flops_do_not_depend_on_how_many_samples_the_example_has():
    one, many = ((torch.zeros(n, TIME, dtype=torch.long),) * 2 for n in (1, 32))
    loss = lambda outputs, targets: F.cross_entropy(outputs.flatten(0, 1), targets.flatten())  # noqa: E731
    counts = [count(workload(GPT, example, loss, lambda b: b[0].numel())) for example in (one, many)]
    assert counts[0].flops_per_token == counts[1].flops_per_token


def test_vision_transformer():
    class ViT(Model):
        def __init__(self, size):
            super().__init__()
            self.patches = nn.Conv2d(1, size, 7, stride=7)
            self.cls = nn.Parameter(torch.zeros(1, 1, size))
            self.blocks = nn.Sequential(*(Block(size, causal=False) for _ in range(2)))
            self.head = nn.Linear(size, 10)

        def forward(self, x):
            x = self.patches(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1)
            return self.head(self.blocks(x)[:, 0])

    d, t = 16, 17
    hand = 6 * (16 * 49 * d + 2 * (t * 12 * d * d + 2 * t * t * d) + d * 10)
    assert count(workload(ViT, images())).flops_per_token == hand


def test_conv_net_with_groups_strides_and_transposition():
    class Net(Model):
        def __init__(self, size):
            super().__init__()
            self.net = nn.Sequential(
                nn.Conv2d(1, size, 3, padding=1),
                nn.BatchNorm2d(size),
                nn.ReLU(),
                nn.Conv2d(size, size, 3, padding=1, groups=size),
                nn.MaxPool2d(2),
                nn.Conv2d(size, 2 * size, 3, stride=2, padding=1, groups=2),
                nn.ConvTranspose2d(2 * size, size, 2, stride=2),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(size, 10),
            )

        def forward(self, x):
            return self.net(x)

    s = 16
    hand = 784 * 9 * s + 784 * 9 * s + 49 * 9 * (s // 2) * 2 * s + 49 * 4 * 2 * s * s + s * 10
    assert count(workload(Net, images())).flops_per_token == 6 * hand


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_nets(kind, gates):
    class Recurrent(Model):
        def __init__(self, size):
            super().__init__()
            self.table = nn.Embedding(VOCABULARY, size)
            self.rnn, self.head = kind(size, size, 2, batch_first=True), nn.Linear(size, VOCABULARY)

        def forward(self, ids):
            return self.head(self.rnn(self.table(ids))[0])

    assert count(text_workload(Recurrent)).flops_per_token == 6 * (2 * gates * 2 * 16 * 16 + 16 * VOCABULARY)


def test_products_with_vectors_and_einsum_count():
    class Products(Model):
        def __init__(self, size):
            super().__init__()
            self.w, self.v = nn.Parameter(torch.zeros(784, size)), nn.Parameter(torch.zeros(size))

        def forward(self, x):
            return torch.einsum("bchw,hwd->bd", x, self.w.view(28, 28, -1)) @ self.v

    example = (images()[0], torch.zeros(BATCH))
    assert count(workload(Products, example, F.mse_loss)).flops_per_token == 6 * (784 * 16 + 16)


def test_the_loss_is_counted_where_it_multiplies_matrices():
    weight = torch.ones(10, 7)
    loss = lambda outputs, targets: (outputs @ weight.to(outputs.device)).mean()  # noqa: E731
    assert count(workload(MLP, images(), loss)).flops_per_token == MLP_FLOPS + 6 * 70


class OwnLoss(Model):
    """As Hugging Face models are called: keyword arguments in, an output with .loss out."""

    def __init__(self, size):
        super().__init__()
        self.gpt = GPT(size)

    def forward(self, input_ids, labels=None):
        logits = self.gpt(input_ids)
        return {"loss": F.cross_entropy(logits.flatten(0, 1), labels.flatten()), "logits": logits}


def test_a_model_with_its_own_loss_and_a_dict_batch_of_numpy_arrays():
    ids = np.zeros((BATCH, TIME), dtype=np.int64)
    example = {"input_ids": ids, "labels": ids}
    the_workload = workload(OwnLoss, example, None, lambda batch: batch["labels"].size)
    assert count(the_workload).flops_per_token == gpt_flops(16)


@pytest.mark.parametrize("settings", [{"use_reentrant": True}, {"use_reentrant": False}])
def test_activation_checkpointing_adds_nothing(settings):
    assert count(text_workload(GPT, checkpointing=settings)).flops_per_token == gpt_flops(16)


def test_parts_without_gradient_count_once():
    class Teacher(MLP):
        def __init__(self, size):
            super().__init__(size)
            self.teacher = MLP(size).net

        def forward(self, x):
            with torch.no_grad():
                taught = self.teacher(x)
            return super().forward(x) + taught

    assert count(workload(Teacher, images())).flops_per_token == MLP_FLOPS + MLP_FLOPS / 3


def test_frozen_parameters_are_counted_as_autograd_runs_them():
    class Frozen(MLP):
        def __init__(self, size):
            super().__init__(size)
            self.net[1].requires_grad_(False)

    counted = count(workload(Frozen, images()))
    # the first layer runs forward only; the second needs the gradient of its weights and of nothing before it
    assert counted.flops_per_token == 2 * 784 * 16 + 4 * 16 * 10
    assert "frozen" in counted.convention


def test_a_gradient_of_ones_own_is_counted_as_it_runs():
    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return x @ w

        @staticmethod
        def backward(ctx, grad):
            x, w = ctx.saved_tensors
            return grad @ w.T, x.T @ grad

    class Own(MLP):
        def forward(self, x):
            return Product.apply(super().forward(x), torch.eye(10, device=x.device))

    assert count(workload(Own, images())).flops_per_token == MLP_FLOPS + 600


def test_parameters_all_and_without_look_up_tables():
    d = 16
    body = 2 * (12 * d * d + 13 * d)
    for tied, head in ((False, VOCABULARY * d), (True, 0)):
        counted = count(text_workload(GPT, tied=tied))
        assert counted.n_params == body + (VOCABULARY + TIME) * d + head
        assert counted.n_params_non_embedding == body + head


def test_a_table_that_is_no_embedding_module_is_seen_by_its_use():
    class Functional(Model):
        def __init__(self, size):
            super().__init__()
            self.table, self.head = nn.Parameter(torch.zeros(VOCABULARY, size)), nn.Linear(size, VOCABULARY)

        def forward(self, ids):
            return self.head(F.embedding(ids, self.table))

    assert count(text_workload(Functional)).n_params_non_embedding == 17 * VOCABULARY


# -- models that cannot live on the meta device


class LooksAtConstruction(MLP):
    def __init__(self, size):
        super().__init__(size)
        self.rates = [rate.item() for rate in torch.linspace(0, 0.1, 4)]


class StaysOnCPU(MLP):
    """Legacy constructors ignore the default device; the parameter is used twice to see that it stays one."""

    def __init__(self, size):
        super().__init__(size)
        self.legacy = nn.Parameter(torch.FloatTensor(10, 10).zero_())
        self.again = self.legacy

    def forward(self, x):
        return super().forward(x) @ self.legacy


class NamesItsDevice(MLP):
    def forward(self, x):
        return super().forward(x.cpu()) @ torch.eye(10, device="cpu")


class LooksAtData(MLP):
    def forward(self, x):
        return super().forward(x) if float(x.max()) <= 1 else super().forward(x).exp()


class LooksAtDataWithBatchNorm(LooksAtData):
    def __init__(self, size):
        super().__init__(size)
        self.net.insert(2, nn.BatchNorm1d(size))


class LooksAtDataAndAttends(LooksAtData):
    def forward(self, x):
        y = super().forward(x)[:, None, None, :]
        return F.scaled_dot_product_attention(y, y, y).flatten(1)


class LooksAtDataAndRecurs(LooksAtData):
    def __init__(self, size):
        super().__init__(size)
        self.rnn = nn.LSTM(10, 10, batch_first=True)

    def forward(self, x):
        return self.rnn(super().forward(x)[:, None, :])[0][:, 0]


@pytest.mark.parametrize(
    ("model_cls", "way", "hand"),
    [
        (LooksAtConstruction, "on meta", MLP_FLOPS),
        (StaysOnCPU, "on meta", MLP_FLOPS + 600),
        (NamesItsDevice, "on FakeTensor", MLP_FLOPS + 600),
        (LooksAtData, "on the CPU,", MLP_FLOPS),
        (LooksAtDataWithBatchNorm, "whole batch", MLP_FLOPS),
        (LooksAtDataAndAttends, "on the CPU,", MLP_FLOPS + 6 * 20),
        (LooksAtDataAndRecurs, "on the CPU,", MLP_FLOPS + 6 * 800),
    ],
)
def test_fallbacks_count_the_same(model_cls, way, hand):
    counted = count(workload(model_cls, images()))
    assert way in counted.convention
    assert counted.flops_per_token == hand
    assert counted.n_params == model_cls(16).num_params()


def test_a_real_run_counts_masked_and_whole_samples_alike():
    example = (torch.rand(4, 1, 28, 28), torch.tensor([1, -100, -100, 3]))
    units = lambda batch: int((batch[1] != -100).sum())  # noqa: E731
    on_meta, on_cpu = (count(workload(kind, example, F.cross_entropy, units)) for kind in (MLP, LooksAtData))
    assert on_meta.flops_per_token == on_cpu.flops_per_token == 2 * MLP_FLOPS


def test_counting_leaves_random_numbers_output_and_warnings_alone(capsys, recwarn):
    class Loud(LooksAtData):
        def __init__(self, size):
            super().__init__(size)
            print("number of parameters: 12345")

    example = images()
    before = torch.get_rng_state()
    count(workload(Loud, example))
    assert torch.equal(before, torch.get_rng_state())
    assert capsys.readouterr().out == ""
    assert not recwarn.list


# -- nothing counts as a quiet zero


def test_fourier_transforms_are_reported():
    class Fourier(MLP):
        def forward(self, x):
            return super().forward(torch.fft.fft2(x).real)

    with pytest.warns(UserWarning, match="_fft"):
        counted = count(workload(Fourier, images()))
    assert counted.uncounted_ops == ("aten._fft_c2c",)
    assert counted.flops_per_token == MLP_FLOPS


@functools.cache
def double_op():
    @torch.library.custom_op("somebody::double", mutates_args=())
    def double(x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    double.register_fake(lambda x: torch.empty_like(x))
    double.register_autograd(lambda ctx, grad: 2 * grad)
    return double


class Doubled(MLP):
    def forward(self, x):
        return double_op()(super().forward(x))


def test_custom_operations_are_reported_until_they_have_a_formula():
    with pytest.warns(UserWarning, match="register_flop_formula"):
        assert count(workload(Doubled, images())).uncounted_ops == ("somebody.double",)
    from torch.utils import flop_counter

    packet = torch.ops.somebody.double
    flop_counter.register_flop_formula(packet)(lambda x, **_: 1000 * math.prod(x))
    try:
        counted = count(workload(Doubled, images()))
    finally:
        del flop_counter.flop_registry[packet]
    assert counted.uncounted_ops == ()
    assert counted.flops_per_token == MLP_FLOPS + 1000 * 10  # its own gradient multiplies nothing


def test_attention_on_a_real_cpu_tensor_is_counted():
    class Inside(MLP):
        def forward(self, x):
            with torch.device("cpu"):
                q = torch.ones(1, 2, 8, 4)
                F.scaled_dot_product_attention(q, q, q)
            return super().forward(x)

    assert count(workload(Inside, images())).flops_per_token == MLP_FLOPS + 4 * 2 * 8 * 8 * 4 / BATCH


def test_attention_by_a_fused_kernel_of_the_models_choice_is_counted():
    from torch.nn.attention import SDPBackend, sdpa_kernel

    class Fused(LooksAtData):
        def forward(self, x):
            y = super().forward(x)[:, :8].reshape(len(x), 1, 2, 4)
            with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
                return F.scaled_dot_product_attention(y, y, y).flatten(1)

    counted = count(workload(Fused, images()))
    assert counted.uncounted_ops == ()
    assert counted.flops_per_token == MLP_FLOPS + 3 * 4 * 2 * 2 * 4


# -- what cannot be counted


def test_a_model_without_matrix_products_is_refused():
    class Scale(Model):
        def __init__(self, size):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(size))

        def forward(self, x):
            return self.scale[:10] * x.flatten(1)[:, :10]

    with pytest.raises(CountError, match="multiplies no matrices"):
        count(workload(Scale, images()))


def test_a_model_that_fails_says_why():
    class Broken(MLP):
        def __init__(self, size):
            super().__init__(size)
            self.net[3] = nn.Linear(size + 1, 10)

    with pytest.raises(CountError, match=r"cannot be multiplied \(4x16 and 17x10\)"):
        count(workload(Broken, images()))


def test_without_data_there_is_nothing_to_run():
    with pytest.raises(CountError, match="dataset="):
        count(workload(MLP, None))


@pytest.mark.parametrize(
    ("loss_fn", "error", "word"),
    [
        (lambda outputs, targets: outputs, TrainingError, "scalar"),
        (lambda outputs, targets: outputs.detach().sum(), TrainingError, "no gradient"),
        (lambda outputs, targets: outputs.sum().item(), TrainingError, "float"),
    ],
)
def test_unusable_losses_are_named(loss_fn, error, word):
    with pytest.raises(error, match=word):
        count(workload(MLP, images(), loss_fn))


def test_a_batch_without_targets_is_named():
    with pytest.raises(InputError, match="3 parts"):
        count(workload(MLP, (*images(), torch.zeros(BATCH))))


def test_a_size_is_counted_once_for_each_workload():
    built = []

    class Counting(MLP):
        def __init__(self, size):
            built.append(size)
            super().__init__(size)

    counter, first, second = TorchFlopCounter(), workload(Counting, images()), workload(Counting, images())
    assert counter.count(first, 16) is counter.count(first, np.int64(16))
    assert built == [16]
    counter.count(second, 16)
    assert built == [16, 16]


def test_autograd_does_run_a_backward_of_twice_the_forward():
    """Seen by torch's own counter: nothing in front of an embedding saves a gradient."""
    from torch.utils.flop_counter import FlopCounterMode

    the_workload = text_workload(GPT)
    ids, targets = the_workload.example
    with torch.device("meta"), FlopCounterMode(display=False) as theirs:
        the_workload.loss_fn(GPT(16)(ids.to("meta")), targets.to("meta")).backward()
    assert count(the_workload).flops_per_token == theirs.get_total_flops() / ids.numel()

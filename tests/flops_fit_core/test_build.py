import numpy as np
import pytest

from flops_fit_core.build import SizeRefusedError, build, n_params, stray_parameters
from flops_fit_core.data import Workload
from flops_fit_core.errors import InputError, InputTypeError


class Returns:
    def __init__(self, value):
        self.num_params = lambda: value


@pytest.mark.parametrize("good", [3, np.int64(3), np.int32(3), np.uint8(3), 3.0, np.float64(3)])
def test_whole_numbers_of_any_kind_are_n(good):
    n = n_params(Returns(good))
    assert n == 3
    assert type(n) is int


@pytest.mark.parametrize("bad", [0, -5, float("nan"), float("inf"), 2.5])
def test_n_must_be_a_positive_whole_number(bad):
    with pytest.raises(InputError, match=r"num_params\(\) returned"):
        n_params(Returns(bad))


@pytest.mark.parametrize("bad", ["12", None, [3], True, np.bool_(True), 1j])
def test_n_must_be_a_number(bad):
    with pytest.raises(InputTypeError, match=r"num_params\(\) returned"):
        n_params(Returns(bad))


def test_models_without_num_params_are_told_what_to_add():
    with pytest.raises(InputTypeError, match=r"def num_params\(self\)"):
        n_params(object())

    class Attribute:
        num_params = 12

    with pytest.raises(InputTypeError, match="must be a method"):
        n_params(Attribute())

    class Fails:
        def num_params(self):
            return self.missing

    with pytest.raises(InputError, match="AttributeError"):
        n_params(Fails())


def workload(model_cls):
    return Workload(name="m", model_cls=model_cls, size_param="size")


def test_a_refusal_is_the_constructors_own_words():
    def refuse(size):
        raise AssertionError(f"{size} does not fit\nat all")

    with pytest.raises(SizeRefusedError, match="AssertionError: 7 does not fit at all"):
        build(workload(refuse), 7)


torch = pytest.importorskip("torch")
nn = torch.nn


class Net(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.layer = nn.Linear(size, size)
        self.register_buffer("ones", torch.ones(size))


class Numbers(Net):
    def __init__(self, size):
        super().__init__(size)
        self.rates = torch.linspace(0, 1, 3).tolist()


class Legacy(Net):
    def __init__(self, size):
        super().__init__(size)
        self.legacy = nn.Parameter(torch.FloatTensor(size, size))
        self.tied = nn.Linear(size, size, bias=False)
        self.tied.weight = self.legacy


class Mirrored(Net):
    """Needs the numbers of its own parameter: it can only be made for real."""

    def __init__(self, size):
        super().__init__(size)
        self.scale = self.layer.weight.sum().item()


@pytest.mark.parametrize(("model_cls", "real"), [(Net, False), (Numbers, False), (Legacy, False), (Mirrored, True)])
def test_models_are_made_without_their_numbers_where_possible(model_cls, real):
    model, is_real = build(workload(model_cls), 8)
    assert is_real is real
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"cpu" if real else "meta"}
    numbers = [sum(p.numel() for p in m.parameters()) for m in (model, model_cls(8))]
    assert numbers[0] == numbers[1]
    assert nn.Linear(2, 2).weight.device.type == "cpu"


def test_strays_are_detected():
    with torch.device("meta"):
        assert stray_parameters(Net(4)) == []
        assert stray_parameters(Legacy(4)) == ["legacy"]


def test_torch_refusals_are_refusals():
    with pytest.raises(SizeRefusedError, match="negative"):
        build(workload(Net), -1)

import numpy as np
import pytest

from flops_fit_core.build import SizeRefusedError
from flops_fit_core.data import Workload
from flops_fit_core.errors import CountError
from flops_fit_flops import SixNDCounter


class Model:
    def __init__(self, width):
        if width % 4:
            raise ValueError(f"{width} is no multiple of 4")
        self.width = width

    def num_params(self):
        return np.int64(12 * self.width**2)


def workload(unit="tokens"):
    return Workload(name="model", model_cls=Model, size_param="width", data_unit=unit)


def test_six_flops_for_each_parameter_and_token_without_torch_or_data():
    counted = SixNDCounter().count(workload(), 8)
    assert (counted.n_params, counted.flops_per_token, counted.size) == (768, 6 * 768, 8)
    assert type(counted.n_params) is int
    assert "6N" in counted.convention


@pytest.mark.parametrize("unit", ["images", "samples", None])
def test_other_units_than_tokens_are_refused(unit):
    with pytest.raises(CountError, match=f"counted in {unit}"):
        SixNDCounter().count(workload(unit), 8)


def test_a_refused_size_keeps_the_models_own_reason():
    with pytest.raises(SizeRefusedError, match="ValueError: 5 is no multiple of 4"):
        SixNDCounter().count(workload(), 5)


def test_embeddings_are_told_apart():
    torch = pytest.importorskip("torch")

    class Tied(torch.nn.Module):
        def __init__(self, width):
            super().__init__()
            self.table = torch.nn.Embedding(50, width)
            self.body = torch.nn.Linear(width, width)
            self.head = torch.nn.Linear(width, 50, bias=False)
            self.head.weight = self.table.weight

        def num_params(self):
            return sum(p.numel() for p in self.parameters())

    counted = SixNDCounter().count(Workload(name="t", model_cls=Tied, size_param="width", data_unit="tokens"), 8)
    assert (counted.n_params, counted.n_params_non_embedding) == (50 * 8 + 72, 72)

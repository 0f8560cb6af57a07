import pytest

from flops_fit_core.callable_counter import CallableCounter
from flops_fit_core.data import Workload
from flops_fit_core.errors import CountError


class Model:
    def __init__(self, width):
        self.width = width

    def num_params(self):
        return 10 * self.width


def workload(model_cls=Model, example=([1, 2, 3], None)):
    return Workload(
        name="m", model_cls=model_cls, size_param="width", data_unit="words", example=example, units=lambda b: len(b[0])
    )


def test_flops_of_the_batch_are_shared_among_its_units():
    def formula(model, batch):
        return 100 * model.width * len(batch[0])

    counted = CallableCounter(formula).count(workload(), 7)
    assert (counted.flops_per_token, counted.n_params, counted.n_params_non_embedding) == (700, 70, 70)
    assert "formula" in counted.convention


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf"), None, "1e9", True])
def test_what_is_no_number_of_flops_is_refused(bad):
    with pytest.raises(CountError, match="positive number"):
        CallableCounter(lambda model, batch: bad).count(workload(), 7)


def test_a_formula_that_fails_says_why():
    with pytest.raises(CountError, match="KeyError: 'depth'"):
        CallableCounter(lambda model, batch: vars(model)["depth"]).count(workload(), 7)


def test_without_data_there_is_no_batch():
    with pytest.raises(CountError, match="give the data set"):
        CallableCounter(lambda model, batch: 1).count(workload(example=None), 7)


def test_a_formula_is_called_once_for_each_size():
    calls = []
    counter, the_workload = CallableCounter(lambda model, batch: calls.append(model) or 6), workload()
    assert counter.count(the_workload, 7) is counter.count(the_workload, 7)
    assert len(calls) == 1


def test_a_formula_that_runs_the_model_gets_a_real_one():
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def __init__(self, width):
            super().__init__()
            self.layer = torch.nn.Linear(3, width)

        def num_params(self):
            return 4 * self.layer.out_features

        def forward(self, x):
            return self.layer(x)

    devices = []

    def formula(model, batch):
        devices.append(model.layer.weight.device.type)
        return model(batch[0]).detach().numpy().size

    the_workload = workload(Net, (torch.zeros(2, 3), None))
    assert CallableCounter(formula).count(the_workload, 5).flops_per_token == 5
    assert devices == ["meta", "cpu"]
    assert CallableCounter(lambda model, batch: torch.tensor(12.0)).count(the_workload, 5).flops_per_token == 6

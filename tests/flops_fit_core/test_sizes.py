"""Sizes are found for any monotone growth of N, whatever the constructor refuses."""

import math

import numpy as np
import pytest

from flops_fit_core.build import SizeRefusedError
from flops_fit_core.data import Workload
from flops_fit_core.errors import InputError, InputTypeError, PlanError
from flops_fit_core.sizes import SizeSearch, size_key


def search(grow, accept=lambda size: True):
    """A search over a model whose N is ``grow(size)``; the sizes it was asked for are in ``.asked``."""
    asked = []

    class Model:
        def __init__(self, size):
            asked.append(size)
            if not accept(size):
                raise ValueError(f"no {size}")
            self.size = size

        def num_params(self):
            return grow(self.size)

    found = SizeSearch(Workload(name="model", model_cls=Model, size_param="size"))
    found.asked = asked
    return found


def width(size):
    return 24 * size * size + 2 * 257 * size


def depth(size):
    return 10_000 + 5_000 * size


def steps(size):
    """Grows at every tenth size only."""
    return 1000 * (size // 10 + 1)


@pytest.mark.parametrize("grow", [width, depth, steps, lambda size: size, lambda size: size**3 + 7])
@pytest.mark.parametrize(
    "accept",
    [
        lambda s: True,
        lambda s: s % 8 == 0,
        lambda s: s % 12 == 0,
        lambda s: s >= 5,
        lambda s: s % 2 == 1,
        lambda s: s % 96 == 0,
    ],
    ids=["all", "8", "12", "from 5", "odd", "96"],
)
@pytest.mark.parametrize("target", [1, 3_000, 30_000, 1_234_567, 9e8])
def test_the_nearest_accepted_size_is_found(grow, accept, target):
    found = search(grow, accept)
    size = found.nearest(target)
    below = next(s for s in range(largest_below(grow, target), -1, -1) if s == 0 or accept(s))
    above = next(s for s in range(largest_below(grow, target) + 1, 10**10) if accept(s))
    distances = [abs(math.log(grow(s) / target)) for s in (below, above) if s]
    assert accept(size)
    assert abs(math.log(grow(size) / target)) == pytest.approx(min(distances))
    assert len(found.asked) == len(set(found.asked)) < 250


def largest_below(grow, target):
    """The largest size, accepted or not, with N up to the target; 0 where there is none."""
    low, high = 0, 10**10
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if grow(middle) <= target else (low, middle)
    return low


def test_powers_of_two_are_found_without_asking_for_every_size_between():
    found = search(width, lambda size: size & (size - 1) == 0)
    assert found.nearest(width(2**14)) == 2**14
    assert found.nearest(width(3 * 2**12) * 0.8) == 2**13
    assert len(found.asked) < 600


def test_a_constructor_with_a_largest_size_gives_that_one():
    found = search(depth, lambda size: size <= 2400)
    assert found.nearest(1e12) == 2400
    asked = len(found.asked)
    assert found.nearest(2e12) == 2400
    assert len(found.asked) == asked


def test_sizes_down_to_one():
    assert search(depth).nearest(1) == 1
    assert search(lambda size: 100**size).nearest(100) == 1


def test_answers_are_remembered():
    found = search(width)
    found.nearest(1e6)
    asked = len(found.asked)
    assert found.nearest(1e6) == found.nearest(1e6)
    assert len(found.asked) == asked
    assert found.params(np.int64(found.nearest(1e6))) == width(found.nearest(1e6))
    assert len(found.asked) == asked


def test_refused_sizes_keep_their_reason():
    found = search(width, lambda size: size % 4 == 0)
    found.nearest(1000)
    assert (2, "ValueError: no 2") in found.refused
    with pytest.raises(SizeRefusedError, match="no 2"):
        found.params(2)


def test_a_size_can_be_struck_out_and_sizes_made_coarser():
    found = search(depth)
    assert found.nearest(depth(40)) == 40
    found.refuse(40, "its forward pass fails")
    assert found.nearest(depth(40)) in (39, 41)
    assert (40, "its forward pass fails") in found.refused
    found.coarsen(16)
    assert found.nearest(depth(41)) == 48
    assert found.nearest(depth(100)) == 96


def test_any_kind_of_size_can_be_asked_for():
    found = search(lambda size: 10 * size["layers"] + size["width"])
    assert found.params({"layers": 2, "width": 3}) == found.params({"width": 3, "layers": np.int64(2)}) == 23
    assert len(found.asked) == 1


@pytest.mark.parametrize(("one", "other"), [(3, np.int64(3)), ((1, 2), [1, 2]), ({"a": 1, "b": 2}, {"b": 2, "a": 1})])
def test_equal_sizes_have_equal_keys(one, other):
    assert size_key(one) == size_key(other)
    assert size_key(one) != size_key("3")


def test_a_constructor_that_takes_no_number_says_so_with_its_reasons():
    with pytest.raises(PlanError, match=r"makes a model: size=\d+: ValueError: no \d+.*sizes="):
        search(width, lambda size: False).nearest(1000)


@pytest.mark.parametrize("grow", [lambda size: 1000, lambda size: 10**9 // size])
def test_n_must_grow_with_the_size(grow):
    with pytest.raises(PlanError, match="does not grow with 'size'"):
        search(grow).nearest(1e6)


def test_a_model_without_num_params_is_an_error_and_no_refusal():
    with pytest.raises(InputTypeError, match="num_params"):
        SizeSearch(Workload(name="m", model_cls=lambda size: object(), size_param="size")).nearest(10)


@pytest.mark.parametrize(
    ("model_cls", "kwargs", "word"),
    [
        (lambda width: None, {}, "no size parameter 'size'"),
        (lambda size: None, {"size": 3}, "is the size parameter"),
        (lambda size, layers: None, {}, "needs 'layers'"),
    ],
)
def test_wrong_arguments_are_found_before_anything_is_built(model_cls, kwargs, word):
    with pytest.raises(InputError, match=word):
        SizeSearch(Workload(name="m", model_cls=model_cls, size_param="size", model_kwargs=kwargs))


def test_large_torch_models_are_never_made():
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def __init__(self, size):
            super().__init__()
            self.layer = torch.nn.Linear(size, size, bias=False)

        def num_params(self):
            return self.layer.weight.numel()

    assert SizeSearch(Workload(name="m", model_cls=Net, size_param="size")).nearest(1e12) == 10**6


def test_models_that_must_be_made_for_real_are_not_made_too_large(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr("flops_fit_core.sizes.REAL_LIMIT", 10_000)
    made = []

    class Real(torch.nn.Module):
        def __init__(self, size):
            super().__init__()
            self.layer = torch.nn.Linear(size, size, bias=False)
            self.scale = self.layer.weight.sum().item()
            made.append(size)

        def num_params(self):
            return self.layer.weight.numel()

    assert SizeSearch(Workload(name="m", model_cls=Real, size_param="size")).nearest(1e12) == max(made)
    assert max(made) ** 2 < 10 * 10_000

"""C from N and D: 6ND, and measured costs: exact where measured, power laws elsewhere."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flops_fit_core.data import CostModel, Runs
from flops_fit_core.errors import CountError
from flops_fit_core.serial import from_plain, to_plain

SIZES = np.array([1e5, 3e5, 1e6, 4e6])
COSTS = 6 * SIZES + 40 * np.sqrt(SIZES) * 128


def test_six_nd():
    cost = CostModel.six_nd()
    assert cost.name == "6nd"
    assert float(cost.per_token(7.0)) == 42.0
    assert float(cost.flops(1e9, 2e10)) == 1.2e20
    assert float(cost.tokens(1e9, 1.2e20)) == 2e10


def test_measured_sizes_are_exact_in_any_order():
    cost = CostModel.measured(SIZES[::-1], COSTS[::-1])
    assert cost.name == "measured"
    assert cost.per_token(SIZES) == pytest.approx(COSTS, rel=1e-14)
    assert cost.per_token(SIZES.reshape(2, 2)).shape == (2, 2)


def test_a_power_law_between_two_sizes():
    cost = CostModel.measured(SIZES, COSTS)
    middle = np.sqrt(SIZES[1] * SIZES[2])
    assert float(cost.per_token(middle)) == pytest.approx(np.sqrt(COSTS[1] * COSTS[2]), rel=1e-14)


@pytest.mark.parametrize("exponent", [0.7, 1.0, 1.2])
def test_a_power_law_is_itself_everywhere(exponent):
    cost = CostModel.measured(SIZES, 50 * SIZES**exponent)
    n = np.logspace(2, 12, 50)
    assert cost.per_token(n) == pytest.approx(50 * n**exponent, rel=1e-10)


def test_beyond_the_sizes_it_goes_on_from_the_last_without_a_jump():
    cost = CostModel.measured(SIZES, COSTS)
    for end, out in ((SIZES[0], 1 - 1e-9), (SIZES[-1], 1 + 1e-9)):
        assert float(cost.per_token(end * out)) == pytest.approx(float(cost.per_token(end)), rel=1e-8)
    ratio = cost.per_token(4e8) / cost.per_token(4e7), cost.per_token(4e7) / cost.per_token(4e6)
    assert float(ratio[0]) == pytest.approx(float(ratio[1]), rel=1e-12)


def test_beyond_the_sizes_the_nearest_ones_tell_the_exponent():
    """Attention's share falls with size: the smallest sizes would make large ones 30 % too cheap."""
    cost = CostModel.measured(SIZES, COSTS)
    assert float(cost.per_token(4e7)) == pytest.approx(6 * 4e7 + 40 * np.sqrt(4e7) * 128, rel=0.2)
    sparse = CostModel.measured([1e3, 1e6], [1e4, 7e6])
    assert float(sparse.per_token(1e9) / sparse.per_token(1e6)) == pytest.approx(700, rel=1e-9)
    assert float(sparse.per_token(1.0) / sparse.per_token(1e3)) == pytest.approx(1 / 700, rel=1e-9)


def test_equal_sizes_are_averaged_and_one_size_is_proportional_to_n():
    cost = CostModel.measured([1e6, 1e6], [4e6, 9e6])
    assert float(cost.per_token(1e6)) == pytest.approx(6e6)
    assert float(cost.per_token(1e8)) == pytest.approx(6e8)
    near = CostModel.measured([1e9, 1e9 + 1], [6e9, 6.1e9])
    assert float(near.per_token(1e10)) == pytest.approx(6.1e10)


def test_two_near_sizes_do_not_tell_what_far_ones_cost():
    falling, steep = CostModel.measured([8e11, 8.8e11], [4656, 1000]), CostModel.measured([8e11, 8.8e11], [1e3, 1e9])
    assert float(falling.per_token(100)) == pytest.approx(4656)
    assert float(steep.per_token(100)) == pytest.approx(1e3 * (100 / 8e11) ** 2)


def test_values_that_are_no_costs_are_passed_over():
    cost = CostModel.measured([1e6, 0, np.nan, 2e6], [6e6, 1, 1, np.inf])
    assert cost.n_params.tolist() == [1e6]
    with pytest.raises(CountError, match="at least one size"):
        CostModel.measured([0.0], [1.0])


def test_from_runs():
    runs = Runs(n_params=[1e6, 2e6, 1e6], n_tokens=[1e8, 0.0, 2e8], loss=[3, 3, 3], flops=[7e14, 1.0, 14e14])
    assert CostModel.from_runs(runs).per_token(1e6) == pytest.approx(7e6)
    assert CostModel.from_runs(Runs(n_params=[1], n_tokens=[1], loss=[1])) == CostModel.six_nd()


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(1e3, 1e12), st.floats(1e3, 1e14)), min_size=1, max_size=6),
    st.floats(1e2, 1e13),
    st.floats(1e10, 1e27),
)
def test_what_a_budget_buys_costs_the_budget(pairs, n, budget):
    cost = CostModel.measured(*zip(*pairs, strict=True))
    assert float(cost.flops(n, cost.tokens(n, budget))) == pytest.approx(budget, rel=1e-12)


def test_it_survives_json_to_the_bit():
    cost = CostModel.measured(SIZES / 3, COSTS / 7)
    again = from_plain(json.loads(json.dumps(to_plain(cost), allow_nan=False)), CostModel)
    assert again == cost
    assert again.per_token(SIZES).tolist() == cost.per_token(SIZES).tolist()

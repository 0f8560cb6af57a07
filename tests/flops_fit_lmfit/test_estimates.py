"""What draws say of a value: an interval, and a standard deviation where it describes them."""

import math

import numpy as np
import pytest

from flops_fit_lmfit.estimates import estimate


def test_ends_are_quantiles_and_a_draw_beyond_any_number_is_an_end_all_the_same():
    draws = np.linspace(0.0, 1.0, 101)
    plain = estimate(0.5, draws, 0.9)
    assert (plain.low, plain.high) == pytest.approx((0.05, 0.95))
    assert plain.stderr == pytest.approx(np.std(draws, ddof=1))
    for lost in (5, 6, 40):
        draws[101 - lost :] = math.inf
        beyond = estimate(0.5, draws, 0.9)
        assert beyond.low == pytest.approx(0.05)
        assert beyond.high == pytest.approx(math.inf if lost > 5 else 0.95)
        assert beyond.stderr is None


def test_heavy_tails_have_no_standard_deviation_and_one_draw_no_interval():
    draws = np.append(np.linspace(0.9, 1.1, 99), 1e6)
    assert estimate(1.0, draws, 0.9).stderr is None
    assert estimate(1.0, draws[:1], 0.9).low is None

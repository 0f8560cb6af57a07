"""Numbers as text: every float has one, also what is no number."""

import math

import pytest

from flops_fit_core.data import Estimate
from flops_fit_core.text import si


@pytest.mark.parametrize(
    ("value", "text"),
    [(5.76e23, "5.76e23"), (4300.0, "4,300"), (0.0, "0"), (-2e-7, "-2e-7"), (1.23456, "1.235"), (None, "—")],
)
def test_numbers_have_their_power_of_ten(value, text):
    assert si(value) == text


@pytest.mark.parametrize(("value", "text"), [(math.inf, "inf"), (-math.inf, "-inf"), (math.nan, "nan")])
def test_what_is_no_number_has_a_name(value, text):
    assert si(value) == si(value, 2) == text


def test_an_open_interval_is_text():
    assert str(Estimate(value=1.5, low=0.0, high=math.inf)) == "1.5 (0 to inf)"
    assert str(Estimate(value=math.inf)) == "inf"

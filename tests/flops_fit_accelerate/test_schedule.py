import math

import pytest

from flops_fit_accelerate.schedule import Schedule


def test_cosine_rises_in_a_line_and_falls_to_the_floor():
    s = Schedule(kind="cosine", horizon=1000, warmup=100, floor=0.1)
    assert s.factor(0, 10) == pytest.approx(0.1)
    assert s.factor(40, 10) == pytest.approx(0.5)
    assert s.factor(100, 10) == pytest.approx(1.0)
    assert s.factor(550, 10) == pytest.approx(0.55)
    assert s.factor(1000, 10) == pytest.approx(0.1)


def test_wsd_is_flat_and_then_cools_down():
    s = Schedule(kind="wsd", horizon=1000, warmup=100, cooldown=200)
    assert s.branch == 800
    assert [s.factor(n, 10) for n in (100, 500, 800)] == [1.0, 1.0, 1.0]
    assert s.factor(850, 10) == pytest.approx(1 - math.sqrt(0.25))
    assert s.factor(1000, 10) == 0.0
    linear = Schedule(kind="wsd", horizon=1000, warmup=100, cooldown=200, shape="linear")
    assert linear.factor(850, 10) == pytest.approx(0.75)


def test_before_its_branch_a_wsd_run_does_not_know_its_horizon():
    short, long = (Schedule(kind="wsd", horizon=d, warmup=100, cooldown=0.2 * d) for d in (1000, 5000))
    assert all(short.factor(n, 16) == long.factor(n, 16) for n in range(0, 801, 16))


def test_constant_stays():
    s = Schedule(kind="constant", horizon=1000, warmup=0)
    assert {s.factor(n, 10) for n in range(0, 1001, 10)} == {1.0}


def test_a_run_shorter_than_its_warm_up_and_cooldown_is_flagged():
    assert "shorter" in Schedule(kind="wsd", horizon=100, warmup=90, cooldown=20).too_short
    assert not Schedule(kind="wsd", horizon=100, warmup=80, cooldown=20).too_short

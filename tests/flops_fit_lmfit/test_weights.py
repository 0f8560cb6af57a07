"""The ensemble's weights: odds that follow the members' errors, and how likely the additive law's form is off."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from flops_fit_lmfit.ensemble import EnsembleFitter
from flops_fit_lmfit.holdout import Held
from flops_fit_lmfit.weights import form_is_off, frontier_weight, own_squares, rolling_blend, share
from known_laws import ADDITIVE, SIX_ND, SURFACES, additive_sweep, frontier_sweep


def _held(*errors, origin=1.0, spread=math.nan, times=2.0):
    return (
        Held(
            origin=origin, budget=times * origin, distance=math.log(times), errors=errors,
            log_n=0.0, log_n_error=0.0, curvature=0.0, slice_loss=1.0, spread=spread,
        ),
    )  # fmt: skip


def test_odds_follow_the_members_own_errors():
    noise = np.array([0.03, -0.03, -0.03, 0.03])  # of the held-out runs: both members miss them by it
    off = 0.01 * np.array([1.0, 1.0, -1.0, -1.0])
    apart = 0.01 * np.array([1.0, -1.0, 1.0, -1.0])
    odds = math.sqrt(3.0)  # after one held-out budget
    for shared in (0.0 * noise, noise):
        assert share(_held(*(shared + off)), _held(*(shared + apart))) == pytest.approx(odds / (odds + 1))
        twice = share(_held(*(shared + off)), _held(*(shared + 2 * apart)))
        assert twice == pytest.approx(4 * odds / (4 * odds + 1))
        thrice = share(_held(*(shared + 3 * off)), _held(*(shared + apart)))
        assert thrice == pytest.approx(odds / (odds + 9))
        assert share(_held(*(shared + off)), _held(*shared)) == pytest.approx(0.0, abs=1e-9)
        assert share(_held(*shared), _held(*(shared + off))) == pytest.approx(1.0, abs=1e-9)
        assert share(_held(*(shared + off)), _held(*(shared + off))) == 0.75
    assert frontier_weight((), ()) == 0.75


def test_the_more_is_held_out_the_less_the_prior_odds_say():
    f, s = _held(0.01, 0.01), _held(0.01, -0.01)
    even = [share(held * f, held * s) for held in (0, 1, 3, 200)]
    assert even == pytest.approx([w / (w + 1) for w in (3.0, 3.0 ** (1 / 2), 3.0 ** (1 / 4), 3.0 ** (1 / 201))])
    assert even[-1] == pytest.approx(0.5, abs=2e-3)


def test_an_origin_where_a_law_ran_away_does_not_judge():
    good = _held(0.01, 0.02), _held(0.02, -0.03)
    for lost in ((math.inf, 0.01), (math.nan, math.nan), (-math.inf, -math.inf)):
        away = _held(*lost, origin=8.0), _held(0.01, 0.01, origin=8.0)
        assert frontier_weight(good[0] + away[0], good[1] + away[1]) == frontier_weight(*good)
        assert frontier_weight(*away) == 0.75
        assert len(own_squares(good[0] + away[0], good[1] + away[1])) == 1


def test_a_form_is_as_probably_off_as_its_forecasts_errors_say():
    # Ten times the budget: if the form is off, errors have a standard deviation of 0.73 % x ln 10 = 1.68 %, else of 0.2 %.
    off = 0.012 / 1.645 * math.log(10.0)
    for error in (0.0, 0.003, 0.01, 0.04):
        ratio = norm.pdf(error, scale=math.hypot(off, 0.002)) / norm.pdf(error, scale=0.002)
        held = _held(error, error, spread=0.002, times=10.0)
        assert form_is_off(held) == pytest.approx(3 * ratio / (3 * ratio + 1))
        twice = held + _held(error, origin=10.0, spread=0.002, times=10.0)
        assert form_is_off(twice) == pytest.approx(3 * ratio**2 / (3 * ratio**2 + 1))
        # What lies beyond the next budget is not another forecast, and an unknown spread says nothing.
        assert form_is_off(held + _held(0.3, spread=0.002, times=100.0)) == form_is_off(held)
        assert form_is_off(held + _held(0.3, origin=10.0, times=10.0)) == form_is_off(held)
        # A step of less than 1.5 times says too little of a form: the next one is judged, and what lies between is no origin.
        near = _held(0.3, spread=0.002, times=1.2) + _held(0.3, origin=2.0, spread=0.002, times=3.0)
        assert form_is_off(held[::-1] + near) == form_is_off(held)
    assert form_is_off(_held(0.0, times=2.0) + _held(0.3, spread=0.002, times=100.0)) == pytest.approx(0.75)
    assert form_is_off(()) == form_is_off(_held(math.inf, spread=0.002)) == pytest.approx(0.75)


def test_weight_is_the_share_or_less_where_the_additive_laws_form_looks_right():
    f = _held(0.01, 0.01, times=10.0)
    right, unknown, wrong = (
        _held(0.01, -0.01 + e, spread=s, times=10.0) for e, s in ((0, 2e-3), (0, math.nan), (0.1, 2e-3))
    )
    assert frontier_weight(f, unknown) == share(f, unknown)
    assert frontier_weight(f, wrong) == share(f, wrong)
    assert frontier_weight(f, right) == pytest.approx(share(f, right) * form_is_off(right) / 0.75)
    assert frontier_weight(f, right) < 0.5 * share(f, right)
    assert frontier_weight((), ()) == 0.75


def test_each_late_origins_blend_knows_only_what_was_held_out_below_it():
    f = _held(0.01, 0.01) + _held(0.02, 0.02, origin=2.0) + _held(0.03, 0.05, origin=4.0)
    s = _held(0.01, -0.01) + _held(0.02, -0.02, origin=2.0) + _held(-0.03, -0.05, origin=4.0)
    blend = rolling_blend(f, s, late={2.0, 4.0})
    assert [one.origin for one in blend] == [2.0, 4.0]
    # At 2 no late origin is known, so that the odds are the shipped ones; at 4 the early origin counts too.
    for one, weight, (of_f, of_s) in zip(blend, (0.75, share(f[:2], s[:2])), ((f[1], s[1]), (f[2], s[2])), strict=True):
        assert one.errors == pytest.approx(
            [weight * a + (1 - weight) * b for a, b in zip(of_f.errors, of_s.errors, strict=True)]
        )


@pytest.mark.parametrize("law", [ADDITIVE["chinchilla"], SURFACES["extreme"][0]], ids=["usual", "extreme"])
def test_forecasts_of_a_true_additive_law_make_its_form_look_right(law):
    weights = [
        EnsembleFitter(bootstrap=0).fit(additive_sweep(law, noise=0.003, seed=seed)[0], SIX_ND).values["weight"]
        for seed in range(4)
    ]
    assert np.median(weights) < 0.15


def test_of_a_law_that_is_off_the_frontier_answers():
    weights = [
        EnsembleFitter(bootstrap=0).fit(frontier_sweep(noise=0.003, budgets=6, seed=seed)[0], SIX_ND).values["weight"]
        for seed in range(4)
    ]
    assert np.median(weights) > 0.75

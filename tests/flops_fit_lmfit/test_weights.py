"""The ensemble's weights: odds that follow the members' own errors, less what a true additive law would err by."""

import math

import numpy as np
import pytest

from flops_fit_lmfit.ensemble import EnsembleFitter
from flops_fit_lmfit.holdout import Held
from flops_fit_lmfit.weights import BLUR, NO_JUDGE, OwnSquares, frontier_weight, in_words, rolling_blend
from known_laws import ADDITIVE, SIX_ND, SURFACES, additive_sweep, frontier_sweep

ODDS = math.sqrt(3.0)  # after one held-out budget


def _held(*errors, origin=1.0, spread=1e-6, times=2.0):
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
    for shared in (0.0 * noise, noise):
        for of_f, of_s, odds in ((1, 1, ODDS), (1, 2, 16 * ODDS), (3, 1, ODDS / 81)):
            f, s = _held(*(shared + of_f * off)), _held(*(shared + of_s * apart))
            own = OwnSquares.of(f, s)
            assert [own.frontier, own.surface] == pytest.approx([1e-4 * of_f**2, 1e-4 * of_s**2])
            assert frontier_weight(f, s) == pytest.approx(odds / (odds + 1), rel=1e-6)
        assert frontier_weight(_held(*(shared + off)), _held(*shared)) == pytest.approx(0.0, abs=1e-9)
        assert frontier_weight(_held(*shared), _held(*(shared + off))) == pytest.approx(1.0, abs=1e-9)
    assert frontier_weight((), ()) == 0.75


def test_the_more_is_held_out_the_less_the_prior_odds_say():
    f, s = _held(0.01, 0.01), _held(0.01, -0.01)
    even = [frontier_weight(held * f, held * s) for held in (0, 1, 3, 200)]
    assert even == pytest.approx([w / (w + 1) for w in (3.0, 3.0 ** (1 / 2), 3.0 ** (1 / 4), 3.0 ** (1 / 201))])
    assert even[-1] == pytest.approx(0.5, abs=2e-3)


def test_what_a_true_additive_law_errs_by_does_not_count_against_it():
    f = _held(0.01, 0.01)
    for spread, left in ((0.001, 0.99e-4), (0.006, 0.64e-4), (0.008, 0.36e-4), (0.01, 0.0), (0.5, 0.0)):
        s = _held(0.01, -0.01, spread=spread)
        own, blur = OwnSquares.of(f, s), BLUR * spread**2  # as well as that the two are known
        assert [own.frontier, own.surface] == pytest.approx([1e-4 + blur, left + blur])
        odds = ODDS * ((left + blur) / (1e-4 + blur)) ** 2
        assert frontier_weight(f, s) == pytest.approx(odds / (odds + 1))


def test_a_budget_that_was_hard_to_foretell_says_little():
    f, s = _held(0.01, 0.01), _held(0.01, -0.01, spread=0.002)
    far = _held(0.02, 0.02, origin=2.0), _held(0.5, -0.5, origin=2.0, spread=0.4)
    own = OwnSquares.of(f + far[0], s + far[1])
    counts = 1 / 0.002**2, 1 / 0.4**2
    blur = BLUR * np.average([0.002**2, 0.4**2], weights=counts)
    assert own.frontier == pytest.approx(np.average([1e-4, 4e-4], weights=counts) + blur)
    assert own.surface == pytest.approx(np.average([1e-4 - 0.002**2, 0.25 - 0.4**2], weights=counts) + blur)
    assert own.held == 2


def test_an_origin_where_a_law_ran_away_does_not_judge():
    good = _held(0.01, 0.02), _held(0.02, -0.03)
    for lost, spread in (
        ((math.inf, 0.01), 1e-6),
        ((math.nan, math.nan), 1e-6),
        ((0.01, 0.01), math.nan),
        ((0.01, 0.01), 1e200),
    ):
        away = _held(*lost, origin=8.0), _held(0.01, 0.01, origin=8.0, spread=spread)
        assert frontier_weight(good[0] + away[0], good[1] + away[1]) == frontier_weight(*good)
        assert frontier_weight(*away) == 0.75
        assert OwnSquares.of(good[0] + away[0], good[1] + away[1]).held == 1


def test_weights_are_said_with_the_errors_that_they_follow_from():
    f, s = _held(0.01, 0.01), _held(0.02, -0.02, spread=0.01)
    errors = math.sqrt(1e-4 + 2e-5), math.sqrt(3e-4 + 2e-5)
    odds = ODDS * (errors[1] / errors[0]) ** 4
    assert frontier_weight(f, s) == pytest.approx(odds / (odds + 1))
    assert in_words(frontier_weight(f, s), f, s) == (
        "the answer is 92 % that of 'frontier' and 8 % that of 'surface': their own errors in 1 forecast of held-out budgets, "
        "less what both miss alike, are 1.1 % and 1.8 %",
    )
    unknown = _held(0.01, 0.01, spread=math.nan)
    assert in_words(frontier_weight(f, unknown), f, unknown) == (NO_JUDGE,)
    assert in_words(0.75, (), ()) == ()


def test_each_late_origins_blend_knows_only_what_was_held_out_below_it():
    f = _held(0.01, 0.01) + _held(0.02, 0.02, origin=2.0) + _held(0.03, 0.05, origin=4.0)
    s = _held(0.01, -0.01) + _held(0.02, -0.02, origin=2.0) + _held(-0.03, -0.05, origin=4.0)
    blend = rolling_blend(f, s, late={2.0, 4.0})
    assert [one.origin for one in blend] == [2.0, 4.0]
    # At 2 no late origin is known, so that the odds are the shipped ones; at 4 the early origin counts too.
    weights = (0.75, frontier_weight(f[:2], s[:2]))
    for one, weight, (of_f, of_s) in zip(blend, weights, ((f[1], s[1]), (f[2], s[2])), strict=True):
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

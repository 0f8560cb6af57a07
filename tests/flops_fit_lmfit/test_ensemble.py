"""The ensemble: an average that follows its members' own hold-out, with the additive member's interval."""

import contextlib
import json
import math

import attrs
import numpy as np
import pytest

import flops_fit
from flops_fit_core import registry
from flops_fit_core.data import CostModel, Fit, Runs
from flops_fit_core.errors import FitError, PluginImportError, UnknownNameError
from flops_fit_lmfit import additive, holdout
from flops_fit_lmfit.ensemble import EnsembleFitter
from flops_fit_lmfit.surface import SurfaceFitter
from known_laws import ADDITIVE, SIX_ND, SURFACES, additive_sweep, frontier_sweep
from published import PUBLISHED

LAW = ADDITIVE["chinchilla"]
QUICK = EnsembleFitter(bootstrap=100)
SWEEP, _ = additive_sweep(LAW, noise=0.005, budgets=6, seed=9)


@pytest.fixture(scope="module")
def wide() -> Fit:
    """Six budgets of seven sizes: enough for a rolling hold-out."""
    return QUICK.fit(SWEEP, SIX_ND)


def test_averages_logarithms(wide):
    weight = wide.values["weight"]
    surface, frontier = wide.members["surface"], wide.members["frontier"]
    mean = weight * math.log(frontier.loss(1e9, 1e10)) + (1 - weight) * math.log(surface.loss(1e9, 1e10))
    assert math.log(wide.loss(1e9, 1e10)) == pytest.approx(mean, rel=1e-12)
    answer = wide.predict(1e22)
    optima = [math.log(fit.predict(1e22).n_params.value) for fit in (frontier, surface)]
    assert math.log(answer.n_params.value) == pytest.approx(weight * optima[0] + (1 - weight) * optima[1], rel=1e-12)
    lowest = [math.log(fit.predict(1e22).loss.value) for fit in (frontier, surface)]
    assert math.log(answer.loss.value) == pytest.approx(weight * lowest[0] + (1 - weight) * lowest[1], rel=1e-12)
    assert wide.loss(answer.n_params.value, answer.n_tokens.value) == pytest.approx(answer.loss.value, rel=1e-3)
    assert 6 * answer.n_params.value * answer.n_tokens.value == pytest.approx(1e22, rel=1e-12)


def test_interval_is_the_additive_members_centred_on_the_average(wide):
    alone = SurfaceFitter(delta="adaptive", bootstrap=100, hold_out=False, outliers="keep").fit(SWEEP, SIX_ND)
    for budget in (1e20, 1e22):
        for name in ("n_params", "n_tokens", "loss"):
            mine, theirs = (getattr(fit.predict(budget), name) for fit in (wide, alone))
            member = getattr(wide.members["surface"].predict(budget), name)
            assert (member.sampling_low, member.sampling_high) == (theirs.sampling_low, theirs.sampling_high)
            assert getattr(wide.members["frontier"].predict(budget), name).low is None
            assert mine.sampling_low / mine.value == pytest.approx(theirs.sampling_low / theirs.value, rel=1e-9)
            assert mine.sampling_high / mine.value == pytest.approx(theirs.sampling_high / theirs.value, rel=1e-9)
            assert mine.low < mine.sampling_low < mine.sampling_high < mine.high
    a = wide.params["a"]
    assert a.low < a.value < a.high


def test_prediction_interval_holds_what_each_member_says(wide):
    for budget in np.geomspace(1e17, 1e23, 7):
        answer = wide.predict(budget)
        for member in wide.members.values():
            there = member.predict(budget)
            assert answer.n_params.low <= there.n_params.value <= answer.n_params.high
            assert answer.loss.low <= there.loss.value <= answer.loss.high


def test_answer_lies_between_the_members_where_data_hardly_tell_on_the_loss():
    # B is all but 0: the members' N_opt lie orders of magnitude apart, and each law at the other's N is absurd.
    runs, _ = additive_sweep({**LAW, "B": 5.0}, noise=0.003, seed=0)
    fit = EnsembleFitter(bootstrap=0).fit(runs, SIX_ND)
    members = [member.predict(1e21) for member in fit.members.values()]
    answer = fit.predict(1e21)
    assert min(m.loss.value for m in members) <= answer.loss.value <= max(m.loss.value for m in members)
    assert min(m.n_params.value for m in members) <= answer.n_params.value <= max(m.n_params.value for m in members)


def test_rows_in_any_order_give_the_same_where_losses_tie():
    runs, _ = additive_sweep(LAW, noise=0.005, budgets=6)
    runs = Runs(**{**runs.columns(), "loss": np.round(runs.loss, 2)})
    fits = [QUICK.fit(runs.where(np.random.default_rng(seed).permutation(len(runs))), SIX_ND) for seed in range(4)]
    errors = [fit.hold_out["loss_error"] for fit in fits]
    assert errors == pytest.approx([errors[0]] * 4, rel=1e-6)
    assert [fit.predict(1e22).loss.value for fit in fits] == pytest.approx(
        [fits[0].predict(1e22).loss.value] * 4, rel=1e-9
    )


def test_members_answer_whatever_other_plugins_offer_by_their_names(wide, monkeypatch):
    before = wide.predict(1e22), wide.summary()

    def ambiguous():
        raise UnknownNameError("fitter 'surface' is offered by 2 plugins")

    monkeypatch.setattr(registry, "default_registry", ambiguous)
    assert (wide.predict(1e22), wide.summary()) == before


def test_a_fit_whose_fitter_is_broken_here_still_prints(wide, monkeypatch):
    def broken():
        raise PluginImportError("plugin 'lmfit' cannot be imported")

    monkeypatch.setattr(registry, "default_registry", broken)
    text = Fit.from_dict(wide.to_dict()).summary()
    assert "no predictions: plugin 'lmfit' cannot be imported" in text


def test_noise_free_runs_are_answered_by_the_law_that_they_follow():
    fit = EnsembleFitter(bootstrap=0).fit(frontier_sweep(budgets=6)[0], SIX_ND)
    assert fit.values["weight"] == pytest.approx(1.0, abs=1e-3)
    assert sum("100 % that of 'frontier'" in note for note in fit.notes) == 1
    # The additive law is a case of the frontier's: without noise both members find it, and their weights do not matter.
    fit = EnsembleFitter(bootstrap=0).fit(additive_sweep(LAW, budgets=6)[0], SIX_ND)
    for budget in (1e21, 1e22):
        n, _, loss = (float(value) for value in additive.optimum(LAW, SIX_ND, budget))
        answer = fit.predict(budget)
        assert answer.n_params.value == pytest.approx(n, rel=1e-8)
        assert answer.loss.value == pytest.approx(loss, rel=1e-8)
    even = QUICK.fit(additive_sweep(LAW, noise=0.01, budgets=4)[0], SIX_ND)
    assert not any("the answer is" in note for note in even.notes)


def test_an_answer_says_how_much_of_it_is_whose(wide):
    weight = wide.values["weight"]
    assert 0.01 < weight < 0.99
    (note,) = [note for note in wide.notes if note.startswith("the answer is")]
    shares = f"{100 * weight:.0f} % that of 'frontier' and {100 - 100 * weight:.0f} % that of 'surface'"
    assert note.startswith(
        f"the answer is {shares}: their own errors in 6 forecasts of held-out budgets, less what both miss alike, are "
    )
    # Shown are the origins with four budgets; the one with three counts in the weights alone.
    assert wide.hold_out["budgets"] == 3


def test_one_size_a_budget_leaves_no_hold_out_and_says_so():
    c = np.repeat(np.geomspace(1e18, 1e21, 7), 5)
    n = 2e8 * (c / 1e18) ** 0.5
    noise = np.exp(0.003 * np.random.default_rng(0).standard_normal(35))
    runs = Runs(n_params=n, n_tokens=c / (6 * n), loss=additive.loss(LAW, n, c / (6 * n)) * noise, budget=c)
    fit = EnsembleFitter(bootstrap=0).fit(runs, SIX_ND)
    assert not fit.hold_out
    assert any("no rolling hold-out" in note for note in fit.notes)


def test_where_no_late_budget_can_be_held_out_the_early_ones_do_not_count_either():
    # The only run near the best of the largest budget is an outlier, so that nobody judges a forecast of it.
    runs, _ = additive_sweep(LAW, noise=0.001, budgets=5, sizes=5, span=64.0)
    top = np.flatnonzero(runs.budget == runs.budget.max())
    loss = np.array(runs.loss)
    loss[top[np.argmin(loss[top])]] *= 1.05
    fit = EnsembleFitter(bootstrap=0).fit(attrs.evolve(runs, loss=loss), SIX_ND)
    assert not fit.hold_out
    assert fit.values["weight"] == 0.75
    assert sum("shipped 3:1" in note for note in fit.notes) == 1
    assert not any("the answer is" in note for note in fit.notes)


def test_gross_outliers_that_the_fit_leaves_out_say_nothing_of_its_weights_either():
    # Three bad runs, of which the runs of three budgets alone do not show that they are bad.
    runs, bad = additive_sweep(ADDITIVE["data-hungry"], noise=0.01, diverged=0.1, too_high=(0.2, 0.6), seed=0)
    spoilt, clean = (EnsembleFitter(bootstrap=0).fit(table, SIX_ND) for table in (runs, runs.where(~bad)))
    assert len(spoilt.excluded) == bad.sum() == 3
    assert spoilt.values["weight"] == pytest.approx(clean.values["weight"], rel=1e-6)
    assert spoilt.hold_out == pytest.approx(clean.hold_out, rel=1e-6)


def test_few_budgets_take_the_shipped_odds_and_say_so():
    fit = QUICK.fit(additive_sweep(LAW, noise=0.01, budgets=4)[0], SIX_ND)
    assert fit.values["weight"] == 0.75
    assert fit.model_error == holdout.SHIPPED
    assert not fit.hold_out
    assert any("no rolling hold-out" in note and "3:1" in note for note in fit.notes)
    assert fit.predict(1e21).loss.low is not None


def test_runs_for_the_additive_law_alone_hear_nothing_of_odds():
    runs, _ = additive_sweep(LAW, noise=0.003, budgets=6, seed=1)
    fit = EnsembleFitter(bootstrap=0).fit(runs.where([0, 8, 16, 25, 33, 41]), SIX_ND)
    assert list(fit.members) == ["surface"]
    assert any("no rolling hold-out" in note for note in fit.notes)
    assert not any("odds" in note for note in fit.notes)


def test_a_member_that_contradicts_the_average_is_said():
    fit = QUICK.fit(PUBLISHED["chinchilla_isoflops"](), SIX_ND)
    said = [
        note for note in fit.notes if note.startswith("ensemble and its member 'surface' disagree about the exponent a")
    ]
    assert len(said) == 1
    assert fit.params["a"].high < fit.members["surface"].params["a"].low  # a fact of these runs, and not of the rule


def test_a_member_without_weight_need_not_converge_and_one_that_fails_is_named(monkeypatch):
    runs, _ = additive_sweep(LAW, noise=3e-4, budgets=9, seed=1)
    monkeypatch.setattr("flops_fit_lmfit.frontier_solve._CONVERGED", -1.0)
    fit = EnsembleFitter(bootstrap=0).fit(runs, SIX_ND)
    assert fit.values["weight"] < 0.01
    assert fit.converged
    assert any(note.startswith("member 'frontier': the search ended before its minimum") for note in fit.notes)
    few = EnsembleFitter(bootstrap=0).fit(runs.where(runs.budget > 2e19), SIX_ND)
    assert few.values["weight"] == 0.75
    assert not few.converged


def test_enough_budgets_have_errors_and_no_such_note(wide):
    assert {"loss_error", "bias", "regret", "origins"} <= set(wide.hold_out)
    assert not any("no rolling hold-out" in note for note in wide.notes)
    assert wide.values["weight"] != 0.75
    assert all(member.hold_out for member in wide.members.values())


def test_exact_laws_are_found_exactly():
    for runs, _ in (additive_sweep(LAW, budgets=6), frontier_sweep(budgets=6)):
        fit = EnsembleFitter(bootstrap=0).fit(runs, SIX_ND)
        np.testing.assert_allclose(fit.loss(runs.n_params, runs.n_tokens), runs.loss, rtol=5e-5)
        assert fit.excluded == ()


def test_outliers_are_left_out_or_only_named():
    runs, _ = additive_sweep(LAW, noise=0.005)
    loss = runs.loss.copy()
    loss[[10, 20]] *= 1.3
    spoilt = Runs(n_params=runs.n_params, n_tokens=runs.n_tokens, loss=loss, budget=runs.budget)
    out, flagged = (EnsembleFitter(outliers=o, bootstrap=0).fit(spoilt, SIX_ND) for o in ("exclude", "flag"))
    assert [item.run for item in out.excluded] == [item.run for item in flagged.excluded] == ["row 11", "row 21"]
    assert [item.used for item in out.excluded + flagged.excluded] == [False, False, True, True]
    assert (out.n_used, flagged.n_used) == (33, 35)
    assert not any(member.excluded for member in out.members.values())


@pytest.mark.parametrize(("budgets", "sizes"), [(2, 3), (2, 4), (3, 3), (2, 7), (4, 7)])
def test_small_sweeps_of_tiny_models_get_a_sensible_answer(budgets, sizes):
    tiny = {"E": 1.2, "A": 60.0, "B": 900.0, "alpha": 0.35, "beta": 0.40}
    runs, _ = additive_sweep(tiny, noise=0.01, budgets=budgets, sizes=sizes, span=3.0, top=5e11, decades=0.7)
    fit = QUICK.fit(runs, SIX_ND)
    for budget in (5e11, 5e12):
        answer, expected = fit.predict(budget), additive.optimum(tiny, SIX_ND, budget)
        assert answer.n_params.value == pytest.approx(float(expected[0]), rel=0.7)
        assert answer.loss.value == pytest.approx(float(expected[2]), rel=0.1)
    assert len(fit.members) == (1 if budgets * sizes < 7 else 2)
    assert (answer.n_params.low is None) == (budgets * sizes < 10)


@pytest.mark.parametrize("seed", range(8))
def test_members_that_agree_are_not_said_to_differ(seed):
    runs, _ = additive_sweep(LAW, noise=0.01, budgets=3 + seed % 3, seed=seed)
    assert not any("disagree" in note for note in EnsembleFitter(bootstrap=200).fit(runs, SIX_ND).notes)


def test_says_what_is_missing():
    for kwargs, message in (({"budgets": 1}, "budgets"), ({"budgets": 2, "sizes": 2}, "at least 5")):
        with pytest.raises(FitError, match=message):
            QUICK.fit(additive_sweep(LAW, **kwargs)[0], SIX_ND)


def test_an_optimum_that_no_run_has_seen_is_said():
    runs, _ = additive_sweep(LAW, noise=0.002)
    small = runs.where(np.arange(len(runs)) % 7 < 3)
    fit = flops_fit.fit(small, EnsembleFitter(bootstrap=0))
    assert sum("outside the sizes that were trained" in note for note in fit.notes) == 1


def test_runs_that_show_no_law_give_an_answer_or_a_reason():
    runs, _ = additive_sweep(LAW, noise=0.01)
    rng = np.random.default_rng(0)
    rows = {"n_params": runs.n_params, "n_tokens": runs.n_tokens, "budget": runs.budget}
    for loss in (np.full(len(runs), 3.0), 3 * np.exp(0.05 * rng.standard_normal(len(runs))), runs.flops**0.02):
        fit = EnsembleFitter(bootstrap=0).fit(Runs(loss=loss, **rows), SIX_ND)
        assert fit.notes
        assert Fit.from_dict(fit.to_dict()).notes == fit.notes
        with contextlib.suppress(FitError):
            fit.predict(1e21)


def test_order_and_seed_repeat(wide):
    again = QUICK.fit(SWEEP, SIX_ND)
    assert again == wide
    shuffled = QUICK.fit(SWEEP.where(np.random.default_rng(4).permutation(len(SWEEP))), SIX_ND)
    assert shuffled.params == wide.params


def test_survives_json(wide):
    loaded = Fit.from_dict(json.loads(json.dumps(wide.to_dict())))
    assert loaded == wide
    assert loaded.predict(1e22) == wide.predict(1e22)
    assert loaded.members == wide.members


def test_spends_the_budget_by_a_measured_cost():
    runs, _ = additive_sweep(LAW, noise=0.005)
    cost = CostModel.measured([1e7, 1e9, 1e11], [9e7, 6.6e9, 6.1e11])
    answer = QUICK.fit(runs, cost).predict(1e21)
    assert float(cost.flops(answer.n_params.value, answer.n_tokens.value)) == pytest.approx(1e21, rel=1e-12)


@pytest.mark.parametrize("name", PUBLISHED)
def test_extrapolates_better_than_the_plain_fit_on_published_sweeps(name):
    runs = PUBLISHED[name]()
    plain = SurfaceFitter(bootstrap=0, outliers="keep").fit(runs, SIX_ND)
    fit = EnsembleFitter(bootstrap=0).fit(runs, SIX_ND)
    assert fit.hold_out["loss_error"] < 0.85 * plain.hold_out["loss_error"]
    assert fit.hold_out["regret"] < 0.005


TRUE_LAWS = {
    **{name: (law, 1e20) for name, law in ADDITIVE.items()},
    **{f"{name}, surface": (law, 256 * c) for name, (law, _, c) in SURFACES.items()},
}


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.003, 0.01])
@pytest.mark.parametrize("name", TRUE_LAWS)
def test_costs_little_where_the_additive_law_is_true(name, noise):
    law, top = TRUE_LAWS[name]
    budgets, misses = (10 * top, 100 * top), {"plain": [], "ensemble": []}
    for seed in range(20):
        runs, _ = additive_sweep(law, noise=noise, top=top, seed=seed)
        fits = {
            "plain": SurfaceFitter(bootstrap=0, hold_out=False, outliers="keep").fit(runs, SIX_ND),
            "ensemble": EnsembleFitter(bootstrap=0).fit(runs, SIX_ND),
        }
        for which, fit in fits.items():
            misses[which].append(
                [math.log(fit.predict(c).loss.value / float(additive.optimum(law, SIX_ND, c)[2])) for c in budgets]
            )
    plain, ensemble = (np.mean(np.abs(misses[which]), axis=0) for which in ("plain", "ensemble"))
    assert np.all(ensemble < 1.7 * plain)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.003, 0.01])
def test_prediction_intervals_hold_the_truth_inside_the_sweep(noise):
    budgets, held = (1e18, 1e19, 1e20), []
    for seed in range(120):
        runs, _ = additive_sweep(LAW, noise=noise, seed=seed)
        fit = EnsembleFitter(bootstrap=300).fit(runs, SIX_ND)
        for c in budgets:
            n, _, loss = (float(x) for x in additive.optimum(LAW, SIX_ND, c))
            answer = fit.predict(c)
            held.append([answer.n_params.low <= n <= answer.n_params.high, answer.loss.low <= loss <= answer.loss.high])
    shares = np.reshape(held, (-1, len(budgets), 2)).mean(axis=0)
    assert shares.min() >= 0.82  # 0.9 less three standard errors

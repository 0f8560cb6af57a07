"""Fitter ``surface``: certified optima, known truths, what the runs cannot say, lmfit's own parameters."""

from __future__ import annotations

import pickle
from typing import Any

import attrs
import lmfit
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flops_fit_core.data import CostModel, Fit, Runs
from flops_fit_core.errors import FitError
from flops_fit_lmfit import SurfaceFitter, additive
from flops_fit_lmfit.newton import minimise
from flops_fit_lmfit.objective import OBJECTIVES, Objective
from flops_fit_lmfit.solve import fit_additive
from known_laws import ADDITIVE, additive_sweep

LAW = ("E", "A", "B", "alpha", "beta")
BARE = {"outliers": "keep", "hold_out": False, "bootstrap": 0}
TRUTH = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}


def sweep(noise: float = 0.01, seed: int = 0, budgets: int = 5, sizes: int = 7) -> Runs:
    rng = np.random.default_rng(seed)
    c = np.repeat(np.geomspace(1e18, 1e20, budgets), sizes)
    n = 0.09 * c**0.5 * np.tile(np.geomspace(0.25, 4, sizes), budgets)
    d = c / (6 * n)
    loss = additive.loss(TRUTH, n, d) * np.exp(noise * rng.normal(size=len(c)))
    return Runs(n_params=n, n_tokens=d, loss=loss, budget=c)


def fit(runs: Runs, **options: Any) -> Fit:
    return SurfaceFitter(**{**BARE, **options}).fit(runs, CostModel.six_nd())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_certified_optimum_is_reached(certified: tuple[str, Runs, dict[str, Any]], objective: str) -> None:
    _, runs, optima = certified
    known = optima[objective]
    found = fit(runs, objective=objective)
    assert found.converged
    assert found.objective == pytest.approx(known["objective"], rel=1e-9)
    assert [found.values[name] for name in LAW] == pytest.approx([known[name] for name in LAW], rel=1e-5)
    assert found.gradient_norm is not None
    assert found.gradient_norm < 1e-6


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_noise_free_surfaces_are_recovered(surface: tuple[dict[str, float], Runs], objective: str) -> None:
    truth, runs = surface
    found = fit(runs, objective=objective)
    assert found.converged
    assert found.values["alpha"] == pytest.approx(truth["alpha"], rel=1e-8)
    assert found.values["beta"] == pytest.approx(truth["beta"], rel=1e-8)
    assert found.loss(runs.n_params, runs.n_tokens) == pytest.approx(runs.loss, rel=1e-8)
    ahead = 1e4 * runs.budget.max()
    assert found.predict(ahead).loss.value == pytest.approx(
        float(additive.optimum(truth, CostModel.six_nd(), ahead)[2]), rel=1e-8
    )


@settings(max_examples=15, deadline=None)
@given(st.floats(-6, 6), st.floats(-6, 6), st.floats(-8, 8), st.sampled_from(OBJECTIVES))
def test_units_change_nothing_but_the_units(n_unit: float, d_unit: float, l_unit: float, objective: str) -> None:
    runs = sweep()
    delta = (
        "adaptive" if objective == "lin_huber" else 1e-3
    )  # a number is in the unit of the residuals, here of the loss
    n_scale, d_scale, l_scale = 10.0**n_unit, 10.0**d_unit, 10.0**l_unit
    scaled = Runs(n_params=runs.n_params * n_scale, n_tokens=runs.n_tokens * d_scale, loss=runs.loss * l_scale)
    a, b = (fit(table, objective=objective, delta=delta).values for table in (runs, scaled))
    expected = {
        "E": a["E"] * l_scale,
        "A": a["A"] * l_scale * n_scale ** a["alpha"],
        "B": a["B"] * l_scale * d_scale ** a["beta"],
        "alpha": a["alpha"],
        "beta": a["beta"],
    }
    assert {name: b[name] for name in LAW} == pytest.approx(expected, rel=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(35)))
def test_order_of_rows_changes_nothing_and_no_interval(order: list[int]) -> None:
    runs = sweep()
    assert fit(runs.where(order), bootstrap=50).params == fit(runs, bootstrap=50).params


def best_of_many(problem: Objective, starts: int, seed: int = 0) -> float:
    rng = np.random.default_rng(seed)
    terms = np.log(rng.uniform(0.01, 1.0, size=(starts, 2)) * problem.loss.mean())
    exponents = np.exp(rng.uniform(np.log(0.03), np.log(2.5), size=(starts, 2)))
    begin = np.column_stack([rng.uniform(0.01, 0.9, starts), terms, exponents])
    return float(np.nanmin(minimise(problem, begin, np.ones(len(problem.loss))).value))


def test_no_start_finds_anything_better() -> None:
    for seed in range(4):
        runs = sweep(noise=0.02, seed=seed)
        found = fit_additive(runs.n_params, runs.n_tokens, runs.loss)
        assert found.objective <= best_of_many(found.problem, starts=30, seed=seed) * (1 + 1e-9)


def test_few_noisy_runs_have_more_valleys_and_none_is_lower() -> None:
    # The best valley of these is not among the better half of the starts until they are polished a good way.
    runs, _ = additive_sweep(ADDITIVE["chinchilla"], noise=0.03, budgets=3, sizes=5, diverged=0.1, seed=2)
    found = fit_additive(runs.n_params, runs.n_tokens, runs.loss, objective="lin_huber")
    assert found.objective <= best_of_many(found.problem, starts=300) * (1 + 1e-9)


def test_least_squares_agrees_with_scipy() -> None:
    from scipy.optimize import least_squares

    runs = sweep()
    found = fit_additive(runs.n_params, runs.n_tokens, runs.loss, objective="log_mse")
    peer = least_squares(
        lambda theta: found.problem.residuals(theta[None])[0], found.theta * 1.05, xtol=1e-14, ftol=1e-14, gtol=1e-14
    )
    assert found.objective == pytest.approx(2 * peer.cost, rel=1e-10)
    assert found.theta == pytest.approx(peer.x, rel=1e-5)


def test_adaptive_delta_is_a_fixed_point() -> None:
    runs = sweep(noise=0.01)
    found = fit_additive(runs.n_params, runs.n_tokens, runs.loss, delta="adaptive")
    residuals = found.problem.residuals(found.theta[None])[0]
    sigma = 1.4826 * np.median(np.abs(residuals - np.median(residuals)))
    assert found.delta == pytest.approx(1.345 * sigma, rel=0.02)
    assert 0.004 < sigma < 0.02


def test_e_stops_at_zero() -> None:
    runs = sweep()
    below = {"E": -0.5, "A": 6.0, "B": 9.0, "alpha": 0.05, "beta": 0.06}
    found = fit(attrs.evolve(runs, loss=additive.loss(below, runs.n_params, runs.n_tokens)))
    assert found.values["E"] == 0
    assert any("E is 0" in note for note in found.notes)


# What the runs cannot say


def test_constant_data_is_refused_with_the_parameters_it_leaves_open() -> None:
    runs = attrs.evolve(sweep(), n_tokens=np.full(35, 1e9), budget=None)
    with pytest.raises(FitError, match="B and beta are not identified: all 35 usable runs have D = 1e\\+09"):
        fit(runs)


def test_as_many_runs_as_parameters_can_be_passed_through_and_that_is_said() -> None:
    runs = sweep(noise=0.01)
    five = fit(runs.where([0, 9, 17, 25, 34]), bootstrap=0)
    assert any("5 different points (N, D) for 5 parameters" in note for note in five.notes)
    assert not any("for 5 parameters" in note for note in fit(runs, bootstrap=0).notes)


def test_one_size_is_refused() -> None:
    with pytest.raises(FitError, match="N = 1e\\+08"):
        fit(attrs.evolve(sweep(), n_params=np.full(35, 1e8), budget=None))


def test_one_budget_is_refused() -> None:
    with pytest.raises(FitError, match="two or more compute"):
        fit(sweep(budgets=1))


def test_too_few_points_are_refused() -> None:
    with pytest.raises(FitError, match="5 parameters"):
        fit(sweep(budgets=2, sizes=2))


def test_equal_losses_identify_only_e() -> None:
    found = fit(attrs.evolve(sweep(), loss=np.full(35, 3.0)))
    assert not found.converged
    assert any("A, alpha, B and beta are not identified: all losses are equal" in note for note in found.notes)


def test_collinear_sizes_and_data_are_said() -> None:
    n = np.geomspace(1e7, 1e10, 20)
    runs = Runs(n_params=n, n_tokens=20 * n, loss=additive.loss(TRUTH, n, 20 * n) * (1 + 0.001 * np.cos(np.arange(20))))
    found = fit(runs)
    assert not found.converged
    assert any("ln N and ln D are collinear" in note and "alpha" in note for note in found.notes)


def test_a_term_that_is_not_there_is_said() -> None:
    runs = sweep()
    found = fit(attrs.evolve(runs, loss=1.7 + 400 / runs.n_params**0.34))
    assert not found.converged
    assert any("B and beta are not identified" in note for note in found.notes)
    found = fit(attrs.evolve(runs, loss=1.7 + 400 / runs.n_tokens**0.34))
    assert not found.converged
    assert any("A and alpha are not identified" in note for note in found.notes)


def test_a_term_lost_in_noise_is_said() -> None:
    runs = sweep()
    rng = np.random.default_rng(3)
    found = fit(attrs.evolve(runs, loss=(1.7 + 400 / runs.n_params**0.34) * np.exp(0.01 * rng.normal(size=35))))
    assert any("B and beta are" in note and "identified" in note for note in found.notes)


def test_a_good_sweep_leaves_nothing_to_say(certified: tuple[str, Runs, dict[str, Any]]) -> None:
    assert fit(certified[1]).notes == ()


# Noise


def test_known_standard_errors_weigh_the_fit() -> None:
    clean = sweep(noise=0.0)
    rng = np.random.default_rng(5)
    stderr = np.where(np.arange(35) % 3 == 0, 0.1, 0.001)
    noisy = attrs.evolve(clean, loss=clean.loss + stderr * rng.normal(size=35))
    off = {}
    for name, runs in (("weighed", attrs.evolve(noisy, loss_stderr=stderr)), ("alike", noisy)):
        found = fit(runs, objective="log_mse")
        off[name] = np.abs(np.log(found.loss(clean.n_params, clean.n_tokens) / clean.loss)).mean()
    assert off["weighed"] < 0.3 * off["alike"]


def test_equal_standard_errors_change_nothing() -> None:
    runs = sweep()
    plain = fit(runs)
    equal = attrs.evolve(runs, loss_stderr=0.004 * plain.loss(runs.n_params, runs.n_tokens))
    assert fit(equal).values == pytest.approx(plain.values, rel=1e-9)


def test_unknown_standard_errors_change_nothing() -> None:
    runs = sweep()
    assert fit(attrs.evolve(runs, loss_stderr=np.full(35, np.nan))).values == pytest.approx(fit(runs).values, rel=1e-12)


def test_more_seeds_count_more() -> None:
    runs = sweep()
    rows = np.concatenate([np.arange(35), np.arange(7), np.arange(7)])
    weights = np.where(np.arange(35) < 7, 3.0, 1.0)
    repeated = fit(runs.where(rows))
    weighted = fit_additive(runs.n_params, runs.n_tokens, runs.loss, weights=weights)
    assert repeated.objective == pytest.approx(weighted.objective, rel=1e-9)


# Options


def test_outliers_are_flagged_excluded_or_kept() -> None:
    runs = sweep(noise=0.003)
    bad = attrs.evolve(runs, loss=np.where(np.arange(35) == 12, 1.3, 1.0) * runs.loss)
    flagged, excluded, kept = (fit(bad, outliers=how) for how in ("flag", "exclude", "keep"))
    assert [(item.run, item.used) for item in flagged.excluded] == [("row 13", True)]
    assert [(item.run, item.used) for item in excluded.excluded] == [("row 13", False)]
    assert kept.excluded == ()
    assert (flagged.n_used, excluded.n_used, kept.n_used) == (35, 34, 35)
    assert flagged.values == kept.values
    assert excluded.values == pytest.approx(fit(bad.where(np.arange(35) != 12)).values)


def test_hold_out_errors_are_those_of_the_law() -> None:
    found = SurfaceFitter(outliers="keep", bootstrap=0).fit(sweep(noise=0.0, budgets=6), CostModel.six_nd())
    assert found.hold_out["loss_error"] < 1e-6
    assert found.hold_out["origins"] == 2
    assert found.model_error is not None


def test_a_fit_survives_json(epoch_240: Runs) -> None:
    found = fit(epoch_240, bootstrap=50)
    again = Fit.from_dict(found.to_dict())
    assert again.values == found.values
    assert again.loss(1e9, 2e10) == found.loss(1e9, 2e10)
    assert again.predict(1e22) == found.predict(1e22)


# lmfit


def test_a_fit_can_be_pickled() -> None:
    found = fit(sweep(noise=0.01), bootstrap=20)
    again = pickle.loads(pickle.dumps(found))
    assert again == found
    assert again.predict(1e22) == found.predict(1e22)


def test_lmfit_result_is_at_hand() -> None:
    found = fit(sweep())
    result = found.law.lmfit_result
    assert isinstance(result, lmfit.minimizer.MinimizerResult)
    assert {name: result.params[name].value for name in LAW} == pytest.approx(
        {name: found.values[name] for name in LAW}, rel=1e-4
    )
    assert all(par.stderr is None for par in result.params.values())


def test_objective_of_weights_is_a_sum(epoch_240: Runs) -> None:
    problem = Objective(n=epoch_240.n_params, d=epoch_240.n_tokens, loss=epoch_240.loss)
    theta = problem.theta(TRUTH)[None]
    assert problem.value(theta, np.full(240, 2.0)) == pytest.approx(2 * problem.value(theta, np.ones(240)))


def test_exponents_are_those_of_the_answers_whatever_a_token_costs() -> None:
    sizes = np.geomspace(1e7, 1e11, 9)
    cost = CostModel.measured(
        sizes, 6 * sizes + 2e4 * sizes**0.6
    )  # attention: N and D grow by other powers than of 6ND
    found = SurfaceFitter(bootstrap=100, hold_out=False).fit(sweep(), cost)
    assert found.largest_budget is not None
    low, high = (found.predict(times * found.largest_budget) for times in (0.5, 2.0))
    for name, quantity in (("a", "n_params"), ("b", "n_tokens")):
        slope = np.log(getattr(high, quantity).value / getattr(low, quantity).value) / np.log(4.0)
        assert found.params[name].value == pytest.approx(slope, rel=1e-9)
        assert found.params[name].low < slope < found.params[name].high
    assert found.params["a"].value + found.params["b"].value != pytest.approx(1.0, abs=1e-3)

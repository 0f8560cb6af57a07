"""Approach 2 against known surfaces: the published bias table, what is left out and why, coverage."""

import json
import re

import numpy as np
import pytest

import published
from flops_fit_core.data import CostModel, Fit, Runs
from flops_fit_core.errors import FitError
from flops_fit_lmfit import additive
from flops_fit_lmfit.isoflop import IsoFlopFitter

CHINCHILLA = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
BUDGETS = np.logspace(17, 21, 5)


def best_n(budget, law=CHINCHILLA, flops_per_token=6.0, slope=1.0):
    """The exact optimum of the additive law where C = flops_per_token·N^slope·D."""
    alpha, beta = law["alpha"], law["beta"]
    ratio = alpha * law["A"] / (slope * beta * law["B"])
    return (ratio * (budget / flops_per_token) ** beta) ** (1 / (alpha + slope * beta))


def loss(n, d, law=CHINCHILLA):
    return law["E"] + law["A"] / n ** law["alpha"] + law["B"] / d ** law["beta"]


def sweep(points=7, span=6.0, budgets=BUDGETS, noise=0.0, seed=0, law=CHINCHILLA, shift=1.0, **columns):
    """Sizes log-spaced within ± `span` times the optimum (moved by `shift`) at every budget, C = 6ND."""
    grid = np.logspace(-1, 1, points, base=span)
    n = np.concatenate([shift * best_n(c, law) * grid for c in budgets])
    budget = np.repeat(np.asarray(budgets, dtype=float), points)
    d = budget / (6 * n)
    rng = np.random.default_rng(seed)
    losses = loss(n, d, law) * np.exp(noise * rng.standard_normal(len(n)))
    return Runs(n_params=n, n_tokens=d, loss=losses, budget=budget, flops=budget, **columns)


def changed(runs, **columns):
    return Runs(**{**runs.columns(), **columns})


def fit(runs, cost=None, hold_out=False, **options):
    return IsoFlopFitter(hold_out=hold_out, **options).fit(runs, cost or CostModel.six_nd())


@pytest.mark.parametrize(("span", "percent"), [(2, -0.33), (4, -1.30), (8, -2.90), (16, -5.10)])
def test_the_published_bias_of_parabolas_is_reproduced_and_the_exact_slice_has_none(span, percent):
    """Czech et al. 2026, arXiv 2603.22339: 15 points, five budgets from 1e17 to 1e21, D at 1e24."""
    found = fit(sweep(points=15, span=span))
    truth = 1e24 / (6 * best_n(1e24))
    law = found.values
    assert law["k_d"] * 1e24 ** law["b"] / truth - 1 == pytest.approx(percent / 100, abs=0.00005)
    exact = found.details["slice_law"]
    assert exact["k_d"] * 1e24 ** exact["b"] / truth - 1 == pytest.approx(0, abs=1e-8)
    assert found.excluded == ()
    assert any("2603.22339" in note for note in found.notes) == (span > 2)


@pytest.mark.parametrize("alpha", [0.2, 0.31, 0.6])
def test_a_symmetric_law_is_recovered_exactly(alpha):
    law = {"E": 1.8, "A": 300.0, "B": 500.0, "alpha": alpha, "beta": alpha}
    found = fit(sweep(law=law))
    assert found.values["a"] == pytest.approx(0.5, abs=1e-8)
    assert found.values["b"] == pytest.approx(0.5, abs=1e-8)
    n, d, _ = found.law.optimum(found.values, found.cost, 1e23)
    assert float(n) == pytest.approx(best_n(1e23, law), rel=1e-7)
    assert 6 * float(n) * float(d) == pytest.approx(1e23, rel=1e-12)
    assert found.converged


def test_the_loss_law_is_that_of_the_additive_frontier():
    found = fit(sweep(points=15, span=1.5))
    gamma = 0.34 * 0.28 / 0.62
    assert found.values["c"] == pytest.approx(-gamma, abs=1e-6)
    assert found.values["E"] == pytest.approx(1.69, abs=1e-4)
    predicted = found.law.optimum(found.values, found.cost, 1e24)[2]
    assert float(predicted) == pytest.approx(loss(best_n(1e24), 1e24 / (6 * best_n(1e24))), rel=1e-4)


def test_d_opt_is_fitted_itself_where_cost_is_not_6nd():
    slope, factor = 0.8, 200.0
    n = np.concatenate(
        [best_n(c, flops_per_token=factor, slope=slope) * np.logspace(-1, 1, 9, base=2) for c in BUDGETS]
    )
    budget = np.repeat(BUDGETS, 9)
    d = budget / (factor * n**slope)
    runs = Runs(n_params=n, n_tokens=d, loss=loss(n, d), budget=budget)
    a = 0.28 / (0.34 + slope * 0.28)
    for cost in (CostModel.measured(n, budget / d), CostModel.six_nd()):
        found = fit(runs, cost)
        assert found.values["a"] == pytest.approx(a, abs=1e-6)
        assert found.values["b"] == pytest.approx(1 - slope * a, abs=1e-6)
        n_opt, d_opt, _ = found.law.optimum(found.values, found.cost, 1e22)
        assert float(d_opt) == pytest.approx(1e22 / (factor * float(n_opt) ** slope), rel=1e-6)
    assert any("times their budgets" in note for note in found.notes)


def test_one_bad_run_changes_nothing_but_itself():
    clean = sweep(noise=0.003, seed=3)
    for row in (0, 3, 6, 17):
        spoilt = np.array(clean.loss)
        spoilt[row] *= 1.2
        found = fit(changed(clean, loss=spoilt, label=[f"run {i}" for i in range(len(clean))]), bootstrap=0)
        bad = next(e for e in found.excluded if e.run == f"run {row}")
        assert "outlier" in bad.reason
        assert not bad.used
        gone = {int(e.run.split()[1]) for e in found.excluded}
        without = fit(clean.where([i not in gone for i in range(len(clean))]), bootstrap=0, outliers="flag")
        assert len(gone) <= 2
        assert found.values["a"] == pytest.approx(without.values["a"], abs=1e-9)


@pytest.mark.parametrize("share", [0.03, 0.05, 0.20])
def test_a_run_far_too_low_moves_no_minimum(share):
    """A typo or a leaked validation set: at a vertex, beside one, near the ends and at them."""
    clean = sweep(noise=0.003)
    for row in (0, 1, 3, 16, 17, 18, 20, 33):
        spoilt = np.array(clean.loss)
        spoilt[row] *= 1 - share
        found = fit(changed(clean, loss=spoilt, label=[f"run {i}" for i in range(35)]), bootstrap=0)
        (low,) = found.excluded
        assert low.run == f"run {row}"
        assert re.match(r"outlier: loss \d+\.\d\d% below the frontier law, \d+\.\d robust sigmas", low.reason)
        assert not low.used
        without = fit(clean.where(np.arange(35) != row), bootstrap=0)
        n, _, losses = found.law.optimum(found.values, found.cost, 1e23)
        n_without, _, losses_without = without.law.optimum(without.values, without.cost, 1e23)
        assert found.values["a"] == pytest.approx(without.values["a"], abs=1e-9)
        assert (float(n), float(losses)) == pytest.approx((float(n_without), float(losses_without)), rel=1e-6)
        for one, other in zip(found.details["budgets"], without.details["budgets"], strict=True):
            assert (one["n_opt"], one["loss_opt"]) == pytest.approx((other["n_opt"], other["loss_opt"]), rel=1e-9)


def test_a_run_far_too_low_that_had_to_be_used_is_named():
    clean = sweep(points=6, noise=0.003)
    spoilt = np.array(clean.loss)
    spoilt[[8, 9]] *= 0.7, 0.8  # of six runs of a budget one is left out at most: the worse
    found = fit(changed(clean, loss=spoilt, label=[f"run {i}" for i in range(len(clean))]), bootstrap=0)
    assert "run 8" in {run.run for run in found.excluded if "outlier" in run.reason}
    assert any(note.startswith("run 9 is used, but too low to be true") for note in found.notes)


def test_in_a_small_sweep_too():
    for budgets, points, share in ((4, 5, 0.1), (3, 5, 0.2)):
        clean = sweep(points=points, budgets=BUDGETS[:budgets], noise=0.003)
        for row in range(len(clean)):
            spoilt = np.array(clean.loss)
            spoilt[row] *= 1 - share
            found = fit(changed(clean, loss=spoilt), bootstrap=0)
            assert [e.run for e in found.excluded if "outlier" in e.reason] == [f"row {row + 1}"]


def test_low_runs_can_be_named_only_and_count_with_high_ones():
    runs = sweep(noise=0.003)
    spoilt = np.array(runs.loss)
    spoilt[[1, 3, 5]] *= [0.95, 0.8, 1.3]  # 30 % of seven are two
    both = changed(runs, loss=spoilt)
    out, named = (fit(both, bootstrap=0, outliers=how) for how in ("exclude", "flag"))
    for found, used in ((out, False), (named, True)):
        assert [(e.run, e.used) for e in found.excluded if "outlier" in e.reason] == [("row 4", used), ("row 6", used)]
    assert out.n_used == named.n_used - 2


def test_outliers_can_be_named_only():
    runs = sweep(noise=0.003)
    spoilt = np.array(runs.loss)
    spoilt[3] *= 1.05
    kept = fit(changed(runs, loss=spoilt), bootstrap=0, outliers="flag")
    assert kept.n_used == len(runs)
    assert [(e.run, e.used) for e in kept.excluded] == [("row 4", True)]


def test_a_clean_noisy_sweep_loses_no_run():
    lost = sum(len(fit(sweep(noise=0.005, seed=seed), bootstrap=0).excluded) for seed in range(10))
    assert lost <= 2  # of 350 runs


def test_budgets_without_a_usable_minimum_are_left_out_with_their_reason():
    good = sweep(budgets=BUDGETS[:3])
    few = sweep(points=3, budgets=[1e22])
    edge = sweep(budgets=[1e23], shift=30.0)
    x = np.linspace(-1, 1, 7)
    humps = sweep(budgets=[1e24])
    concave = changed(humps, loss=[2.0, 1.99, 2.06, 2.07, 2.06, 2.05, 2.0])
    outside = changed(sweep(budgets=[1e25]), loss=2.0 - 0.2 * x + 0.05 * x**2 - 0.08 * (np.arange(7) == 5))
    tables = [good, few, edge, concave, outside]
    together = {name: np.concatenate([getattr(t, name) for t in tables]) for name in good.columns()}
    found = fit(Runs(**together), bootstrap=0, outliers="flag")
    reasons = {e.run: e.reason for e in found.excluded}
    assert "3 different sizes" in reasons["budget 1e22"]
    assert "edge: the lowest loss is at the smallest" in reasons["budget 1e23"]
    assert "concave" in reasons["budget 1e24"]
    assert reasons["budget 1e25"] == "the curve's vertex lies outside the sizes that were trained"
    used = [b["budget"] for b in found.details["budgets"] if b["used"]]
    assert used == pytest.approx(BUDGETS[:3])
    assert found.largest_budget == pytest.approx(1e19)
    alone = fit(good, bootstrap=0)
    assert found.values["c"] == pytest.approx(alone.values["c"], abs=1e-9)


def test_runs_of_one_ratio_of_data_to_size_are_no_slices():
    # Chinchilla's rule at several sizes close to each other: a minimum there would only say D = 20·N again.
    n = np.repeat(np.geomspace(1e8, 1e10, 5), 4) * np.tile([0.995, 1.0, 1.004, 1.002], 5)
    noise = 0.003 * np.random.default_rng(0).standard_normal(20)
    loss = additive.loss({"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}, n, 20 * n) * np.exp(noise)
    with pytest.raises(FitError, match="larger models were trained on no less data"):
        IsoFlopFitter(bootstrap=0).fit(Runs(n_params=n, n_tokens=20 * n, loss=loss), CostModel.six_nd())


def test_one_budget_is_refused_and_says_what_is_missing():
    with pytest.raises(
        FitError, match=r"two or more compute budgets.*show one at 1 of 1: 1e18 FLOPs, 7 runs: a minimum"
    ):
        fit(sweep(budgets=[1e18]))
    with pytest.raises(FitError, match="no budget at all"):
        fit(Runs.empty())


def test_two_budgets_cannot_tell_e():
    found = fit(sweep(budgets=BUDGETS[1:3], noise=0.001))
    assert found.values["E"] == 0
    assert any("lower bound" in note for note in found.notes)
    at = [loss(best_n(c), c / 6 / best_n(c)) for c in BUDGETS]
    predicted = [float(found.law.optimum(found.values, found.cost, c)[2]) for c in BUDGETS]
    assert predicted[1:3] == pytest.approx(at[1:3], rel=3e-3)
    assert predicted[4] < at[4]


def test_fewer_than_ten_runs_give_no_interval():
    found = fit(sweep(points=4, budgets=BUDGETS[:2]))
    assert found.params["a"].low is None
    assert any("no intervals: 8 runs" in note for note in found.notes)
    assert any("bootstrap=0" in note for note in fit(sweep(), bootstrap=0).notes)


def test_intervals_are_seeded_and_hold_the_estimate():
    runs = sweep(noise=0.005)
    one, same, other = fit(runs, seed=1), fit(runs, seed=1), fit(runs, seed=2)
    assert one.params == same.params
    assert one.params["a"].low != other.params["a"].low
    for name in ("a", "k_n", "b", "k_d", "E", "k_l", "c"):
        estimate = one.params[name]
        assert estimate.low < estimate.value < estimate.high
    n, d, losses = one.law.optimum(one.draws, one.cost, 1e23)
    assert n.shape == d.shape == losses.shape == one.draws["a"].shape


def test_seeds_and_standard_errors_weigh():
    rng = np.random.default_rng(0)
    clean = sweep(points=6)
    noise = np.where(np.arange(6 * 5) % 2 == 0, 0.0005, 0.02)
    errors = {"weighted": [], "plain": []}
    truth = fit(clean, bootstrap=0).values["a"]
    for _ in range(10):
        noisy = changed(clean, loss=clean.loss * np.exp(noise * rng.standard_normal(30)))
        weighed = changed(noisy, loss_stderr=noise * noisy.loss)
        errors["plain"].append(fit(noisy, bootstrap=0, outliers="flag").values["a"] - truth)
        errors["weighted"].append(fit(weighed, bootstrap=0, outliers="flag").values["a"] - truth)
    assert np.std(errors["weighted"]) < 0.9 * np.std(errors["plain"])
    twice = Runs(**{name: np.tile(column, 2) for name, column in clean.columns().items()}, seed=[0] * 30 + [1] * 30)
    assert fit(twice).values["a"] == pytest.approx(fit(clean).values["a"], abs=1e-9)
    assert fit(twice).n_used == 60


def test_order_of_rows_and_units_change_nothing_but_the_units():
    runs = sweep(noise=0.004, seed=5)
    base = fit(runs, bootstrap=0).values
    order = np.random.default_rng(0).permutation(len(runs))
    assert fit(runs.where(order), bootstrap=50).params == fit(runs, bootstrap=50).params
    scaled = changed(runs, n_params=runs.n_params * 1e3, n_tokens=runs.n_tokens * 1e-3, loss=runs.loss * 2)
    other = fit(scaled, bootstrap=0).values
    assert other["a"] == pytest.approx(base["a"], abs=1e-9)
    assert other["c"] == pytest.approx(base["c"], rel=1e-6)
    assert other["k_n"] == pytest.approx(base["k_n"] * 1e3, rel=1e-6)
    assert other["E"] == pytest.approx(base["E"] * 2, rel=1e-6)


def test_equal_losses_have_no_minimum():
    with pytest.raises(FitError, match="usable runs have loss 3: no size is better than another"):
        fit(changed(sweep(), loss=np.full(len(sweep()), 3.0)))


def test_either_parameter_count_convention():
    """Embeddings weigh more in small models, so the exponent is larger without them (Porian et al. 2024)."""
    law = {**CHINCHILLA, "alpha": 0.3, "beta": 0.3}
    body = sweep(law=law, budgets=np.logspace(16, 19, 4))
    runs = changed(body, n_params=body.n_params + 5e3 * np.sqrt(body.n_params), n_params_non_embedding=body.n_params)
    cost = CostModel.from_runs(runs)
    everything, body_only = fit(runs, cost, bootstrap=0), fit(runs.non_embedding(), bootstrap=0)
    assert body_only.values["a"] == pytest.approx(0.5, abs=1e-6)
    assert everything.values["a"] < 0.47
    assert any("non-embedding" in note for note in body_only.notes)


def test_it_survives_json_and_details_are_as_documented():
    found = fit(sweep(noise=0.003), bootstrap=50)
    text = json.dumps(found.to_dict(), allow_nan=False)
    again = Fit.from_dict(json.loads(text))
    assert again == found
    assert json.dumps(again.to_dict(), allow_nan=False) == text
    for entry in found.details["budgets"]:
        assert entry["used"]
        assert entry["reason"] == ""
        x = np.log(entry["n_opt"])
        assert np.polynomial.polynomial.polyval(x, entry["parabola"]) == pytest.approx(entry["loss_opt"], rel=1e-12)
        e, a, b = entry["slice"]["coefficients"]
        n = entry["slice"]["n_opt"]
        assert e + a * n ** -entry["slice"]["alpha"] + b * n ** entry["slice"]["decay"] == pytest.approx(
            entry["slice"]["loss_opt"], rel=1e-10
        )
        assert 6 * entry["n_opt"] * entry["d_opt"] == pytest.approx(entry["budget"], rel=1e-9)


def test_chinchilla_s_own_runs_give_about_its_published_answer():
    """Hoffmann et al. 2022, table 3: Approach 2 says 63 billion parameters at 5.76e23 FLOPs."""
    found = fit(published.chinchilla_isoflops())
    n, _, _ = found.law.optimum(found.draws, found.cost, 5.76e23)
    low, high = np.quantile(n, [0.05, 0.95])
    assert low < 63e9 < high
    assert 0.42 < found.params["a"].low < 0.49 < found.params["a"].high < 0.60


@pytest.mark.parametrize("runs", published.PUBLISHED.values(), ids=published.PUBLISHED)
def test_no_published_run_is_too_low(runs):
    assert not [e for e in fit(runs(), bootstrap=0).excluded if "below the frontier" in e.reason]


def test_budgets_counted_in_another_way_stay_consistent():
    found = fit(published.marin_comma(), bootstrap=0)
    for entry in found.details["budgets"]:
        if entry["used"]:
            cost = float(found.cost.flops(entry["n_opt"], entry["d_opt"]))
            assert cost == pytest.approx(entry["budget"], rel=0.02)


def test_later_budgets_are_predicted_from_the_earlier_ones():
    found = fit(sweep(points=9, span=2, budgets=np.logspace(17, 22, 6)), hold_out=True, bootstrap=0)
    assert found.hold_out["origins"] == 2
    assert found.hold_out["budgets"] == 3
    assert found.hold_out["loss_error"] < 2e-3
    assert found.hold_out["log_n_error"] < 0.02
    assert found.model_error.loss == 0.012
    assert fit(sweep(), bootstrap=0).hold_out == {}


@pytest.mark.slow
def test_intervals_cover():
    """Nominal 90 %, against the method's own noise-free answer (its bias is not the interval's business)."""
    law = {**CHINCHILLA, "alpha": 0.32, "beta": 0.31}
    budget = 1e23

    def answer(values, cost):
        n, _, losses = IsoFlopFitter().optimum(values, cost, budget)
        return np.array([values["a"], np.log(n), losses])

    clean = fit(sweep(law=law), bootstrap=0)
    truth = answer(clean.values, clean.cost)
    replicates = 300
    hits = np.zeros(3)
    for seed in range(replicates):
        found = fit(sweep(law=law, noise=0.005, seed=seed), bootstrap=300)
        low, high = np.quantile(answer(found.draws, found.cost), [0.05, 0.95], axis=1)
        hits += (low <= truth) & (truth <= high)
    assert np.all(hits / replicates > 0.84)
    assert np.all(hits / replicates < 0.97)

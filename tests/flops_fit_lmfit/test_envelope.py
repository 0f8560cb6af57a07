"""Approach 1 on curves and on final points of known laws."""

import json

import attrs
import numpy as np
import pytest

from flops_fit_core import testing
from flops_fit_core.data import CostModel, CurvePoint, Fit, Runs
from flops_fit_core.errors import FitError
from flops_fit_lmfit.envelope import EnvelopeFitter
from known_laws import ADDITIVE, additive_sweep
from published import chinchilla_isoflops

ALPHA = BETA = 0.3
E, A, B = 1.7, 400.0, 400.0


def loss(n, d):
    return E + A / n**ALPHA + B / d**BETA


def curves(kind="eval_loss", noise=0.0, sizes=40, points=200):
    """Sizes log-spaced, each trained over the same range of C; the curves follow the law exactly."""
    rng = np.random.default_rng(0)
    n = np.logspace(6, 10, sizes)
    c = np.logspace(15, 21, points)
    found = []
    for one in n:
        d = c / (6 * one)
        keep = d >= 1
        y = loss(one, d) * np.exp(noise * rng.standard_normal(points))
        found.append(
            tuple(CurvePoint(n_tokens=int(t), **{kind: float(v)}) for t, v in zip(d[keep], y[keep], strict=True))
        )
    final = np.array([curve[-1].n_tokens for curve in found], dtype=float)
    return Runs(n_params=n, n_tokens=final, loss=loss(n, final), curves=found)


def best_n(c):
    return np.sqrt(c / 6)  # alpha = beta, A = B


@pytest.mark.parametrize("kind", ["eval_loss", "loss"])
def test_the_envelope_of_curves_finds_the_optimum(kind):
    found = EnvelopeFitter(bootstrap=0).fit(curves(kind), CostModel.six_nd())
    assert found.values["a"] == pytest.approx(0.5, abs=0.01)
    assert found.values["b"] == pytest.approx(0.5, abs=0.01)
    n, d, at = (float(v) for v in found.law.optimum(found.values, found.cost, 1e20))
    assert n == pytest.approx(best_n(1e20), rel=0.06)
    assert 6 * n * d == pytest.approx(1e20, rel=1e-12)
    assert at == pytest.approx(loss(best_n(1e20), best_n(1e20)), rel=2e-3)
    assert found.values["c"] == pytest.approx(-0.15, abs=0.01)
    assert found.details["envelope"]["source"] == "curves"


def test_held_out_losses_are_preferred_to_training_losses():
    runs = curves("eval_loss", sizes=10)
    both = [
        tuple(CurvePoint(n_tokens=p.n_tokens, eval_loss=p.eval_loss, loss=p.eval_loss * 0.5) for p in curve)
        for curve in runs.curves
    ]
    mixed = Runs(n_params=runs.n_params, n_tokens=runs.n_tokens, loss=runs.loss, curves=both)
    expected = EnvelopeFitter(bootstrap=0).fit(runs, CostModel.six_nd()).values
    assert EnvelopeFitter(bootstrap=0).fit(mixed, CostModel.six_nd()).values == expected


def test_noisy_training_losses_are_smoothed():
    runs = curves("loss", noise=0.02)
    found = EnvelopeFitter(bootstrap=0).fit(runs, CostModel.six_nd())
    assert found.values["a"] == pytest.approx(0.5, abs=0.06)


def test_coarse_training_losses_are_taken_as_they_are():
    runs = grid()
    halves = [
        tuple(CurvePoint(n_tokens=int(t), loss=float(loss(n, int(t)))) for t in d / 2.0 ** np.arange(7, -1, -1))
        for n, d in zip(runs.n_params, runs.n_tokens, strict=True)
    ]
    found = EnvelopeFitter(bootstrap=0).fit(Runs(**runs.columns() | {"curves": halves}), CostModel.six_nd())
    assert found.details["envelope"]["source"] == "curves"
    for c in (1e18, 1e19, 1e20):
        assert float(found.law.optimum(found.values, found.cost, c)[2]) == pytest.approx(
            loss(best_n(c), best_n(c)), rel=0.01
        )


def grid(points=9, budgets=(1e17, 1e18, 1e19, 1e20), shift=1.0):
    n = np.concatenate([shift * best_n(c) * np.logspace(-1, 1, points, base=4) for c in budgets])
    budget = np.repeat(budgets, points)
    d = budget / 6 / n
    return Runs(n_params=n, n_tokens=d, loss=loss(n, d), budget=budget)


def test_without_curves_the_lowest_final_loss_of_each_budget_counts():
    found = EnvelopeFitter().fit(grid(), CostModel.six_nd())
    assert found.values["a"] == pytest.approx(0.5, abs=1e-9)
    assert found.details["envelope"]["source"] == "final points"
    assert found.details["envelope"]["n"] == pytest.approx([best_n(c) for c in (1e17, 1e18, 1e19, 1e20)])
    estimate = found.params["a"]
    assert estimate.low <= 0.5 <= estimate.high
    assert estimate.low < estimate.high
    short = tuple(
        (CurvePoint(n_tokens=int(d / 2), loss=9.0), CurvePoint(n_tokens=int(d), loss=9.0)) for d in grid().n_tokens
    )
    with_curves = Runs(**grid().columns(), curves=short)
    ignored = EnvelopeFitter(use_curves=False).fit(with_curves, CostModel.six_nd())
    assert ignored.values == found.values


def test_minima_at_the_edge_are_left_out_with_a_reason():
    good, edge = grid(), grid(budgets=(1e22,), shift=50.0)
    both = Runs(**{k: np.concatenate([getattr(good, k), getattr(edge, k)]) for k in good.columns()})
    found = EnvelopeFitter(bootstrap=0).fit(both, CostModel.six_nd())
    assert [(e.run, "edge" in e.reason) for e in found.excluded] == [("budget 1e22", True)]
    assert found.largest_budget == 1e20
    with pytest.raises(FitError, match="two are needed"):
        EnvelopeFitter().fit(edge, CostModel.six_nd())
    with pytest.raises(FitError, match="0 usable runs"):
        EnvelopeFitter().fit(Runs.empty(), CostModel.six_nd())


def test_few_runs_give_no_interval_and_seeds_decide_the_draws():
    few = EnvelopeFitter().fit(grid(points=3, budgets=(1e18, 1e19, 1e20)), CostModel.six_nd())
    assert few.params["a"].low is None
    assert any("no intervals: 9 runs" in note for note in few.notes)
    one, same = (EnvelopeFitter(bootstrap=200, seed=3).fit(grid(), CostModel.six_nd()) for _ in range(2))
    assert one.params == same.params


def changed(runs, row, factor):
    """The same runs, one loss wrong by a factor, along its whole curve if it has one."""
    factors = np.where(np.arange(len(runs)) == row, factor, 1.0)
    columns = runs.columns() | {"loss": factors * runs.loss}
    if runs.curves is not None:
        wrong = tuple(CurvePoint(n_tokens=p.n_tokens, eval_loss=factor * p.eval_loss) for p in runs.curves[row])
        columns["curves"] = (*runs.curves[:row], wrong, *runs.curves[row + 1 :])
    return Runs(**columns)


@pytest.mark.parametrize(
    "clean", [additive_sweep(ADDITIVE["symmetric"], noise=0.003)[0], curves(noise=0.003, sizes=12)]
)
@pytest.mark.parametrize("factor", [0.7, 1.5])
def test_a_wrong_loss_is_left_out_and_named(clean, factor):
    row = int(np.argmax(clean.n_params * (clean.n_params < clean.n_params.max())))  # the largest but one
    wrong = changed(clean, row, factor)
    found = EnvelopeFitter(bootstrap=50).fit(wrong, CostModel.six_nd())
    bare = EnvelopeFitter(bootstrap=50).fit(clean.where(np.arange(len(clean)) != row), CostModel.six_nd())
    assert found.values == bare.values
    assert found.n_used == len(clean) - 1
    (named,) = [run for run in found.excluded if "outlier" in run.reason]
    assert named.run == wrong.name(row)
    assert not named.used


def test_wrong_losses_are_used_on_request_and_named_all_the_same():
    clean, _ = additive_sweep(ADDITIVE["symmetric"], noise=0.003)
    flagged = EnvelopeFitter(outliers="flag", bootstrap=0).fit(changed(clean, 33, 0.7), CostModel.six_nd())
    assert flagged.details["envelope"]["loss"][-1] == pytest.approx(0.7 * clean.loss[33])
    assert [run.used for run in flagged.excluded if "outlier" in run.reason] == [True]


def test_a_loss_too_low_that_had_to_be_used_is_named():
    few = changed(
        changed(grid(points=3, budgets=np.geomspace(1e17, 1e21, 5)), 7, 0.7), 6, 0.8
    )  # two of three: one stays
    found = EnvelopeFitter(bootstrap=0).fit(few, CostModel.six_nd())
    assert found.n_used == 14
    assert any(note.startswith(f"{few.name(6)} is used, but too low to be true") for note in found.notes)


def test_clean_runs_are_all_used():
    for runs in (curves(), curves(noise=0.01, sizes=12), grid(), additive_sweep(ADDITIVE["chinchilla"], noise=0.01)[0]):
        assert EnvelopeFitter(bootstrap=0).fit(runs, CostModel.six_nd()).n_used == len(runs)


@pytest.mark.parametrize("noise", [0.003, 0.01])
def test_a_standard_deviation_describes_the_draws_or_is_not_given(noise):
    runs, _ = additive_sweep(ADDITIVE["chinchilla"], noise=noise)
    params = EnvelopeFitter().fit(runs, CostModel.six_nd()).params
    assert all(p.stderr is None or p.stderr < p.high - p.low for p in params.values())
    assert params["a"].stderr is not None


def test_runs_that_tie_for_the_lowest_loss_give_their_middle():
    n = np.array([1.0, 2.0, 4.0])
    c = np.array([1e18, 1e19, 1e20])
    n, budget = (best_n(c)[:, None] * n).ravel(), np.repeat(c, 3)
    tied = Runs(n_params=n, n_tokens=budget / 6 / n, loss=[2.0, 2.0, 2.1, 1.9, 1.8, 1.8, 1.7, 1.6, 1.7], budget=budget)
    found = EnvelopeFitter(bootstrap=0).fit(tied, CostModel.six_nd()).details["envelope"]
    assert found["n"] == pytest.approx(best_n(c) * [2**0.5, 8**0.5, 2.0])  # a tie at the edge is a minimum seen
    assert list(found["loss"]) == [2.0, 1.8, 1.6]


def rounded():
    runs, _ = additive_sweep(ADDITIVE["chinchilla"], sizes=15)
    return attrs.evolve(runs, loss=np.round(runs.loss, 2))


@pytest.mark.parametrize("table", [rounded, chinchilla_isoflops])
def test_the_order_of_the_rows_changes_nothing(table):
    runs = table()
    expected = EnvelopeFitter(bootstrap=50).fit(runs, CostModel.six_nd())
    for order in (np.arange(len(runs))[::-1], np.random.default_rng(0).permutation(len(runs))):
        found = EnvelopeFitter(bootstrap=50).fit(runs.where(order), CostModel.six_nd())
        assert found.details["envelope"]["n"] == pytest.approx(expected.details["envelope"]["n"], rel=1e-9)
        assert found.params == expected.params


def test_equal_losses_have_no_envelope():
    runs, _ = additive_sweep(ADDITIVE["chinchilla"])
    with pytest.raises(FitError, match="all 35 usable runs have loss 3: no size is better than another"):
        EnvelopeFitter().fit(attrs.evolve(runs, loss=np.full(35, 3.0)), CostModel.six_nd())


def some(runs, kept, kind="eval_loss"):
    """The same runs; only the `kept` ones have held-out losses along their curves, the others none or training losses."""
    curves = [
        curve if keep else tuple(CurvePoint(n_tokens=p.n_tokens, loss=p.eval_loss) for p in curve if kind == "loss")
        for curve, keep in zip(runs.curves, kept, strict=True)
    ]
    return attrs.evolve(runs, curves=curves)


@pytest.mark.parametrize("kind", ["none", "loss"])
def test_runs_without_a_curve_among_curves_are_named(kind):
    runs = curves(sizes=20)
    bare = np.arange(20) % 5 == 2
    found = EnvelopeFitter(bootstrap=0).fit(some(runs, ~bare, kind), CostModel.six_nd())
    assert found.details["envelope"]["source"] == "curves"
    assert found.n_used == 16
    named = [item for item in found.excluded if "held-out" in item.reason]
    assert [item.run for item in named] == [runs.name(row) for row in np.flatnonzero(bare)]
    assert not any(item.used for item in named)
    assert found.values == EnvelopeFitter(bootstrap=0).fit(runs.where(~bare), CostModel.six_nd()).values


def test_few_curves_among_runs_are_not_the_envelope():
    runs = grid()
    few = [
        tuple(CurvePoint(n_tokens=int(share * d), eval_loss=9.0) for share in (0.5, 1.0)) if row < 3 else ()
        for row, d in enumerate(runs.n_tokens)
    ]
    found = EnvelopeFitter(bootstrap=0).fit(attrs.evolve(runs, curves=few), CostModel.six_nd())
    assert found.details["envelope"]["source"] == "final points"
    assert found.values == EnvelopeFitter(bootstrap=0).fit(runs, CostModel.six_nd()).values
    assert any("3 of 36 runs have a curve" in note for note in found.notes)


def test_training_losses_that_most_runs_have_are_taken_where_few_have_held_out_ones():
    runs = curves(sizes=20)
    found = EnvelopeFitter(bootstrap=0).fit(some(runs, np.arange(20) < 5, "loss"), CostModel.six_nd())
    assert found.details["envelope"]["source"] == "curves"
    assert found.n_used == 15


def test_a_run_left_out_keeps_its_name_though_others_were_left_out_before():
    runs = curves(sizes=20)
    loss = np.where(np.arange(20) == 3, np.nan, runs.loss)
    found = EnvelopeFitter(bootstrap=0).fit(
        some(attrs.evolve(runs, loss=loss), np.arange(20) != 10), CostModel.six_nd()
    )
    assert [item.run for item in found.excluded if "held-out" in item.reason] == ["row 11"]


def test_it_survives_json():
    found = EnvelopeFitter(bootstrap=30).fit(grid(), CostModel.six_nd())
    assert Fit.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found


class TestContract(testing.FitterContract):
    name = "envelope"
    tolerance = 0.5  # N_opt is always a size that was trained
    loss_tolerance = 0.02

    def make_fitter(self):
        return EnvelopeFitter(bootstrap=100, use_curves=False)

"""Approach 1 on curves and on final points of known laws."""

import json

import numpy as np
import pytest

from flops_fit_core import testing
from flops_fit_core.data import CostModel, CurvePoint, Fit, Runs
from flops_fit_core.errors import FitError
from flops_fit_lmfit.envelope import EnvelopeFitter

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


def test_it_survives_json():
    found = EnvelopeFitter(bootstrap=30).fit(grid(), CostModel.six_nd())
    assert Fit.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found


class TestContract(testing.FitterContract):
    name = "envelope"
    tolerance = 0.5  # N_opt is always a size that was trained
    loss_tolerance = 0.02

    def make_fitter(self):
        return EnvelopeFitter(bootstrap=100, use_curves=False)

"""Predictions: the budget is kept, two nested intervals, and no answer to what is no budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import pytest

from flops_fit_core.data import CostModel, Estimate, Fit, ModelError
from flops_fit_core.errors import FitError, InputError
from flops_fit_core.predict import predict
from flops_fit_core.serial import unplain
from flops_fit_core.text import si


@attrs.frozen
class PowerLaw:
    """N = k·C^a and L = e: a law of which every quantile is known."""

    def fit(self, runs: Any, cost: CostModel) -> Fit:
        raise NotImplementedError

    def optimum(self, params: Mapping[str, Any], cost: CostModel, budget: float) -> Any:
        n = np.asarray(params["k"]) * budget ** np.asarray(params["a"])
        return n, cost.tokens(n, budget), np.asarray(params["e"]) + 0.0 * n


LAW = PowerLaw()


def made(**fields: Any) -> Fit:
    params = {"k": Estimate(value=0.1), "a": Estimate(value=0.5), "e": Estimate(value=2.0)}
    return Fit(**({"fitter": "power", "params": params, "largest_budget": 1e20, "law": LAW} | fields))


def spread(n: int = 4001) -> dict[str, np.ndarray]:
    return {"k": 0.1 * np.exp(np.linspace(-1, 1, n)), "e": np.linspace(1.9, 2.1, n)}


@pytest.mark.parametrize(
    "cost", [CostModel.six_nd(), CostModel.measured([1e6, 1e8, 1e10], [7e6, 6.5e8, 6.1e10])], ids=["6nd", "measured"]
)
def test_spends_the_budget(cost: CostModel) -> None:
    answer = predict(made(cost=cost), LAW, 3e21)
    assert answer.n_params.value == pytest.approx(0.1 * math.sqrt(3e21))
    assert float(cost.flops(answer.n_params.value, answer.n_tokens.value)) == pytest.approx(3e21, rel=1e-12)
    assert answer.tokens_per_param == pytest.approx(answer.n_tokens.value / answer.n_params.value)
    assert answer.extrapolation == pytest.approx(30.0)


def test_sampling_interval_is_the_quantiles_of_the_optimum() -> None:
    answer = predict(made(draws=spread(), confidence=0.9), LAW, 1e20)
    assert answer.n_params.sampling_low == pytest.approx(1e9 * math.exp(-0.9), rel=1e-9)
    assert answer.n_params.sampling_high == pytest.approx(1e9 * math.exp(0.9), rel=1e-9)
    assert (answer.loss.sampling_low, answer.loss.sampling_high) == pytest.approx((1.91, 2.09))
    # D = C / (6N): the largest N has the smallest D.
    assert answer.n_tokens.sampling_low == pytest.approx(1e20 / 6 / (1e9 * math.exp(0.9)), rel=1e-9)


def test_prediction_interval_adds_the_laws_own_error_in_quadrature() -> None:
    error = ModelError(loss=0.012, n_params=0.35, source="test")
    fit = made(draws=spread(), model_error=error)
    at_top, far = predict(fit, LAW, 1e20), predict(fit, LAW, 1e22)
    for estimate in (at_top.n_params, at_top.loss):
        assert (estimate.low, estimate.high) == pytest.approx((estimate.sampling_low, estimate.sampling_high))
    below = predict(fit, LAW, 1e19).loss
    assert below.high == pytest.approx(below.sampling_high)
    distance = math.log(100)
    for estimate, half in ((far.n_params, 0.35 * distance), (far.loss, 0.012 * distance)):
        sampling = math.log(estimate.sampling_high / estimate.value)
        assert math.log(estimate.high / estimate.value) == pytest.approx(math.hypot(sampling, half))
        assert estimate.low < estimate.sampling_low < estimate.value < estimate.sampling_high < estimate.high


def test_an_averages_own_error_is_at_least_what_its_members_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fit, "_law", lambda fit: LAW)  # the members' names stand in no registry
    members = {
        name: unplain(made(params=made().params | {"k": Estimate(value=k), "e": Estimate(value=e)}).to_dict())
        for name, k, e in (("low", 0.09, 1.9), ("high", 0.12, 2.05))
    }
    error = ModelError(loss=0.001, n_params=0.35, source="test")
    fit = made(draws=spread(), details={"members": members}, model_error=error)
    for budget in (1e18, 1e20, 1e22):
        answer = predict(fit, LAW, budget)
        beyond = max(0.0, math.log(budget / 1e20))
        for estimate, half in (
            (answer.n_params, max(math.log(0.12 / 0.09), 0.35 * beyond)),
            (answer.loss, max(math.log(2.05 / 1.9), 0.001 * beyond)),
        ):
            sampling = math.log(estimate.sampling_high / estimate.value)
            assert math.log(estimate.high / estimate.value) == pytest.approx(math.hypot(sampling, half))


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.99])
def test_the_laws_own_error_is_at_the_fits_confidence(confidence: float) -> None:
    error = ModelError(loss=0.012, n_params=0.35, source="test")
    fit = made(draws={"k": np.full(100, 0.1)}, model_error=error, confidence=confidence)
    answer = predict(fit, LAW, 1e22)
    times = {0.5: 0.67448975, 0.9: 1.64485363, 0.99: 2.57582930}[confidence] / 1.64485363  # normal quantiles
    for estimate, half in ((answer.n_params, 0.35), (answer.loss, 0.012)):
        assert math.log(estimate.high / estimate.value) == pytest.approx(half * times * math.log(100), rel=1e-7)


def test_a_prediction_names_both_intervals_and_their_confidence() -> None:
    fit = made(draws=spread(), model_error=ModelError(loss=0.012, n_params=0.35, source="test"), confidence=0.5)
    n = predict(fit, LAW, 1e22).n_params
    assert (
        f"(50 % prediction {si(n.low)} to {si(n.high)}; 50 % sampling {si(n.sampling_low)} to {si(n.sampling_high)})"
        in str(predict(fit, LAW, 1e22))
    )


def test_value_lies_inside_its_interval_even_where_the_draws_lie_to_one_side() -> None:
    draws = {"k": 0.2 * np.exp(np.linspace(-0.1, 0.1, 101))}
    n = predict(made(draws=draws), LAW, 1e20).n_params
    assert n.value == n.low < n.sampling_low < n.sampling_high == pytest.approx(n.high)


def test_without_draws_there_is_no_interval() -> None:
    answer = predict(made(model_error=ModelError(loss=0.012, n_params=0.35, source="test")), LAW, 1e22)
    for estimate in (answer.n_params, answer.n_tokens, answer.loss):
        assert estimate.low is estimate.high is estimate.sampling_low is estimate.sampling_high is None


def test_draws_that_are_not_finite_are_left_out() -> None:
    draws = spread()
    draws["k"] = np.where(np.arange(4001) % 2 == 0, np.nan, draws["k"])
    assert predict(made(draws=draws), LAW, 1e20).n_params.sampling_low == pytest.approx(1e9 * math.exp(-0.9), rel=1e-3)
    assert predict(made(draws={"k": np.full(100, np.nan)}), LAW, 1e20).n_params.low is None


@pytest.mark.parametrize("budget", [0, -1e20, math.nan, math.inf, "1e20", True, None, [1e20], 1j])
def test_refuses_what_is_no_budget(budget: Any) -> None:
    with pytest.raises(InputError, match="budget") as caught:
        predict(made(), LAW, budget)
    assert repr(budget) in str(caught.value)


@pytest.mark.parametrize("budget", [np.float64(1e20), np.int64(10**18), 10**20])
def test_takes_any_number(budget: Any) -> None:
    assert predict(made(), LAW, budget).compute_budget == float(budget)


def test_warns_beyond_forty_times_the_largest_budget() -> None:
    assert predict(made(), LAW, 3.9e21).warning == ""
    assert "41 times" in predict(made(), LAW, 4.1e21).warning


def test_warns_far_below_the_largest_budget() -> None:
    assert predict(made(), LAW, 1.1e16).warning == ""
    assert "1e10 FLOPs is 1e-10 times the largest budget" in predict(made(), LAW, 1e10).warning


def test_a_fit_that_did_not_converge_says_so_with_every_answer() -> None:
    assert "did not converge" in predict(made(converged=False), LAW, 1e20).warning
    assert predict(made(converged=True), LAW, 1e20).warning == predict(made(), LAW, 1e20).warning == ""


def test_warns_of_an_optimum_that_nobody_can_train() -> None:
    for k in (1e-12, 1e12):  # less than a parameter, less than a token
        fit = made(params={"k": Estimate(value=k), "a": Estimate(value=0.5), "e": Estimate(value=2.0)})
        assert "cannot be trained" in predict(fit, LAW, 1e20).warning


def test_says_that_a_law_has_no_optimum() -> None:
    with pytest.raises(FitError, match="no optimum"):
        predict(
            made(params={"k": Estimate(value=math.nan), "a": Estimate(value=0.5), "e": Estimate(value=2.0)}), LAW, 1e20
        )

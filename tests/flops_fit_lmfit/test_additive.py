"""The additive law: its loss, its optimum under any cost, and the objective's derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flops_fit_core.data import CostModel
from flops_fit_core.errors import InputError
from flops_fit_lmfit import additive
from flops_fit_lmfit.objective import OBJECTIVES, Objective

HOFFMANN = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}


def brute_force(params: dict[str, float], cost: CostModel, budget: float, around: float) -> float:
    """The smallest loss over a fine grid of N."""
    n = around * np.exp(np.linspace(-4, 4, 60_001))
    return float(additive.loss(params, n, cost.tokens(n, budget)).min())


def test_loss_is_the_formula() -> None:
    n, d = np.array([1e3, 7e10, 1e12]), np.array([1e6, 1.4e12, 1e14])
    assert additive.loss(HOFFMANN, n, d) == pytest.approx(1.69 + 406.4 / n**0.34 + 410.7 / d**0.28, rel=1e-14)
    assert additive.loss(HOFFMANN, 1e9, 2e10).shape == ()


def test_optimum_has_the_published_closed_form() -> None:
    budget = 5.76e23
    a, b = 0.28 / 0.62, 0.34 / 0.62
    g = (0.34 * 406.4 / (0.28 * 410.7)) ** (1 / 0.62)
    n, d, loss = additive.optimum(HOFFMANN, CostModel.six_nd(), budget)
    assert float(n) == pytest.approx(g * (budget / 6) ** a, rel=1e-12)
    assert float(d) == pytest.approx((budget / 6) ** b / g, rel=1e-12)
    assert float(loss) == pytest.approx(float(additive.loss(HOFFMANN, n, d)), rel=1e-14)


COSTS = {
    "6nd": CostModel.six_nd(),
    "one size": CostModel.measured([1e8], [8e8]),
    "two sizes": CostModel.measured([1e8, 1e10], [9e8, 6.1e10]),
    "many": CostModel.measured(np.geomspace(1e7, 1e12, 11), 6 * np.geomspace(1e7, 1e12, 11) ** 0.97 * 2.2),
    "rough": CostModel.measured([1e8, 3e8, 1e9, 3e9, 1e10, 3e10], [9e8, 2e9, 8e9, 1.7e10, 7.5e10, 1.9e11]),
    "a stretch that costs nothing": CostModel.measured([1e8, 1e9, 4e9, 1e11], [9e8, 6e9, 5.9e9, 6e11]),
}


@pytest.mark.parametrize("cost", COSTS.values(), ids=list(COSTS))
@pytest.mark.parametrize("budget", [1e19, 1e21, 1e24])
def test_optimum_is_the_minimum_within_the_budget(cost: CostModel, budget: float) -> None:
    n, d, loss = additive.optimum(HOFFMANN, cost, budget)
    assert float(cost.flops(n, d)) == pytest.approx(budget, rel=1e-12)
    assert float(loss) <= brute_force(HOFFMANN, cost, budget, float(n)) * (1 + 1e-13)


@pytest.mark.parametrize("cost", COSTS.values(), ids=list(COSTS))
def test_optimum_takes_arrays_of_draws(cost: CostModel) -> None:
    rng = np.random.default_rng(0)
    draws = {name: value * np.exp(0.1 * rng.normal(size=(3, 4))) for name, value in HOFFMANN.items()}
    n, d, loss = additive.optimum(draws, cost, 1e22)
    assert n.shape == d.shape == loss.shape == (3, 4)
    one = additive.optimum({name: float(value[2, 1]) for name, value in draws.items()}, cost, 1e22)
    assert (n[2, 1], d[2, 1], loss[2, 1]) == pytest.approx([float(v) for v in one], rel=1e-13)


def test_exponents_sum_to_one() -> None:
    exponents = additive.exponents(HOFFMANN)
    assert float(exponents["a"]) == pytest.approx(0.28 / 0.62)
    assert float(exponents["a"] + exponents["b"]) == pytest.approx(1.0)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("kind", OBJECTIVES)
def test_derivatives_are_those_of_the_value(kind: str, scaled: bool) -> None:
    rng = np.random.default_rng(1)
    n, d = np.exp(rng.uniform(15, 25, size=(2, 30)))
    loss = additive.loss(HOFFMANN, n, d) * np.exp(0.02 * rng.normal(size=30))
    scale = rng.uniform(0.5, 2.0, size=30) if scaled else None
    problem = Objective(n=n, d=d, loss=loss, kind=kind, delta=0.015, scale=scale)
    weights = rng.integers(0, 4, size=(6, 30)).astype(float)
    theta = problem.theta(HOFFMANN) + 0.03 * rng.normal(size=(6, 5))
    value, gradient, hessian = problem.derivatives(theta, weights)
    assert value == pytest.approx(problem.value(theta, weights), rel=1e-12)
    step = 1e-6 * np.eye(5)
    by_value = np.stack(
        [(problem.value(theta + s, weights) - problem.value(theta - s, weights)) / 2e-6 for s in step], 1
    )
    by_gradient = np.stack(
        [
            (problem.derivatives(theta + s, weights)[1] - problem.derivatives(theta - s, weights)[1]) / 2e-6
            for s in step
        ],
        2,
    )
    assert gradient == pytest.approx(by_value, rel=1e-5, abs=1e-7 * np.abs(gradient).max())
    assert hessian == pytest.approx(by_gradient, rel=1e-5, abs=1e-6 * np.abs(hessian).max())


def test_objectives_are_the_published_sums() -> None:
    n, d = np.array([1e8, 1e9, 1e10]), np.array([1e10, 1e10, 1e11])
    loss = additive.loss(HOFFMANN, n, d) * np.array([1.0, 1.0005, 0.9])
    r = -np.log([1.0, 1.0005, 0.9])
    huber = [0.0, r[1] ** 2 / 2, 1e-3 * (r[2] - 5e-4)]
    for kind, expected in (("log_huber", sum(huber)), ("log_mse", float((r**2).sum()))):
        problem = Objective(n=n, d=d, loss=loss, kind=kind)
        assert problem.value(problem.theta(HOFFMANN)[None], np.ones(3))[0] == pytest.approx(expected, rel=1e-9)


def test_coordinates_and_parameters_are_two_ways_to_say_one_thing() -> None:
    problem = Objective(n=[1e3, 1e12], d=[1e6, 1e14], loss=[3.0, 2.0])
    back = problem.params(problem.theta(HOFFMANN))
    assert {name: float(back[name]) for name in HOFFMANN} == pytest.approx(HOFFMANN, rel=1e-12)
    assert float(back["lnA"]) == pytest.approx(np.log(406.4))


def test_an_unknown_objective_is_named() -> None:
    with pytest.raises(InputError, match=r"log_hubr.*log_huber"):
        Objective(n=[1.0], d=[1.0], loss=[1.0], kind="log_hubr")


@settings(max_examples=50, deadline=None)
@given(
    st.floats(0.05, 1.5),
    st.floats(0.05, 1.5),
    st.floats(-2, 12),
    st.floats(-2, 12),
    st.floats(12, 27),
    st.floats(0.5, 1.5),
)
def test_the_optimum_is_stationary(
    alpha: float, beta: float, ln_a: float, ln_b: float, log_c: float, slope: float
) -> None:
    params = {"E": 1.0, "A": np.exp(ln_a), "B": np.exp(ln_b), "alpha": alpha, "beta": beta}
    cost = CostModel.measured([1e3, 1e12], [6e3, 6e3 * 1e9**slope])
    budget = 10.0**log_c
    n, _, loss = (float(v) for v in additive.optimum(params, cost, budget))
    for factor in (0.999, 1.001):
        other = float(additive.loss(params, n * factor, cost.tokens(n * factor, budget)))
        assert loss <= other * (1 + 1e-14)

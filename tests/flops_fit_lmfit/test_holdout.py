"""Rolling hold-out on sweeps whose every error is known beforehand."""

import math

import numpy as np
import pytest

from flops_fit_core.data import Runs
from flops_fit_core.errors import FitError
from flops_fit_lmfit import additive, holdout
from flops_fit_lmfit.holdout import SHIPPED, Held, Law
from flops_fit_lmfit.solve import fit_additive
from known_laws import ADDITIVE, SIX_ND, additive_sweep
from published import PUBLISHED

LAW = ADDITIVE["chinchilla"]


def truth(factor: float = 1.0, shift: float = 0.0) -> Law:
    """The true law with its loss off by a factor and its ln N_opt by a shift."""

    def optimum(budget: float):
        n, d, loss = additive.optimum(LAW, SIX_ND, budget)
        return n * math.exp(shift), d, factor * loss

    return Law(loss=lambda n, d: factor * additive.loss(LAW, n, d), optimum=optimum)


def held(**fields) -> Held:
    one = {
        "origin": 1e19, "budget": 1e20, "distance": math.log(10), "errors": (0.0,),
        "log_n": 20.0, "log_n_error": 0.0, "curvature": 0.05, "slice_loss": 2.0,
    }  # fmt: skip
    return Held(**(one | fields))


def test_origins_have_enough_below_and_something_above():
    budget = np.repeat([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [3, 5, 5, 5, 5, 5])
    found = list(holdout.origins(budget, min_budgets=4, min_runs=20))
    assert [origin for origin, _ in found] == [5.0]
    assert found[0][1].sum() == 23
    assert [origin for origin, _ in holdout.origins(budget, min_budgets=3, min_runs=1)] == [3.0, 4.0, 5.0]
    assert not list(holdout.origins(np.repeat([1.0, 2.0, 3.0, 4.0], 9)))


def test_judges_by_the_runs_near_each_budgets_best():
    n = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 64.0])
    runs = Runs(n_params=n, n_tokens=n, loss=[3.0, 2.5, 2.0, 2.1, 2.2, 1.9 + 1], budget=np.ones(6))
    assert holdout.near_best(runs, runs.budget).tolist() == [True, True, True, True, True, False]


def test_a_perfect_law_has_no_error_and_a_wrong_one_its_own():
    runs, _ = additive_sweep(LAW, budgets=7, span=2.0, decades=3.0)
    perfect, off = holdout.rolling(runs, lambda below: (truth(), truth(1.01, 0.3)))
    assert [(one.origin, one.budget) for one in perfect] == [
        (below, above)
        for i, below in enumerate(np.unique(runs.budget)[:-1])
        for above in np.unique(runs.budget)[i + 1 :]
        if i >= 3
    ]
    assert holdout.summary(perfect)["loss_error"] == pytest.approx(0, abs=1e-12)
    found = holdout.summary(off)
    assert found["loss_error"] == pytest.approx(0.01)
    assert found["bias"] == pytest.approx(0.01)
    assert found["log_n_error"] == pytest.approx(0.3, abs=0.05)
    best, _, lowest = (float(value) for value in additive.optimum(LAW, SIX_ND, 1e20))
    moved = best * math.exp(0.3)
    assert found["regret"] == pytest.approx(float(additive.loss(LAW, moved, 1e20 / 6 / moved)) / lowest - 1, rel=0.4)
    assert (found["origins"], found["budgets"]) == (3, 6)


def test_sees_only_what_lies_below():
    runs, _ = additive_sweep(LAW, budgets=6)
    seen = []

    def fit(below: Runs):
        seen.append((below.budget.max(), len(below)))
        return (truth(),)

    holdout.rolling(runs, fit)
    budgets = np.unique(runs.budget)
    assert seen == [(budgets[3], 28), (budgets[4], 35)]


def test_runs_known_to_be_bad_do_not_judge():
    runs, _ = additive_sweep(LAW, budgets=5)
    loss = runs.loss.copy()
    loss[-4] *= 2
    spoilt = Runs(n_params=runs.n_params, n_tokens=runs.n_tokens, loss=loss, budget=runs.budget)
    everyone = holdout.rolling(spoilt, lambda below: (truth(),))[0]
    some = holdout.rolling(spoilt, lambda below: (truth(),), judges=np.arange(len(runs)) != len(runs) - 4)[0]
    assert holdout.summary(everyone)["loss_error"] > 0.05
    assert holdout.summary(some)["loss_error"] == pytest.approx(0, abs=1e-12)


def test_an_origin_that_cannot_be_fitted_is_passed_over():
    runs, _ = additive_sweep(LAW, budgets=6)

    def fit(below: Runs):
        if len(below) < 30:
            raise FitError("too few")
        return (truth(),)

    assert {one.origin for one in holdout.rolling(runs, fit)[0]} == {float(np.unique(runs.budget)[4])}
    few, _ = additive_sweep(LAW, budgets=4)
    assert holdout.rolling(few, lambda below: (truth(),)) == ()
    assert holdout.summary(()) == {}


def test_a_law_of_the_optimum_alone_is_judged_at_the_minimum():
    runs, _ = additive_sweep(LAW, budgets=5, span=2.0)
    (found,) = holdout.rolling(runs, lambda below: (Law(loss=None, optimum=truth(1.02).optimum),))
    assert holdout.summary(found)["bias"] == pytest.approx(0.02, abs=1e-3)


def test_model_error_is_the_larger_of_own_and_shipped():
    assert holdout.model_error(()) == SHIPPED
    near = [held(errors=(0.001,), log_n_error=0.01)]
    less = holdout.model_error(near)
    assert (less.loss, less.n_params) == (SHIPPED.loss, SHIPPED.n_params)
    assert less.source == "shipped default; own rolling hold-out gave less"
    assert holdout.model_error([held(errors=(math.nan,), log_n_error=math.nan)]) == SHIPPED  # it gave nothing
    far = [held(errors=(0.06, 0.04), log_n_error=2.0), held(errors=(-0.05,), log_n_error=-2.0)]
    found = holdout.model_error(far)
    assert found.loss == pytest.approx(1.645 * 0.05 / math.log(10))
    assert found.n_params == pytest.approx(1.645 * 2.0 / math.log(10))
    assert "own rolling hold-out" in found.source
    mixed = holdout.model_error([held(errors=(0.1,), log_n_error=math.nan)])
    assert mixed.n_params == SHIPPED.n_params
    assert mixed.loss > SHIPPED.loss
    assert "shipped default" in mixed.source


# Every run, Huber with delta 1e-3. Published: 0.97, 1.69, 2.07 %.
@pytest.mark.parametrize(
    ("name", "published"), [("chinchilla_epoch", 0.97), ("chinchilla_isoflops", 1.69), ("marin_comma", 2.07)]
)
def test_plain_fit_errs_as_published(name, published):
    def plain(below: Runs):
        params = fit_additive(below.n_params, below.n_tokens, below.loss).params
        return (
            Law(loss=lambda n, d: additive.loss(params, n, d), optimum=lambda c: additive.optimum(params, SIX_ND, c)),
        )

    (found,) = holdout.rolling(PUBLISHED[name](), plain, min_runs=35)
    assert 100 * holdout.summary(found)["loss_error"] == pytest.approx(published, abs=0.015)

"""Runs that cannot tell the law's parameters: every fitter of a law says so, and calls nothing converged."""

import lmfit
import numpy as np
import pytest

from flops_fit_core.data import Runs
from flops_fit_core.errors import FitError, InputError
from flops_fit_lmfit import EnsembleFitter, FrontierFitter, SurfaceFitter, additive
from known_laws import ADDITIVE, SIX_ND, additive_sweep

LAW = ADDITIVE["chinchilla"]
FITTERS = [SurfaceFitter(bootstrap=20), EnsembleFitter(bootstrap=20), FrontierFitter()]
ids = [type(fitter).__name__ for fitter in FITTERS]


def said(fit) -> str:
    assert not fit.converged
    return " ".join(fit.notes)


@pytest.mark.parametrize("fitter", FITTERS, ids=ids)
@pytest.mark.parametrize("seed", range(6))
def test_data_that_always_grow_with_the_model(fitter, seed):
    n = np.geomspace(1e7, 1e10, 30)
    noise = np.exp(0.003 * np.random.default_rng(seed).standard_normal(30))
    runs = Runs(n_params=n, n_tokens=20 * n, loss=additive.loss(LAW, n, 20 * n) * noise)
    assert "ln N and ln D are collinear" in said(fitter.fit(runs, SIX_ND))


@pytest.mark.parametrize("fitter", FITTERS, ids=ids)
@pytest.mark.parametrize("gone", ["A", "B", "all", "rising"])
def test_a_term_that_is_not_there(fitter, gone):
    runs, _ = additive_sweep(LAW)
    n, d = runs.n_params, runs.n_tokens
    losses = {
        "A": LAW["E"] + LAW["B"] / d ** LAW["beta"],
        "B": LAW["E"] + LAW["A"] / n ** LAW["alpha"],
        "all": np.full(len(n), 3.0),
        "rising": 2 + (n / 1e8) ** 0.1,
    }
    fit = fitter.fit(Runs(n_params=n, n_tokens=d, loss=losses[gone], budget=runs.budget), SIX_ND)
    assert "identified" in said(fit)


@pytest.mark.parametrize("fitter", FITTERS, ids=ids)
def test_one_amount_of_data_is_refused(fitter):
    n = np.geomspace(1e7, 1e10, 30)
    with pytest.raises(FitError, match="D = 1e"):
        fitter.fit(Runs(n_params=n, n_tokens=np.full(30, 1e10), loss=additive.loss(LAW, n, 1e10)), SIX_ND)


def given(**values: float) -> lmfit.Parameters:
    params = lmfit.Parameters()
    for name, value in values.items():
        params.add(name, value=value, vary=False)
    return params


def test_what_the_user_fixes_the_runs_need_not_tell():
    n = np.geomspace(1e7, 1e10, 30)
    runs = Runs(n_params=n, n_tokens=20 * n, loss=additive.loss(LAW, n, 20 * n))
    fixed = given(B=LAW["B"], beta=LAW["beta"])
    fit = SurfaceFitter(params=fixed, bootstrap=0, outliers="keep").fit(runs, SIX_ND)
    assert fit.converged
    assert fit.values["alpha"] == pytest.approx(LAW["alpha"], rel=1e-6)


def test_a_bound_that_binds_is_said_and_so_are_ties_that_nothing_tells():
    runs, _ = additive_sweep(LAW)
    params = lmfit.Parameters()
    params.add("E", value=1.5, max=1.6)
    fit = SurfaceFitter(params=params, bootstrap=0).fit(runs, SIX_ND)
    assert any("E is at its bound 1.6" in note for note in fit.notes)
    with pytest.raises(InputError, match="no params of your own"):
        SurfaceFitter(params=params).profile(runs, "alpha")


def test_a_fit_to_the_last_digit_has_no_gradient_left():
    fit = SurfaceFitter(bootstrap=0).fit(additive_sweep(LAW)[0], SIX_ND)
    assert fit.converged
    assert fit.gradient_norm is not None
    assert fit.gradient_norm < 1e-8


def test_budgets_that_nobody_stated_are_said_where_they_matter():
    runs, _ = additive_sweep(LAW, noise=0.003, budgets=6)
    bare = Runs(n_params=runs.n_params, n_tokens=runs.n_tokens, loss=runs.loss)
    for fitter in FITTERS:
        assert any("6 budgets recovered from C" in note for note in fitter.fit(bare, SIX_ND).notes)
        assert not any("recovered" in note for note in fitter.fit(runs, SIX_ND).notes)


def test_what_is_not_identified_has_no_interval():
    n = np.geomspace(1e7, 1e10, 20)
    noise = np.exp(0.003 * np.random.default_rng(0).standard_normal(20))
    runs = Runs(n_params=n, n_tokens=20 * n, loss=additive.loss(LAW, n, 20 * n) * noise)
    fit = SurfaceFitter(bootstrap=50).fit(runs, SIX_ND)
    assert not fit.draws
    assert fit.params["alpha"].low is None
    assert "no sampling interval: the runs do not tell every parameter" in said(fit)

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
@pytest.mark.parametrize("seed", range(2))
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
    assert fit.notes == ("E is at its bound 1.6",)
    tied = lmfit.Parameters()
    tied.add("k", value=0.5)
    tied.add("m", value=0.7)
    tied.add("alpha", expr="k * m")
    fit = SurfaceFitter(params=tied, bootstrap=20).fit(runs, SIX_ND)
    assert "these runs do not tell the free parameters k and m apart" in said(fit)
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


def losses(kind: str, seed: int = 0) -> Runs:
    """A sweep whose losses lack a term: ``equal``, ``A`` or ``B``, the last two with 0.3 % of noise as ``A, noisy``."""
    runs, _ = additive_sweep(LAW)
    n, d = runs.n_params, runs.n_tokens
    gone, _, noise = kind.partition(", ")
    loss = {
        "equal": np.full(len(n), 3.0),
        "A": LAW["E"] + LAW["B"] / d ** LAW["beta"],
        "B": LAW["E"] + LAW["A"] / n ** LAW["alpha"],
    }[gone]
    errors = 0.003 * np.random.default_rng(seed).standard_normal(len(n)) if noise else 0.0
    return Runs(n_params=n, n_tokens=d, loss=loss * np.exp(errors), budget=runs.budget)


def collinear(noise: float = 0.003) -> Runs:
    n = np.geomspace(1e7, 1e10, 35)
    errors = noise * np.random.default_rng(0).standard_normal(35)
    return Runs(n_params=n, n_tokens=20 * n, loss=additive.loss(LAW, n, 20 * n) * np.exp(errors))


def bounded(**bounds: tuple[float, float]) -> lmfit.Parameters:
    params = lmfit.Parameters()
    for name, (low, high) in bounds.items():
        params.add(name, value=1.0 if name == "E" else 0.5 * (low + high), min=low, max=high)
    return params


def fitted(runs: Runs, params: lmfit.Parameters | None, bootstrap: int = 0):
    return SurfaceFitter(params=params, bootstrap=bootstrap, outliers="keep", hold_out=False).fit(runs, SIX_ND)


@pytest.mark.parametrize("kind", ["equal", "A", "B", "A, noisy", "B, noisy", "collinear"])
@pytest.mark.parametrize("params", [bounded(E=(0.0, np.inf)), lmfit.Parameters(), bounded(E=(0.5, 5.0))])
def test_parameters_that_change_nothing_change_nothing_that_is_said(kind, params):
    runs = collinear() if kind == "collinear" else losses(kind)
    free, own = fitted(runs, None), fitted(runs, params)
    assert "identified" in " ".join(own.notes)
    assert (own.converged, own.notes) == (free.converged, free.notes)
    assert own.values == free.values


def test_only_what_the_user_leaves_free_is_not_identified():
    tied = lmfit.Parameters()
    tied.add("alpha", value=0.3)
    tied.add("beta", expr="alpha")
    equal = "not identified: all losses are equal, so that E alone explains them"
    assert f"A, B and beta are {equal}" in fitted(losses("equal"), given(alpha=0.3)).notes
    assert f"A, alpha and B are {equal}" in fitted(losses("equal"), tied).notes
    gone = "not identified: the fit needs no term in D (B/D^beta is the same at every run, a part of E)"
    for params in (given(beta=0.3), tied):
        fit = fitted(losses("B"), params)
        assert f"B is {gone}" in fit.notes
        assert not fit.converged
    assert f"B and beta are {gone}" in fitted(losses("B"), given(E=LAW["E"])).notes


@pytest.mark.parametrize(("name", "left"), [("beta", "B is"), ("B", "beta is"), ("E", "B and beta are")])
def test_a_term_lost_in_noise_is_said_of_what_is_left_free(name, left):
    fit = fitted(losses("B, noisy"), given(**{name: LAW[name]}))
    assert fit.converged
    hardly = f"{left} hardly identified: the effect of D on the loss is only"
    assert [note.startswith(hardly) for note in fit.notes] == [False, True]


def test_what_a_constraint_tells_is_no_complaint():
    # With E held below the truth, the rest of it can only be the term that is the same at every run.
    fit = fitted(losses("B"), given(E=1.5))
    assert fit.converged
    assert not any("identified" in note for note in fit.notes)
    assert any("beta is" in note and "the loss does not fall as D grows" in note for note in fit.notes)
    assert fit.values["B"] == pytest.approx(LAW["E"] - 1.5, rel=1e-5)
    # N and D may not change places where the exponents are bounded to be what they are.
    told = fitted(collinear(noise=0.0), bounded(alpha=(0.2, 0.35), beta=(0.36, 0.5)))
    assert not any("collinear" in note for note in told.notes)
    assert "collinear" in said(fitted(collinear(), given(E=LAW["E"])))
    assert "collinear" in said(fitted(collinear(), bounded(alpha=(0.1, 1.0), beta=(0.1, 1.0))))


def test_a_search_that_comes_to_no_end_is_said():
    fit = fitted(losses("B"), given(alpha=0.3), bootstrap=20)
    assert "lmfit was stopped after 300 evaluations, short of a minimum" in said(fit)
    assert np.isfinite(fit.gradient_norm)
    assert not fit.draws


def test_a_bound_leaves_only_the_other_parameter_to_the_runs():
    fit = fitted(losses("B, noisy"), bounded(B=(1.0, 1e4)))
    assert fit.notes[0] == "B is at its bound 10000"
    assert fit.notes[1].startswith("beta is hardly identified")


def test_a_fit_with_everything_at_its_bounds_is_no_error():
    params = given(alpha=0.3, beta=0.3, A=500.0)
    params.add("E", value=1.0, max=1.1)
    params.add("B", value=1.0, min=1.0, max=2.0)
    fit = fitted(additive_sweep(LAW)[0], params)
    assert {"E is at its bound 1.1", "B is at its bound 2"} < set(fit.notes)


def test_draws_of_the_users_parameters_may_have_terms_beyond_any_number():
    fit = fitted(losses("A, noisy", seed=1), bounded(E=(0.0, np.inf)), bootstrap=20)
    assert np.isfinite(fit.draws["alpha"]).all()
    assert np.ptp(fit.draws["alpha"]) > 1.0

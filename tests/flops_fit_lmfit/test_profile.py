"""Profile likelihood: lmfit's own where that is right, the truth inside as often as said, open ends said."""

import lmfit
import numpy as np
import pytest

from flops_fit_core.errors import InputError
from flops_fit_lmfit import SurfaceFitter, additive
from known_laws import ADDITIVE, additive_sweep

LAW = ADDITIVE["chinchilla"]


def test_agrees_with_lmfit_for_squared_residuals():
    runs, _ = additive_sweep(LAW, noise=0.005, seed=1, budgets=7, sizes=9)
    fitter = SurfaceFitter(objective="log_mse", confidence=0.90)
    params = lmfit.Parameters()
    for name, value in (("E", LAW["E"]), ("lnA", np.log(LAW["A"])), ("lnB", np.log(LAW["B"]))):
        params.add(name, value=value)
    params.add("alpha", value=LAW["alpha"])
    params.add("beta", value=LAW["beta"])

    def residuals(p):
        law = {"E": p["E"].value, "A": np.exp(p["lnA"].value), "B": np.exp(p["lnB"].value)}
        law |= {"alpha": p["alpha"].value, "beta": p["beta"].value}
        return np.log(additive.loss(law, runs.n_params, runs.n_tokens) / runs.loss)

    minimizer = lmfit.Minimizer(residuals, params)
    theirs = lmfit.conf_interval(minimizer, minimizer.minimize(), p_names=["alpha", "beta", "E"], sigmas=[0.90])
    for name in ("alpha", "beta", "E"):
        mine = fitter.profile(runs, name)
        low, middle, high = (value for _, value in theirs[name])
        assert mine.value == pytest.approx(middle, rel=1e-4)
        assert [mine.low, mine.high] == pytest.approx([low, high], abs=0.05 * (high - low))  # F there, chi² here


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"objective": "log_mse"}, {"delta": "adaptive"}])
def test_holds_the_truth_about_as_often_as_said(options):
    fitter = SurfaceFitter(confidence=0.90, **options)
    held = []
    for seed in range(40):
        runs, _ = additive_sweep(LAW, noise=0.01, seed=seed)
        found = fitter.profile(runs, "alpha")
        held.append(found.low <= LAW["alpha"] <= found.high)
    assert 0.75 <= np.mean(held) < 1.0


def test_an_open_side_is_infinite():
    runs, _ = additive_sweep(LAW, noise=0.05, seed=2, budgets=3, sizes=4, span=2.0, decades=0.6)
    found = SurfaceFitter(objective="log_mse").profile(runs, "E")
    assert found.low == 0.0 or found.high == np.inf


def test_an_unknown_parameter_is_named():
    with pytest.raises(InputError, match=r"no parameter 'gamma'.*alpha"):
        SurfaceFitter().profile(additive_sweep(LAW)[0], "gamma")


def test_a_profile_leaves_outliers_out_where_a_fit_does():
    runs, bad = additive_sweep(ADDITIVE["chinchilla"], noise=0.005, diverged=0.1, seed=3)
    assert bad.any()
    out = SurfaceFitter(delta="adaptive", outliers="exclude").profile(runs, "alpha")
    clean = SurfaceFitter(delta="adaptive", outliers="keep").profile(runs.where(~bad), "alpha")
    assert out == clean

"""Profile likelihood: lmfit's own where that is right, the truth inside as often as said, open ends said."""

import lmfit
import numpy as np
import pytest

from flops_fit_core.data import Runs
from flops_fit_core.errors import FitError, InputError
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
@pytest.mark.parametrize("options", [{"objective": "log_mse"}, {"delta": "adaptive"}, {}])
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
    assert found.low == 0.0  # E is 0 in that fit
    assert runs.loss.mean() < found.high < 1.1 * runs.loss.max()  # and below the losses, whatever the terms are


def test_an_unknown_parameter_is_named():
    with pytest.raises(InputError, match=r"no parameter 'gamma'.*alpha"):
        SurfaceFitter().profile(additive_sweep(LAW)[0], "gamma")


def test_a_profile_leaves_outliers_out_where_a_fit_does():
    runs, bad = additive_sweep(ADDITIVE["chinchilla"], noise=0.005, diverged=0.1, seed=3)
    assert bad.any()
    out = SurfaceFitter(delta="adaptive", outliers="exclude").profile(runs, "alpha")
    clean = SurfaceFitter(delta="adaptive", outliers="keep").profile(runs.where(~bad), "alpha")
    assert out == clean


def lacking(term: str, noise: float = 0.0, seed: int = 0) -> Runs:
    """A sweep whose losses have no term in N (``A``) or in D (``B``)."""
    runs, _ = additive_sweep(LAW)
    n, d = runs.n_params, runs.n_tokens
    loss = LAW["E"] + (LAW["B"] / d ** LAW["beta"] if term == "A" else LAW["A"] / n ** LAW["alpha"])
    errors = noise * np.random.default_rng(seed).standard_normal(len(n))
    return Runs(n_params=n, n_tokens=d, loss=loss * np.exp(errors), budget=runs.budget)


@pytest.mark.parametrize("options", [{}, {"objective": "lin_mse"}, {"delta": "adaptive"}])
@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_runs_without_noise_have_an_interval_of_no_width(options, noise):
    fitter = SurfaceFitter(outliers="keep", **options)
    for name in additive.NAMES:
        found = fitter.profile(additive_sweep(LAW, noise=noise)[0], name)
        assert found.low <= found.value <= found.high
        assert [found.low, found.high] == pytest.approx([LAW[name]] * 2, rel=1e-4 if noise else 1e-6)


def test_an_open_interval_prints():
    runs = lacking("A", noise=0.003)
    fitter = SurfaceFitter(objective="log_mse", outliers="keep")
    assert str(fitter.profile(runs, "A")).endswith("(0 to inf)")
    assert str(fitter.profile(runs, "alpha")).endswith("(-inf to inf)")
    other = fitter.profile(runs, "beta")
    assert other.low < LAW["beta"] < other.high
    assert other.high < 1.1 * LAW["beta"]


def test_what_is_not_identified_has_no_profile_and_the_rest_has():
    runs, fitter = lacking("B"), SurfaceFitter(outliers="keep")
    for name in ("B", "beta"):
        with pytest.raises(
            FitError, match=f"{name} has no interval: B and beta are not identified: the fit needs no term"
        ):
            fitter.profile(runs, name)
    for name in ("A", "alpha"):
        found = fitter.profile(runs, name)
        assert [found.low, found.high] == pytest.approx([LAW[name]] * 2, rel=1e-6)
    found = fitter.profile(runs, "E")  # a term in D that is the same everywhere may hold any part of E
    assert found.low == 0.0
    assert found.high == pytest.approx(LAW["E"], rel=1e-6)
    equal = Runs(n_params=runs.n_params, n_tokens=runs.n_tokens, loss=np.full(len(runs), 3.0), budget=runs.budget)
    with pytest.raises(FitError, match="all losses are equal"):
        fitter.profile(equal, "alpha")


def test_a_loss_that_rises_has_a_profile_too():
    runs = lacking("A")
    rising = Runs(n_params=runs.n_params, n_tokens=runs.n_tokens, loss=runs.loss + (runs.n_params / 1e9) ** 0.1)
    found = SurfaceFitter(objective="log_mse", outliers="keep").profile(rising, "alpha")
    assert [found.low, found.value, found.high] == pytest.approx([-0.1] * 3, rel=1e-5)


def test_a_term_beyond_any_number_is_no_error():
    runs, _ = additive_sweep(LAW, noise=0.05, seed=2, budgets=3, sizes=4, span=2.0, decades=0.6)
    fitter = SurfaceFitter(outliers="keep")
    found = fitter.profile(runs, "B")
    assert (str(found), found.low) == ("inf (0 to inf)", 0.0)
    assert fitter.profile(runs, "beta").value > 10


def test_amplitude_and_exponent_end_together():
    """Turned about the centre of the runs, A moves by ln N times as much as alpha does."""
    runs, _ = additive_sweep(LAW, noise=0.003, seed=1)
    a, alpha = (SurfaceFitter(objective="log_mse", outliers="keep").profile(runs, name) for name in ("A", "alpha"))
    for one, other in ((a.low, alpha.low), (a.high, alpha.high)):
        moved = np.log(one / a.value) / (other - alpha.value)
        assert moved == pytest.approx(np.log(runs.n_params).mean(), rel=0.2)


def test_a_small_delta_does_not_make_a_small_interval():
    """Huber's estimate with a delta far below the noise is about a median: less is known of it, not more."""
    ratio = []
    for seed in range(6):
        runs, _ = additive_sweep(LAW, noise=0.01, seed=seed)
        small, squares = (
            SurfaceFitter(outliers="keep", **options).profile(runs, "alpha")
            for options in ({}, {"objective": "log_mse"})
        )
        ratio.append((small.high - small.low) / (squares.high - squares.low))
    assert np.median(ratio) > 1.0


def test_no_run_to_spare_leaves_every_side_open():
    runs, _ = additive_sweep(LAW, noise=0.01, budgets=2, sizes=3)
    five = runs.where(np.arange(6) != 2)
    for options in ({}, {"objective": "log_mse"}):
        found = SurfaceFitter(outliers="keep", **options).profile(five, "E")
        assert (found.low, found.high) == (0.0, np.inf)

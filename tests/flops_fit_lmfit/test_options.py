"""Options that cannot be used: an `InputError` names the option, the value and what to give instead."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import lmfit
import numpy as np
import pytest

from flops_fit_core.data import CostModel, Fit, Runs
from flops_fit_core.errors import FitError, InputError
from flops_fit_lmfit import EnsembleFitter, EnvelopeFitter, FrontierFitter, IsoFlopFitter, SurfaceFitter, additive
from flops_fit_lmfit.estimates import estimate
from known_laws import ADDITIVE, SIX_ND, additive_sweep

SURFACE, ALL = [SurfaceFitter], [SurfaceFitter, FrontierFitter, EnsembleFitter, IsoFlopFitter, EnvelopeFitter]
SAMPLED = [SurfaceFitter, EnsembleFitter, IsoFlopFitter, EnvelopeFitter]
WHOLE, FINITE = "give a whole number of at least", "give a finite number"
RESAMPLES = f"{WHOLE} 20, such as 1000, or 0 for no intervals"
WRONG = [
    (
        SURFACE,
        "objective",
        "huber",
        "known are 'log_huber', 'log_mse', 'lin_huber', 'lin_mse'. Did you mean 'log_huber'?",
    ),
    (SURFACE, "objective", ["log_mse"], "Did you mean 'log_mse'?"),
    (SURFACE, "delta", 0.0, f"{FINITE} above 0 or 'adaptive'"),
    (SURFACE, "delta", "auto", f"{FINITE} above 0 or 'adaptive'"),
    (SURFACE, "delta", None, f"{FINITE} above 0 or 'adaptive'"),
    (SURFACE, "outliers", "drop", "known are 'flag', 'exclude', 'keep'."),
    (
        [FrontierFitter, EnsembleFitter, IsoFlopFitter, EnvelopeFitter],
        "outliers",
        "flagged",
        "known are 'exclude', 'flag'. Did you mean 'flag'?",
    ),
    ([FrontierFitter, EnsembleFitter, IsoFlopFitter, EnvelopeFitter], "outliers", None, "known are 'exclude', 'flag'."),
    (SAMPLED, "bootstrap", -1, RESAMPLES),
    (SAMPLED, "bootstrap", 1, RESAMPLES),
    (SAMPLED, "bootstrap", "many", RESAMPLES),
    (SAMPLED, "bootstrap", 1e3, RESAMPLES),
    (SAMPLED, "bootstrap", True, RESAMPLES),
    (SAMPLED, "seed", 1.5, f"{WHOLE} 0"),
    (SAMPLED, "seed", -1, f"{WHOLE} 0"),
    (SAMPLED, "seed", None, f"{WHOLE} 0"),
    (SAMPLED, "confidence", 95, "give a share between 0 and 1, so 0.95 for 95 %"),
    (SAMPLED, "confidence", 1.5, "give a share between 0 and 1, so 0.015 for 1.5 %"),
    (SAMPLED, "confidence", 1.0, "give a share between 0 and 1, so 0.9 for 90 %"),
    (SAMPLED, "confidence", 0, "give a share between 0 and 1, so 0.9 for 90 %"),
    (SAMPLED, "confidence", "90 %", "give a share between 0 and 1, so 0.9 for 90 %"),
    (SAMPLED, "confidence", math.nan, "give a share between 0 and 1, so 0.9 for 90 %"),
    (ALL, "min_flops", "x", f"{FINITE} above 0 or None"),
    (ALL, "min_flops", 0, f"{FINITE} above 0 or None"),
    (ALL, "min_flops", -1e18, f"{FINITE} above 0 or None"),
    (ALL, "min_flops", math.inf, f"{FINITE} above 0 or None"),
    (ALL, "mix_schedules", "no", "give True or False"),
    (ALL, "exclude_undercooled", None, "give True or False"),
    ([SurfaceFitter, FrontierFitter, IsoFlopFitter, EnvelopeFitter], "hold_out", "no", "give True or False"),
    ([FrontierFitter], "prior_strength", -1, f"{FINITE} of at least 0"),
    ([FrontierFitter], "prior_strength", math.inf, f"{FINITE} of at least 0"),
    ([FrontierFitter], "weight_power", math.nan, FINITE),
    ([FrontierFitter], "weight_power", "C", FINITE),
    ([FrontierFitter], "priors", [0.5, 0.1], "such as {'a': (0.5, 0.1)}, or None"),
    ([EnvelopeFitter], "points", 2, f"{WHOLE} 3"),
    ([EnvelopeFitter], "use_curves", 2, "give True or False"),
    (SURFACE, "params", {"E": 1.8}, 'give lmfit.Parameters, such as params = lmfit.Parameters(); params.add("E", '),
]


@pytest.mark.parametrize(
    ("fitter", "option", "value", "fix"),
    [(fitter, option, value, fix) for fitters, option, value, fix in WRONG for fitter in fitters],
)
def test_an_option_that_cannot_be_used_is_refused(
    fitter: Callable[..., Any], option: str, value: Any, fix: str
) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(f'{option} is {value!r}: ')}.*{re.escape(fix)}"):
        fitter(**{option: value})


@pytest.mark.parametrize(
    "prior", [0.5, (), (0.5,), (0.5, 0.0), (0.5, "wide"), (math.nan, 0.1), {"mean": 0.5, "sd": 0.1}]
)
def test_a_prior_that_is_none_is_refused(prior: Any) -> None:
    with pytest.raises(InputError, match=f"^prior 'a' is {re.escape(repr(prior))}: .*such as .0.5, 0.1.$"):
        FrontierFitter(priors={"a": prior})


def test_a_prior_on_nothing_is_refused() -> None:
    with pytest.raises(InputError, match=r"^no prior on 'ln_gama': known are ln_E, .* Did you mean 'ln_gamma'\?$"):
        FrontierFitter(priors={"ln_gama": (0.5, 0.1)})


def test_numbers_of_numpy_are_numbers() -> None:
    SurfaceFitter(bootstrap=np.int64(0), confidence=np.float64(0.9), hold_out=np.True_, min_flops=np.float32(1e18))
    SurfaceFitter(delta="adaptive", seed=np.uint8(3), min_flops=10**18)
    FrontierFitter(priors={"a": np.array([0.5, 0.1])}, prior_strength=0, weight_power=-1)


# What an estimate says of its spread

TRUTH = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}


def fit(params: lmfit.Parameters | None = None, bootstrap: int = 24) -> Fit:
    c = np.repeat(np.geomspace(1e18, 1e20, 5), 7)
    n = 0.09 * c**0.5 * np.tile(np.geomspace(0.25, 4, 7), 5)
    loss = additive.loss(TRUTH, n, c / (6 * n)) * np.exp(0.01 * np.random.default_rng(0).normal(size=35))
    fitter = SurfaceFitter(params=params, bootstrap=bootstrap, outliers="keep", hold_out=False)
    return fitter.fit(Runs(n_params=n, n_tokens=c / (6 * n), loss=loss), CostModel.six_nd())


def without_interval(found: Fit) -> set[str]:
    return {
        name for name, estimate in found.params.items() if (estimate.low, estimate.high, estimate.stderr) == (None,) * 3
    }


def test_what_the_user_fixed_has_no_interval_and_is_named() -> None:
    params = lmfit.Parameters()
    params.add("E", value=1.69, vary=False)
    params.add("A", value=406.4, vary=False)
    found = fit(params)
    assert without_interval(found) == {"E", "A", "lnA"}
    assert found.notes == ("fixed by params, so without an interval: E = 1.69, A = 406.4",)
    assert "406.400 |        — |" in found.summary()
    assert found.predict(1e21).loss.sampling_low is not None


def test_what_is_tied_to_it_has_none_either() -> None:
    params = lmfit.Parameters()
    params.add("alpha", value=0.34, vary=False)
    params.add("beta", expr="alpha")
    params.add("E", value=1.0, max=1.2)
    found = fit(params)
    assert without_interval(found) == {"alpha", "beta", "a", "b", "E"}
    assert found.notes == ("fixed by params, so without an interval: alpha = 0.34", "E is at its bound 1.2")


def test_parameters_that_fix_nothing_are_not_named() -> None:
    params = lmfit.Parameters()
    params.add("alpha", value=0.3, min=0.1)
    assert not any("fixed" in note for note in fit(params).notes)


@pytest.mark.parametrize(("spread", "told"), [(0.1, True), (0.6, True), (2.0, False), (300.0, False)])
def test_a_standard_deviation_that_the_tail_makes_up_is_not_given(spread: float, told: bool) -> None:
    with np.errstate(over="ignore"):
        draws = np.exp(spread * np.random.default_rng(0).normal(size=1000))
    for confidence in (0.2, 0.9):
        found = estimate(1.0, draws, confidence)
        assert (found.stderr is not None) == told
        assert found.low is not None


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("A", {"value": -4, "vary": False}, "A of -4 at most: in this law A is above 0"),
        ("B", {"value": 0, "vary": False}, "B of 0 at most"),
        ("E", {"value": -1, "vary": False}, "E of -1 at most: in this law E is 0 or more"),
        ("A", {"value": -2, "max": -1}, "A of -1 at most"),
    ],
)
def test_params_that_the_law_cannot_have(name, options, message):
    params = lmfit.Parameters()
    params.add(name, **options)
    with pytest.raises(InputError, match=message):
        SurfaceFitter(params=params)


def test_a_minimum_compute_that_leaves_nothing_is_named():
    runs, _ = additive_sweep(ADDITIVE["chinchilla"], noise=0.005)
    with pytest.raises(FitError, match=r"none of the 35 runs can be fitted.*minimum compute: C = .* < 1e\+30"):
        SurfaceFitter(min_flops=1e30).fit(runs, SIX_ND)

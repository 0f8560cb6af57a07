"""Fitter ``surface`` with lmfit's own parameters: fixed, bounded, tied to each other."""

from __future__ import annotations

from typing import Any

import lmfit
import numpy as np
import pytest

from flops_fit_core.data import CostModel, Fit, Runs
from flops_fit_core.errors import InputError
from flops_fit_lmfit import SurfaceFitter
from known_laws import ADDITIVE, additive_sweep

LAW = ADDITIVE["chinchilla"]
CLEAN, _ = additive_sweep(LAW)
NOISY, _ = additive_sweep(LAW, noise=0.01)


def fit(runs: Runs, **options: Any) -> Fit:
    bare = {"outliers": "keep", "hold_out": False, "bootstrap": 0}
    return SurfaceFitter(**{**bare, **options}).fit(runs, CostModel.six_nd())


def test_parameters_can_be_fixed() -> None:
    params = lmfit.Parameters()
    params.add("alpha", value=LAW["alpha"], vary=False)
    params.add("A", value=LAW["A"], vary=False)
    found = fit(CLEAN, params=params)
    assert found.converged
    assert {name: found.values[name] for name in LAW} == pytest.approx(LAW, rel=1e-6)
    params["alpha"].value = 0.4
    assert fit(NOISY, params=params).values["alpha"] == 0.4


def test_parameters_can_be_tied(epoch_240: Runs) -> None:
    params = lmfit.Parameters()
    params.add("alpha", value=0.3)
    params.add("beta", expr="alpha")
    free, tied = fit(epoch_240), fit(epoch_240, params=params)
    assert tied.values["beta"] == tied.values["alpha"]
    assert tied.values["a"] == pytest.approx(0.5)
    assert free.objective < tied.objective < 1.02 * free.objective
    for alpha in (tied.values["alpha"] * 0.99, tied.values["alpha"] * 1.01):
        both = lmfit.Parameters()
        both.add("alpha", value=alpha, vary=False)
        both.add("beta", value=alpha, vary=False)
        assert fit(epoch_240, params=both).objective > tied.objective


def test_parameters_can_be_bounded(epoch_240: Runs) -> None:
    params = lmfit.Parameters()
    params.add("E", value=1.6, min=1.5, max=1.7)
    found = fit(epoch_240, params=params)
    assert found.values["E"] == pytest.approx(1.7, abs=1e-6)
    assert found.objective > fit(epoch_240).objective


def test_free_parameters_give_the_free_fit(certified: tuple[str, Runs, dict[str, Any]]) -> None:
    _, runs, optima = certified
    found = fit(runs, params=lmfit.Parameters())
    assert found.objective == pytest.approx(optima["log_huber"]["objective"], rel=1e-9)


def test_draws_obey_the_users_parameters() -> None:
    params = lmfit.Parameters()
    params.add("E", value=LAW["E"], vary=False)
    params.add("alpha", value=0.3)
    params.add("beta", expr="alpha")
    found = fit(NOISY, params=params, bootstrap=24)
    assert found.draws["E"] == pytest.approx(np.full(24, LAW["E"]))
    assert found.draws["alpha"] == pytest.approx(found.draws["beta"])
    assert np.ptp(found.draws["alpha"]) > 1e-3


def test_a_misspelt_parameter_is_refused() -> None:
    params = lmfit.Parameters()
    params.add("aplha", value=0.3)
    with pytest.raises(InputError, match="Did you mean 'alpha'"):
        SurfaceFitter(params=params)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_parameter_without_a_number_is_refused_by_name(value: float) -> None:
    for name, options in (("alpha", {"vary": False}), ("E", {"vary": False}), ("k", {})):
        params = lmfit.Parameters()
        params.add(name, value=value, **options)
        if name == "k":
            params.add("beta", expr="0.3 * k")
        with pytest.raises(
            InputError, match=f"params has {name} = {value}: .* such as params\\['{name}'\\].value = 0.3"
        ):
            SurfaceFitter(params=params)


def test_a_free_parameter_needs_no_value(epoch_240: Runs) -> None:
    params = lmfit.Parameters()
    params.add("alpha")
    params.add("E", min=0)
    params.add("beta", expr="alpha")
    assert fit(epoch_240, params=params).values["beta"] == fit(epoch_240, params=params).values["alpha"]


def test_settings_are_plain() -> None:
    params = lmfit.Parameters()
    params.add("alpha", value=0.3)
    settings = SurfaceFitter(params=params).settings()
    assert isinstance(settings["params"], str)
    assert "lmfit_result" not in settings

"""Choosing stages by name: what is known, what is misspelt, what is no stage at all."""

import types

import pytest

import flops_fit
from flops_fit_core.errors import FlopsFitError, InputTypeError, PluginError, UnknownNameError
from flops_fit_core.names import OwnName
from flops_fit_core.registry import Registry, default_registry


class Law:
    def __init__(self, strength=1.0):
        self.strength = strength

    def fit(self, runs, cost):
        raise NotImplementedError

    def optimum(self, params, cost, budget):
        raise NotImplementedError


def plugin(name="mine", **hooks):
    module = types.ModuleType(name)
    for hook, function in hooks.items():
        setattr(module, hook, flops_fit.hookimpl(function))
    return module


def test_an_unknown_name_lists_what_is_installed_and_the_nearest():
    with pytest.raises(UnknownNameError, match=r"fitter 'surfce'.*Did you mean 'surface'.*isoflop") as caught:
        flops_fit.fitter("surfce")
    assert isinstance(caught.value, LookupError)


def test_an_unknown_option_names_the_nearest():
    registry = Registry([plugin(flops_fit_fitters=lambda: {"law": Law})])
    with pytest.raises(InputTypeError, match=r"no option 'strenth'.*Did you mean 'strength'"):
        registry.make("fitter", "law", strenth=2.0)
    assert registry.make("fitter", "law", strength=2.0).strength == 2.0


def test_given_plugins_join_the_installed_ones_for_their_registry_only():
    registry = Registry([plugin(flops_fit_fitters=lambda: {"law": Law})])
    assert "law" in registry.names("fitter")
    assert "surface" in registry.names("fitter")
    assert "law" not in default_registry().names("fitter")


def test_a_misspelt_hook_is_an_error_that_names_the_right_one():
    with pytest.raises(PluginError, match=r"flops_fit_fiters.*flops_fit_fitters"):
        Registry([plugin(flops_fit_fiters=lambda: {"law": Law})])


def test_a_hook_with_a_wrong_argument_is_an_error():
    with pytest.raises(PluginError, match="run_start"):
        Registry([plugin(flops_fit_run_start=lambda walk: None)])


@pytest.mark.parametrize("offer", [{"law": 3}, {3: Law}, ["law"]])
def test_an_offer_must_map_names_to_factories(offer):
    with pytest.raises(PluginError, match="must map names to factories"):
        Registry([plugin(flops_fit_fitters=lambda: offer)])


@pytest.mark.parametrize("choice", [Law, 7, object()])
def test_what_is_no_stage_is_refused_by_name(choice):
    with pytest.raises(FlopsFitError, match=r"fitter=.*(instance|no fitter)"):
        default_registry().resolve("fitter", choice)


def test_a_lifecycle_hook_that_raises_stops_nothing(caplog):
    seen = []
    bad = plugin("bad", flops_fit_run_start=lambda run: 1 / 0)
    good = plugin("good", flops_fit_run_start=lambda run: seen.append(run))
    Registry([bad, good]).fire("flops_fit_run_start", run="a run")
    assert seen == ["a run"]
    assert "ZeroDivisionError" in caplog.text


def test_a_hook_may_take_fewer_arguments_than_it_is_offered():
    seen = []
    Registry([plugin(flops_fit_run_progress=lambda loss: seen.append(loss))]).fire(
        "flops_fit_run_progress", run=None, n_tokens=1, loss=2.5
    )
    assert seen == [2.5]


def test_origins_name_distribution_and_version():
    registry = default_registry()
    assert registry.origin("fitter", "surface") == f"flops-fit {flops_fit.__version__}"
    assert registry.origin("fitter", flops_fit.fitter("surface")) == f"flops-fit {flops_fit.__version__}"
    assert registry.origin("fitter", Law()).endswith("Law")


def test_a_default_name_means_its_own_distribution_whoever_else_offers_it():
    registry = Registry([plugin(flops_fit_fitters=lambda: {"surface": Law})])
    with pytest.raises(UnknownNameError, match="offered by 2 plugins"):
        registry.make("fitter", "surface")
    assert type(registry.make("fitter", OwnName("surface", "flops-fit"))).__module__.startswith("flops_fit_lmfit")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Law(), "not a list"),
        ([Law], "is a class"),
        ([Law()], "no hook"),
        ([plugin(flops_fit_fitters=lambda: 1 / 0)], "cannot be registered: ZeroDivisionError"),
        ([plugin(flops_fit_run_end=lambda rec: None)], r"flops_fit_run_end takes: record"),
    ],
)
def test_what_is_wrong_with_a_given_plugin_is_said_at_once(given, words):
    with pytest.raises(FlopsFitError, match=words):
        Registry(given)

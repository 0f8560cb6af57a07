"""`flops_fit.fit` by one fitter and by several: which fits come back, and what is said of the others."""

import attrs
import pytest

import flops_fit
from flops_fit_core.data import CostModel, Estimate, Fit, Runs
from flops_fit_core.errors import FitError, InputError


@attrs.frozen
class Works:
    def fit(self, runs, cost):
        return Fit(fitter="works", params={"k": Estimate(value=1.0)}, cost=cost)

    def optimum(self, params, cost, budget):
        return budget**0.5, cost.tokens(budget**0.5, budget), 2.0


@attrs.frozen
class Breaks(Works):
    def fit(self, runs, cost):
        raise FitError("too few runs")


def runs(factor=1.0):
    return Runs(
        n_params=[1e6, 2e6, 3e6], n_tokens=[1e8] * 3, loss=[3, 2, 1], flops=[6e14 * factor * n for n in (1, 2, 3)]
    )


def test_of_several_fitters_one_that_fails_is_named_and_costs_no_other_fit():
    with pytest.warns(UserWarning, match="Breaks: too few runs") as said:
        fits = flops_fit.fit(runs(), [Works(), Breaks()])
    assert [fit.fitter for fit in fits] == ["works"]
    assert said[0].filename == __file__


def test_where_every_fitter_fails_that_is_the_error():
    with pytest.raises(FitError, match="too few runs; Breaks: too few runs"):
        flops_fit.fit(runs(), [Breaks(), Breaks()])
    with pytest.raises(FitError, match=r"^too few runs"):
        flops_fit.fit(runs(), Breaks())


def test_no_fitter_and_a_misspelt_cost_model_are_refused():
    with pytest.raises(InputError, match=r"fitter=\[\] names no fitter"):
        flops_fit.fit(runs(), [])
    with pytest.raises(FitError, match="Did you mean 'measured'"):
        flops_fit.fit(runs(), Works(), flop_counter="mesured")


def test_what_n_and_c_are_without_look_up_tables_is_said():
    whole = attrs.evolve(runs(), n_params_non_embedding=[9e5, 1.8e6, 2.7e6])
    (note,) = flops_fit.fit(whole.non_embedding(), Works()).notes
    assert "N is without look-up tables, and C is 6·N·D of that N" in note
    assert 'flop_counter="measured" keeps the runs\' own C' in note
    assert flops_fit.fit(whole.non_embedding(), Works(), "measured").notes == ()
    assert flops_fit.fit(whole, Works()).notes == ()


def test_runs_that_cost_something_else_than_6nd_are_noted():
    (note,) = flops_fit.fit(runs(1.5), Works()).notes
    assert "+50% in the median" in note
    assert 'flop_counter="measured"' in note
    assert flops_fit.fit(runs(1.5), Works(), "measured").notes == ()
    assert flops_fit.fit(runs(1.1), Works()).notes == ()
    assert flops_fit.fit(runs(1.5), Works(), CostModel.measured([1e6], [9e6])).notes == ()

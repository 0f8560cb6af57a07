"""`flops_fit.fit` by one fitter and by several: which fits come back, and what is said of the others."""

import attrs
import numpy as np
import pytest

import flops_fit
from flops_fit_core.data import CostModel, Estimate, Excluded, Fit, Runs
from flops_fit_core.diagnostics import said_of
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


def test_fitters_that_disagree_are_named_in_the_first_fits_notes():
    @attrs.frozen
    class Law:
        k: float

        def fit(self, runs, cost):
            params = {"k": Estimate(value=self.k)}
            draws = {"k": self.k * np.linspace(0.99, 1.01, 101)}
            return Fit(fitter=f"law {self.k:g}", params=params, cost=cost, draws=draws, largest_budget=1e15)

        def optimum(self, params, cost, budget):
            n = params["k"] * budget**0.5
            return n, cost.tokens(n, budget), 2.0 + 0 * n

    fits = flops_fit.fit(runs(), [Law(1.0), Law(1.001), Law(2.0)])
    said = [note for note in fits[0].notes if "disagree" in note]
    assert [note.split(" disagree about ")[0] for note in said] == ["law 1 and law 2"]
    assert not any("disagree" in note for fit in fits[1:] for note in fit.notes)
    told = [d.message for d in said_of(fits, runs())]
    assert sum("disagree" in message for message in told) == 1


def test_where_every_fitter_fails_that_is_the_error():
    with pytest.raises(FitError, match="too few runs; Breaks: too few runs"):
        flops_fit.fit(runs(), [Breaks(), Breaks()])
    with pytest.raises(FitError, match=r"^too few runs"):
        flops_fit.fit(runs(), Breaks())


def test_no_fitter_and_a_misspelt_cost_model_are_refused():
    with pytest.raises(InputError, match=r"fitter=\[\] names no fitter"):
        flops_fit.fit(runs(), [])
    for misspelt, meant in (("mesured", "measured"), ("6ND", "6nd")):
        with pytest.raises(InputError, match=f"Did you mean '{meant}'"):
            flops_fit.fit(runs(), Works(), flop_counter=misspelt)


def test_runs_whose_flops_were_filled_in_by_6nd_have_none_of_their_own(tmp_path):
    table = tmp_path / "runs.csv"
    table.write_text("n_params,n_tokens,loss,n_params_non_embedding\n1e6,1e8,3,9e5\n2e6,1e8,2,18e5\n3e6,1e8,1,27e5\n")
    read = flops_fit.read_runs(table)
    with pytest.raises(FitError, match=r"no column 'flops': C was filled in as 6·N·D\. Name the column"):
        flops_fit.fit(read, Works(), flop_counter="measured")
    assert flops_fit.fit(read, Works()).cost.name == "6nd"
    other = flops_fit.fit(
        read.non_embedding(), Works(), flop_counter="measured"
    )  # 6ND of the whole is not that of the rest
    assert other.cost.flops(9e5, 1e8) == pytest.approx(6e14)


def test_what_n_and_c_are_without_look_up_tables_is_said():
    whole = attrs.evolve(runs(), n_params_non_embedding=[9e5, 1.8e6, 2.7e6])
    of_table, note = flops_fit.fit(whole.non_embedding(), Works()).notes
    assert of_table in whole.non_embedding().notes
    assert "N is without look-up tables, and C is 6·N·D of that N" in note
    assert 'flop_counter="measured" keeps the runs\' own C' in note
    assert flops_fit.fit(whole.non_embedding(), Works(), "measured").notes == (of_table,)
    assert flops_fit.fit(whole, Works()).notes == ()


def test_runs_that_cost_something_else_than_6nd_are_noted():
    (note,) = flops_fit.fit(runs(1.5), Works()).notes
    assert "+50% in the median" in note
    assert 'flop_counter="measured"' in note
    assert flops_fit.fit(runs(1.5), Works(), "measured").notes == ()
    assert flops_fit.fit(runs(1.1), Works()).notes == ()
    (note,) = flops_fit.fit(runs(1e-9), Works()).notes
    assert "look at the units of flops" in note
    assert flops_fit.fit(runs(1.5), Works(), CostModel.measured([1e6], [9e6])).notes == ()


def test_a_run_without_a_label_is_named_by_its_row_in_the_whole_table():
    @attrs.frozen
    class LeavesOut(Works):
        def fit(self, runs, cost):
            kept = runs.where(runs.usable())
            return attrs.evolve(super().fit(kept, cost), excluded=(Excluded(run=kept.name(0), reason="too high"),))

    nan = float("nan")
    table = Runs(n_params=[1e6, 1e6, 2e6, 3e6], n_tokens=[1e8] * 4, loss=[nan, 3, 2, 1])
    assert flops_fit.fit(table, LeavesOut()).excluded[0].run == "row 2"

"""Fits side by side, and their contradictions in words."""

import attrs
import numpy as np
import pytest

from flops_fit_core.compare import compare, disagreements, names_of
from flops_fit_core.data import Estimate, Excluded, Fit, ModelError, Runs
from flops_fit_core.diagnostics import diagnose
from flops_fit_core.errors import InputError, InputTypeError


@attrs.frozen
class PowerLaw:
    """N = k·C^0.5, loss = e: a law that needs no library."""

    def fit(self, runs, cost):
        raise NotImplementedError

    def optimum(self, params, cost, budget):
        n = np.asarray(params["k"]) * budget**0.5
        return n, cost.tokens(n, budget), np.asarray(params["e"]) + 0 * n


def fit(name="one", k=0.1, e=2.0, spread=0.0, a=None, **options):
    rng = np.random.default_rng(0)
    draws = {}
    if spread:
        draws = {"k": k * np.exp(spread * rng.standard_normal(400)), "e": e * np.exp(spread * rng.standard_normal(400))}
    params = {"k": Estimate(value=k), "e": Estimate(value=e)} | ({"a": a} if a else {})
    return Fit(fitter=name, params=params, draws=draws, largest_budget=1e20, law=PowerLaw(), **options)


def test_answers_stand_side_by_side():
    table = compare([fit(), fit("two", k=0.2)], budgets=[1e20, 1e22])
    assert table.head == ("C", "quantity", "one", "two")
    assert [row[:2] for row in table.rows[:3]] == [("1e20", "N_opt"), ("1e20", "D_opt"), ("1e20", "loss")]
    assert table.data[0] == {"compute_budget": 1e20, "quantity": "N_opt", "one": 1e9, "two": 2e9}
    assert "2.00000e9" in str(table)
    assert len(compare([fit()]).rows) == 9
    assert compare([fit(), fit()], [1e20]).head[2:] == ("one (1)", "one (2)")


def test_intervals_stand_in_brackets():
    cell = compare([fit(spread=0.1)], [1e20]).rows[0][2]
    assert cell.startswith("1.00000e9 [")


def test_intervals_that_do_not_overlap_are_a_diagnostic():
    said = disagreements([fit(spread=0.05), fit("two", k=0.2, spread=0.05)], 1e20)
    assert len(said) == 1
    assert said[0].startswith("one and two disagree about N_opt at 1e20 FLOPs beyond their intervals: 1.00000e9 [")
    assert "+100.0%" in said[0]
    assert disagreements([fit(spread=0.05), fit("two", k=0.105, spread=0.05)], 1e20) == []


class Steeper(PowerLaw):
    """The same answer at C = 1e20, and N grows as C^0.7."""

    def optimum(self, params, cost, budget):
        n = np.asarray(params["k"]) * 1e10 * (budget / 1e20) ** 0.7
        return n, cost.tokens(n, budget), np.asarray(params["e"]) + 0 * n


def test_exponents_that_do_not_overlap_are_one_too():
    one = fit(spread=0.05, a=Estimate(value=0.5, low=0.45, high=0.55))
    two = fit("two", spread=0.05, a=Estimate(value=0.7, low=0.6, high=0.8))
    steep = attrs.evolve(two, law=Steeper())
    (said,) = disagreements([one, steep], 1e20)
    assert said.startswith(
        "one and two disagree about the exponent a of N_opt ~ C^a beyond their intervals: 0.500000 ["
    )
    wide = attrs.evolve(steep, params=steep.params | {"a": Estimate(value=0.7, low=0.5, high=0.9)})
    assert disagreements([one, wide], 1e20) == []
    assert disagreements([one, two], 1e20) == []  # its law calls something else a: N grows as C^0.5


def test_one_fit_is_nothing_to_compare():
    for nothing in (fit(), []):
        with pytest.raises(InputError, match="compare takes the list of several fits"):
            compare(nothing, [1e20])


def test_what_is_compared_by_hand_says_its_disagreements_too():
    apart = [fit(spread=0.05), fit("two", k=0.2, spread=0.05)]
    assert "note: one and two disagree about N_opt at 1e20 FLOPs" in str(compare(apart, [1e19, 1e22]))
    unknown = [attrs.evolve(each, largest_budget=None) for each in apart]
    assert "at 1e19 FLOPs" in compare(unknown, [1e22, 1e19]).notes[-1]
    assert compare([fit()] * 2, [1e20]).notes == ()
    assert compare([fit(spread=0.05)] * 2, [1e20]).notes == ("in brackets: 90 % sampling intervals",)
    error = ModelError(loss=0.012, n_params=0.35, source="shipped default")
    whole = attrs.evolve(fit("two", spread=0.05), model_error=error)
    assert compare([whole], [1e20]).notes == ("in brackets: 90 % prediction intervals",)
    both = compare([whole, fit(spread=0.05)], [1e20]).notes[0]
    assert both == "in brackets: 90 % prediction intervals (two) and 90 % sampling intervals (one)"


def test_fits_of_different_runs_say_so():
    bad = [Excluded(run=f"line {i}", reason="outlier", used=True) for i in (3, 7)]
    left = [attrs.evolve(each, used=False) for each in bad]
    table = compare([fit(n_used=47, excluded=left), fit("two", n_used=49, excluded=bad)], [1e20])
    assert table.notes == ("not fitted to the same runs: one 47; two 49, 2 of them marked as outliers",)
    assert compare([fit(n_used=47, excluded=left), fit("two", n_used=47)], [1e20]).notes == ()


def test_fits_of_equally_many_runs_say_nothing_of_them():
    flagged = [Excluded(run="line 3", reason="outlier", used=True)]
    assert compare([fit(n_used=49, excluded=flagged), fit("two", n_used=49)], [1e20]).notes == ()


@pytest.mark.parametrize("budgets", [1e20, "1e20", np.array(1e20)])
def test_budgets_are_a_list(budgets):
    with pytest.raises(InputTypeError, match="is not a list: give "):
        compare([fit()], budgets)


def test_budgets_may_be_anything_that_is_gone_through_once():
    unknown = attrs.evolve(fit(), largest_budget=None)
    assert compare([unknown], iter([1e20])).data == compare([unknown], [1e20]).data


def test_runs_without_budgets_are_judged_at_the_largest_that_was_fitted():
    runs = Runs(n_params=[1e9], n_tokens=[1e8], loss=[3.0])
    said = diagnose([], runs, [fit(spread=0.05), fit("two", k=0.2, spread=0.05)], "standard")
    assert [d.kind for d in said] == ["disagreement"]
    assert "at 1e20 FLOPs" in said[0].message


def test_the_loss_is_judged_too():
    said = disagreements([fit(spread=0.01), fit("two", e=2.5, spread=0.01)], 1e20)
    assert len(said) == 1
    assert "about loss" in said[0]


def test_one_interval_is_enough_and_none_is_not():
    assert len(disagreements([fit(spread=0.05), fit("two", k=0.2)], 1e20)) == 1
    assert len(disagreements([fit(), fit("two", k=0.2, spread=0.05)], 1e20)) == 1
    assert disagreements([fit(), fit("two", k=0.2)], 1e20) == []


def test_a_law_without_an_optimum_is_shown_and_not_judged():
    broken = fit("broken", k=float("nan"))
    assert compare([fit(), broken], [1e20]).rows[0][3] == "no optimum"
    assert disagreements([fit(spread=0.05), broken], 1e20) == []
    assert disagreements([broken, fit(spread=0.05)], 1e20) == []


def test_fits_of_one_name_are_numbered():
    assert names_of([fit(), fit("two"), fit()]) == ["one (1)", "two", "one (2)"]


def test_bad_input():
    with pytest.raises(InputError, match="list of several fits"):
        compare([])
    with pytest.raises(InputError, match="-1"):
        disagreements([fit(), fit()], -1)
    with pytest.raises(InputError, match="largest budget"):
        compare([attrs.evolve(fit(), largest_budget=None)])
    assert disagreements([fit()], 1e20) == []

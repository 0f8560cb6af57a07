"""A fit as text, and as JSON and back."""

import json
import math
import re

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flops_fit
import known_laws
from flops_fit_core.data import CostModel, Estimate, Excluded, Fit, ModelError
from flops_fit_core.summary import digits, formula_with_numbers, summary


@attrs.frozen
class Additive:
    """The additive law with closed-form optimum at 6ND, so that this test needs no plugin."""

    def fit(self, runs, cost):
        raise NotImplementedError

    def loss(self, p, n, d):
        return p["E"] + p["A"] / n ** p["alpha"] + p["B"] / d ** p["beta"]

    def optimum(self, p, cost, budget):
        p = {name: np.asarray(value) for name, value in p.items()}
        ratio = p["alpha"] * p["A"] / (p["beta"] * p["B"])
        n = (ratio * (budget / 6) ** p["beta"]) ** (1 / (p["alpha"] + p["beta"]))
        d = budget / (6 * n)
        return n, d, self.loss(p, n, d)


NAMES = {"surface": ("E", "A", "B", "alpha", "beta"), "frontier": ("E", "K", "gamma", "n0", "a", "p", "q")}
VALUES = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}


def fit(**changes):
    rng = np.random.default_rng(0)
    draws = {name: value * np.exp(0.01 * rng.standard_normal(500)) for name, value in VALUES.items()}
    estimates = {name: Estimate(value=v, low=v * 0.98, high=v * 1.02, stderr=v * 0.01) for name, v in VALUES.items()}
    whole = {
        "fitter": "surface",
        "params": estimates,
        "draws": draws,
        "cost": CostModel.measured([1e6, 3e6], [7e6, 2e7]),
        "objective": 0.00104321987,
        "converged": True,
        "gradient_norm": 3.2e-9,
        "n_used": 240,
        "excluded": (Excluded(run="line 7", reason="diverged"), Excluded(run="line 9", reason="outlier", used=True)),
        "hold_out": {"loss_error": 0.0097123456},
        "model_error": ModelError(loss=0.012, n_params=0.35, source="shipped default"),
        "largest_budget": 1e21,
        "formula": "L(N, D) = E + A/N^alpha + B/D^beta",
        "notes": ("a note",),
        "details": {"budgets": [{"budget": 1e18, "n": None, "curve": [1.0, 2.0]}]},
        "law": Additive(),
    }
    return Fit(**{**whole, **changes})


def test_a_summary_says_everything():
    text = summary(fit())
    assert "L(N, D) = 1.81720 + 482.010/N^0.347800 + 2085.43/D^0.365800" in text
    assert "converged: yes (gradient norm 3.20e-09)" in text
    assert "objective: 0.00104322" in text
    assert "points used: 240" in text
    assert "excluded: 1\n  line 7: diverged" in text
    assert "flagged, but used: 1\n  line 9: outlier" in text
    assert "loss_error: 0.00971235" in text
    assert "sampling intervals (90 %, 500 resamples; the law taken as true)" in text
    assert "| 90 % sampling |" in re.sub(" +", " ", text)
    assert "| 90 % prediction |" in re.sub(" +", " ", text)
    assert "1.2 % of loss, 0.35 in ln N_opt (shipped default)" in text
    assert "note: a note" in text
    row = next(line for line in text.splitlines() if "alpha |" in line)
    assert [cell.strip() for cell in row.strip("| ").split("|")] == [
        "alpha", "0.347800", "0.340844", "0.354756", "0.00347800",
    ]  # fmt: skip
    assert str(fit()) == text


def test_a_prediction_interval_is_wider_beyond_the_data_and_equal_within():
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in summary(fit()).splitlines()]
    cells = [row for row in rows if row[1:2] == ["N_opt"]]
    assert len(cells) == 3
    assert cells[0][3] == cells[0][4]
    low, high = (float(x) for x in cells[2][3].split(" … "))
    wide_low, wide_high = (float(x) for x in cells[2][4].split(" … "))
    assert wide_low < low < high < wide_high


def test_what_is_missing_is_said():
    bare = fit(draws={}, params={"E": Estimate(value=1.0)}, hold_out={}, model_error=None, gradient_norm=None, converged=False,
               excluded=(), law=None, largest_budget=None)  # fmt: skip
    text = summary(bare)
    assert "converged: NO" in text
    assert "no sampling intervals" in text
    assert "excluded: none" in text
    assert "hold-out: none (not possible" in text
    no_error = summary(fit(model_error=None))
    assert "the intervals are of sampling alone: this fitter does not say how wrong its law may be" in no_error
    assert "90 % prediction" not in no_error


def test_what_a_fitter_did_not_set_is_not_printed():
    drawn = fit()
    bare = Fit(fitter="mine", params={n: Estimate(value=v) for n, v in VALUES.items()}, draws=drawn.draws,
               largest_budget=1e21, law=Additive())  # fmt: skip
    text = summary(bare)
    assert "no sampling intervals of the parameters; predictions have them, of 500 resamples" in text
    assert "90 % sampling" in text
    for word in ("see the notes", "converged", "objective", "points used", "90 % prediction"):
        assert word not in text
    assert "prediction" not in str(bare.predict(2e21)).split("note: ")[0]
    assert "90 % sampling" in str(bare.predict(2e21))
    assert "90 % prediction" in str(drawn.predict(2e21))
    text = summary(attrs.evolve(bare, draws={}))
    assert "no sampling intervals: this fit has no resamples\n" in text
    assert summary(attrs.evolve(bare, gradient_norm=1e-9)).count("gradient norm 1.00e-09") == 1
    assert Fit.from_dict(json.loads(json.dumps(bare.to_dict()))) == bare
    assert "converged: yes\nobjective: 0.00000\n" in summary(
        Fit.from_dict({**bare.to_dict(), "objective": 0.0, "converged": True})  # as a folder of before holds them
    )


def test_a_prediction_far_beyond_the_runs_is_doubted_where_it_is_printed():
    made = fit()
    lines = summary(made).splitlines()
    (at,) = [i for i, line in enumerate(lines) if line == f"note: {made.predict(1e23).warning}"]
    assert "1e23 FLOPs is 100 times the largest budget that was trained" in lines[at]
    assert at > max(i for i, line in enumerate(lines) if line.startswith("|"))
    assert lines[at + 1] == "note: a note"
    assert "FLOPs is" not in summary(fit(largest_budget=None))


def test_what_several_predictions_doubt_is_printed_once():
    made = fit(model_error=None)
    assert made.predict(1e22).warning in made.predict(1e23).warning != made.predict(1e22).warning
    text = summary(made)
    assert text.count("the interval is of sampling alone: fitter 'surface'") == 1
    assert f"note: {made.predict(1e23).warning}\n" in text


def test_without_any_interval_there_are_no_columns_of_dashes():
    text = summary(fit(draws={}))
    assert "| C | quantity | value |\n" in re.sub(" +", " ", text)
    assert "…" not in text
    assert "prediction interval" not in text


@pytest.mark.parametrize(("details", "line"), [
    ({"objective": "log_huber", "delta": 0.001}, "objective: 0.00104322 (log_huber, delta 0.001)"),
    ({"objective": "log_mse", "delta": 0.001}, "objective: 0.00104322 (log_mse)"),
    ({"delta": 0.002}, "objective: 0.00104322 (delta 0.002)"),
    ({"objective": 3, "delta": "adaptive"}, "objective: 0.00104322"),
])  # fmt: skip
def test_what_was_minimised_is_named(details, line):
    assert line in summary(fit(details=details)).splitlines()


@pytest.fixture(scope="module")
def average():
    runs, _ = known_laws.additive_sweep(known_laws.ADDITIVE["chinchilla"], noise=0.004, budgets=6)
    return flops_fit.fit(runs, flops_fit.fitter("ensemble", bootstrap=0))


def test_the_law_of_an_average_is_its_members_with_their_own_numbers(average):
    text = average.summary()
    assert len(average.members) == 2
    for name, member in average.members.items():
        line = next(line for line in text.splitlines() if line.startswith(f"  {name}: "))
        printed = {number.strip("-") for number in re.findall(r"-?\d+\.\d+", line)}
        assert printed == {digits(abs(member.params[key].value)) for key in NAMES[name]}


def test_the_members_of_an_average_stand_side_by_side(average):
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in average.summary().splitlines()]
    for name, member in average.members.items():
        row = next(cells for cells in lines if cells[0] == name and len(cells) == 8)
        answers = [member.predict(times * average.largest_budget) for times in (1, 10, 100)]
        values = [e.value for answer in answers for e in (answer.n_params, answer.loss)]
        assert row[1:] == [digits(value) for value in (member.hold_out["loss_error"], *values)]
    assert f"objective: surface {digits(average.objective)} (log_huber, delta" in average.summary()


@pytest.mark.parametrize("names", [("one",), ("one", "two")])
def test_intervals_of_an_average_say_whose_they_are(names):
    two = {"two": Fit(fitter="two", params={"k": Estimate(value=1.0)}).to_dict()}
    plain = {"one": attrs.evolve(fit(), draws={}, details={}).to_dict(), **two}
    text = summary(fit(details={"members": {name: plain[name] for name in names}}))
    (line,) = [line for line in text.splitlines() if line.startswith("sampling intervals")]
    assert line.startswith("sampling intervals (90 %, 500 resamples of member one, its law taken as true")
    assert ("how far the members differ is not in them" in line) == (len(names) > 1)


def test_long_lists_are_cut_and_counted():
    many = tuple(Excluded(run=f"line {i}", reason="diverged") for i in range(50))
    text = summary(fit(excluded=many))
    assert "excluded: 50" in text
    assert "and 30 more" in text


@pytest.mark.parametrize(("value", "text"), [
    (0.3478, "0.347800"), (482.01, "482.010"), (7.22e10, "7.22000e10"), (1.5e-9, "1.50000e-9"), (0.0, "0.00000"),
    (123456.7, "123457"), (-0.1535, "-0.153500"), (None, "—"), (math.inf, "inf"),
])  # fmt: skip
def test_numbers_keep_six_digits(value, text):
    assert digits(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_never_rounded_below_five_digits(value):
    assert float(digits(value)) == pytest.approx(value, rel=1e-5, abs=1e-320)


def test_names_in_a_formula_become_numbers_where_they_stand_for_parameters():
    params = {name: Estimate(value=v) for name, v in {"a": 0.5, "k_n": 2.0, "E": 1.0, "c": -0.15, "k_l": 3.0}.items()}
    made = fit(params=params, draws={}, formula="N_opt = k_n·C^a, L_opt = E + k_l·C^c")
    assert formula_with_numbers(made) == "N_opt = 2.00000·C^0.500000, L_opt = 1.00000 + 3.00000·C^(-0.150000)"


def test_a_fit_survives_json_exactly():
    made = fit()
    text = json.dumps(made.to_dict(), allow_nan=False)
    again = Fit.from_dict(json.loads(text))
    assert again == made
    assert json.dumps(again.to_dict(), allow_nan=False) == text
    for name, values in made.draws.items():
        assert again.draws[name].tolist() == values.tolist()
    again = attrs.evolve(again, law=Additive())
    assert again.predict(5.76e23) == made.predict(5.76e23)
    assert again.summary() == made.summary()
    assert again.loss([1e9, 2e9], [1e10, 3e10]).tolist() == made.loss([1e9, 2e9], [1e10, 3e10]).tolist()


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.text(min_size=1, max_size=5), st.floats(), max_size=4),
    st.floats(),
    st.lists(st.floats(), max_size=5),
)
def test_any_float_survives_json(numbers, value, draws):
    made = Fit(
        fitter="x",
        params={"p": Estimate(value=value, low=value)},
        draws={"p": np.array(draws)},
        hold_out=numbers,
        objective=value,
        details={"n": numbers, "l": draws},
    )
    text = json.dumps(made.to_dict(), allow_nan=False)
    again = Fit.from_dict(json.loads(text))
    assert json.dumps(again.to_dict(), allow_nan=False) == text
    assert np.array_equal(again.draws["p"], made.draws["p"], equal_nan=True)

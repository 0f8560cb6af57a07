"""What a table of one's own and a fit of it give to doubt is among the fit's notes; a study says it once."""

import attrs
import numpy as np
import pytest

import flops_fit
from flops_fit_core.data import Estimate, Excluded, Fit, Runs
from flops_fit_core.diagnostics import diagnose

BUDGETS = np.geomspace(1e15, 1e17, 5)


def optimum(budget):
    """N of 400 / N^0.34 + 410 / D^0.28 with D = C / 6N (Hoffmann et al. 2022, equation 4)."""
    return (0.34 * 400 / (0.28 * 410)) ** (1 / 0.62) * (budget / 6) ** (0.28 / 0.62)


def sweep(budgets=BUDGETS, around=(1 / 4, 4), sizes=7, above=(), digits=12):
    """Runs on that law, `sizes` a budget about its optimum; from 1.5 times the optimum on at the budgets `above`."""
    ranges = [(1.5, 6) if budget in above else around for budget in budgets]
    n = np.concatenate([optimum(c) * np.geomspace(*ends, sizes) for c, ends in zip(budgets, ranges, strict=True)])
    c = np.repeat(budgets, sizes)
    d = c / 6 / n
    return Runs(n_params=n, n_tokens=d, loss=np.round(1.7 + 400 / n**0.34 + 410 / d**0.28, digits), budget=c, flops=c)


@attrs.frozen
class Law:
    """Answers with `times` the optimum of the law of these sweeps; leaves out what it is told to."""

    times: float = 1.0
    excluded: tuple = ()

    def fit(self, runs, cost):
        return Fit(fitter="law", params={"k": Estimate(value=1.0)}, cost=cost, excluded=self.excluded)

    def optimum(self, params, cost, budget):
        n = self.times * optimum(budget)
        d = cost.tokens(n, budget)
        return n, d, 1.7 + 400 / n**0.34 + 410 / d**0.28


def notes(runs, fitter=None):
    return flops_fit.fit(runs, fitter or Law()).notes


def test_a_clean_sweep_gives_nothing_to_doubt():
    assert notes(sweep()) == ()
    assert notes(attrs.evolve(sweep(), budget=None)) == ()


def test_minima_at_the_edge_are_one_sentence_a_side():
    budgets = BUDGETS[[0, 2]]
    (note,) = [note for note in notes(sweep(above=budgets)) if "smallest" in note]
    small, large = (f"{1.5 * optimum(c):.3e}".replace("+0", "") for c in budgets)
    assert note == (
        f"at 2 of 5 budgets the lowest loss is at the smallest size (1e15 FLOPs: N = {small}; 1e16 FLOPs: N = {large}), "
        "so the minimum was not seen there: add smaller sizes"
    )
    (note,) = [note for note in notes(sweep(around=(1 / 6, 1 / 1.5))) if "largest" in note]
    assert note.startswith("at 5 of 5 budgets the lowest loss is at the largest size")
    assert note.endswith("add larger sizes")


def test_many_budgets_at_the_edge_are_not_all_listed():
    (note,) = [n for n in notes(sweep(np.geomspace(1e15, 1e18, 30), around=(1.5, 6))) if "smallest" in n]
    assert "at 30 of 30 budgets" in note
    assert "; and 18 more)" in note


def test_every_one_of_several_fits_says_it_and_prints_it():
    fits = flops_fit.fit(sweep(above=BUDGETS[:1]), [Law(), flops_fit.fitter("surface", bootstrap=0)])
    for fit in fits:
        assert "note: at 1 of 5 budgets the lowest loss is at the smallest size (1e15 FLOPs: N = " in str(fit)
        assert Fit.from_dict(fit.to_dict()).notes == fit.notes


def test_budgets_that_only_c_tells_are_judged_too():
    runs = sweep(above=BUDGETS[:1])
    for bare in (attrs.evolve(runs, budget=None), attrs.evolve(runs, budget=None, flops=None)):
        assert notes(bare) == notes(runs) != ()


@pytest.mark.parametrize("stated", [False, True])
def test_scattered_runs_are_no_budgets(stated):
    rng = np.random.default_rng(0)
    n, d = 10 ** rng.uniform(7, 9, 100), 10 ** rng.uniform(9, 11, 100)
    runs = Runs(n_params=n, n_tokens=d, loss=1.7 + 400 / n**0.34 + 410 / d**0.28, budget=6 * n * d if stated else None)
    none = "no budget was trained at 3 sizes or more, so no minimum was seen: add sizes"
    assert notes(runs) == ((none,) if stated else ())


def test_runs_beside_the_budgets_are_not_judged():
    runs = sweep()
    beside = np.where(np.arange(len(runs)) % 7 == 0, np.nan, runs.budget)
    assert notes(attrs.evolve(runs, budget=beside)) == ()
    two = sweep(BUDGETS[:2])  # and a third C, at no budget
    runs = Runs(**{name: [*column, 1e9 if name == "n_tokens" else np.nan] for name, column in two.columns().items()})
    assert notes(attrs.evolve(runs, n_params=[*two.n_params, 1e8], loss=[*two.loss, 2.5])) == ()


def test_a_budget_column_without_a_number_is_none():
    empty = np.full(35, np.nan)
    for runs in (sweep(), sweep(above=BUDGETS[:1])):
        assert notes(attrs.evolve(runs, budget=empty)) == notes(attrs.evolve(runs, budget=None))
    scattered = attrs.evolve(sweep(), flops=np.geomspace(1e15, 1e17, 35))
    assert notes(attrs.evolve(scattered, budget=empty)) == notes(attrs.evolve(scattered, budget=None)) == ()


def test_dense_scattered_runs_are_no_budgets():
    rng = np.random.default_rng(0)
    c, ratio = 10 ** rng.uniform(18, 21, 1000), 20 * np.exp(rng.normal(size=1000))
    n = np.sqrt(c / 6 / ratio)
    d = c / 6 / n
    assert notes(Runs(n_params=n, n_tokens=d, loss=1.7 + 400 / n**0.34 + 410 / d**0.28)) == ()


def test_two_sizes_have_no_inside():
    assert "no budget was trained at 3 sizes or more" in notes(sweep(sizes=2))[0]


def test_a_tie_within_is_a_minimum_that_was_seen():
    runs = sweep(around=(1 / 1.05, 6), digits=2)
    first = runs.loss.reshape(5, 7)
    assert (first[:, 0] == first.min(axis=1)).all()  # argmin alone would take the smallest size
    assert (first[:, 1] == first[:, 0]).any()
    tied = np.repeat(first[:, 1] == first[:, 0], 7)
    assert notes(runs.where(tied)) == notes(sweep().where(tied))


def test_too_few_budgets_are_said():
    assert "2 budgets show a line and not whether it is one: train 3 or more" in notes(sweep(BUDGETS[:2]))
    assert "1 budget shows no trend: train 3 or more" in notes(sweep(BUDGETS[:1]))


def test_an_optimum_outside_the_trained_sizes_is_said():
    (note,) = notes(sweep(), Law(times=8.0))
    assert note.startswith("law puts the optimum outside the sizes that were trained at 5 of 5 budgets: 1e15 (N = ")
    assert note.endswith("Nothing was measured there: add sizes on that side, or doubt the law")
    (note,) = notes(sweep(), Law(times=np.nan))
    assert note.startswith("law gives no answer: the law of fitter 'law' has no optimum at 1e+15 FLOPs")


def test_a_law_without_an_optimum_is_said_of_scattered_runs_too():
    @attrs.frozen
    class Knows(Law):
        def fit(self, runs, cost):
            return attrs.evolve(super().fit(runs, cost), largest_budget=1e17)

    scattered = attrs.evolve(sweep(), budget=None, flops=np.geomspace(1e15, 1e17, 35))
    assert notes(scattered, Knows()) == ()
    (note,) = notes(scattered, Knows(times=100.0))
    assert note.startswith("law puts the optimum outside the sizes that were trained at the largest C: 1e17 (N = ")
    (note,) = [note for note in notes(scattered, Knows(times=np.nan)) if "optimum" in note]
    assert note.startswith("law gives no answer: the law of fitter 'law' has no optimum at 1e+17 FLOPs")


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("name", ["frontier", "surface", "ensemble"])
def test_an_optimum_that_was_not_seen_is_said_once(name, stated):
    runs = sweep(around=(1 / 6, 1 / 1.5)) if stated else attrs.evolve(sweep(around=(1 / 6, 1 / 1.5)), budget=None)
    said = notes(runs, flops_fit.fitter(name, **({"bootstrap": 0} if name == "ensemble" else {"hold_out": False})))
    assert sum("outside the sizes that were trained" in note for note in said) == 1


def test_that_a_law_has_no_optimum_is_said_once():
    runs = sweep()
    rising = attrs.evolve(runs, loss=1.7 + runs.n_params**0.1 / 10)
    said = notes(rising, flops_fit.fitter("ensemble", bootstrap=0))
    assert sum("gives no answer" in note for note in said) == 1
    assert not any("outside the sizes" in note for note in said)


def test_runs_that_the_fit_left_out_are_not_judged():
    runs = sweep(above=BUDGETS[:1])
    left_out = tuple(Excluded(run=f"row {row + 1}", reason="below the minimum compute") for row in range(7))
    assert notes(runs, Law(excluded=left_out)) == ()
    assert notes(runs, Law(excluded=tuple(attrs.evolve(item, used=True) for item in left_out)))
    shared = attrs.evolve(runs, label=["row 1"] * len(runs))  # the name of every run tells nothing
    assert notes(shared, Law(excluded=left_out)) == notes(runs)


def test_the_best_recipe_of_a_cell_is_judged():
    """At the largest rate the small models fail, so the mean over rates has its minimum elsewhere."""
    runs = sweep()
    fails = np.where(np.arange(len(runs)) % 7 < 6, 5.0, 0.0)
    rates = [{"lr": rate} for rate in (0.01, 0.02) for _ in runs.loss]
    both = Runs(
        **{name: np.tile(column, 2) for name, column in runs.columns().items() if name != "loss"},
        loss=[*runs.loss, *(runs.loss + fails)],
        hparams=rates,
    )
    assert notes(both) == ()
    fit = Law().fit(both, flops_fit.CostModel.six_nd())
    assert not [d for d in diagnose([], both, [attrs.evolve(fit, law=Law())], "mup") if d.kind == "edge"]


def test_a_law_that_does_not_describe_the_runs_is_said_where_noise_can_be_told():
    bent = attrs.evolve(sweep(), loss=sweep().loss * np.where(sweep().budget > 9e15, 0.9, 1.0))

    @attrs.frozen
    class Sure(Law):
        def fit(self, runs, cost):
            return attrs.evolve(super().fit(runs, cost), draws={"k": np.ones(100)})

        def optimum(self, params, cost, budget):
            return tuple(params["k"] * value for value in super().optimum(params, cost, budget))

    (note,) = notes(bent, Sure())
    assert note.startswith("law does not describe these runs: at 3 of 5 budgets the lowest trained loss lies beyond")
    three = np.isin(np.arange(len(bent)) % 7, [2, 3, 4])  # no parabola is left to scatter about
    assert notes(bent.where(three), Sure()) == ()


def test_what_several_fits_say_is_one_diagnostic():
    fits = flops_fit.fit(sweep(above=BUDGETS[:1]), [Law(), Law()])
    said = [d.message for d in diagnose([], sweep(), fits, "mup") if d.kind == "fit"]
    assert said == [f"law: {note}" for note in fits[0].notes]


def test_a_study_says_it_once(tmp_path):
    asked = {"workload": "vit", "compute_budgets": [1e10, 2e10], "sizes": [8, 16, 24, 32], "output_dir": tmp_path}
    result = flops_fit.find_optimal(**asked, mode="mock", fitter="surface", reporter=None)
    for text in (str(result), str(flops_fit.load(tmp_path))):
        assert text.count("2 budgets show a line") == 1
        assert text.count("the lowest loss is at the") <= 2
    assert "2 budgets show a line" in str(flops_fit.fit(result.runs, "surface"))


def test_budgets_that_are_not_what_the_runs_cost_are_suspected():
    runs = sweep()
    assert not any("off their own C" in note for note in notes(runs))
    wrong = runs.budget.copy()
    wrong[3] *= 1e4
    for budget, count, times in ((1e3 * runs.budget, len(runs), "1e+03"), (wrong, 1, "1e+04")):
        (note,) = [n for n in notes(attrs.evolve(runs, budget=budget)) if "off their own C" in n]
        assert note.startswith(f"{count} of {len(runs)} runs state a budget more than 1.5 times off")
        assert f"whose budget is {times} times its C" in note


def test_columns_that_were_swapped_are_suspected():
    runs = sweep()
    assert not any("swapped" in note for note in notes(runs))
    (note,) = [n for n in notes(attrs.evolve(runs, n_params=runs.n_tokens, n_tokens=runs.n_params)) if "swapped" in n]
    assert "units of data per parameter" in note


@pytest.mark.parametrize(("n", "d"), [(1e-6, 1e-9), (1e-6, 1), (1, 1e-9), (1e-6, 1e-6)])
def test_columns_in_millions_or_billions_are_suspected(n, d):
    runs = sweep()
    scaled = attrs.evolve(runs, n_params=runs.n_params * n, n_tokens=runs.n_tokens * d, budget=None, flops=None)
    assert any("in thousands, millions or billions" in note for note in notes(scaled))


def test_a_study_says_which_trained_runs_its_fit_left_out():
    runs = attrs.evolve(sweep(), label=[f"run {row}" for row in range(35)], status=["done"] * 34 + ["diverged"])
    out = tuple(Excluded(run=f"run {row}", reason="too high") for row in (3, 34))
    fit = flops_fit.fit(runs, Law(excluded=out))
    (found,) = [d for d in diagnose([], runs, [fit], "mup") if d.kind == "left out"]
    assert found.message == "1 of 34 trained runs are not in the fit: run 3: too high. Look at them in the figure"
    flagged = flops_fit.fit(runs, Law(excluded=(attrs.evolve(out[0], used=True),)))
    assert not [d for d in diagnose([], runs, [flagged], "mup") if d.kind == "left out"]


def test_a_study_of_simulated_losses_says_so(tmp_path):
    study = flops_fit.find_optimal(
        model_cls=Width, model_size_param="width", dataset=Pairs(), loss_fn=lambda outputs, targets: outputs,
        compute_budgets=[1e15, 1e16], data_unit="tokens", flop_counter="6nd", mode="mock", fitter="surface",
        reporter=None, output_dir=tmp_path,
    )  # fmt: skip
    for result in (study, flops_fit.load(tmp_path)):
        (found,) = [d for d in result.diagnostics if d.kind == "simulated"]
        assert "losses are simulated: nothing was trained" in found.message
        assert str(found) in result.chinchilla_table([1e17]).notes
        assert "trained for" not in str(result)
        assert str(result).count(found.message) == result._repr_html_().count(found.message) == 1


class Width:
    def __init__(self, width):
        self.width = width

    def num_params(self):
        return 12 * self.width**2


class Pairs:
    def __len__(self):
        return 64

    def __getitem__(self, i):
        return np.arange(i, i + 8), np.arange(i + 1, i + 9)

"""The whole path without torch: plan, train on a known law, fit, extend, resume, survive failures."""

import json
import logging
import types

import attrs
import numpy as np
import pytest

import flops_fit
from flops_fit_core.errors import FitError, InputError, StoreError
from flops_fit_core.team import Solo

BUDGETS = [1e17, 3e17, 1e18, 3e18]
LAW = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}


class Family:
    """Models in plain Python."""

    def __init__(self, width):
        self.width = width

    def num_params(self):
        return 12 * self.width**2


class Sentences:
    def __len__(self):
        return 64

    def __getitem__(self, i):
        return np.arange(i, i + 16), np.arange(i + 1, i + 17)


def loss(outputs, targets):
    return 0.0


@attrs.frozen(kw_only=True)
class Known:
    """A trainer whose losses are a law without noise, and that can be told to misbehave at a width."""

    scale: float = 1.0
    bad: str = ""
    trained: list = attrs.field(factory=list, eq=False)

    def settings(self):
        return {"scale": self.scale}

    def groups(self, runs):
        return [[run] for run in runs]

    def train(self, group, workload, workspace):
        for run in group:
            self.trained.append(run.run_id)
            if self.bad == "raises":
                raise RuntimeError(f"no luck with {run.size}")
            status = "diverged" if self.bad == "diverges" else "done"
            value = LAW["E"] + LAW["A"] / run.n_params ** LAW["alpha"] + LAW["B"] / run.n_tokens ** LAW["beta"]
            tuned = 1 + 0.1 * abs(np.log(run.hparams.get("lr", 2e-3) / 2e-3))
            yield flops_fit.RunRecord(
                run=run, status=status, loss=self.scale * tuned * value if status == "done" else None, message=status,
                n_tokens=run.n_tokens, flops=run.flops, flops_spent=run.flops, epochs=6.0, recipe={"lr": 0.5},
            )  # fmt: skip


def sweep(tmp_path, **changes):
    arguments = {
        "model_cls": Family, "model_size_param": "width", "dataset": Sentences(), "loss_fn": loss, "compute_budgets": BUDGETS,
        "flop_counter": "6nd", "trainer": Known(), "fitter": ("surface", "isoflop"), "reporter": None,
        "output_dir": tmp_path / "out",
    }  # fmt: skip
    return flops_fit.find_optimal(**{**arguments, **changes})


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_known_law_is_recovered_and_predicted(tmp_path):
    result = sweep(tmp_path)
    assert len(result.records) == len(result.plan) >= 4 * 4
    for name, value in LAW.items():
        assert result.fit.params[name].value == pytest.approx(value, rel=1e-4)
    a = LAW["beta"] / (LAW["alpha"] + LAW["beta"])
    g = (LAW["alpha"] * LAW["A"] / LAW["beta"] / LAW["B"]) ** (1 / (LAW["alpha"] + LAW["beta"]))
    predicted = result.predict(1e19)
    assert predicted.n_params.value == pytest.approx(g * (1e19 / 6) ** a, rel=1e-3)
    assert 6 * predicted.n_params.value * predicted.n_tokens.value == pytest.approx(1e19, rel=1e-6)
    assert abs(Family(predicted.size).num_params() / predicted.n_params.value - 1) < 0.01
    assert predicted.extrapolation == pytest.approx(1e19 / 3e18, rel=1e-2)


def test_every_run_spends_its_budget_in_whole_steps(tmp_path):
    plan = sweep(tmp_path, train=False)
    for run in plan.runs:
        assert run.flops == pytest.approx(run.budget, rel=0.01)
        assert run.flops == pytest.approx(6 * run.n_params * run.n_tokens)
    assert not (tmp_path / "out").exists()


def test_a_second_call_trains_nothing_and_gives_the_same_answer(tmp_path):
    first = sweep(tmp_path)
    trainer = Known()
    again = sweep(tmp_path, trainer=trainer)
    assert trainer.trained == []
    assert again.records == first.records
    assert again.fit.values == first.fit.values


def test_more_budgets_seeds_and_fitters_extend_the_folder(tmp_path):
    sweep(tmp_path)
    trainer = Known()
    more = sweep(tmp_path, trainer=trainer, compute_budgets=[*BUDGETS, 1e19], seeds=(0, 1), fitter="surface")
    assert len(trainer.trained) == len(set(trainer.trained))
    assert {record.run.budget for record in more.records} == {*BUDGETS, 1e19}
    assert {record.run.seed for record in more.records} == {0, 1}
    new = [record for record in more.records if record.run.run_id in trainer.trained]
    assert all(record.run.seed == 1 or record.run.budget == 1e19 for record in new)
    assert [fit.fitter for fit in more.fits] == ["surface"]
    # a call that names one budget only works in a folder that has others
    assert len(sweep(tmp_path, compute_budgets=[3e19]).plan.budgets) == 6


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"trainer": Known(scale=2.0)}, r"trainer\.scale"),
        ({"loss_fn": lambda outputs, targets: 1.0}, "loss"),
        ({"model_kwargs": {}, "model_cls": type("Family", (Family,), {"__module__": "elsewhere"})}, "model"),
        ({"data_unit": "words"}, "data unit"),
        ({"resume": False}, "resume=False"),
    ],
)
def test_another_study_in_the_folder_is_an_error_that_touches_nothing(tmp_path, change, named):
    sweep(tmp_path)
    before = files(tmp_path / "out")
    change = {"flop_counter": lambda model, batch: 6.0 * 16 * 32 * model.num_params(), **change}
    with pytest.raises(StoreError, match=named):
        sweep(tmp_path, **change)
    assert files(tmp_path / "out") == before


def test_a_truncated_record_is_named_and_nothing_is_trained(tmp_path):
    result = sweep(tmp_path)
    path = tmp_path / "out" / "runs" / result.plan.runs[3].run_id / "record.json"
    path.write_text(path.read_text()[:50])
    before = files(tmp_path / "out")
    trainer = Known()
    with pytest.raises(StoreError, match=result.plan.runs[3].run_id):
        sweep(tmp_path, trainer=trainer)
    assert trainer.trained == []
    assert files(tmp_path / "out") == before


@attrs.frozen(kw_only=True)
class Sometimes(Known):
    """Misbehaves for one width in three."""

    kind: str = "raises"

    def train(self, group, workload, workspace):
        bad = group[0].size % 3 == 0
        yield from Known.train(attrs.evolve(self, bad=self.kind if bad else ""), group, workload, workspace)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "status"), [("raises", "failed"), ("diverges", "diverged")])
def test_bad_runs_are_recorded_shown_and_kept_out_of_fits(tmp_path, kind, status):
    result = sweep(tmp_path, trainer=Sometimes(kind=kind), sizes=[100, 150, 201, 250, 302, 352, 400])
    bad = [record for record in result.records if record.status == status]
    assert {record.run.size % 3 for record in bad} == {0}
    assert {record.run.size % 3 for record in result.records if record.status == "done"} == {1, 2}
    assert result.fit.n_used == len(result.records) - len(bad)
    assert f"{len(bad)} of {len(result.records)} runs {status}" in str(result)
    # a failed run is tried again by the next call, a diverged one is not
    trainer = Sometimes(kind=kind)
    sweep(tmp_path, trainer=trainer, sizes=[100, 150, 201, 250, 302, 352, 400])
    assert len(trainer.trained) == (len(bad) if status == "failed" else 0)


def test_when_all_fail_the_result_still_comes_back(tmp_path):
    result = sweep(tmp_path, trainer=Known(bad="raises"))
    assert result.fit is None
    assert all(record.status == "failed" and "no luck" in record.message for record in result.records)
    assert any(d.kind == "failed" for d in result.diagnostics)
    with pytest.raises(FitError, match="nothing was fitted"):
        result.predict(1e18)
    print(result)


def test_known_doubts_are_said(tmp_path):
    result = sweep(tmp_path, sizes=[400, 500, 600, 700], compute_budgets=[1e17, 2e17])
    kinds = {d.kind for d in result.diagnostics}
    assert {"edge", "budgets", "epochs", "learning rate"} <= kinds
    assert "add larger sizes" in str(result)


def test_a_finished_study_is_loaded_as_it_was(tmp_path):
    result = sweep(tmp_path)
    loaded = flops_fit.load(tmp_path / "out")
    assert loaded.records == result.records
    assert [fit.to_dict() for fit in loaded.fits] == [fit.to_dict() for fit in result.fits]
    assert loaded.predict(1e19).n_params.value == pytest.approx(result.predict(1e19).n_params.value, rel=1e-12)
    assert loaded.fit.loss(1e8, 1e9) == result.fit.loss(1e8, 1e9)
    assert set(loaded.plugins) >= {"planner", "trainer", "fitter surface"}


def with_attention(model, batch):
    """FLOPs of which a part grows as the square root of N, so that no power law between two sizes is exact."""
    return 6 * 16 * (model.num_params() + 200 * 64 * model.width)


def coarse(width):
    """Widths in steps that make the sizes between the trained ones few."""
    return Family(32 * width)


def test_a_study_loaded_without_its_model_prints_the_same_numbers(tmp_path):
    changes = {"model_cls": coarse, "flop_counter": with_attention, "fitter": ("ensemble", "surface", "isoflop")}
    result = sweep(tmp_path, **changes)
    loaded = flops_fit.load(tmp_path / "out")
    assert str(loaded) == str(result)
    assert str(loaded.compare()) == str(result.compare())
    further = [10 * BUDGETS[-1], 100 * BUDGETS[-1]]
    assert loaded.chinchilla_table(further) == result.chinchilla_table(further)
    trained = {run.size for run in result.plan.runs}
    assert [row["size"] in trained for row in result.chinchilla_table(further).data] == [False, False]
    between = loaded.predict(2 * BUDGETS[-1])  # not stored: by a power law between sizes that were counted
    assert between.size is None
    assert between.n_tokens.value == pytest.approx(result.predict(2 * BUDGETS[-1]).n_tokens.value, rel=0.01)


def test_the_table_and_the_fits_side_by_side_count_alike(tmp_path):
    changes = {"model_cls": coarse, "flop_counter": with_attention, "fitter": ("ensemble", "surface")}
    result = sweep(tmp_path, **changes)
    for budget in (*BUDGETS, 2 * BUDGETS[-1], 30 * BUDGETS[-1]):
        beside = {row["quantity"]: row["ensemble"] for row in result.compare([budget]).data}
        (row,) = result.chinchilla_table([budget]).data
        assert beside == {"N_opt": row["n_params"], "D_opt": row["n_tokens"], "loss": row["loss"]}
    average = result.fit
    assert {member.cost == average.cost for member in average.members.values()} == {True}


class Limited:
    """Counts what was trained and no more, with an exception of somebody else's."""

    def count(self, workload, size):
        n = workload.build(size).num_params()
        if size > 400:
            raise RuntimeError("too large to look at")
        return flops_fit.FlopCount(
            size=size, n_params=n, n_params_non_embedding=n, flops_per_token=6.0 * n + 1e4 * size, convention="own"
        )


def test_sizes_that_cannot_be_counted_cost_no_fit(tmp_path, caplog):
    with caplog.at_level(logging.CRITICAL):
        result = sweep(tmp_path, model_cls=coarse, flop_counter=Limited())
    assert len(result.fit.cost.n_params) > len(result.cost.n_params)  # what could be counted was
    with pytest.raises(RuntimeError, match="too large to look at"):
        result.predict(1000 * BUDGETS[-1])
    assert flops_fit.load(tmp_path / "out").predict(1000 * BUDGETS[-1]).size is None


def test_json_on_disk_is_strict(tmp_path):
    sweep(tmp_path, trainer=Known(bad="raises"))

    def refuse(word):
        raise AssertionError(f"{word} in a JSON file")

    for path in (tmp_path / "out").rglob("*.json"):
        json.loads(path.read_text(), parse_constant=refuse)


def test_lifecycle_hooks_see_every_run(tmp_path):
    seen = types.SimpleNamespace(calls=[])

    @flops_fit.hookimpl
    def flops_fit_sweep_start(plan):
        seen.calls.append(("start", len(plan)))

    @flops_fit.hookimpl
    def flops_fit_run_end(record):
        seen.calls.append(("end", record.run.run_id))

    @flops_fit.hookimpl
    def flops_fit_sweep_end(result):
        seen.calls.append(("finish", len(result.records)))

    plugin = types.SimpleNamespace(
        flops_fit_sweep_start=flops_fit_sweep_start,
        flops_fit_run_end=flops_fit_run_end,
        flops_fit_sweep_end=flops_fit_sweep_end,
    )
    result = sweep(tmp_path, plugins=[plugin])
    ends = [what for kind, what in seen.calls if kind == "end"]
    assert seen.calls[0] == ("start", len(result.plan))
    assert sorted(ends) == sorted(run.run_id for run in result.plan.runs)
    assert seen.calls[-1] == ("finish", len(result.records))


def test_recipe_axes_train_each_cell_and_fit_the_best(tmp_path):
    result = sweep(tmp_path, hparams={"lr": [1e-3, 2e-3, 4e-3]})
    assert len(result.records) == 3 * len({(r.run.budget, r.run.size) for r in result.records})
    assert result.fit.n_used == len(result.records) // 3
    assert result.fit.params["alpha"].value == pytest.approx(LAW["alpha"], rel=1e-4)
    assert not any(d.kind == "recipe" for d in result.diagnostics)
    trainer = Known()
    cut = sweep(tmp_path, hparams={"lr": [1e-3, 2e-3]}, trainer=trainer)
    assert trainer.trained == []
    assert any(d.kind == "recipe" and "the best lr is 0.002, the largest" in d.message for d in cut.diagnostics)
    sweep(tmp_path, trainer=trainer)  # without axes the plain cells are still to be trained
    assert len(trainer.trained) == len(result.records) // 3


def test_a_fitter_that_breaks_costs_its_own_fit_only(tmp_path, caplog):
    class Broken:
        def fit(self, runs, cost):
            raise ZeroDivisionError("by nothing")

        def optimum(self, params, cost, budget):
            raise NotImplementedError

    with caplog.at_level(logging.CRITICAL):
        result = sweep(tmp_path, fitter=(Broken(), "surface"))
    assert [fit.fitter for fit in result.fits] == ["surface"]
    assert any("ZeroDivisionError: by nothing" in d.message for d in result.diagnostics)


def test_ctrl_c_says_how_to_go_on_and_the_same_call_does(tmp_path):
    @attrs.frozen(kw_only=True)
    class Stopped(Known):
        def train(self, group, workload, workspace):
            if len(self.trained) == 5:
                raise KeyboardInterrupt
            yield from Known.train(self, group, workload, workspace)

    with pytest.raises(KeyboardInterrupt, match=r"5 of \d+ runs are recorded.*same call goes on"):
        sweep(tmp_path, trainer=Stopped())
    half = flops_fit.load(tmp_path / "out")
    assert len(half.records) == 5
    assert half.fit is None
    trainer = Stopped()
    # a stopped study is the same study whatever class stopped it, as its settings say
    rest = Known.train
    assert rest is not None
    result = flops_fit.find_optimal(
        model_cls=Family, model_size_param="width", dataset=Sentences(), loss_fn=loss, compute_budgets=BUDGETS, flop_counter="6nd",
        trainer=attrs.evolve(trainer, trained=list("abcdefg")), fitter="surface", reporter=None, output_dir=tmp_path / "out",
    )  # fmt: skip
    assert len(result.records) == len(result.plan)


@pytest.mark.parametrize("budget", [0, -1.0, float("nan"), float("inf"), "1e18", True])
def test_a_budget_that_is_none_cannot_be_predicted(tmp_path, budget):
    result = sweep(tmp_path, fitter="surface")
    with pytest.raises(flops_fit.FlopsFitError, match="budget"):
        result.predict(budget)


def test_a_prediction_prints_both_intervals_and_the_size(tmp_path):
    text = str(sweep(tmp_path, trainer="simulate").predict(1e19))
    assert "C = 1e19 FLOPs, 3.33 times the largest budget" in text
    assert "90 % sampling" in text
    assert "the nearest that the model takes" in text


def test_the_table_names_both_intervals_and_holds_their_ends(tmp_path):
    result = sweep(tmp_path, trainer="simulate")
    table = result.chinchilla_table([3e18, 1e20])
    assert [name for name in table.head if "%" in name] == [
        "N, 90 % sampling", "N, 90 % prediction", "loss, 90 % sampling", "loss, 90 % prediction",
    ]  # fmt: skip
    row, loss = table.data[1], result.predict(1e20).loss
    assert (row["loss_sampling_low"], row["loss_sampling_high"]) == (loss.sampling_low, loss.sampling_high)
    assert row["n_params_low"] < row["n_params_sampling_low"] < row["n_params_sampling_high"] < row["n_params_high"]
    cells = dict(zip(table.head, table.rows[1], strict=True))
    assert cells["loss, 90 % sampling"] == f"{loss.sampling_low:.4g} to {loss.sampling_high:.4g}"
    assert cells["loss, 90 % prediction"] == f"{loss.low:.4g} to {loss.high:.4g}"
    silent = attrs.evolve(result, fits=(attrs.evolve(result.fit, model_error=None),))
    assert [name for name in silent.chinchilla_table().head if "%" in name] == [
        "N, 90 % sampling",
        "loss, 90 % sampling",
    ]


def test_a_fit_without_an_optimum_costs_the_table_and_not_the_result(tmp_path):
    class Lost:
        def fit(self, runs, cost):
            return flops_fit.Fit(fitter="lost", params={}, largest_budget=max(runs.budget), cost=cost)

        def optimum(self, params, cost, budget):
            return np.nan, np.nan, np.nan

    result = sweep(tmp_path, fitter=(Lost(), "surface"))
    assert "lost gives no answer" in str(result)
    assert "lost" in result._repr_html_()
    assert not (tmp_path / "out" / "table.md").exists()
    with pytest.raises(FitError):
        result.chinchilla_table()


def test_an_optimum_outside_the_trained_sizes_is_said(tmp_path):
    class Far:
        def fit(self, runs, cost):
            return flops_fit.Fit(fitter="far", params={}, largest_budget=max(runs.budget), cost=cost)

        def optimum(self, params, cost, budget):
            return 1.0, cost.tokens(1.0, budget), 2.0

    result = sweep(tmp_path, fitter=Far())
    assert any(d.kind == "optimum" and "1e17 (N = 1;" in d.message for d in result.diagnostics)


def test_a_study_whose_extension_was_interrupted_says_so_when_loaded(tmp_path):
    result = sweep(tmp_path)
    (tmp_path / "out" / "runs" / result.plan.runs[-1].run_id / "record.json").unlink()
    assert "1 of 28 runs have no record yet" in str(flops_fit.load(tmp_path / "out"))


def test_a_loaded_study_prints_though_its_fitter_is_not_installed(tmp_path):
    class Mine:
        def fit(self, runs, cost):
            return flops_fit.Fit(fitter="mine", params={}, largest_budget=max(runs.budget), cost=cost)

        def optimum(self, params, cost, budget):
            return 1e7, cost.tokens(1e7, budget), 2.0

    sweep(tmp_path, fitter=Mine())
    assert "no installed plugin offers fitter 'mine'" in str(flops_fit.load(tmp_path / "out"))


def test_a_fitter_that_returns_no_fit_is_named(tmp_path):
    class Dict:
        def fit(self, runs, cost):
            return {}

        def optimum(self, params, cost, budget):
            raise NotImplementedError

    result = sweep(tmp_path, fitter=(Dict(), "surface"))
    assert "fitter Dict returned a dict from fit()" in str(result)
    assert "so 'surface' gives the answer" in str(result)


def test_a_plan_draws_one_batch_of_32_at_most(tmp_path):
    drawn = []

    class Watched(Sentences):
        def __getitem__(self, i):
            drawn.append(i)
            return super().__getitem__(i)

    plan = sweep(tmp_path, dataset=Watched(), train=False)
    assert len(plan) > 0
    assert len(drawn) <= 32


class Together(Known):
    """The trainer of the first of two processes."""

    team = Solo(size=2)


def test_several_processes_need_the_executor_that_trains_in_them(tmp_path):
    processes = flops_fit.executor("processes", slots=2)
    for executor, named in (("processes", "'processes'"), (processes, "'ProcessesExecutor'")):
        with pytest.raises(InputError, match=rf"2 processes run this program.*needs executor='serial', not {named}"):
            sweep(tmp_path, trainer=Together(), executor=executor)
    assert not (tmp_path / "out").exists()
    for name, executor in (("a", "serial"), ("b", flops_fit.executor("serial"))):
        assert sweep(tmp_path, trainer=Together(), executor=executor, output_dir=tmp_path / name).fit is not None

"""Plans that see a minimum: sizes on both sides, exact budgets, nothing trained twice."""

import itertools
import math

import attrs
import numpy as np
import pytest

from flops_fit_core.data import FlopCount, Plan, PlanRequest, RunRecord, Runs, Workload
from flops_fit_core.errors import CountError, InputError, InputTypeError, PlanError
from flops_fit_isoflop import IsoFlopPlanner


class GPT:
    """N of a two-layer GPT on bytes with heads of width 8."""

    def __init__(self, width):
        if width % 8:
            raise ValueError(f"width={width} is no multiple of 8")
        self.width = width

    def num_params(self):
        return 24 * self.width**2 + 514 * self.width


class Depth:
    def __init__(self, layers):
        self.layers = layers

    def num_params(self):
        return 200 + 300 * self.layers


class SixN:
    def __init__(self, fails=lambda size: False):
        self.fails, self.counted = fails, []

    def count(self, workload, size):
        self.counted.append(size)
        if self.fails(size):
            raise CountError(f"the forward pass of size {size} fails")
        n = workload.build(size).num_params()
        return FlopCount(size=size, n_params=n, n_params_non_embedding=n, flops_per_token=6.0 * n, convention="6N")


def request(budgets=(1e11, 2e11, 5e11), model_cls=GPT, size_param="width", counter=None, **changes):
    workload = Workload(name=model_cls.__name__, model_cls=model_cls, size_param=size_param, data_unit="tokens")
    values = {"budgets": tuple(budgets), "counter": counter or SixN(), "step_tokens": 256} | changes
    return PlanRequest(workload=workload, **values)


def finished(plan, loss, before=None):
    """What came of a plan's runs, after what came before, when each has the loss ``loss(run)``; none diverges."""
    records = [RunRecord(run=run, loss=loss(run), n_tokens=run.n_tokens, flops=run.flops) for run in plan.runs]
    table = Runs.from_records(records)
    if before is None or not len(before):
        return table
    columns = before.columns()
    return Runs(**{
        name: np.concatenate([column, table.columns()[name]]) if isinstance(column, np.ndarray) else column + table.columns()[name]
        for name, column in columns.items()
    })  # fmt: skip


def sizes_of(plan, budget):
    return [run.size for run in plan.runs if run.budget == budget]


def test_sizes_lie_on_both_sides_of_the_expected_optimum_and_span_the_range():
    plan = IsoFlopPlanner().plan(request(budgets=(1e13, 1e15, 1e17)))
    for budget in plan.budgets:
        n = np.array([run.n_params for run in plan.runs if run.budget == budget])
        expected = math.sqrt(budget / 120)
        assert len(n) == len(set(n)) == 7
        assert (n < expected).sum() >= 3
        assert (n > expected).sum() >= 3
        assert 32 * 0.8 < n.max() / n.min() < 32 * 1.25
        gaps = np.diff(np.log(n))
        assert gaps.max() < 1.35 * gaps.min()


def test_data_spend_the_budget_to_within_half_a_step():
    plan = IsoFlopPlanner().plan(request())
    for run in plan.runs:
        assert run.n_tokens % 256 == 0
        assert run.flops == 6 * run.n_params * run.n_tokens
        assert abs(run.flops - run.budget) <= 0.5 * 256 * 6 * run.n_params
        assert run.flops == pytest.approx(run.budget, rel=0.025)


def test_budgets_share_sizes_so_that_a_budget_added_later_meets_them():
    alone = {budget: sizes_of(IsoFlopPlanner().plan(request([budget])), budget) for budget in (1e15, 4e15)}
    together = IsoFlopPlanner().plan(request([1e15, 2e15, 4e15]))
    assert {budget: sizes_of(together, budget) for budget in alone} == alone
    assert len({run.size for run in together.runs}) <= 10


def test_refused_sizes_are_recorded_with_their_reason():
    plan = IsoFlopPlanner().plan(request())
    assert any(skip.size == 2 and "no multiple of 8" in skip.reason and skip.budget is None for skip in plan.skipped)


def test_few_sizes_are_counted():
    counter = SixN()
    IsoFlopPlanner().plan(request(budgets=(1e18, 1e19, 1e20), counter=counter))
    assert len(set(counter.counted)) <= 15


def test_a_depth_is_filled_up_from_one():
    plan = IsoFlopPlanner().plan(request([2e8, 2e9], Depth, "layers", step_tokens=1))
    assert sizes_of(plan, 2e8)[:3] == [1, 2, 3]
    assert len(sizes_of(plan, 2e8)) == len(sizes_of(plan, 2e9)) == 7


def test_a_model_with_few_sizes_uses_them_all():
    class Few(Depth):
        def __init__(self, layers):
            assert layers <= 5, "at most 5 layers"
            super().__init__(layers)

    assert sizes_of(IsoFlopPlanner().plan(request([2e8], Few, "layers", step_tokens=1)), 2e8) == [1, 2, 3, 4, 5]


def test_sizes_whose_forward_pass_fails_are_passed_over():
    """A constructor that takes every width and a forward pass that needs a multiple of 12."""

    class Wide(GPT):
        def __init__(self, width):
            self.width = width

    plan = IsoFlopPlanner().plan(request(model_cls=Wide, counter=SixN(lambda size: size % 12 != 0)))
    assert {run.size % 12 for run in plan.runs} == {0}
    assert all(len(sizes_of(plan, budget)) == 7 for budget in plan.budgets)
    assert any("forward pass" in skip.reason for skip in plan.skipped)


def test_a_model_that_can_never_be_counted_raises_the_counters_error():
    with pytest.raises(CountError, match="forward pass of size"):
        IsoFlopPlanner().plan(request(counter=SixN(lambda size: True)))


# -- sizes of the user's


def test_given_sizes_are_used_as_given():
    sizes = (64, 8, 32, 16)
    plan = IsoFlopPlanner().plan(request(sizes=sizes, seeds=(0, 7)))
    for budget, seed in itertools.product((1e11, 2e11, 5e11), (0, 7)):
        assert [run.size for run in plan.runs if (run.budget, run.seed) == (budget, seed)] == [8, 16, 32, 64]


def test_sizes_of_any_type():
    def model(shape):
        return Depth(shape["layers"])

    sizes = tuple({"layers": layers} for layers in (1, 2, 4, 8))
    plan = IsoFlopPlanner().plan(request([1e9], model, "shape", sizes=sizes))
    assert [run.size for run in plan.runs] == list(sizes)
    done = finished(plan, lambda run: 1.0)
    assert not IsoFlopPlanner().plan(request([1e9], model, "shape", sizes=sizes, done=done)).runs


def test_fewer_than_four_usable_sizes_are_an_error_that_says_which_failed():
    with pytest.raises(PlanError, match=r"budget 1e11 has 3 usable sizes \(8, 16, 24\).*size 25: .*no multiple of 8"):
        IsoFlopPlanner().plan(request(sizes=(8, 16, 24, 25)))


def test_sizes_with_too_few_steps_are_left_out_with_their_reason():
    plan = IsoFlopPlanner(min_steps=1000).plan(request([1e11], step_tokens=128))
    assert all(run.n_tokens >= 1000 * 128 for run in plan.runs)
    left_out = [skip for skip in plan.skipped if skip.budget == 1e11]
    assert left_out
    assert "fewer than min_steps=1000" in left_out[0].reason
    with pytest.raises(PlanError, match=r"steps of 1e9 tokens, fewer than min_steps=20"):
        IsoFlopPlanner().plan(request([1e11], step_tokens=10**9))


# -- what is done already


def flat(run):
    return 1.0 + 0.01 * math.log(run.n_params / math.sqrt(run.budget / 120)) ** 2


def test_finished_runs_are_not_planned_again():
    planner = IsoFlopPlanner()
    first = planner.plan(request())
    assert not planner.plan(request(done=finished(first, flat))).runs
    half = attrs.evolve(first, runs=first.runs[::2])
    assert planner.plan(request(done=finished(half, flat))).runs == first.runs[1::2]
    more = planner.plan(request(seeds=(0, 1), done=finished(first, flat)))
    assert [(run.size, run.budget) for run in more.runs] == [(run.size, run.budget) for run in first.runs]
    assert {run.seed for run in more.runs} == {1}


def sweep(planner, loss, rounds=10, **changes):
    """Plan and finish until nothing is added; the runs of every round."""
    done, plans = Runs.empty(), []
    for _ in range(rounds):
        plan = planner.plan(request(done=done, **changes))
        if not plan.runs:
            return plans
        plans.append(plan)
        done = finished(plan, loss, done)
    pytest.fail("the planner never stops")


@pytest.mark.parametrize("off", [1 / 8, 1 / 3, 1.0, 3.0, 8.0])
def test_a_minimum_at_the_edge_is_followed_until_two_sizes_lie_beyond_it(off):
    """The true optimum is `off` times the first guess."""

    def loss(run):
        return 2.0 + 0.02 * math.log(run.n_params / (off * math.sqrt(run.budget / 120))) ** 2

    plans = sweep(IsoFlopPlanner(), loss, budgets=(1e15, 4e15))
    runs = [run for plan in plans for run in plan.runs]
    assert len(plans) == 1 if off == 1 else 2 <= len(plans) <= 4
    for budget in (1e15, 4e15):
        cells = sorted((run.n_params, loss(run)) for run in runs if run.budget == budget)
        best = min(range(len(cells)), key=lambda i: cells[i][1])
        assert 2 <= best <= len(cells) - 3
        assert len(cells) <= 11


def test_extension_is_bounded_and_can_be_turned_off():
    def falling(run):
        return 2.0 + 1 / run.n_params

    assert len(sweep(IsoFlopPlanner(extend=0), falling, budgets=(1e15, 2e15))) == 1
    runs = [run for plan in sweep(IsoFlopPlanner(extend=3), falling, budgets=(1e15, 2e15)) for run in plan.runs]
    assert len(runs) == 2 * (7 + 3)


def test_extension_stops_at_the_smallest_model():
    plans = sweep(IsoFlopPlanner(), lambda run: run.n_params, budgets=(1e11, 2e11))
    assert min(run.size for plan in plans for run in plan.runs) == 8


def test_added_sizes_get_every_seed():
    def loss(run):
        return 2.0 + math.log(run.n_params / (8 * math.sqrt(run.budget / 120))) ** 2

    first = sweep(IsoFlopPlanner(), loss, budgets=(1e15, 2e15))
    done = Runs.empty()
    for plan in first:
        done = finished(plan, loss, done)
    again = IsoFlopPlanner().plan(request(budgets=(1e15, 2e15), seeds=(0, 1), done=done))
    assert sorted(r.size for r in again.runs) == sorted(r.size for plan in first for r in plan.runs)


def test_runs_that_diverged_are_neither_repeated_nor_followed():
    first = IsoFlopPlanner().plan(request([1e15, 2e15]))
    loss = finished(first, lambda run: 1.0)
    diverged = attrs.evolve(loss, loss=[np.nan] * len(loss), status=["diverged"] * len(loss))
    assert not IsoFlopPlanner().plan(request([1e15, 2e15], done=diverged)).runs


def test_sizes_of_the_users_are_not_added_to():
    sizes = (8, 16, 24, 32)
    plans = sweep(IsoFlopPlanner(), lambda run: 1 / run.n_params, sizes=sizes)
    assert len(plans) == 1


# -- options and models that cannot work


@pytest.mark.parametrize(
    "options",
    [{"sizes_per_budget": 3}, {"span": 1}, {"span": "wide"}, {"tokens_per_param": 0}, {"min_steps": 0}, {"extend": -1},
     {"sizes_per_budget": True}, {"span": float("nan")}],
)  # fmt: skip
def test_options_out_of_range_are_named(options):
    (name, value), *_ = options.items()
    with pytest.raises(InputError, match=f"{name}={value!r}"):
        IsoFlopPlanner(**options)


def test_a_misspelt_option_is_an_error():
    with pytest.raises(TypeError, match="size_per_budget"):
        IsoFlopPlanner(size_per_budget=9)


def test_models_that_break_the_contract():
    class NoParams:
        def __init__(self, width):
            pass

    with pytest.raises(InputTypeError, match="num_params"):
        IsoFlopPlanner().plan(request(model_cls=NoParams))
    with pytest.raises(InputError, match="no size parameter 'layers'"):
        IsoFlopPlanner().plan(request(size_param="layers"))


def test_a_plan_prints_and_is_plain():
    plan = IsoFlopPlanner().plan(request())
    assert isinstance(plan, Plan)
    assert "21 runs" in str(plan)
    assert type(plan.runs[0].size) is int

"""Stages that break their contract one way each: the contract's own test must say so, or it is none."""

from concurrent.futures import Future
from pathlib import Path

import attrs
import numpy as np
import pytest

import flops_fit
from flops_fit_core import testing
from flops_fit_core.data import Report


@attrs.frozen(kw_only=True)
class Wrapped:
    """A good stage, to be spoiled by a subclass."""

    good: object

    def __getattr__(self, name):
        return getattr(self.good, name)


class Forgetful(Wrapped):
    def plan(self, request):
        return self.good.plan(attrs.evolve(request, done=flops_fit.Runs.empty()))


class Spendthrift(Wrapped):
    def plan(self, request):
        plan = self.good.plan(request)
        return attrs.evolve(plan, runs=tuple(attrs.evolve(r, budget=r.budget * 0.8) for r in plan.runs))


class Narrow(Wrapped):
    def plan(self, request):
        plan = self.good.plan(request)
        return attrs.evolve(plan, runs=plan.runs[::3])


class Guessing(Wrapped):
    def count(self, workload, size):
        count = self.good.count(workload, size)
        return attrs.evolve(count, flops_per_token=count.flops_per_token * (1 + np.random.rand()))


class Shrinking(Wrapped):
    def count(self, workload, size):
        count = self.good.count(workload, size)
        return attrs.evolve(count, flops_per_token=1 / count.flops_per_token)


class PerBatch(Wrapped):
    def count(self, workload, size):
        count = self.good.count(workload, size)
        return attrs.evolve(count, flops_per_token=count.flops_per_token * len(workload.example[0]))


class Short(Wrapped):
    def train(self, group, workload, workspace):
        for record in self.good.train(group, workload, workspace):
            yield attrs.evolve(record, n_tokens=record.n_tokens // 2)


class Dropping(Wrapped):
    def groups(self, runs):
        return self.good.groups(runs)[:-1]


class Unseeded(Wrapped):
    def train(self, group, workload, workspace):
        for record in self.good.train(group, workload, workspace):
            yield attrs.evolve(record, loss=record.loss * (1 + 1e-12 * np.random.rand()))


class Littering(Wrapped):
    def train(self, group, workload, workspace):
        Path("log.txt").write_text("here I was")
        yield from self.good.train(group, workload, workspace)

    def report(self, result, out_dir):
        Path("figure.txt").write_text("here I was")
        return Report(text="done")


class Quiet(Wrapped):
    def report(self, result, out_dir):
        (out_dir / "secret.txt").write_text("nobody was told")
        return Report(text="done")


class Biased(Wrapped):
    def optimum(self, params, cost, budget):
        n, _, loss = self.good.optimum(params, cost, budget)
        return 3 * n, cost.tokens(3 * n, budget), loss


class Chinchilla(Wrapped):
    """Takes D = 20 N whatever the budget."""

    def optimum(self, params, cost, budget):
        n, _, loss = self.good.optimum(params, cost, budget)
        return n, 20 * n, loss


class OneDraw(Wrapped):
    def optimum(self, params, cost, budget):
        first = {name: float(np.ravel(value)[0]) for name, value in params.items()}
        return self.good.optimum(first, cost, budget)


class Greedy(Wrapped):
    """Fits runs that diverged, as if their loss were the lowest ever."""

    def fit(self, runs, cost):
        loss = np.where(np.isfinite(runs.loss), runs.loss, 1.0)
        return self.good.fit(attrs.evolve(runs, loss=loss, status=None), cost)


class Ordered(Wrapped):
    def fit(self, runs, cost):
        return self.good.fit(runs.where(np.arange(len(runs)) < max(1, len(runs) - 9)), cost)


class Swallowing(Wrapped):
    def submit(self, fn, /, *args):
        future = Future()
        try:
            future.set_result(fn(*args))
        except Exception:
            future.set_result(None)
        return future


class Mixed(Wrapped):
    """Gives every future the result of the work before."""

    def submit(self, fn, /, *args):
        future = self.good.submit(fn, *args)
        return self.good.submit(fn, args[0] + 1) if future.exception() is None else future


CASES = [
    (testing.PlannerContract, "isoflop", Forgetful, "finished_runs_are_not_planned_again_and_the_sweep_ends"),
    (testing.PlannerContract, "isoflop", Spendthrift, "every_budget_is_spent_to_within_a_step"),
    (testing.PlannerContract, "isoflop", Narrow, "a_minimum_can_be_seen_at_every_budget"),
    (testing.FlopCounterContract, "6nd", Guessing, "counting_twice_gives_the_same"),
    (testing.FlopCounterContract, "6nd", Shrinking, "counts_are_positive_and_grow"),
    (testing.FlopCounterContract, "6nd", PerBatch, "flops_per_unit_do_not_depend_on_the_batch"),
    (testing.TrainerContract, "simulate", Short, "d_is_trained_to_within_a_step"),
    (testing.TrainerContract, "simulate", Dropping, "every_run_is_in_one_group"),
    (testing.TrainerContract, "simulate", Unseeded, "the_same_seed_gives_the_same_loss_to_the_bit"),
    (testing.TrainerContract, "simulate", Littering, "it_writes_only_into_the_study"),
    (testing.FitterContract, "surface", Biased, "it_finds_the_optimum_that_is_there"),
    (testing.FitterContract, "surface", Biased, "no_other_model_is_better"),
    (testing.FitterContract, "surface", Chinchilla, "the_budget_is_kept"),
    (testing.FitterContract, "surface", OneDraw, "it_answers_for_arrays_of_draws"),
    (testing.FitterContract, "surface", Greedy, "runs_that_are_not_done_change_nothing"),
    (testing.FitterContract, "surface", Ordered, "the_order_of_runs_changes_nothing"),
    (testing.ReporterContract, "matplotlib", Littering, "it_writes_only_into_its_folder_and_says_what"),
    (testing.ReporterContract, "matplotlib", Quiet, "it_writes_only_into_its_folder_and_says_what"),
    (testing.ExecutorContract, "serial", Swallowing, "everything_is_done_and_every_future_is_its_own"),
    (testing.ExecutorContract, "serial", Mixed, "everything_is_done_and_every_future_is_its_own"),
]


@pytest.mark.parametrize(("contract", "name", "breaker", "test"), CASES, ids=[f"{c[2].__name__}-{c[3]}" for c in CASES])
def test_a_stage_that_breaks_its_contract_is_found_out(contract, name, breaker, test, tmp_path, monkeypatch):
    def make(self):
        return breaker(good=getattr(flops_fit, contract.stage)(name))

    broken = type("Broken", (contract,), {f"make_{contract.stage}": make})()
    method = getattr(broken, f"test_{test}")
    fixtures = {"tmp_path": tmp_path, "monkeypatch": monkeypatch}
    wanted = method.__code__.co_varnames[1 : method.__code__.co_argcount]
    with pytest.raises(AssertionError):
        method(**{fixture: fixtures[fixture] for fixture in wanted})

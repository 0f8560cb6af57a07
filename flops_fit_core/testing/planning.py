"""Contracts of what comes before training: planners, FLOP counters, workloads.

In: the objects that subclasses make. Out: tests.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import attrs

from flops_fit_core.build import n_params
from flops_fit_core.calls import loss_of, require_gradient
from flops_fit_core.data import FlopCount, Plan, PlanRequest, Run, RunRecord, Runs, Workload
from flops_fit_core.errors import FlopsFitError
from flops_fit_core.identity import Identifier, identify_workload
from flops_fit_core.probe import prepare
from flops_fit_core.serial import plain
from flops_fit_core.testing.known import additive_loss, plain_workload
from flops_fit_core.testing.stage import StageContract


@attrs.frozen
class SixN:
    """6·N FLOPs per token: the counter that planners are tried with."""

    def count(self, workload: Workload, size: Any) -> FlopCount:
        """6·N."""
        n = workload.build(size).num_params()
        return FlopCount(
            size=size, n_params=n, n_params_non_embedding=n, flops_per_token=6.0 * n, convention="6N per token"
        )


class PlannerContract(StageContract):
    """Write ``make_planner()``.

    Attributes:
        budgets: FLOPs that it is asked to plan, for a model with N = 12·width².
        too_small: a budget that pays for no run.
    """

    stage = "planner"
    budgets: ClassVar[tuple[float, ...]] = (1e15, 3e15, 1e16)
    too_small: ClassVar[float] = 1.0

    def request(self, **changes: Any) -> PlanRequest:
        """What the planner is asked, with changes."""
        workload, step_tokens = prepare(plain_workload(), 8)
        request = PlanRequest(workload=workload, budgets=self.budgets, counter=SixN(), step_tokens=step_tokens)
        return attrs.evolve(request, **changes)

    def plan(self, **changes: Any) -> Plan:
        """A new planner's plan."""
        plan: Plan = self.made().plan(self.request(**changes))
        return plan

    def test_every_budget_is_spent_to_within_a_step(self) -> None:
        """FLOPs of every run are its budget, to within one optimizer step; D is a whole number of steps."""
        request = self.request()
        plan = self.plan()
        assert plan.budgets == self.budgets
        for run in plan.runs:
            assert isinstance(run.n_tokens, int)
            assert run.n_tokens > 0
            assert run.n_tokens % request.step_tokens == 0
            assert abs(run.flops - run.budget) <= run.flops_per_token * request.step_tokens * (1 + 1e-9)

    def test_n_and_flops_are_the_counters(self) -> None:
        """N and FLOPs of every run are what the counter says of its size."""
        request = self.request()
        for run in self.plan().runs:
            count = request.counter.count(request.workload, run.size)
            assert run.n_params == count.n_params
            assert abs(run.flops / (run.n_tokens * count.flops_per_token) - 1) < 1e-9

    def test_a_minimum_can_be_seen_at_every_budget(self) -> None:
        """Each budget is spent on four or more sizes."""
        cells = {(run.budget, run.size) for run in self.plan().runs}
        fewest = min(Counter(budget for budget, _ in cells).values())
        assert fewest >= 4

    def test_every_run_is_planned_once(self) -> None:
        """No two runs are the same, and every seed trains every cell."""
        runs = self.plan(seeds=(0, 1)).runs
        assert len({run.run_id for run in runs}) == len(runs)
        cells = {seed: {(run.budget, run.size) for run in runs if run.seed == seed} for seed in (0, 1)}
        assert cells[0] == cells[1]
        assert len(runs) == 2 * len(cells[0])

    def test_the_same_question_gets_the_same_plan(self) -> None:
        """Planning is a function of the request."""
        assert self.plan() == self.plan()

    def test_sizes_given_by_the_user_are_used_as_given(self) -> None:
        """No other size is planned."""
        found = sorted({run.size for run in self.plan().runs})[:5]
        assert {run.size for run in self.plan(sizes=tuple(found), budgets=self.budgets[:1]).runs} <= set(found)

    def test_finished_runs_are_not_planned_again_and_the_sweep_ends(self) -> None:
        """Asked again with what is done, it returns new runs only, and at last none."""
        done: list[RunRecord] = []
        planner = self.made()
        for _ in range(20):
            plan = planner.plan(self.request(done=Runs.from_records(done)))
            if not plan.runs:
                break
            assert not {run.run_id for run in plan.runs} & {record.run.run_id for record in done}
            done += [_trained(run) for run in plan.runs]
        else:
            raise AssertionError("after 20 rounds the planner still adds runs: no sweep would end")
        assert done

    def test_a_budget_that_pays_for_nothing_is_refused(self) -> None:
        """An error of flops-fit's own family, before anything is trained."""
        try:
            plan = self.plan(budgets=(self.too_small, *self.budgets))
        except FlopsFitError:
            return
        raise AssertionError(f"a budget of {self.too_small:g} FLOPs was planned: {plan}")


def _trained(run: Run) -> RunRecord:
    loss = float(additive_loss(run.n_params, run.n_tokens))
    return RunRecord(run=run, loss=loss, n_tokens=run.n_tokens, flops=run.flops)


class FlopCounterContract(StageContract):
    """Write ``make_flop_counter()``; ``make_workload()`` too, where models in plain Python cannot be counted.

    Attributes:
        sizes: of the workload, ascending in cost.
    """

    stage = "flop_counter"
    sizes: ClassVar[Sequence[Any]] = (8, 16, 32)

    def make_workload(self) -> Workload:
        """What is counted: a plain Python class with ``num_params()``, unless overridden."""
        return plain_workload()

    def prepared(self, samples: int = 8) -> Workload:
        """The workload with an example batch."""
        return prepare(self.make_workload(), samples)[0]

    def counts(self, samples: int = 8) -> list[FlopCount]:
        """A new counter's counts of every size."""
        workload, counter = self.prepared(samples), self.made()
        return [counter.count(workload, size) for size in self.sizes]

    def test_counts_are_positive_and_grow(self) -> None:
        """FLOPs per unit of data are positive, finite, and larger for larger models."""
        flops = [count.flops_per_token for count in self.counts()]
        assert all(0 < value < float("inf") for value in flops)
        assert flops == sorted(set(flops))

    def test_counting_twice_gives_the_same(self) -> None:
        """By one counter and by two."""
        workload, counter = self.prepared(), self.made()
        first, again = ([counter.count(workload, size) for size in self.sizes] for _ in range(2))
        assert first == again == self.counts()

    def test_flops_per_unit_do_not_depend_on_the_batch(self) -> None:
        """A larger example batch costs no more for each unit of data."""
        small, large = self.counts(4), self.counts(16)
        for one, other in zip(small, large, strict=True):
            assert abs(one.flops_per_token / other.flops_per_token - 1) < 1e-6

    def test_n_is_what_the_model_says(self) -> None:
        """N is ``num_params()``; without look-up tables it is no more; size and convention are recorded."""
        workload = self.prepared()
        for size, count in zip(self.sizes, self.counts(), strict=True):
            assert count.n_params == workload.build(size).num_params()
            assert 0 < count.n_params_non_embedding <= count.n_params
            assert count.size == size
            assert count.convention


class WorkloadContract(StageContract):
    """Write ``make_workload()``; it may be called several times.

    Attributes:
        sizes: values of its size parameter, ascending in N.
        trainable: whether the model is a torch model whose loss can be differentiated.
    """

    stage = "workload"
    sizes: ClassVar[Sequence[Any]] = ()
    trainable: ClassVar[bool] = True

    def prepared(self) -> tuple[Workload, int]:
        """The workload with an example batch of two samples, and the units of data in such a step."""
        return prepare(self.made(), 2)

    def test_its_settings_are_the_same_every_time(self) -> None:
        """Made twice it is one study, and nothing of it is beyond identification: it can be resumed."""
        identify = Identifier()
        first, second = (json.dumps(plain(identify_workload(self.made(), identify))) for _ in range(2))
        assert first == second
        assert not identify.unknown

    def test_its_data_are_counted(self) -> None:
        """One batch can be drawn, its unit is known, and it holds a positive number of units."""
        workload, step_tokens = self.prepared()
        assert workload.data_unit
        assert workload.example is not None
        assert step_tokens >= 1

    def test_n_grows_with_size(self) -> None:
        """Every size can be made and has more parameters than the one before."""
        assert len(self.sizes) >= 2, "name two or more sizes"
        workload = self.made()
        n = [n_params(workload.build(size)) for size in self.sizes]
        assert n == sorted(set(n))

    def test_held_out_data_are_not_the_training_data(self) -> None:
        """The held-out set is another object than the training set, or left to a split."""
        workload = self.made()
        assert workload.eval_dataset is not workload.dataset

    def test_its_loss_can_be_differentiated(self) -> None:
        """The smallest model gives a finite scalar loss on a batch, and gradients that are not all zero."""
        if not self.trainable:
            import pytest

            pytest.skip("not trainable")
        workload, _ = self.prepared()
        model = workload.build(self.sizes[0])
        loss = loss_of(model, workload.example, workload.loss_fn)
        require_gradient(loss)
        loss.backward()
        assert bool(loss.isfinite())
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        assert all(bool(gradient.isfinite().all()) for gradient in gradients)
        assert any(bool((gradient != 0).any()) for gradient in gradients)

"""Contracts of trainers and executors.

In: the objects that subclasses make. Out: tests.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, ClassVar

import attrs

from flops_fit_core.data import Run, RunRecord, Workload
from flops_fit_core.probe import prepare
from flops_fit_core.store import Workspace
from flops_fit_core.testing.known import plain_workload
from flops_fit_core.testing.stage import StageContract


class TrainerContract(StageContract):
    """Write ``make_trainer()``; ``make_workload()`` too, where the trainer needs a real model.

    Attributes:
        sizes: two sizes of the workload.
        steps: optimizer steps of the shortest run.
        seed_matters: whether another seed gives another loss.
    """

    stage = "trainer"
    sizes: ClassVar[Sequence[Any]] = (8, 16)
    steps: ClassVar[int] = 12
    seed_matters: ClassVar[bool] = True

    def make_workload(self) -> Workload:
        """What is trained: a plain Python class with ``num_params()``, unless overridden."""
        return plain_workload()

    def prepared(self) -> tuple[Workload, int]:
        """The workload with an example batch, and the units of data in one optimizer step."""
        batch_size = getattr(self.made(), "batch_size", 8)
        return prepare(self.make_workload(), batch_size if isinstance(batch_size, int) else 8)

    def runs(self, seed: int = 0) -> list[Run]:
        """Both sizes, each for `steps` and for twice as many."""
        workload, step_tokens = self.prepared()
        runs = []
        for size in self.sizes:
            n = workload.build(size).num_params()
            for steps in (self.steps, 2 * self.steps):
                d = steps * step_tokens
                flops = 6.0 * n * d
                run = Run(budget=flops, size=size, n_params=n, n_tokens=d, flops=flops, seed=seed, study="contract")
                runs.append(run)
        return runs

    def train(self, runs: Sequence[Run], root: Path) -> list[RunRecord]:
        """Train runs as the pipeline does, one group after another."""
        trainer, (workload, _), workspace = self.made(), self.prepared(), Workspace(root)
        if hasattr(trainer, "check"):
            trainer.check(workload, runs)
        return [record for group in trainer.groups(runs) for record in trainer.train(group, workload, workspace)]

    def test_every_run_is_in_one_group(self) -> None:
        """Groups are a partition of the runs."""
        runs = self.runs()
        grouped = [run.run_id for group in self.made().groups(runs) for run in group]
        assert sorted(grouped) == sorted(run.run_id for run in runs)

    def test_every_run_gets_one_record(self, tmp_path: Path) -> None:
        """One record a run, with a finite loss where it is done, and with what it cost."""
        runs = self.runs()
        records = self.train(runs, tmp_path)
        assert sorted(record.run.run_id for record in records) == sorted(run.run_id for run in runs)
        for record in records:
            assert record.status == "done", record.message
            assert record.loss is not None
            assert math.isfinite(record.loss)
            assert record.loss_stderr is None or record.loss_stderr > 0

    def test_d_is_trained_to_within_a_step(self, tmp_path: Path) -> None:
        """D as trained is D as planned, to within one optimizer step; FLOPs go with it."""
        _, step_tokens = self.prepared()
        for record in self.train(self.runs(), tmp_path):
            assert abs(record.n_tokens - record.run.n_tokens) <= step_tokens
            assert abs(record.flops / (record.n_tokens * record.run.flops_per_token) - 1) < 1e-9
            assert 0 <= record.flops_spent <= record.flops * (1 + 1e-9)

    def test_curves_lead_to_the_end(self, tmp_path: Path) -> None:
        """The points of a curve ascend in D and none lies beyond what was trained."""
        for record in self.train(self.runs(), tmp_path):
            seen = [point.n_tokens for point in record.curve]
            assert seen == sorted(set(seen))
            assert not seen or seen[-1] <= record.n_tokens

    def test_the_same_seed_gives_the_same_loss_to_the_bit(self, tmp_path: Path) -> None:
        """In another folder, by another trainer object."""
        first, second = (self.train(self.runs(), tmp_path / folder) for folder in ("first", "second"))
        assert [record.loss for record in first] == [record.loss for record in second]

    def test_another_seed_gives_another_loss(self, tmp_path: Path) -> None:
        """Unless the trainer draws nothing at random."""
        if not self.seed_matters:
            import pytest

            pytest.skip("no random numbers")
        first, second = (self.train(self.runs(seed), tmp_path / str(seed)) for seed in (0, 1))
        assert all(a.loss != b.loss for a, b in zip(first, second, strict=True))

    def test_records_survive_the_disk(self, tmp_path: Path) -> None:
        """What is read back is what was recorded."""
        workspace = Workspace(tmp_path)
        for record in self.train(self.runs(), tmp_path):
            workspace.save(record)
            assert workspace.record(record.run) == record

    def test_it_writes_only_into_the_study(self, tmp_path: Path, monkeypatch: Any) -> None:
        """Nothing is left in the working directory."""
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)
        self.train(self.runs()[:1], tmp_path / "study")
        assert list(elsewhere.iterdir()) == []

    def test_it_travels_to_other_processes(self) -> None:
        """It can be pickled, and arrives with the same options."""
        trainer = self.made()
        arrived = pickle.loads(pickle.dumps(trainer))
        if attrs.has(type(trainer)):
            assert arrived == trainer


def square(x: int) -> int:
    """Work for an executor."""
    return x * x


def refuse(x: int) -> int:
    """Work that fails."""
    raise KeyError(f"no luck with {x}")


class ExecutorContract(StageContract):
    """Write ``make_executor()``.

    Attributes:
        patience: seconds until work is taken to hang.
    """

    stage = "executor"
    patience: ClassVar[float] = 120.0

    def done(self, executor: Any, jobs: Sequence[tuple[Any, int]]) -> list[Future[Any]]:
        """Submit ``(function, argument)`` pairs and wait for all."""
        futures = [executor.submit(function, argument) for function, argument in jobs]
        unfinished = wait(futures, timeout=self.patience).not_done
        assert not unfinished, f"{len(unfinished)} of {len(jobs)} pieces of work hang"
        return futures

    def test_it_has_slots(self) -> None:
        """One or more."""
        slots = self.made().slots
        assert isinstance(slots, int)
        assert slots >= 1

    def test_everything_is_done_and_every_future_is_its_own(self) -> None:
        """More work than slots: each future holds its own result; what fails fails alone, by its own exception."""
        executor = self.made()
        jobs = [(refuse if i % 5 == 2 else square, i) for i in range(3 * min(executor.slots, 4) + 8)]
        try:
            futures = self.done(executor, jobs)
        finally:
            executor.shutdown()
        for future, (function, i) in zip(futures, jobs, strict=True):
            if function is square:
                assert future.result() == i * i
            else:
                error = future.exception()
                assert isinstance(error, KeyError)
                assert error.args == (f"no luck with {i}",)

    def test_it_may_be_shut_down_at_any_time(self) -> None:
        """Before any work and twice over."""
        executor = self.made()
        executor.shutdown()
        executor.shutdown()

    def test_it_may_be_used_again_after_a_shutdown(self) -> None:
        """A second call of the same study uses the same object."""
        executor = self.made()
        try:
            for _ in range(2):
                assert [future.result() for future in self.done(executor, [(square, 7)])] == [49]
                executor.shutdown()
        finally:
            executor.shutdown()

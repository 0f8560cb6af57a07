"""One study with all its stages at hand: what plans, trains, counts and remembers.

In: a prepared workload and stage objects. Out: plans with run ids, the manifest, the nearest
real size to any N, and fits that know its exact cost.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

import attrs

from flops_fit_core.data import CostModel, Fit, FlopCount, Plan, PlanRequest, Run, Runs, Workload
from flops_fit_core.identity import Identifier, identify_workload, settings_of
from flops_fit_core.manifest import Manifest
from flops_fit_core.registry import Registry
from flops_fit_core.sizes import SizeSearch
from flops_fit_core.stages import Executor, Fitter, FlopCounter, Planner, Reporter, Trainer

_ROUNDS = 5
"""A size that is counted moves the optimum a little: after this many rounds it has long come to rest."""


@attrs.define(kw_only=True, eq=False)
class Study:
    """The stages of one call, and what they work on.

    Attributes:
        chosen: what the user chose for every stage, a name or the class of an object.
        origins: name and version of the distribution that each stage came from.
        step_tokens: units of data in one optimizer step.
    """

    registry: Registry
    workload: Workload
    budgets: tuple[float, ...]
    sizes: tuple[Any, ...] | None
    seeds: tuple[int, ...]
    hparams: Mapping[str, tuple[Any, ...]]
    step_tokens: int
    planner: Planner
    counter: FlopCounter
    trainer: Trainer
    fitters: tuple[Fitter, ...] = ()
    reporter: Reporter | None = None
    executor: Executor | None = None
    chosen: Mapping[str, Any] = attrs.field(factory=dict)
    origins: Mapping[str, str] = attrs.field(factory=dict)
    _search: SizeSearch | None = None
    _manifest: Manifest | None = None

    def manifest(self) -> Manifest:
        """What identifies the study, without a plan; made once, before training touches anything."""
        if self._manifest is None:
            identify = Identifier()
            identity = identify_workload(self.workload, identify) | {"trainer": settings_of(self.trainer, identify)}
            unidentified = tuple(identify.unknown)
            stages = {"planner": self.planner, "flop_counter": self.counter, "reporter": self.reporter}
            settings: dict[str, Any] = {
                kind: settings_of(stage, identify) for kind, stage in stages.items() if stage is not None
            }
            settings["fitters"] = [settings_of(fitter, identify) for fitter in self.fitters]
            self._manifest = Manifest(
                workload=self.workload.name,
                data_unit=self.workload.data_unit or "tokens",
                parametrization=self.workload.parametrization,
                identity=identity,
                unidentified=unidentified,
                stages=settings,
                chosen=self.chosen,
                plugins=self.origins,
            )
        return self._manifest

    def plan(self, done: Runs | None = None) -> Plan:
        """Ask the planner for runs that are not in `done`; each is crossed with the recipe axes."""
        request = PlanRequest(
            workload=self.workload,
            budgets=self.budgets,
            sizes=self.sizes,
            seeds=self.seeds,
            counter=self.counter,
            step_tokens=self.step_tokens,
            done=Runs.empty() if done is None else done,
        )
        plan = self.planner.plan(request)
        study = self.manifest().fingerprint if self.executor is not None else ""  # a mere plan reads no more data
        runs = [
            attrs.evolve(run, study=study, hparams={**run.hparams, **recipe})
            for run in plan.runs
            for recipe in self._recipes()
        ]
        return attrs.evolve(plan, runs=tuple(runs), data_unit=self.workload.data_unit or "tokens")

    def _recipes(self) -> list[dict[str, Any]]:
        return [dict(zip(self.hparams, values, strict=True)) for values in product(*self.hparams.values())]

    def recipes(self, run: Run, axes: Iterable[str]) -> set[str]:
        """Ids of a run's cell at every recipe of this study; `axes` are the recipe axes of the folder so far."""
        base = {name: value for name, value in run.hparams.items() if name not in axes}
        return {attrs.evolve(run, hparams={**base, **recipe}).run_id for recipe in self._recipes()}

    def nearest_size(self, n_params: float) -> FlopCount | None:
        """The real size nearest to N, counted exactly; ``None`` where sizes cannot be searched."""
        if self.sizes is not None:
            counts = [self.counter.count(self.workload, size) for size in self.sizes]
            inside = min(c.n_params for c in counts) <= n_params <= max(c.n_params for c in counts)
            if inside or not all(isinstance(size, int) for size in self.sizes):
                return min(counts, key=lambda c: abs(c.n_params / n_params - 1)) if inside else None
        if self._search is None:
            self._search = SizeSearch(self.workload)
        size = self._search.nearest(n_params)
        return None if size is None else self.counter.count(self.workload, size)

    def exact(self, fit: Fit, budgets: Iterable[float]) -> Fit:
        """The fit with the real size nearest to its optimum at each budget counted exactly, where C is measured.

        Its cost is a power law between the sizes that were trained; a budget at which it has no optimum, or whose
        size cannot be counted, is left at that.
        """
        if fit.cost.name != "measured":
            return fit
        cost, bare = fit.cost, attrs.evolve(fit, draws={})
        for _ in range(_ROUNDS):
            before = cost
            for budget in budgets:
                with contextlib.suppress(Exception):  # whatever the user's model and counter raise
                    optimum = attrs.evolve(bare, cost=cost).predict(budget)
                    cost = refined(cost, self.nearest_size(optimum.n_params.value))
            if cost == before:
                break
        return attrs.evolve(fit, cost=cost)


def refined(cost: CostModel, count: FlopCount | None) -> CostModel:
    """A measured cost model that also knows one more exact size."""
    if count is None or cost.name != "measured" or count.n_params in cost.n_params:
        return cost
    return CostModel.measured([*cost.n_params, count.n_params], [*cost.flops_per_token, count.flops_per_token])

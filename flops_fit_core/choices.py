"""From what a user chose to a study with all its stages: names become objects, data is looked at once.

In: `Choices`, the arguments of `find_optimal`. Out: a `Study`, or an error before anything happens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from flops_fit_core import inputs
from flops_fit_core.callable_counter import CallableCounter
from flops_fit_core.data import Workload
from flops_fit_core.errors import InputError, InputTypeError
from flops_fit_core.probe import prepare
from flops_fit_core.registry import Registry, default_registry
from flops_fit_core.study import Study


@attrs.frozen(kw_only=True)
class Choices:
    """The arguments of `find_optimal`, as they were given."""

    workload: Any
    model_cls: Any
    model_size_param: Any
    model_kwargs: Any
    dataset: Any
    eval_dataset: Any
    loss_fn: Any
    data_unit: Any
    collate_fn: Any
    optimizer: Any
    compute_budgets: Any
    sizes: Any
    seeds: Any
    hparams: Any
    planner: Any
    flop_counter: Any
    trainer: Any
    fitter: Any
    reporter: Any
    executor: Any
    plugins: Sequence[object] = ()


def make_study(choices: Choices, train: bool) -> Study:
    """Check everything and make every stage.

    Raises:
        FlopsFitError: what is wrong, with which value, and what to do.
    """
    registry = Registry(choices.plugins) if choices.plugins else default_registry()
    budgets = inputs.budgets_from(choices.compute_budgets)
    sizes, seeds = inputs.sizes_from(choices.sizes), inputs.seeds_from(choices.seeds)
    hparams = inputs.hparams_from(choices.hparams)
    workload = _workload(choices, registry)
    stages = _stages(choices, registry, train)
    chosen = {
        kind: _named(getattr(choices, kind)) for kind in (*stages, "fitter") if getattr(choices, kind) is not None
    }
    origins = {
        kind: registry.origin(kind, getattr(choices, kind))
        for kind, stage in stages.items()
        if stage is not None and not isinstance(stage, CallableCounter)
    }
    fitters = _fitters(choices.fitter, registry) if train else ()
    for choice in _listed(choices.fitter) if train else ():
        origins[f"fitter {_named(choice)}"] = registry.origin("fitter", choice)
    workload, step_tokens = _prepared(workload, stages["trainer"], train)
    return Study(
        registry=registry,
        workload=workload,
        budgets=budgets,
        sizes=sizes,
        seeds=seeds,
        hparams=hparams,
        step_tokens=step_tokens,
        planner=stages["planner"],
        counter=stages["flop_counter"],
        trainer=stages["trainer"],
        fitters=fitters,
        reporter=stages["reporter"],
        executor=stages["executor"],
        chosen=chosen,
        origins=origins,
    )


def _workload(choices: Choices, registry: Registry) -> Workload:
    parts = [field.name for field in attrs.fields(Choices) if field.name in inputs.WORKLOAD_PARTS]
    if choices.workload is None:
        return inputs.workload_from(**{part: getattr(choices, part) for part in parts})
    both = [part for part in parts if getattr(choices, part) is not None]
    if both:
        raise InputError(f"workload= brings its own {', '.join(both)}: give one or the other")
    workload = registry.make("workload", choices.workload) if isinstance(choices.workload, str) else choices.workload
    if not isinstance(workload, Workload):
        raise InputTypeError(
            f"workload={workload!r} is a {type(workload).__name__}: give a Workload, or the name of one"
        )
    return workload


def _stages(choices: Choices, registry: Registry, train: bool) -> dict[str, Any]:
    """The stage objects by kind; those that only training needs are left out of a mere plan."""
    kinds = ["planner", "flop_counter", "trainer"] + (["reporter", "executor"] if train else [])
    stages: dict[str, Any] = {"reporter": None, "executor": None}
    for kind in kinds:
        choice = getattr(choices, kind)
        if choice is None and kind == "reporter":
            continue
        if choice is None:
            raise InputTypeError(
                f"{kind}=None: give a name ({', '.join(map(repr, registry.names(kind)))}) or an object"
            )
        stages[kind] = CallableCounter(choice) if _bare(kind, choice) else registry.resolve(kind, choice)
    return stages


def _bare(kind: str, choice: Any) -> bool:
    """Whether a FLOP counter is a plain callable ``(model, batch) -> FLOPs``."""
    return kind == "flop_counter" and callable(choice) and not hasattr(choice, "count") and not isinstance(choice, type)


def _fitters(choice: Any, registry: Registry) -> tuple[Any, ...]:
    fitters = tuple(registry.resolve("fitter", each) for each in _listed(choice))
    if not fitters:
        raise InputError("fitter=() names no fitter: give one or several, the first gives the answer")
    return fitters


def _listed(choice: Any) -> Sequence[Any]:
    return choice if isinstance(choice, list | tuple) else (choice,)


def _named(choice: Any) -> Any:
    if isinstance(choice, list | tuple):
        return [_named(each) for each in choice]
    return str(choice) if isinstance(choice, str) else type(choice).__qualname__


def _prepared(workload: Workload, trainer: Any, train: bool) -> tuple[Workload, int]:
    """Look at the data once; a plan alone can do without data where the unit is said."""
    if workload.dataset is None and not train and workload.data_unit:
        return workload, 1
    batch_size: int | Callable[..., int] = getattr(trainer, "batch_size", 1)
    return prepare(workload, batch_size if isinstance(batch_size, int) else 1)

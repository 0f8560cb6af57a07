"""Check what the user handed over, before anything is planned: every error names value, reason and fix.

In: the arguments of `find_optimal`. Out: a `Workload`, budgets, sizes and seeds in canonical form.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from flops_fit_core.calls import check_loss_fn
from flops_fit_core.data import Workload
from flops_fit_core.errors import InputError, InputTypeError, nearest

MIN_SIZES = 4

#: What a workload is made of, where the user hands over plain Python objects.
WORKLOAD_PARTS = (
    "model_cls", "model_size_param", "model_kwargs", "dataset", "eval_dataset", "loss_fn", "data_unit", "collate_fn", "optimizer",
)  # fmt: skip


def budgets_from(budgets: Any) -> tuple[float, ...]:
    """Compute budgets in FLOPs, ascending."""
    if budgets is None:
        raise InputTypeError("compute_budgets is missing: give FLOPs, such as compute_budgets=[1e15, 3e15, 1e16]")
    if isinstance(budgets, Real | str | bytes | Mapping) or not hasattr(budgets, "__iter__"):
        raise InputTypeError(
            f"compute_budgets={budgets!r} is not a list of numbers: give several, such as [1e15, 3e15, 1e16]"
        )
    values = [_budget(value) for value in budgets]
    if not values:
        raise InputError("compute_budgets is empty: give at least two (three to judge the trend), in FLOPs")
    doubles = sorted({value for value in values if values.count(value) > 1})
    if doubles:
        raise InputError(
            f"compute_budgets names {doubles[0]:g} more than once: give each budget once (seeds= repeats runs)"
        )
    return tuple(sorted(values))


def _budget(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputTypeError(
            f"compute budget {value!r} is a {type(value).__name__}: budgets are numbers of FLOPs, such as 1e15"
        )
    if not math.isfinite(value) or value <= 0:
        raise InputError(f"compute budget {value!r} cannot be spent: it must be a positive finite number of FLOPs")
    return float(value)


def enough_budgets(budgets: Sequence[float], trained: Sequence[float]) -> None:
    """Refuse to train for a single budget: one point has no trend."""
    if len({*budgets, *trained}) < 2:
        raise InputError(
            f"one compute budget ({budgets[0]:g}) shows one optimum and no trend, so nothing was trained: give at least two "
            "budgets, three to judge the trend, five or more to trust its exponents"
        )


def sizes_from(sizes: Any) -> tuple[Any, ...] | None:
    """Sizes given by the user, in their order; ``None`` leaves them to the planner."""
    if sizes is None:
        return None
    if isinstance(sizes, Real | str | bytes | Mapping) or not hasattr(sizes, "__iter__"):
        raise InputTypeError(f"sizes={sizes!r} is not a list: give at least {MIN_SIZES} values of the size parameter")
    values = [_plain_size(size) for size in sizes]
    if len(values) < MIN_SIZES:
        raise InputError(
            f"sizes={values!r} has {len(values)} values; a minimum can be seen with {MIN_SIZES} or more, spread on both sides of it"
        )
    doubles = [size for i, size in enumerate(values) if size in values[:i]]
    if doubles:
        raise InputError(f"sizes names {doubles[0]!r} more than once: give each size once (seeds= repeats runs)")
    return tuple(values)


def _plain_size(size: Any) -> Any:
    """A size as it is stored: JSON values, NumPy numbers turned to numbers, lists to tuples."""
    size = size.item() if hasattr(size, "item") and getattr(size, "shape", None) == () else size
    if isinstance(size, list | tuple):
        return tuple(_plain_size(part) for part in size)
    if isinstance(size, Mapping):
        return {str(key): _plain_size(part) for key, part in size.items()}
    try:
        json.dumps(size, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputTypeError(
            f"size {size!r} ({type(size).__name__}) cannot be stored: sizes are numbers, strings, or lists and dicts of these"
        ) from error
    return size


def seeds_from(seeds: Any) -> tuple[int, ...]:
    """Random seeds, each a whole number of at least 0."""
    if isinstance(seeds, str | bytes | Mapping) or not hasattr(seeds, "__iter__"):
        raise InputTypeError(f"seeds={seeds!r} is not a list of whole numbers, such as seeds=(0, 1)")
    values = list(seeds)
    for seed in values:
        if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
            raise InputError(f"seed {seed!r} is not a whole number of at least 0")
    if not values or len(set(values)) < len(values):
        raise InputError(f"seeds={seeds!r}: give at least one seed, and each once")
    return tuple(int(seed) for seed in values)


def hparams_from(hparams: Any) -> dict[str, tuple[Any, ...]]:
    """Recipe axes: every name with the values that each cell is trained at."""
    axes = {} if hparams is None else hparams
    if not isinstance(axes, Mapping):
        raise InputTypeError(f"hparams={hparams!r} is not a dict of lists, such as {{'lr': [1e-3, 2e-3]}}")
    for name, values in axes.items():
        if isinstance(values, str | Real) or not hasattr(values, "__iter__") or not list(values):
            raise InputTypeError(f"hparams[{name!r}]={values!r} is not a list of values, such as [1e-3, 2e-3]")
    return {str(name): tuple(_plain_size(value) for value in values) for name, values in axes.items()}


def workload_from(
    *,
    model_cls: Any,
    model_size_param: Any,
    model_kwargs: Any,
    dataset: Any,
    eval_dataset: Any,
    loss_fn: Any,
    data_unit: Any,
    collate_fn: Any,
    optimizer: Any,
) -> Workload:
    """Make a workload of plain Python objects."""
    if model_cls is None:
        raise InputTypeError("model_cls is missing: give the model class (or a function of one size), or workload=")
    if not isinstance(model_cls, type) and hasattr(model_cls, "num_params"):
        raise InputTypeError(
            f"model_cls is a model ({type(model_cls).__name__} instance): give the class itself, {type(model_cls).__name__}, "
            "so that it can be made in every size"
        )
    if not callable(model_cls):
        raise InputTypeError(
            f"model_cls={model_cls!r} cannot be called: give the model class, or a function of one size"
        )
    if not isinstance(model_kwargs, Mapping | None):
        raise InputTypeError(f"model_kwargs={model_kwargs!r} is not a dict of arguments, such as {{'depth': 2}}")
    kwargs = dict(model_kwargs or {})
    name = size_param_from(model_cls, model_size_param, kwargs)
    check_loss_fn(loss_fn)
    for option, what in (("collate_fn", collate_fn), ("optimizer", optimizer)):
        if what is not None and (not callable(what) or (option == "optimizer" and isinstance(what, type))):
            raise InputTypeError(f"{option}={what!r} is no function: see the arguments of flops_fit.find_optimal")
    if data_unit is not None and not (isinstance(data_unit, str) and data_unit.strip()):
        raise InputTypeError(f'data_unit={data_unit!r} is no word: say what D counts, such as "tokens" or "images"')
    return Workload(
        name=getattr(model_cls, "__name__", type(model_cls).__name__),
        model_cls=model_cls,
        size_param=name,
        model_kwargs=kwargs,
        dataset=dataset,
        eval_dataset=eval_dataset,
        loss_fn=loss_fn,
        data_unit=data_unit,
        collate_fn=collate_fn,
        optimizer=optimizer,
    )


def size_param_from(model_cls: Callable[..., Any], name: Any, kwargs: Mapping[str, Any]) -> str:
    """The size parameter: as named, or the only one that a function has left open.

    Raises:
        InputError, InputTypeError: the constructor does not take it, or another argument is wrong.
    """
    if name is not None and not isinstance(name, str):
        raise InputTypeError(f"model_size_param={name!r} is not the name of an argument, such as 'd_model'")
    who = getattr(model_cls, "__qualname__", type(model_cls).__qualname__)
    if name in kwargs:
        raise InputError(f"model_kwargs holds {name!r}, which is the size parameter: leave it out, the sweep sets it")
    try:
        parameters = inspect.signature(model_cls).parameters
    except (TypeError, ValueError):
        if name is None:
            raise InputError(
                f"model_size_param is missing and the arguments of {who} cannot be read: name it"
            ) from None
        return str(name)
    if name is None:
        name = _only_open_parameter(who, parameters, kwargs)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for argument in (name, *kwargs):
        if argument not in parameters and not takes_any:
            what = "no size parameter" if argument == name else "no argument"
            raise InputError(
                f"{who} has {what} {argument!r}.{nearest(argument, parameters)} It takes: {', '.join(parameters) or 'none'}"
            )
    given = {name, *kwargs}
    missing = [
        p.name for p in parameters.values() if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    missing = [argument for argument in missing if argument not in given]
    if missing:
        raise InputError(f"{who} needs {', '.join(map(repr, missing))} too: give them in model_kwargs")
    return str(name)


def _only_open_parameter(who: str, parameters: Mapping[str, inspect.Parameter], kwargs: Mapping[str, Any]) -> str:
    required = [p.name for p in parameters.values() if p.default is p.empty and p.name not in kwargs]
    if len(required) != 1:
        raise InputError(
            f"model_size_param is missing: name the argument of {who} that scales the model, "
            f"one of {', '.join(parameters) or 'none'}"
        )
    return required[0]

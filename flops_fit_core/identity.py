"""What makes two studies the same: objects as plain values that survive a restart of Python.

In: model classes, functions, data sets, settings. Out: JSON values that are equal when the things
behave the same as far as one can tell, and a list of what could not be told. A callable is its
qualified name and its source (with the functions, classes and constants of its own module that it
uses, and the values that it closes over); data is class, length and a sample of at most 16 items.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import types
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

import attrs
import numpy as np

from flops_fit_core.data import Workload
from flops_fit_core.source import sources_of

SAMPLE = 16


@attrs.define
class Identifier:
    """Turns objects into identities and collects in `unknown` what it could not identify."""

    unknown: list[str] = attrs.field(factory=list)

    def __call__(self, thing: Any, what: str = "value", depth: int = 0) -> Any:
        """Identify any value as JSON; `what` names it in `unknown`."""
        if thing is None or isinstance(thing, bool | int | float | str):
            return thing if not isinstance(thing, float) else repr(thing)
        if isinstance(thing, np.generic):
            return self(thing.item(), what, depth)
        if isinstance(thing, Mapping):
            return {str(key): self(item, f"{what}[{key!r}]", depth + 1) for key, item in thing.items()}
        if isinstance(thing, list | tuple | set | frozenset):
            items = sorted(thing, key=repr) if isinstance(thing, set | frozenset) else thing
            return [self(item, f"{what}[{i}]", depth + 1) for i, item in enumerate(items)]
        if isinstance(thing, functools.partial):
            return {
                "partial": self(thing.func, what, depth),
                "args": self([thing.args, thing.keywords], what, depth + 1),
            }
        if inspect.isroutine(thing) or isinstance(thing, type):
            return self._code(thing, what, depth)
        if _array_digest(thing) is not None:
            return _array_digest(thing)
        return self._object(thing, what, depth)

    def _code(self, thing: Any, what: str, depth: int) -> Any:
        """A function or class: its name, the digest of its source and its neighbours', its closure."""
        name = f"{thing.__module__}.{thing.__qualname__}" if getattr(thing, "__module__", None) else repr(thing)
        identity: dict[str, Any] = {"name": name.removeprefix("__main__.")}
        owner = getattr(thing, "__self__", None)
        if owner is not None and not isinstance(owner, types.ModuleType | type):
            identity["self"] = self(owner, what, depth + 1)
        if not isinstance(thing, types.BuiltinFunctionType):
            sources = sources_of(thing)
            if sources:
                identity["source"] = _digest("\n".join(sources))
            else:
                self.unknown.append(f"the source of {what} ({name}) cannot be read: only its name identifies it")
        if inspect.isfunction(thing):
            closed = inspect.getclosurevars(thing).nonlocals
            defaults = {k: p.default for k, p in _parameters(thing).items() if p.default is not p.empty}
            for key, values in (("closure", closed), ("defaults", defaults)):
                if values and depth < 6:
                    identity[key] = {k: self(v, f"{what}: {k}", depth + 1) for k, v in values.items()}
        return identity

    def _object(self, thing: Any, what: str, depth: int) -> Any:
        """Any other object: its class and its attributes, as far down as is sensible."""
        identity: dict[str, Any] = {"class": f"{type(thing).__module__}.{type(thing).__qualname__}"}
        if depth > 6:
            self.unknown.append(f"{what} is nested too deep to look into")
            return identity
        if callable(thing) or attrs.has(type(thing)):
            identity["source"] = _digest("\n".join(sources_of(type(thing))))
        state = _state(thing)
        if state is None:
            self.unknown.append(f"{what} ({identity['class']}) shows no attributes: only its class identifies it")
            return identity
        return identity | {"state": {k: self(v, f"{what}.{k}", depth + 1) for k, v in sorted(state.items())}}

    def data(self, dataset: Any, what: str) -> Any:
        """A data set: class, length, a fixed sample of at most 16 items, and its own ``fingerprint`` if it has one."""
        if dataset is None:
            return None
        if isinstance(dataset, Mapping):
            return {str(name): self.data(part, f"{what}[{name!r}]") for name, part in dataset.items()}
        identity: dict[str, Any] = {
            "class": f"{type(dataset).__module__}.{type(dataset).__qualname__}".removeprefix("__main__.")
        }
        own = getattr(dataset, "fingerprint", None)
        known = isinstance(own, str)
        if known:
            identity["fingerprint"] = own
        if _is_loader(dataset):
            identity |= {"batch_size": dataset.batch_size, "dataset": self.data(dataset.dataset, what)}
            return identity | {
                "sampler": type(dataset.sampler).__qualname__,
                "collate": self(dataset.collate_fn, f"{what}.collate_fn"),
            }
        identity["length"] = _length(dataset)
        try:
            first, second = (_digest(json.dumps([_item(item) for item in _sample(dataset)])) for _ in range(2))
        except Exception as error:
            if not known:
                self.unknown.append(f"a sample of {what} cannot be read ({error}): class and length identify it")
            return identity
        if first == second:
            return identity | {"sample": first}
        if not known:
            self.unknown.append(f"{what} gives other items each time it is read: class and length identify it")
        return identity


def identify_workload(workload: Workload, identify: Identifier) -> dict[str, Any]:
    """The parts of a workload that make a study what it is, by name."""
    data = identify.data(workload.dataset, "dataset")
    held_out = identify.data(workload.eval_dataset, "eval_dataset")
    return {
        "model": identify(workload.model_cls, "model_cls"),
        "model size parameter": workload.size_param,
        "model arguments": identify(dict(workload.model_kwargs), "model_kwargs"),
        "data set": data,
        "data fingerprint": workload.fingerprint,
        "held-out data set": held_out,
        "loss": identify(workload.loss_fn, "loss_fn"),
        "data unit": workload.data_unit,
        "units": identify(workload.units, "units"),
        "optimizer": identify(workload.optimizer, "optimizer"),
        "collate function": identify(workload.collate_fn, "collate_fn"),
        "parametrization": workload.parametrization,
    }


def settings_of(stage: Any, identify: Identifier) -> dict[str, Any]:
    """What identifies a stage: its class and its ``settings()``, or its fields where it is an attrs class."""
    kind = f"{type(stage).__module__}.{type(stage).__qualname__}".removeprefix("__main__.")
    if hasattr(stage, "settings"):
        settings: Mapping[str, Any] = stage.settings()
    elif attrs.has(type(stage)):
        settings = {f.name: getattr(stage, f.name) for f in attrs.fields(type(stage)) if not f.name.startswith("_")}
    else:
        settings = {}
    return {"class": kind} | {name: identify(value, f"{kind}.{name}") for name, value in settings.items()}


def fingerprint(identity: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits of an identity."""
    return _digest(json.dumps(identity, sort_keys=True, allow_nan=False))[:16]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


def _state(thing: Any) -> dict[str, Any] | None:
    """An object's attributes; those of torch modules without their hooks and caches."""
    if attrs.has(type(thing)):
        return {field.name: getattr(thing, field.name) for field in attrs.fields(type(thing))}
    if not hasattr(thing, "__dict__"):
        return None
    hidden = {name for name in vars(thing) if "hook" in name or name.startswith("__")}
    return {name: value for name, value in vars(thing).items() if name not in hidden}


def _array_digest(thing: Any) -> Any:
    """Arrays and tensors by their bytes."""
    if not (hasattr(thing, "shape") and hasattr(thing, "dtype")):
        return None
    return {"shape": [int(n) for n in thing.shape], "digest": _digest(_bytes(thing).hex())}


def _bytes(array: Any) -> bytes:
    array = array.detach().cpu() if hasattr(array, "detach") else array
    if str(array.dtype) == "torch.bfloat16":
        array = array.float()
    return bytes(np.ascontiguousarray(np.asarray(array)).tobytes())


def _item(item: Any) -> Any:
    """One sample of a data set as JSON."""
    if isinstance(item, Mapping):
        return {str(key): _item(value) for key, value in item.items()}
    if isinstance(item, list | tuple):
        return [_item(value) for value in item]
    if hasattr(item, "shape") and hasattr(item, "dtype"):
        return [list(map(int, item.shape)), str(item.dtype), _digest(_bytes(item).hex())]
    return item if item is None or isinstance(item, str | int | bool) else repr(item)


def _is_loader(dataset: Any) -> bool:
    return all(hasattr(dataset, name) for name in ("dataset", "batch_size", "collate_fn", "sampler"))


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except TypeError:
        return None


def _sample(dataset: Any) -> Iterable[Any]:
    """At most sixteen items: evenly spread where they can be indexed, else the first."""
    length = _length(dataset)
    if length is None or not hasattr(dataset, "__getitem__"):
        return islice(iter(dataset), SAMPLE)
    return (dataset[i] for i in sorted({k * (length - 1) // max(SAMPLE - 1, 1) for k in range(min(SAMPLE, length))}))

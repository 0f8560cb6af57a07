"""Values to plain JSON and back, by cattrs: exact floats, no NaN, never pickle.

In: the attrs classes of `flops_fit_core.data`. Out: dicts, lists, numbers and strings that
``json.dumps(..., allow_nan=False)`` takes, and the same values again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import numpy as np

if TYPE_CHECKING:
    import cattrs

T = TypeVar("T")

_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def plain(value: Any) -> Any:
    """Reduce any JSON-like value: NumPy numbers to numbers, arrays and tuples to lists, NaN to a word."""
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return {"nonfinite": "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return value


def unplain(value: Any) -> Any:
    """Undo `plain` as far as JSON allows: words to NaN, lists to tuples."""
    if isinstance(value, Mapping):
        if set(value) == {"nonfinite"}:
            return _NON_FINITE[value["nonfinite"]]
        return {key: unplain(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(unplain(item) for item in value)
    return value


@cache
def _converter() -> cattrs.Converter:
    import cattrs  # 30 ms that `import flops_fit` need not take

    converter = cattrs.Converter(omit_if_default=False, forbid_extra_keys=True)
    converter.register_unstructure_hook(float, plain)
    converter.register_unstructure_hook_func(lambda t: t is Any, plain)
    converter.register_unstructure_hook(np.ndarray, plain)
    converter.register_unstructure_hook(Path, str)
    converter.register_structure_hook(Path, lambda text, _: Path(text))
    converter.register_structure_hook(float, lambda value, _: float(unplain(value)))
    converter.register_structure_hook_func(lambda t: t is Any, lambda value, _: unplain(value))
    converter.register_structure_hook_func(_is_array, lambda value, _: np.array(unplain(value), dtype=np.float64))
    converter.register_unstructure_hook_func(_is_array, plain)
    _leave_out_live_objects(converter)
    return converter


def _is_array(kind: Any) -> bool:
    return kind is np.ndarray or getattr(kind, "__origin__", None) is np.ndarray


def _leave_out_live_objects(converter: cattrs.Converter) -> None:
    """`Fit.law` and `Result.study` are objects at hand, not data: they are not saved."""
    from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

    from flops_fit_core.data import Fit, Result

    for cls, name in ((Fit, "law"), (Result, "study")):
        attrs.resolve_types(cls, localns=_types())
        leave_out: Any = {name: override(omit=True)}
        converter.register_unstructure_hook(cls, make_dict_unstructure_fn(cls, converter, **leave_out))
        converter.register_structure_hook(cls, make_dict_structure_fn(cls, converter, **leave_out))


def _types() -> dict[str, Any]:
    """The names that annotations of the data classes use only while type checking."""
    from flops_fit_core import data

    return {**{name: getattr(data, name) for name in data.__all__}, "Fitter": Any, "Study": Any, "FlopCounter": Any}


def to_plain(value: Any) -> Any:
    """Turn a value into plain JSON values."""
    _resolve()
    return _converter().unstructure(value)


def from_plain(plain_value: Any, cls: type[T]) -> T:
    """Make a value of `cls` of what `to_plain` gave."""
    _resolve()
    return _converter().structure(plain_value, cls)


@cache
def _resolve() -> None:
    """Resolve the annotations of every data class once."""
    from flops_fit_core import data

    for name in data.__all__:
        noun = getattr(data, name)
        if attrs.has(noun):
            attrs.resolve_types(noun, localns=_types())

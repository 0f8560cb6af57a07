"""What the fitters' options may be, as attrs validators.

In: the value that an option was given. Out: nothing where it can be used, else an `InputError` that names the option,
the value and what to give instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import attrs
import numpy as np

from flops_fit_core.errors import InputError, nearest

FEWEST_RESAMPLES = 20
Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def own_first(_: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """A class's own options before those that it inherits, in its signature and wherever they are listed."""
    return sorted(fields, key=lambda field: field.inherited)  # type: ignore[attr-defined]  # attrs' stubs lack it


def is_number(value: Any) -> bool:
    """Whether a value is a finite real number, and no truth value."""
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)


def one_of(*known: str) -> Validator:
    """One of these words."""

    def check(_: Any, option: attrs.Attribute[Any], value: Any) -> None:
        if not (isinstance(value, str) and value in known):
            raise _refused(option, value, f"known are {', '.join(map(repr, known))}.{nearest(str(value), known)}")

    return check


def count(least: int = 0) -> Validator:
    """A whole number of at least `least`."""

    def check(_: Any, option: attrs.Attribute[Any], value: Any) -> None:
        if not (is_number(value) and isinstance(value, Integral) and int(value) >= least):
            raise _refused(option, value, f"give a whole number of at least {least}")

    return check


def resamples(_: Any, option: attrs.Attribute[Any], value: Any) -> None:
    """How many refits an interval is made of; 0 for none."""
    if not (is_number(value) and isinstance(value, Integral) and (value == 0 or int(value) >= FEWEST_RESAMPLES)):
        fix = f"give a whole number of at least {FEWEST_RESAMPLES}, such as 1000, or 0 for no intervals"
        raise _refused(option, value, fix)


def number(*, least: float = -math.inf, above: float = -math.inf, instead: tuple[str | None, ...] = ()) -> Validator:
    """A finite number, of at least `least` and greater than `above`, or one of the values in `instead`."""
    bounds = [f" {word} {end:g}" for word, end in (("of at least", least), ("above", above)) if math.isfinite(end)]
    wanted = " or ".join([f"a finite number{''.join(bounds)}", *map(repr, instead)])

    def check(_: Any, option: attrs.Attribute[Any], value: Any) -> None:
        if isinstance(value, str | None) and value in instead:
            return
        if not (is_number(value) and value >= least and value > above):
            raise _refused(option, value, f"give {wanted}")

    return check


def share(_: Any, option: attrs.Attribute[Any], value: Any) -> None:
    """A number between 0 and 1, both excluded."""
    if not (is_number(value) and 0 < value < 1):
        percent = value if is_number(value) and 1 < value < 100 else 90
        raise _refused(option, value, f"give a share between 0 and 1, so {percent / 100:g} for {percent:g} %")


def switch(_: Any, option: attrs.Attribute[Any], value: Any) -> None:
    """True or False: any other word, such as ``"no"``, would count as True."""
    if not isinstance(value, bool | np.bool_):
        raise _refused(option, value, "give True or False")


def _refused(option: attrs.Attribute[Any], value: Any, fix: str) -> InputError:
    return InputError(f"{option.name} is {value!r}: {fix}")

"""Where two studies differ, in words short enough to read.

In: two identities (`flops_fit_core.identity`). Out: the fields that differ and what stood in them; of a digest, what it is of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import Any

_DIGESTS = {
    "source": "its code, or code that it uses, is another",
    "sample": "other items",
    "digest": "other values",
}
"""Fields of an identity that only a machine can read, and what to say where they differ."""

_CODE = {"name", "source", "self", "closure", "defaults"}
"""The fields that the identity of a function or class has; those of somebody's mapping are any."""

_LISTED = 10
_SHOWN = 40
_BEFORE = 8
"""How much of what two long values share is shown before they part."""

_ABSENT = "absent"


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The fields in which two identities differ, ten at most, with what was in them and what is."""
    found = list(_differing(before, now))
    more = len(found) - _LISTED
    return [*found[:_LISTED], f"and {more} more"] if more > 0 else found


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for field in sorted({*before, *now}):
        old, new = before.get(field, _ABSENT), now.get(field, _ABSENT)
        if old == new:
            continue
        if type(old) is type(new) and _kind(old) == _kind(new) and _nested(old) and _nested(new):
            yield from (f"{field}.{inner}" for inner in _differing(_by_name(old), _by_name(new)))
        elif field in _DIGESTS and _ABSENT not in (old, new):
            yield f"{field} ({_DIGESTS[field]})"
        else:
            yield "{} (was {}, is {})".format(field, *_cut(_text(old), _text(new)))


def _nested(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and any(map(_nested, value)))


def _by_name(value: Mapping[str, Any] | list[Any]) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {str(place): item for place, item in enumerate(value)}


def _kind(identity: Any) -> str | None:
    """The name of a function or class, or the class of an object; ``None`` for values and mappings of somebody's."""
    if not isinstance(identity, Mapping):
        return None
    if "partial" in identity:
        return f"a partial of {_kind(identity['partial'])}"
    if "name" in identity and identity.keys() <= _CODE:
        return str(identity["name"])
    return str(identity["class"]) if "class" in identity else None


def _text(value: Any) -> str:
    """A value as people write it: numbers are text in an identity, and need no quotes."""
    if isinstance(value, Mapping):
        return _kind(value) or "{" + ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_text, value)) + "]"
    return str(value)


def _cut(old: str, new: str) -> tuple[str, str]:
    """Two texts from their beginning, or from shortly before they part where nothing of that could be seen."""
    shared = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False))))
    start = shared - _BEFORE if shared > _SHOWN - _BEFORE else 0
    return _short(old, start), _short(new, start)


def _short(text: str, start: int) -> str:
    end = start + _SHOWN
    tail = "" if len(text) <= end else "…" + {"[": "]", "{": "}"}.get(text[0], "")
    return ("…" if start else "") + text[start : end - bool(tail)] + tail

"""Text that people read as a number and Python does not: separated thousands, a decimal comma, a suffix, a unit.

In: the text of a cell. Out: why it is no number and what to write instead.
"""

from __future__ import annotations

import re

_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(
    r"(?P<whole>[+-]?[1-9]\d{0,2}(?:(?P<mark>[,.' \u00a0\u202f])\d{3})(?:(?P=mark)\d{3})*)(?P<rest>[.,]\d+)?"
)
_WORDED = re.compile(r"(?P<number>[+-]?\d+(?:\.\d+)?)(?P<exponent>[eE][+-]?\d+)?\s*(?P<word>%|[^\W\d]+)(?P<more>.*)")
_POWERS = {"k": 3, "thousand": 3, "m": 6, "million": 6, "b": 9, "bn": 9, "g": 9, "billion": 9, "t": 12, "trillion": 12}


def misread(text: str) -> tuple[str, str] | None:
    """What keeps a text from being a number, in one word, and the same in a sentence with what to write instead.

    ``None`` where it looks like no number at all.
    """
    text = text.strip()
    if thousands := _THOUSANDS.fullmatch(text):
        return _separated(text, thousands)
    if _DECIMAL_COMMA.fullmatch(text):
        return "decimal", f"{text!r} has a decimal comma: write {text.replace(',', '.')}"
    if worded := _WORDED.fullmatch(text):
        power = None if worded["exponent"] else _POWERS.get(worded["word"].lower())
        if power is not None:
            return "suffix", f"{text!r} has a suffix: write {worded['number']}e{power}"
        return "unit", f"{text!r} has a unit: write the number alone and in full"
    return None


def _separated(text: str, thousands: re.Match[str]) -> tuple[str, str]:
    """Three digits after one comma alone may be thousands or decimals; nobody but the writer knows."""
    whole = thousands["whole"].replace(thousands["mark"], "")
    if thousands["mark"] == "," and text.count(",") == 1 and not thousands["rest"]:
        decimal = text.replace(",", ".")
        return (
            "comma",
            f"{text!r} has a comma: write {decimal} where it is a decimal one, {whole} where it separates thousands",
        )
    rest = (thousands["rest"] or "").replace(",", ".")
    return "thousands", f"{text!r} has separated thousands: write {whole}{rest}"

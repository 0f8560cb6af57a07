"""Stages and their options from words: ``--trainer accelerate --set trainer.lr=0.003``.

In: names, and words ``stage.option=value``. Out: objects, made through the public API.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from typing import Any

import attrs

import flops_fit
from flops_fit_core.errors import InputError, nearest


@attrs.frozen
class Settings:
    """The options given with ``--set``, by stage.

    Attributes:
        words: ``stage.option=value``, as they were given.
        stages: the stages that the command has.
    """

    words: Sequence[str]
    stages: Sequence[str]

    def __attrs_post_init__(self) -> None:
        self.options("")  # says what is wrong before anything is made

    def options(self, stage: str) -> dict[str, Any]:
        """The options of one stage."""
        return {option: value for each, option, value in map(self._read, self.words) if each == stage}

    def make(self, stage: str, name: str) -> Any:
        """The stage called `name`: an object where it has options, else the name, which a study remembers."""
        options = self.options(stage)
        return getattr(flops_fit, stage)(name, **options) if options else name

    def _read(self, word: str) -> tuple[str, str, Any]:
        place, equals, text = word.partition("=")
        stage, dot, option = place.partition(".")
        if not (equals and dot and option):
            raise InputError(f"--set {word!r} is not STAGE.OPTION=VALUE, such as trainer.batch_size=16")
        if stage not in self.stages:
            hint = nearest(stage, self.stages)
            raise InputError(f"--set {word!r}: no stage {stage!r} here.{hint} Stages: {', '.join(self.stages)}")
        return stage, option, value_of(text)


def value_of(text: str) -> Any:
    """A word as a value: JSON or a Python literal where it is one, else the word itself."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError):
            continue
    return text

"""Stages and their options from words: ``--trainer accelerate --set trainer.lr=0.003``.

In: names, and words ``stage.option=value``, or ``stage.name.option=value`` for one of several. Out: objects, made
through the public API.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

import flops_fit
from flops_fit_core.errors import InputError, InputTypeError, nearest


@attrs.frozen
class Settings:
    """The options given with ``--set``, by stage.

    Attributes:
        words: ``stage.option=value`` or ``stage.name.option=value``, as they were given.
        chosen: the stages that the command has, each with the names that were chosen for it.
    """

    words: Sequence[str]
    chosen: Mapping[str, Sequence[str]]

    def __attrs_post_init__(self) -> None:
        for word in self.words:
            self._read(word)  # says what is wrong before anything is made

    def make(self, stage: str, name: str) -> Any:
        """The stage called `name`: an object where it has options, else the name, which a study remembers."""
        options = self.options(stage, name)
        if not options:
            return name
        try:
            return getattr(flops_fit, stage)(name, **options)
        except InputTypeError as error:
            if len(self.chosen[stage]) < 2:
                raise
            alone = f"An option of one of several: --set {stage}.NAME.OPTION=VALUE"
            raise InputTypeError(f"{error}. {alone}") from error

    def options(self, stage: str, name: str) -> dict[str, Any]:
        """The options of the stage called `name`: its own, and those of whatever was chosen for the stage."""
        given = sorted(map(self._read, self.words), key=lambda read: bool(read[1]))  # its own come last, and win
        return {option: value for where, whose, option, value in given if where == stage and whose in ("", name)}

    def _read(self, word: str) -> tuple[str, str, str, Any]:
        place, equals, text = word.partition("=")
        stage, dot, rest = place.partition(".")
        name, named, option = rest.rpartition(".")
        if not (equals and dot and option and bool(name) == bool(named)):
            raise InputError(f"--set {word!r} is not STAGE.OPTION=VALUE, such as trainer.batch_size=16")
        if stage not in self.chosen:
            hint = nearest(stage, self.chosen)
            raise InputError(f"--set {word!r}: no stage {stage!r} here.{hint} Stages: {', '.join(self.chosen)}")
        if name and name not in self.chosen[stage]:
            names = self.chosen[stage]
            raise InputError(
                f"--set {word!r}: no {stage} {name!r} was chosen.{nearest(name, names)} Chosen: {', '.join(names) or 'none'}"
            )
        return stage, name, option, value_of(text)


def value_of(text: str) -> Any:
    """A word as a value: JSON or a Python literal where it is one, else the word itself."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError):
            continue
    return text

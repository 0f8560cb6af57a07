"""How every command of ``flops-fit`` behaves: lists after one option, errors without a traceback.

In: the words of a shell. Out: the same as typer takes them, and an exit status.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand

from flops_fit_core.errors import FlopsFitError

NO_ANSWER, USER_ERROR, INTERRUPTED = 1, 2, 130


class Command(TyperCommand):
    """A typer command whose repeatable options also take several values in a row: ``--budgets 1e12 3e12``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Say each value's option again before typer reads the words."""
        repeatable = {word for option in self.params if getattr(option, "multiple", False) for word in option.opts}
        return super().parse_args(ctx, spread(args, repeatable))

    def invoke(self, ctx: Any) -> Any:
        """Turn the errors that flops-fit raises on purpose into a message and an exit status."""
        try:
            return super().invoke(ctx)
        except FlopsFitError as error:
            typer.echo(f"{ctx.command_path}: {error}", err=True)
            raise typer.Exit(USER_ERROR) from error
        except KeyboardInterrupt as stop:
            typer.echo(f"{ctx.command_path}: {stop or 'interrupted'}", err=True)
            raise typer.Exit(INTERRUPTED) from stop


def spread(args: list[str], repeatable: set[str]) -> list[str]:
    """Turn ``--budgets 1e12 3e12`` into ``--budgets 1e12 --budgets 3e12``, up to the next option."""
    words: list[str] = []
    option, first = "", True
    for position, word in enumerate(args):
        if word == "--":
            return words + args[position:]
        if word.startswith("-") and not _is_number(word):
            option, equals, _ = word.partition("=")
            first = not equals
        elif option in repeatable and not first:
            words.append(option)
        else:
            first = False
        words.append(word)
    return words


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True

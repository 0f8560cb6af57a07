"""The executor without processes: work is done where it is submitted, one piece after another.

In: a function and its arguments. Out: a future that is already finished.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class SerialExecutor:
    """Does the work inside `submit`; with an accelerator, or under ``torchrun``, this is the one to use."""

    @property
    def slots(self) -> int:
        """One piece of work at a time."""
        return 1

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Call ``fn(*args)`` now; its exception is kept in the future, but Ctrl-C and exits pass through."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def shutdown(self) -> None:
        """Nothing to free."""

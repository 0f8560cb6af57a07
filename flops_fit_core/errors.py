"""The error family: every error flops-fit raises on purpose is a `FlopsFitError`.

Each one is also the built-in exception that Python itself would raise, so that
``except ValueError`` keeps working for people who do not know this module.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FlopsFitError(Exception):
    """Base of every error raised on purpose; the message names the value, the reason and the fix."""


class InputError(FlopsFitError, ValueError):
    """A value that cannot be used: a negative budget, an empty data set, an unknown column."""


class InputTypeError(FlopsFitError, TypeError):
    """A value of the wrong kind: a class where an instance is meant, a list as a data set."""


class PlanError(FlopsFitError, ValueError):
    """A sweep that cannot be planned, such as a budget with too few usable sizes."""


class CountError(FlopsFitError, ValueError):
    """A cost that cannot be counted, such as 6ND for images."""


class FitError(FlopsFitError, ValueError):
    """Runs from which a law cannot be fitted: too few, one budget, all of one size."""


class StoreError(FlopsFitError, ValueError):
    """An output folder that cannot be used as it is; nothing in it was changed."""


class StoreWriteError(StoreError, OSError):
    """A file of a study that cannot be written, such as on a full disk; what was there before stands."""


class TrainingError(FlopsFitError, ValueError):
    """A training set-up that cannot work, found before any run is trained."""


class UnknownNameError(FlopsFitError, LookupError):
    """A stage name that no installed plugin offers, or that two of them offer."""


class PluginError(FlopsFitError, ValueError):
    """A plugin that breaks the contract of `flops_fit_core.hookspecs`."""


class PluginImportError(PluginError, LookupError):
    """A plugin that was asked for and cannot be imported; its own exception is the cause."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known name, or an empty string.

    A name of which this is one word is closest: ``params`` means ``n_params`` rather than ``hparams``.
    """
    known = list(known)
    whole = [other for other in known if name in other.split("_")]
    close = sorted(whole, key=len) or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""

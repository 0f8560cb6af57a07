"""Import late: factories and package attributes that load their module at first use.

In: dotted names. Out: what a plugin's ``__init__`` hands to its hooks, so that discovering a
plugin loads none of the libraries it works with.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import attrs

from flops_fit_core.errors import PluginImportError


@attrs.frozen
class LazyFactory:
    """A callable that imports ``module:attribute`` when first called.

    Attributes:
        target: such as ``"flops_fit_lmfit.surface:SurfaceFitter"``.
        needs: libraries it needs, in words: ``"torch and accelerate"``.
        extra: the extra that installs them: ``"train"``.
    """

    target: str
    needs: str = ""
    extra: str = ""

    def resolve(self) -> Any:
        """Import and return the target.

        Raises:
            PluginImportError: a library that it needs is missing.
        """
        module, _, attribute = self.target.partition(":")
        try:
            return getattr(import_module(module), attribute)
        except ImportError as error:
            own = (getattr(error, "name", None) or "").partition(".")[0] == module.partition(".")[0]
            if not self.needs or own:
                raise
            raise PluginImportError(f'needs {self.needs}: pip install "flops-fit[{self.extra}]" ({error})') from error

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Make the object."""
        return self.resolve()(*args, **options)


def options_of(factory: Callable[..., Any]) -> list[str] | None:
    """The names of the options that a factory takes; ``None`` where that cannot be known."""
    target = factory.resolve() if isinstance(factory, LazyFactory) else factory
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def lazy_attributes(package: str, targets: Mapping[str, str]) -> Callable[[str], Any]:
    """Make a package's ``__getattr__`` (PEP 562) that imports names from its modules at first use.

    Example:
        ``__getattr__ = lazy_attributes(__name__, {"SurfaceFitter": "surface"})``
    """

    def getattr_late(name: str) -> Any:
        if name in targets:
            return getattr(import_module(f"{package}.{targets[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return getattr_late

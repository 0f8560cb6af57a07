"""Discover plugins through entry points, list them, choose a stage by name.

In: the entry points of the group ``flops_fit`` and plugin objects given by hand. Out: stage objects
made by the factories that plugins offer, and an account of who offers what and what is broken.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import metadata
from typing import Any

import attrs
import pluggy

from flops_fit_core import hookspecs
from flops_fit_core.errors import (
    FlopsFitError,
    InputTypeError,
    PluginError,
    PluginImportError,
    UnknownNameError,
    nearest,
)
from flops_fit_core.lazy import options_of
from flops_fit_core.names import OwnName

log = logging.getLogger("flops_fit")

#: Every kind of stage, the hook that offers it, and the methods that its objects must have.
STAGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "planner": ("flops_fit_planners", ("plan",)),
    "flop_counter": ("flops_fit_flop_counters", ("count",)),
    "trainer": ("flops_fit_trainers", ("groups", "train")),
    "fitter": ("flops_fit_fitters", ("fit", "optimum")),
    "reporter": ("flops_fit_reporters", ("report",)),
    "executor": ("flops_fit_executors", ("submit", "shutdown", "slots")),
    "workload": ("flops_fit_workloads", ("model_cls", "size_param", "dataset")),
}


@attrs.frozen(kw_only=True)
class PluginInfo:
    """One discovered plugin: where it comes from, what it offers, or why it does not work.

    Attributes:
        name: the entry point's name.
        distribution: the installed distribution that declares it, or ``"(given)"``.
        version: the distribution's version.
        module: the module that the entry point names.
        offers: names by kind of stage.
        error: what went wrong when it was imported or registered; ``None`` if all is well.
    """

    name: str
    distribution: str
    version: str
    module: str = ""
    offers: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    error: Exception | None = None

    def __str__(self) -> str:
        title = f"{self.name} ({self.distribution} {self.version})"
        if self.error is not None:
            return f"{title}: broken: {type(self.error).__name__}: {self.error}"
        return f"{title}: " + ("; ".join(f"{s} {', '.join(n)}" for s, n in self.offers.items()) or "hooks only")


@attrs.frozen
class _Offer:
    info: PluginInfo
    factory: Callable[..., Any]


class Registry:
    """The plugins of one process, or of one call where `given` plugins join the installed ones."""

    def __init__(self, given: Iterable[object] = ()) -> None:
        self._manager = pluggy.PluginManager(hookspecs.GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._offers: dict[str, dict[str, list[_Offer]]] = {stage: {} for stage in STAGES}
        self.plugins: list[PluginInfo] = []
        for point in _entry_points():
            self._discover(point)
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise InputTypeError(f"plugins={given!r} is not a list of plugins: give plugins=[...]")
        for plugin in given:
            self._add_given(plugin)

    def _discover(self, point: metadata.EntryPoint) -> None:
        """Load and register one entry point; a failure is kept, never raised here."""
        distribution = point.dist.name if point.dist else "(unknown)"
        version = point.dist.version if point.dist else ""
        info = PluginInfo(name=point.name, distribution=distribution, version=version, module=point.module)
        try:
            info = self._register(point.load(), info)
        except Exception as error:
            info = attrs.evolve(info, error=error)
            log.warning("plugin %s", info)
        self.plugins.append(info)

    def _add_given(self, plugin: object) -> None:
        """Register a plugin given by hand; what is wrong with it is raised at once."""
        name = getattr(plugin, "__name__", type(plugin).__name__)
        if isinstance(plugin, type):
            raise InputTypeError(f"plugin {name!r} is a class: give an instance, {name}(), or a module")
        info = PluginInfo(name=name, distribution="(given)", version=getattr(plugin, "__version__", ""))
        info = self._register(plugin, info)
        if not self._manager.get_hookcallers(plugin):
            raise PluginError(f"plugin {name!r} has no hook: mark its functions with @flops_fit.hookimpl")
        self.plugins.append(info)

    def _register(self, plugin: object, info: PluginInfo) -> PluginInfo:
        """Register a plugin with pluggy and take down what it offers; undone where it is broken."""
        try:
            self._manager.register(plugin, name=f"{info.distribution}:{info.name}")
            self._manager.check_pending()
            offered = {stage: self._offered(plugin, hook) for stage, (hook, _) in STAGES.items()}
        except Exception as error:
            if self._manager.is_registered(plugin):
                self._manager.unregister(plugin)
            if isinstance(error, pluggy.PluginValidationError):
                raise PluginError(f"plugin {info.name!r}: {error}.{_nearest_hook(error)}") from error
            if isinstance(error, FlopsFitError):
                raise
            raise PluginError(f"plugin {info.name!r} cannot be registered: {type(error).__name__}: {error}") from error
        info = attrs.evolve(info, offers={stage: tuple(names) for stage, names in offered.items() if names})
        for stage, factories in offered.items():
            for name, factory in factories.items():
                self._offers[stage].setdefault(name, []).append(_Offer(info, factory))
        return info

    def _offered(self, plugin: object, hook: str) -> Mapping[str, Callable[..., Any]]:
        offered: dict[str, Callable[..., Any]] = {}
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            if implementation.plugin is plugin:
                offer = implementation.function()
                if not isinstance(offer, Mapping):
                    raise PluginError(f"{hook} must map names to factories; it returned {offer!r:.80}")
                offered.update(offer)
        for name, factory in offered.items():
            if not isinstance(name, str) or not callable(factory):
                raise PluginError(f"{hook} must map names to factories, not {name!r} to {factory!r}")
        return offered

    def names(self, stage: str) -> list[str]:
        """The names on offer for a kind of stage, sorted."""
        return sorted(self._offers[stage])

    def make(self, stage: str, name: str, /, **options: Any) -> Any:
        """Make the stage called `name` (or ``"distribution:name"``) with the given options.

        Raises:
            UnknownNameError: nobody offers the name, or more than one distribution does.
            PluginImportError: its plugin, or a library it needs, cannot be imported.
            InputTypeError: an option that its factory does not take.
        """
        offer = self._find(stage, name)
        try:
            _check_options(stage, name, offer.factory, options)
            made = offer.factory(**options)
        except FlopsFitError as error:
            if type(error) is PluginImportError:
                raise PluginImportError(f"{stage} {name!r} {error}") from error.__cause__
            raise
        except ImportError as error:
            raise PluginImportError(
                f"{stage} {name!r} of distribution {offer.info.distribution!r} cannot be imported: {error}"
            ) from error
        return self.check(stage, made, f"{stage} {name!r} of distribution {offer.info.distribution!r}")

    def resolve(self, stage: str, choice: Any) -> Any:
        """Turn what a user gave for a stage, a name or an object, into the object."""
        return self.make(stage, choice) if isinstance(choice, str) else self.check(stage, choice, f"{stage}={choice!r}")

    def check(self, stage: str, made: Any, title: str) -> Any:
        """Return `made` if it has what its kind of stage must have."""
        if isinstance(made, type):
            raise InputTypeError(f"{title} is a class: give an instance, {made.__name__}(...)")
        missing = [method for method in STAGES[stage][1] if not hasattr(made, method)]
        if missing:
            raise InputTypeError(
                f"{title} is no {stage}: it has no {', '.join(map(repr, missing))}. Give a name "
                f"({', '.join(map(repr, self.names(stage)))}) or an object with the methods of flops_fit_core.stages"
            )
        return made

    def _find(self, stage: str, name: str) -> _Offer:
        distribution, _, bare = name.rpartition(":")
        distribution = name.distribution if isinstance(name, OwnName) else distribution
        offers = self._offers[stage].get(bare, [])
        if distribution:
            offers = [offer for offer in offers if offer.info.distribution == distribution]
        if len(offers) == 1:
            return offers[0]
        if len(offers) > 1:
            choices = [f"{offer.info.distribution}:{bare}" for offer in offers]
            raise UnknownNameError(
                f"{stage} {bare!r} is offered by {len(offers)} plugins: say which, {' or '.join(map(repr, choices))}"
            )
        self._raise_broken(stage, name, distribution, bare)
        known = self.names(stage)
        raise UnknownNameError(
            f"no installed plugin offers {stage} {name!r}.{nearest(bare, known)} Installed: {', '.join(known) or 'none'}"
            + self._broken()
        )

    def _raise_broken(self, stage: str, name: str, distribution: str, bare: str) -> None:
        """Raise the failure of the broken plugin that was meant: of that name, or of that distribution."""
        for info in self.plugins:
            if info.error is not None and (bare == info.name or distribution == info.distribution):
                raise PluginImportError(
                    f"{stage} {name!r}: plugin {info.name!r} of distribution {info.distribution!r} cannot be used: "
                    f"{type(info.error).__name__}: {info.error}"
                ) from info.error

    def _broken(self) -> str:
        broken = [str(info) for info in self.plugins if info.error is not None]
        return ". Plugins that cannot be used: " + " | ".join(broken) if broken else ""

    def origin(self, stage: str, choice: Any) -> str:
        """Name and version of the distribution that a stage came from, for the manifest."""
        if isinstance(choice, str):
            info = self._find(stage, choice).info
            return f"{info.distribution} {info.version}".strip()
        module = type(choice).__module__
        package = module.partition(".")[0]
        for info in self.plugins:
            if info.module.partition(".")[0] == package:
                return f"{info.distribution} {info.version}"
        for distribution in metadata.packages_distributions().get(package, []):
            return f"{distribution} {metadata.version(distribution)}"
        return f"{module}.{type(choice).__qualname__}"

    def fire(self, hook: str, **arguments: Any) -> None:
        """Call a lifecycle hook of every plugin; one that raises is logged and stops nothing."""
        for implementation in reversed(getattr(self._manager.hook, hook).get_hookimpls()):
            try:
                implementation.function(*(arguments[name] for name in implementation.argnames))
            except Exception:
                log.exception("hook %s of plugin %s failed; the sweep goes on", hook, implementation.plugin_name)


def _entry_points() -> list[metadata.EntryPoint]:
    """The group's entry points, once each (a distribution can be found twice on the path)."""
    found = {(p.dist.name if p.dist else "", p.name): p for p in metadata.entry_points(group=hookspecs.GROUP)}
    return [found[key] for key in sorted(found)]


def _nearest_hook(error: pluggy.PluginValidationError) -> str:
    hooks = [name for name in vars(hookspecs) if name.startswith("flops_fit_")]
    words = [word.strip("'\",()") for word in str(error).split() if "flops_fit_" in word]
    wrong = [word for word in words if word not in hooks and word.isidentifier()]
    if not wrong:  # the name is right, so an argument is wrong
        return "".join(
            f" {word} takes: {', '.join(_arguments(word)) or 'nothing'}" for word in words[:1] if word in hooks
        )
    return next((hint for word in wrong if (hint := nearest(word, hooks))), "")


def _arguments(hook: str) -> list[str]:
    return list(inspect.signature(getattr(hookspecs, hook)).parameters)


def _check_options(stage: str, name: str, factory: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse options that the factory does not take, before it is called."""
    accepted = options_of(factory)
    unknown = [option for option in options if accepted is not None and option not in accepted]
    if unknown and accepted is not None:
        raise InputTypeError(
            f"{stage} {name!r} has no option {unknown[0]!r}.{nearest(unknown[0], accepted)} "
            f"Its options: {', '.join(accepted) or 'none'}"
        )


@cache
def default_registry() -> Registry:
    """The installed plugins, discovered at first use and kept for the process."""
    return Registry()

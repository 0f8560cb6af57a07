"""Planner ``isoflop``: for every budget, models on both sides of the expected optimum."""

from collections.abc import Callable, Mapping
from typing import Any

from flops_fit_core.hookspecs import hookimpl
from flops_fit_core.lazy import LazyFactory, lazy_attributes

__getattr__ = lazy_attributes(__name__, {"IsoFlopPlanner": "planner"})


@hookimpl
def flops_fit_planners() -> Mapping[str, Callable[..., Any]]:
    """Offer ``isoflop``."""
    return {"isoflop": LazyFactory("flops_fit_isoflop.planner:IsoFlopPlanner")}

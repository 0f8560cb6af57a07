"""Trainer "simulate": a known scaling law plus seeded noise in place of training."""

from collections.abc import Callable, Mapping
from typing import Any

from flops_fit_core.hookspecs import hookimpl
from flops_fit_core.lazy import LazyFactory, lazy_attributes

__getattr__ = lazy_attributes(__name__, {"SimulateTrainer": "trainer"})


@hookimpl
def flops_fit_trainers() -> Mapping[str, Callable[..., Any]]:
    """Offer ``simulate``."""
    return {"simulate": LazyFactory("flops_fit_simulate.trainer:SimulateTrainer")}

"""FLOP counters: exact by running a model without its numbers (``torch``), or by the rule of thumb (``6nd``)."""

from collections.abc import Callable, Mapping
from typing import Any

from flops_fit_core.hookspecs import hookimpl
from flops_fit_core.lazy import LazyFactory, lazy_attributes

__getattr__ = lazy_attributes(__name__, {"TorchFlopCounter": "torch_counter", "SixNDCounter": "six_nd"})


@hookimpl
def flops_fit_flop_counters() -> Mapping[str, Callable[..., Any]]:
    """Offer ``torch`` and ``6nd``."""
    return {
        "torch": LazyFactory("flops_fit_flops.torch_counter:TorchFlopCounter", needs="torch", extra="train"),
        "6nd": LazyFactory("flops_fit_flops.six_nd:SixNDCounter"),
    }

"""Fitters: the additive surface, IsoFLOP parabolas and their kin, polished through lmfit."""

from collections.abc import Callable, Mapping
from typing import Any

from flops_fit_core.hookspecs import hookimpl
from flops_fit_core.lazy import LazyFactory, lazy_attributes

__getattr__ = lazy_attributes(
    __name__,
    {
        "SurfaceFitter": "surface",
        "FrontierFitter": "frontier",
        "EnsembleFitter": "ensemble",
        "IsoFlopFitter": "isoflop",
        "EnvelopeFitter": "envelope",
    },
)


@hookimpl
def flops_fit_fitters() -> Mapping[str, Callable[..., Any]]:
    """Offer ``surface``, ``frontier``, their ``ensemble``, ``isoflop`` and ``envelope``."""
    return {
        "surface": LazyFactory("flops_fit_lmfit.surface:SurfaceFitter"),
        "frontier": LazyFactory("flops_fit_lmfit.frontier:FrontierFitter"),
        "ensemble": LazyFactory("flops_fit_lmfit.ensemble:EnsembleFitter"),
        "isoflop": LazyFactory("flops_fit_lmfit.isoflop:IsoFlopFitter"),
        "envelope": LazyFactory("flops_fit_lmfit.envelope:EnvelopeFitter"),
    }

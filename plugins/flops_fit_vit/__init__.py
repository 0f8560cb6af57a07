"""Workload ``vit``: a small vision transformer and photographs, an image in, its class out."""

from collections.abc import Callable, Mapping
from typing import Any

from flops_fit_core.hookspecs import hookimpl
from flops_fit_core.lazy import LazyFactory, lazy_attributes

__getattr__ = lazy_attributes(
    __name__,
    {
        "ViT": "model",
        "class_loss": "model",
        "Cifar10": "cifar",
        "PhotographPatches": "photographs",
        "vit": "workload",
    },
)


@hookimpl
def flops_fit_workloads() -> Mapping[str, Callable[..., Any]]:
    """Offer ``vit``."""
    return {"vit": LazyFactory("flops_fit_vit.workload:vit", needs="torch", extra="examples")}

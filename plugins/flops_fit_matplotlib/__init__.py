"""Reporter "matplotlib": the IsoFLOP curves, and N, D and loss against compute, as PNG and SVG."""

from collections.abc import Callable, Mapping
from typing import Any

from flops_fit_core.hookspecs import hookimpl
from flops_fit_core.lazy import LazyFactory, lazy_attributes

__getattr__ = lazy_attributes(__name__, {"MatplotlibReporter": "reporter"})


@hookimpl
def flops_fit_reporters() -> Mapping[str, Callable[..., Any]]:
    """Offer ``matplotlib``."""
    return {"matplotlib": LazyFactory("flops_fit_matplotlib.reporter:MatplotlibReporter")}

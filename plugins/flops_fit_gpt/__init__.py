"""Workload ``gpt``: a small decoder and real text, bytes in, next byte out."""

from collections.abc import Callable, Mapping
from typing import Any

from flops_fit_core.hookspecs import hookimpl
from flops_fit_core.lazy import LazyFactory, lazy_attributes

__getattr__ = lazy_attributes(
    __name__,
    {
        "GPT": "model",
        "next_token_loss": "model",
        "gpt": "workload",
        "ByteTokenizer": "tokens",
        "BpeTokenizer": "tokens",
        "StdlibCorpus": "corpora",
        "TinyStoriesCorpus": "corpora",
        "TokenSequences": "data",
    },
)


@hookimpl
def flops_fit_workloads() -> Mapping[str, Callable[..., Any]]:
    """Offer ``gpt``."""
    return {"gpt": LazyFactory("flops_fit_gpt.workload:gpt", needs="torch and platformdirs", extra="train")}

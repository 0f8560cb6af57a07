"""Trainer ``accelerate``: exact, resumable training of every planned run with PyTorch and Accelerate.

Modules, one idea each: `trainer` (the options, the order of things), `recipe` (one run's numbers),
`schedule` and `rules` (learning rates), `order` and `data` (which sample comes when), `loop` (the
optimizer steps), `targets` (what a loss is a mean over), `evaluate` (held-out loss), `checkpoint` and `rng`
(state that survives a kill), `trunk` (runs that share their first part), `team` (several processes), `trackers`,
`check` (bad input).

Seen on CPU: one and two processes (gloo), float32, bf16, accumulation, ``torch.compile``, TensorBoard. The same code serves
GPUs, NCCL, fp16 (with its gradient scaler), several machines and other trackers; none of these has been seen to run.
"""

from collections.abc import Callable, Mapping
from typing import Any

from flops_fit_core.hookspecs import hookimpl
from flops_fit_core.lazy import LazyFactory, lazy_attributes

__getattr__ = lazy_attributes(
    __name__,
    {"AccelerateTrainer": "trainer", "kaplan_lr": "rules", "deepseek_lr": "rules", "deepseek_batch_tokens": "rules"},
)


@hookimpl
def flops_fit_trainers() -> Mapping[str, Callable[..., Any]]:
    """Offer ``accelerate``."""
    return {
        "accelerate": LazyFactory(
            "flops_fit_accelerate.trainer:AccelerateTrainer", needs="torch and accelerate", extra="train"
        )
    }

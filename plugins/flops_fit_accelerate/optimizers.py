"""The optimizer of a run: AdamW, fused where the device has it, or the workload's own.

In: a model and the recipe. Out: a ``torch.optim.Optimizer`` whose groups hold their peak learning rates.
"""

from __future__ import annotations

from typing import Any

import torch

from flops_fit_accelerate.recipe import Recipe
from flops_fit_core.data import Workload
from flops_fit_core.errors import InputTypeError

#: Devices for which torch has a fused AdamW; for CPU it is the largest single gain on small models.
FUSED = ("cpu", "cuda", "mps", "xpu")


def make_optimizer(model: torch.nn.Module, recipe: Recipe, workload: Workload) -> torch.optim.Optimizer:
    """Make the optimizer; weight decay is for matrices, not for biases, norms and other vectors."""
    if workload.optimizer is not None:
        optimizer = workload.optimizer(model, recipe.lr, recipe.betas, recipe.weight_decay)
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise InputTypeError(
                f"the workload's optimizer(model, lr, betas, weight_decay) returned a {type(optimizer).__name__}, "
                "not a torch.optim.Optimizer"
            )
        return optimizer
    trained = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    fused = all(p.device.type in FUSED and p.is_floating_point() for p in trained)
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, fused=fused)

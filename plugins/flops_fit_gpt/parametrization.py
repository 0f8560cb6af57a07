"""How weights start, are scaled in the forward pass and learn: standard, or u-µP.

In: the kind of a matrix and its shape. Out: a `Rule` (initial standard deviation, forward
multiplier, learning-rate multiplier) that `flops_fit_gpt.model` builds with, and the optimizer that
gives every weight its own rate.

u-µP is written out here instead of taken from the ``unit-scaling`` package: AdamW does not feel
the scale of a gradient, so of unit scaling only the rules below remain, while the package's
scaled backward passes (which serve 8-bit training) would replace every layer of a model that
newcomers are meant to read.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Literal, NamedTuple

import torch
from torch import nn

Kind = Literal["embedding", "hidden", "output"]

PARAMETRIZATIONS = ("standard", "u-mup")


class Rule(NamedTuple):
    """Scales of one weight matrix.

    Attributes:
        std: standard deviation of the initial weights.
        forward: constant that multiplies the weights whenever they are used.
        lr: constant that multiplies the learning rate.
    """

    std: float
    forward: float
    lr: float


def rule(parametrization: str, kind: Kind, fan_in: int, fan_out: int, n_layers: int) -> Rule:
    """Scales of a matrix of shape (fan_out, fan_in) in a model of `n_layers` layers.

    ``u-mup`` is table 2 of Blake et al. 2024 (arXiv 2407.17465); its factor 1/sqrt(depth) at the end of every
    residual branch is the model's affair. Factors that depend on neither width nor depth are left out.
    ``standard`` keeps the variance of activations at the start and has one rate for everything.
    """
    if parametrization == "u-mup":
        return {
            "embedding": Rule(1.0, 1.0, fan_out**-0.5),
            "hidden": Rule(1.0, fan_in**-0.5, (fan_in * n_layers) ** -0.5),
            "output": Rule(1.0, 1.0 / fan_in, 1.0),
        }[kind]
    return Rule(1.0 if kind == "embedding" else fan_in**-0.5, 1.0, 1.0)


class Matrix(nn.Module):
    """A weight matrix without bias that knows its `Rule`: a linear map, or a look-up table."""

    def __init__(
        self, kind: Kind, fan_in: int, fan_out: int, gain: float = 1.0, *, parametrization: str, n_layers: int
    ) -> None:
        """Draw the weights; `gain` multiplies the matrix, at the start or (u-µP) in the forward pass."""
        super().__init__()
        scales = rule(parametrization, kind, fan_in, fan_out, n_layers)
        unit = parametrization == "u-mup"
        shape = (fan_in, fan_out) if kind == "embedding" else (fan_out, fan_in)
        self.weight = nn.Parameter(torch.randn(shape) * (scales.std * (1.0 if unit else gain)))
        self.multiplier = scales.forward * (gain if unit else 1.0)
        self.lr_scale = scales.lr
        self.decay_scale = scales.forward
        self.is_table = kind == "embedding"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (…, fan_in) to (…, fan_out); a table maps integers (…) to (…, fan_out)."""
        if self.is_table:
            return nn.functional.embedding(x, self.weight)
        weight = self.weight if self.multiplier == 1.0 else self.weight * self.multiplier
        return nn.functional.linear(x, weight)


def adamw(model: nn.Module, lr: float, betas: tuple[float, float], weight_decay: float) -> torch.optim.AdamW:
    """AdamW in which every `Matrix` learns at ``lr`` times its own factor.

    Weight decay is that of AdamW on the weights as they are used, multiplier included, so that one
    value means the same in both parametrizations; look-up tables have none.
    """
    scales: dict[nn.Parameter, tuple[float, float]] = {}
    for module in model.modules():
        if isinstance(module, Matrix):
            scales[module.weight] = (module.lr_scale, 0.0 if module.is_table else module.decay_scale)
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for weight, scale in scales.items():
        groups[scale].append(weight)
    return torch.optim.AdamW(
        [
            {"params": weights, "lr": lr * faster, "weight_decay": weight_decay * decay}
            for (faster, decay), weights in groups.items()
        ],
        betas=betas,
        fused=True,
    )

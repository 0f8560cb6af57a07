"""A small decoder-only transformer, one page long: the model of workload ``gpt``.

In: integers of shape (batch, time). Out: logits of shape (batch, time, vocabulary), in which
position t sees the positions up to t and is scored against the token at t + 1.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from flops_fit_core.errors import InputError, nearest
from flops_fit_gpt.parametrization import PARAMETRIZATIONS, Matrix

IGNORED = -100
"""Target value of padding: it is in no loss and counts as no data."""


class GPT(nn.Module):
    """Pre-norm decoder with RMSNorm (no gains), rotary positions (Su et al. 2021, arXiv 2104.09864) and no biases."""

    def __init__(
        self,
        d_model: int,
        n_layers: int = 2,
        vocab_size: int = 257,
        head_dim: int = 8,
        tie_weights: bool = False,
        parametrization: str = "standard",
    ) -> None:
        """Build a model of width `d_model`, with ``d_model / head_dim`` heads in each layer.

        Raises:
            InputError: the width is not a positive multiple of `head_dim`, or another value makes no model.
        """
        super().__init__()
        width, n_layers, vocab_size, head_dim = map(operator.index, (d_model, n_layers, vocab_size, head_dim))
        _check(width, n_layers, vocab_size, head_dim, tie_weights, parametrization)
        matrix = partial(Matrix, parametrization=parametrization, n_layers=n_layers)
        scale = head_dim**-1.0 if parametrization == "u-mup" else head_dim**-0.5
        self.embedding = matrix("embedding", vocab_size, width)
        self.blocks = nn.ModuleList([Block(width, head_dim, scale, n_layers, matrix) for _ in range(n_layers)])
        self.head = matrix("output", width, vocab_size)
        if tie_weights:
            self.embedding.weight = self.head.weight
        self.head_dim = head_dim

    def num_params(self) -> int:
        """N: every trained number, embedding and output table included (once where they are tied)."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map tokens (batch, time) to logits (batch, time, vocab_size)."""
        x = norm(self.embedding(tokens))
        waves = rotary_waves(tokens.shape[1], self.head_dim, x)
        for block in self.blocks:
            x = block(x, waves)
        return self.head(norm(x))


def _check(width: int, n_layers: int, vocab_size: int, head_dim: int, tied: bool, parametrization: str) -> None:
    if head_dim < 2 or head_dim % 2:
        raise InputError(f"head_dim={head_dim}: rotary positions turn pairs of numbers, give a positive even head_dim")
    if width < head_dim or width % head_dim:
        raise InputError(f"d_model={width} is not a positive multiple of head_dim={head_dim}: heads have a fixed width")
    if n_layers < 1 or vocab_size < 2:
        raise InputError(f"n_layers={n_layers}, vocab_size={vocab_size}: at least one layer and two tokens are needed")
    if parametrization not in PARAMETRIZATIONS:
        hint = nearest(parametrization, PARAMETRIZATIONS)
        raise InputError(f"parametrization={parametrization!r} is not one of {PARAMETRIZATIONS}.{hint}")
    if tied and parametrization == "u-mup":
        raise InputError("tie_weights=True: u-µP gives embedding and output different rates, untie them")


class Block(nn.Module):
    """Attention, then a feed-forward layer four times as wide, each added to the stream.

    The feed-forward activation is the squared ReLU (So et al. 2021, arXiv 2109.08668).
    """

    def __init__(self, width: int, head_dim: int, scale: float, n_layers: int, matrix: Callable[..., Matrix]) -> None:
        super().__init__()
        branch = n_layers**-0.5  # the last map of a branch keeps the stream's variance free of depth
        self.head_dim, self.scale = head_dim, scale
        self.qkv = matrix("hidden", width, 3 * width)
        self.mix = matrix("hidden", width, width, gain=branch)
        self.up = matrix("hidden", width, 4 * width)
        self.down = matrix("hidden", 4 * width, width, gain=branch)

    def forward(self, x: torch.Tensor, waves: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Map the stream (batch, time, width) to itself."""
        x = x + self.mix(self.attend(norm(x), waves))
        return x + self.down(functional.relu(self.up(norm(x))).square())

    def attend(self, x: torch.Tensor, waves: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Causal attention of (batch, time, width), before the heads are mixed."""
        batch, time, width = x.shape
        heads = self.qkv(x).view(batch, time, -1, self.head_dim).transpose(1, 2)  # (batch, 3 · heads, time, head_dim)
        queries_keys, v = heads.split([2 * width // self.head_dim, width // self.head_dim], dim=1)
        q, k = rotate(queries_keys, *waves).chunk(2, dim=1)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale)
        return mixed.transpose(1, 2).reshape(batch, time, width)


def norm(x: torch.Tensor) -> torch.Tensor:
    """Root-mean-square normalisation over the width (Zhang & Sennrich 2019, arXiv 1910.07467), without gains."""
    return functional.rms_norm(x, x.shape[-1:])


def rotary_waves(time: int, head_dim: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and signed sines of shape (time, head_dim), on the device and in the type of `like`."""
    rates = 10_000.0 ** (-torch.arange(0, head_dim, 2, device=like.device) / head_dim)
    angles = torch.arange(time, device=like.device)[:, None] * rates
    cos, sin = angles.cos().to(like.dtype), angles.sin().to(like.dtype)
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn each pair of `x` (…, time, head_dim), numbers i and i + head_dim / 2, by its position's angle."""
    return x * cos + x.roll(x.shape[-1] // 2, dims=-1) * sin


def next_token_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats per token of logits (batch, time, vocabulary) against targets (batch, time).

    The shift by one is in the data: target t is the token after input t. Targets of ``-100`` are left out.
    """
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)

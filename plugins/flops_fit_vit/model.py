"""A small vision transformer, one page long: the model of workload ``vit``.

In: images of shape (batch, channels, height, width), of any size that patches divide. Out: logits of
shape (batch, n_classes).
"""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from flops_fit_core.errors import InputError, nearest

POOLS = ("mean", "token")


class ViT(nn.Module):
    """Vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929): pre-norm blocks, learned positions.

    Patches are normalised before and after they are embedded (Kumar et al. 2023, arXiv 2302.01327), the first time
    without gains, which the embedding has already: brightness and contrast give no answer away, and few steps teach more.
    """

    def __init__(
        self,
        width: int,
        n_layers: int = 2,
        image_size: int | Sequence[int] = 32,
        channels: int = 3,
        patch_size: int | Sequence[int] = 8,
        n_classes: int = 10,
        head_dim: int = 8,
        pool: str = "mean",
    ) -> None:
        """Build a model of `width` numbers a patch, with ``width / head_dim`` heads in each of `n_layers` layers.

        Args:
            width: length of the vector that stands for a patch.
            n_layers: number of blocks.
            image_size: height and width in pixels; one number for a square.
            channels: 3 for colour, 1 for grey, any other number.
            patch_size: height and width of a patch; one number for a square.
            n_classes: number of classes.
            head_dim: width of one attention head; `width` is a multiple of it.
            pool: what the classes are read from: the ``"mean"`` over patches, or a class ``"token"``.

        Raises:
            InputError: the patches do not divide the image, the heads do not divide the width, or a number is no size.
        """
        super().__init__()
        width, n_layers, channels, n_classes, head_dim = map(
            operator.index, (width, n_layers, channels, n_classes, head_dim)
        )
        self.image = (channels, *_height_width("image_size", image_size))
        self.patch = _height_width("patch_size", patch_size)
        _check(self.image, self.patch, width, n_layers, n_classes, head_dim, pool)
        n_patches = self.image[1] // self.patch[0] * (self.image[2] // self.patch[1])
        self.embedding = nn.Linear(channels * self.patch[0] * self.patch[1], width)
        self.embedding_norm = nn.LayerNorm(width)
        self.positions = nn.Parameter(0.02 * torch.randn(n_patches, width))
        self.token = nn.Parameter(torch.zeros(1, 1, width)) if pool == "token" else None
        self.blocks = nn.Sequential(*(Block(width, head_dim) for _ in range(n_layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, n_classes)

    def num_params(self) -> int:
        """N: every trained number."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images (batch, channels, height, width) to logits (batch, n_classes)."""
        patches = self.patches(images)
        x = self.embedding_norm(self.embedding(functional.layer_norm(patches, patches.shape[-1:]))) + self.positions
        if self.token is not None:
            x = torch.cat((self.token.expand(len(x), -1, -1), x), dim=1)
        x = self.blocks(x)
        x = x.mean(dim=1) if self.token is None else x[:, 0]
        return self.head(self.norm(x))

    def patches(self, images: torch.Tensor) -> torch.Tensor:
        """Cut images (batch, channels, height, width) to (batch, patches, channels · patch height · patch width)."""
        if images.ndim != 4 or tuple(images.shape[1:]) != self.image:
            raise InputError(
                f"images of shape {tuple(images.shape)} where the model was built for (batch, {self.image})"
            )
        rows, columns = self.patch
        cut = images.unflatten(3, (-1, columns)).unflatten(2, (-1, rows))  # batch, channel, row, y, column, x
        return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def _height_width(name: str, size: int | Sequence[int]) -> tuple[int, int]:
    try:
        height, width = map(operator.index, size if isinstance(size, Sequence) else (size, size))
    except (TypeError, ValueError):
        raise InputError(f"{name}={size!r} is not a whole number of pixels, nor (height, width)") from None
    return height, width


def _check(
    image: tuple[int, ...],
    patch: tuple[int, int],
    width: int,
    n_layers: int,
    n_classes: int,
    head_dim: int,
    pool: str,
) -> None:
    if min(*image, *patch) < 1:
        raise InputError(f"images of {image} (channels, height, width) in patches of {patch}: all must be at least 1")
    for side, length, part in zip(("height", "width"), image[1:], patch, strict=True):
        if length % part:
            raise InputError(
                f"image {side} {length} is not a multiple of the patch {side} {part}: "
                f"choose a patch_size that divides image_size={image[1:]}, or crop or pad the images"
            )
    if head_dim < 1 or width < head_dim or width % head_dim:
        raise InputError(f"width={width} is not a positive multiple of head_dim={head_dim}: heads have a fixed width")
    if n_layers < 1 or n_classes < 2:
        raise InputError(f"n_layers={n_layers}, n_classes={n_classes}: at least one layer and two classes are needed")
    if pool not in POOLS:
        raise InputError(f"pool={pool!r} is not one of {POOLS}.{nearest(str(pool), POOLS)}")


class Block(nn.Module):
    """Attention, then a feed-forward layer four times as wide, each normalised first and added to the stream."""

    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map the stream (batch, patches, width) to itself."""
        x = x + self.mix(self.attend(self.norm_1(x)))
        return x + self.down(functional.gelu(self.up(self.norm_2(x))))

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        """Attention of every patch to every patch, before the heads are mixed."""
        heads = self.qkv(x).unflatten(2, (3, -1, self.head_dim))  # batch, patch, 3, head, head_dim
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def class_loss(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats per image of logits (batch, n_classes) against class numbers (batch)."""
    return functional.cross_entropy(logits, classes)

"""Workload ``vit``: which photograph (or which of CIFAR-10's classes) an image shows.

In: the name of a data set and the model's fixed shape. Out: a `Workload` whose size is the width or
the depth, and whose data is counted in images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from flops_fit_core.data import Workload
from flops_fit_core.errors import InputError, nearest
from flops_fit_vit.cifar import Cifar10
from flops_fit_vit.model import ViT, class_loss
from flops_fit_vit.photographs import PHOTOGRAPHS, PhotographPatches

DATA = ("photographs", "cifar10")
SIZES = {"width": "width", "depth": "n_layers"}
IMAGES_PER_PHOTOGRAPH, HELD_OUT_PER_PHOTOGRAPH = 20_000, 400


def vit(
    data: str = "photographs",
    *,
    data_path: str | Path | None = None,
    size: str = "width",
    width: int | None = None,
    n_layers: int | None = None,
    patch_size: int | tuple[int, int] = 8,
    head_dim: int = 8,
    pool: str = "mean",
) -> Workload:
    """Make the workload: image classification by a vision transformer whose size is its width or its depth.

    Args:
        data: ``"photographs"`` (200 000 patches of 32 × 32 pixels from scikit-image's own photographs),
            or ``"cifar10"``.
        data_path: a local folder that holds CIFAR-10, or other images of one size with labels.
        size: what a sweep varies, ``"width"`` or ``"depth"``.
        width: width of the model where the depth is varied, 32 unless given.
        n_layers: layers of the model where the width is varied, 2 unless given.
        patch_size: height and width of a patch in pixels; one number for a square.
        head_dim: width of one attention head; the width is a multiple of it.
        pool: ``"mean"`` over the patches, or class ``"token"``.

    Raises:
        InputError: a value that makes no model or no data.
    """
    if size not in SIZES:
        raise InputError(f"size={size!r} is not one of {tuple(SIZES)}.{nearest(str(size), SIZES)}")
    train, held_out, image = _data(data, data_path)
    shape = {**image, "patch_size": patch_size, "head_dim": head_dim, "pool": pool}
    shape |= _fixed(size, width, n_layers)
    with torch.device("meta"):
        ViT(**{"width": head_dim, **shape})  # says what is wrong before anything is planned
    return Workload(
        name="vit",
        model_cls=ViT,
        size_param=SIZES[size],
        model_kwargs=shape,
        dataset=train,
        eval_dataset=held_out,
        loss_fn=class_loss,
        data_unit="images",
    )


def _fixed(size: str, width: int | None, n_layers: int | None) -> dict[str, int]:
    """The side of the model that a sweep leaves alone."""
    varied = width if size == "width" else n_layers
    if varied is not None:
        raise InputError(f'{SIZES[size]}={varied} is what size="{size}" varies: leave it out, the sweep sets it')
    if size == "width":
        return {"n_layers": 2 if n_layers is None else n_layers}
    return {"width": 32 if width is None else width}


def _data(data: str, path: str | Path | None) -> tuple[Any, Any, dict[str, Any]]:
    """Training and held-out images, and what a model must know of them."""
    if data not in DATA:
        raise InputError(f"data={data!r} is not one of {DATA}.{nearest(str(data), DATA)}")
    if data == "photographs":
        if path is not None:
            raise InputError('data_path belongs to data="cifar10": the photographs are in scikit-image')
        train = PhotographPatches(part="train", per_photograph=IMAGES_PER_PHOTOGRAPH)
        held_out = PhotographPatches(part="held_out", per_photograph=HELD_OUT_PER_PHOTOGRAPH)
        return train, held_out, {"image_size": train.side, "n_classes": len(PHOTOGRAPHS)}
    images, tests = Cifar10(part="train", path=path), Cifar10(part="test", path=path)
    return images, tests, {"image_size": images.image_size, "n_classes": max(images.n_classes, tests.n_classes)}

"""CIFAR-10 (Krizhevsky 2009), or a local folder of images like it, through Hugging Face ``datasets``.

In: nothing (the hub) or a folder. Out: a map-style data set of ``(image, class)``, which travels to other
processes as a path and is read there once into memory.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from flops_fit_core.errors import InputError, PluginImportError
from flops_fit_vit.pixels import to_input

HUB_NAME = "uoft-cs/cifar10"


@attrs.frozen(kw_only=True)
class Cifar10:
    """Images of one size with their classes, as float32 tensors (3, height, width) in -1 to 1 and ints.

    Attributes:
        part: ``"train"`` or ``"test"``.
        path: local folder with ``.parquet`` files (columns ``img`` or ``image``, and ``label``; the word
            train or test in their names), or ``train/<class>/*.png`` and ``test/<class>/*.png``.
            ``None``: the hub, from which about 140 MB are downloaded once.
    """

    part: str = attrs.field(validator=attrs.validators.in_(("train", "test")))
    path: Path | None = attrs.field(default=None, converter=attrs.converters.optional(Path))

    def __len__(self) -> int:
        return len(self._arrays()[1])

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        images, labels = self._arrays()
        if not 0 <= index < len(labels):
            raise IndexError(index)
        return to_input(images[index]), labels[index]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        _, _, height, width = self._arrays()[0].shape
        return height, width

    @property
    def n_classes(self) -> int:
        """Number of classes: one more than the largest label."""
        return max(self._arrays()[1]) + 1

    def _arrays(self) -> tuple[torch.Tensor, list[int]]:
        return _read(self.part, self.path)


@cache
def _read(part: str, path: Path | None) -> tuple[torch.Tensor, list[int]]:
    """All images (n, 3, height, width) as uint8, and their labels; kept for the life of the process."""
    rows = _load(part, path)
    where = HUB_NAME if path is None else path
    column = next((name for name in ("img", "image") if name in rows.column_names), None)
    if column is None or "label" not in rows.column_names or not len(rows):
        raise InputError(f"{where} ({part}) has columns {rows.column_names}: wanted are img or image, and label")
    images = [np.asarray(image.convert("RGB")) for image in rows[column]]
    sizes = {image.shape[:2] for image in images}
    if len(sizes) > 1:
        raise InputError(
            f"{where} ({part}) has images of {len(sizes)} sizes, such as {sorted(sizes)[:2]}: give one size"
        )
    return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()), list(rows["label"])


def _load(part: str, path: Path | None) -> Any:
    """The rows of one part, by ``datasets``."""
    try:
        import datasets
    except ImportError as error:
        raise PluginImportError(
            f'needs datasets for data="cifar10": pip install "flops-fit[examples]" ({error})'
        ) from error
    if path is not None and not path.is_dir():
        raise InputError(f"data_path={str(path)!r} is not a folder")
    try:
        return datasets.load_dataset(HUB_NAME if path is None else str(path), split=part)
    except (OSError, ValueError, RuntimeError) as error:  # the hub's and datasets' errors are among these
        raise InputError(
            f"{HUB_NAME if path is None else path} ({part}) cannot be loaded ({type(error).__name__}: {error}). "
            'Without a network, copy the parquet files of CIFAR-10 to a folder and say data_path="that/folder"'
        ) from error

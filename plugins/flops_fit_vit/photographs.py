"""Patches of ten photographs that come with scikit-image: which photograph is this from?

In: nothing but the installed scikit-image; nothing is downloaded. Out: map-style data sets of
``(image, class)``, which travel to other processes as a few numbers and read the photographs there once.
"""

from __future__ import annotations

import hashlib
import math
from functools import cache
from typing import Any

import attrs
import numpy as np
import torch

from flops_fit_core.errors import InputError, PluginImportError
from flops_fit_vit.pixels import to_input

PHOTOGRAPHS = (
    "astronaut",
    "brick",
    "camera",
    "cat",
    "coffee",
    "hubble_deep_field",
    "immunohistochemistry",
    "retina",
    "rocket",
    "stereo_motorcycle",
)
"""Names of functions of ``skimage.data``; all ten files are in the wheel, since 0.22 at least."""

PERIOD, HELD_OUT = 200, 40
"""In every 200 columns the last 40 are held out: other places, but of the same scene."""

PARTS = {"train": (0, PERIOD - HELD_OUT), "held_out": (PERIOD - HELD_OUT, PERIOD)}


@attrs.frozen(kw_only=True)
class PhotographPatches:
    """Square colour patches, the same number of each photograph in turn; item i is of photograph i mod 10.

    Each item is a float32 tensor of shape (3, side, side) in -1 to 1 and an int. Patches of one part may
    overlap each other; none crosses the line between training and held-out columns.

    Attributes:
        part: ``"train"`` or ``"held_out"``.
        per_photograph: how many patches of each photograph, spread over all its places.
        side: side of a patch in pixels.
    """

    part: str = attrs.field(validator=attrs.validators.in_(PARTS))
    per_photograph: int
    side: int = 32

    def __attrs_post_init__(self) -> None:
        room = min(_places(photograph.shape, self.part, self.side).n for photograph in photographs())
        if not 1 <= self.per_photograph <= room or self.side < 1:
            raise InputError(
                f"per_photograph={self.per_photograph}, side={self.side}: the smallest photograph "
                f"has {room} such patches in its {self.part} columns"
            )

    @property
    def fingerprint(self) -> str:
        """Identifies the data: the pixels of the photographs, and how patches are cut."""
        return f"photographs-sha256:{_checksum()}:{self.part}:{self.per_photograph}:{self.side}"

    def __len__(self) -> int:
        return self.per_photograph * len(PHOTOGRAPHS)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        rank, label = divmod(index, len(PHOTOGRAPHS))
        photograph = photographs()[label]
        y, x = _places(photograph.shape, self.part, self.side).place(rank)
        return to_input(photograph[:, y : y + self.side, x : x + self.side]), label


@attrs.frozen(kw_only=True)
class Places:
    """The upper left corners of all patches of one part of a photograph, in a fixed scattered order.

    Attributes:
        columns: x of every column of corners.
        rows: number of rows of corners.
        stride: prime to `n` and near its golden section, so that any first k places are spread evenly.
    """

    columns: tuple[int, ...]
    rows: int
    stride: int

    @property
    def n(self) -> int:
        """Number of corners."""
        return self.rows * len(self.columns)

    def place(self, rank: int) -> tuple[int, int]:
        """Corner (y, x) number `rank`; all are different for rank < n."""
        column, y = divmod(rank * self.stride % self.n, self.rows)
        return y, self.columns[column]


@cache
def _places(shape: torch.Size, part: str, side: int) -> Places:
    """The places of one part of a photograph of shape (3, height, width)."""
    _, height, width = shape
    start, stop = PARTS[part]
    columns = tuple(x for x in range(width - side + 1) if start <= x % PERIOD <= stop - side)
    n = max(height - side + 1, 0) * len(columns)
    stride = max(round(n * 0.6180339887498949), 1)
    while n and math.gcd(stride, n) > 1:
        stride += 1
    return Places(columns=columns, rows=max(height - side + 1, 0), stride=stride)


@cache
def photographs() -> tuple[torch.Tensor, ...]:
    """The ten photographs as uint8 tensors of shape (3, height, width), read once a process.

    Raises:
        PluginImportError: scikit-image is missing.
        InputError: this scikit-image does not bring one of the photographs.
    """
    try:
        from skimage import data
    except ImportError as error:
        raise PluginImportError(
            f'needs scikit-image for data="photographs": pip install "flops-fit[examples]" ({error})'
        ) from error
    return tuple(_read(data, name) for name in PHOTOGRAPHS)


def _read(data: Any, name: str) -> torch.Tensor:
    try:
        image = getattr(data, name)()
    except (AttributeError, ImportError, OSError) as error:  # not in the wheel: pooch missing, or no network
        raise InputError(
            f"photograph {name!r} is not in this scikit-image ({type(error).__name__}: {error}): "
            'pip install "scikit-image>=0.22", or use data="cifar10"'
        ) from error
    image = image[0] if isinstance(image, tuple) else image  # of the stereo pair, the left one
    image = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


@cache
def _checksum() -> str:
    digest = hashlib.sha256()
    for photograph in photographs():
        digest.update(repr(tuple(photograph.shape)).encode() + photograph.numpy().tobytes())
    return digest.hexdigest()[:32]

"""From stored pixels to what a model is fed.

In: bytes. Out: numbers around zero.
"""

import torch


def to_input(pixels: torch.Tensor) -> torch.Tensor:
    """Map uint8 pixels of any shape to float32 from -1 to 1."""
    return pixels.float().div_(127.5).sub_(1.0)

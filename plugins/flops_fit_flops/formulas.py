"""FLOPs of single operations: torch's own formulas, the ones it lacks, and the ones it has wrong.

In: shapes of arguments and results. Out: FLOPs, one multiply-add = 2. `formulas()` is
``torch.utils.flop_counter``'s registry (so that formulas which users register there are known too) with
these changes:

* products of matrices and vectors (``mv``, ``dot``, …), grouped products, attention on the CPU: added;
* gradient of a convolution's weights: torch multiplies it by the number of groups, here it is not;
* gradient of fused attention: twice the forward pass, where torch counts the scores that the kernel computes again.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch.utils import flop_counter

aten = torch.ops.aten

Formula = Callable[..., int]


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(value.shape)


def _mv(matrix: Any, vector: Any, **_: Any) -> int:
    return 2 * prod(_shape(matrix))


def _addmv(bias: Any, matrix: Any, vector: Any, **_: Any) -> int:
    return 2 * prod(_shape(matrix))


def _dot(a: Any, b: Any, **_: Any) -> int:
    return 2 * prod(_shape(a))


def _addbmm(bias: Any, a: Any, b: Any, **_: Any) -> int:
    return 2 * prod(_shape(a)) * _shape(b)[-1]


def _mm(a: Any, b: Any, *_args: Any, **_: Any) -> int:
    return 2 * prod(_shape(a)) * _shape(b)[-1]


def _addmm_activation(bias: Any, a: Any, b: Any, **_: Any) -> int:
    return _mm(a, b)


def _grouped_mm(a: Any, b: Any, *_args: Any, **_: Any) -> int:
    """Rows of `a` meet only the matrix of their group: 2·rows·k·columns, whichever axis is grouped."""
    groups = _shape(a)[0] if len(_shape(a)) == len(_shape(b)) == 3 else 1
    return 2 * groups * _shape(a)[-2] * _shape(a)[-1] * _shape(b)[-1]


def _attention(query: Any, key: Any, value: Any, *_args: Any, **_: Any) -> int:
    """Scores and their product with the values, for all pairs of positions: causal attention in full."""
    return int(flop_counter.sdpa_flop_count(_shape(query), _shape(key), _shape(value)))


def _attention_backward(grad: Any, query: Any, key: Any, value: Any, *_args: Any, **_: Any) -> int:
    return 2 * _attention(query, key, value)


def _convolution_backward(grad: Any, x: Any, weight: Any, *args: Any, **_: Any) -> int:
    """Each gradient (of input, of weights) costs as much as the forward pass, groups and transposition included."""
    transposed, output_mask = args[4], args[-1]
    positions = _shape(x) if transposed else _shape(grad)
    forward = 2 * positions[0] * prod(positions[2:]) * prod(_shape(weight))
    return forward * (bool(output_mask[0]) + bool(output_mask[1]))


_OURS: dict[str, Formula] = {
    "mv": _mv,
    "addmv": _addmv,
    "dot": _dot,
    "vdot": _dot,
    "addbmm": _addbmm,
    "_int_mm": _mm,
    "_addmm_activation": _addmm_activation,
    "_grouped_mm": _grouped_mm,
    "convolution_backward": _convolution_backward,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_scaled_dot_product_flash_attention_for_cpu_backward": _attention_backward,
    "_scaled_dot_product_fused_attention_overrideable": _attention,
    "_scaled_dot_product_fused_attention_overrideable_backward": _attention_backward,
    "_scaled_dot_product_flash_attention_backward": _attention_backward,
    "_scaled_dot_product_efficient_attention_backward": _attention_backward,
    "_scaled_dot_product_cudnn_attention_backward": _attention_backward,
}


def formulas() -> dict[Any, Formula]:
    """Operation (all its overloads) to formula ``(*args, out_val=result, **kwargs) -> FLOPs``."""
    ours = {getattr(aten, name): formula for name, formula in _OURS.items() if hasattr(aten, name)}
    return {**flop_counter.flop_registry, **ours}

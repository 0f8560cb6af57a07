"""Watch every operation that one forward and one backward pass run, and add up its FLOPs.

In: the operations, as torch dispatches them under `FlopMeter`. Out: FLOPs of the forward pass, of the part
of it that is differentiated, and of the backward pass; the operations that nobody can count; the
parameters that are used as look-up tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch._ops import HigherOrderOperator
from torch.autograd.function import BackwardCFunction
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flops_fit_flops.formulas import formulas
from flops_fit_flops.free_ops import is_free

_TABLE_OPS = {torch.ops.aten.embedding, torch.ops.aten._embedding_bag, torch.ops.aten._embedding_bag_forward_only}


class FlopMeter(TorchDispatchMode):  # type: ignore[misc, unused-ignore]
    """A context in which operations are counted.

    Activations that are computed again in the backward pass (checkpointing) count in none of the sums: such
    operations run with gradients enabled, which a plain backward pass has disabled.

    Attributes:
        forward: FLOPs outside the backward pass.
        differentiable: the part of `forward` that autograd differentiates.
        backward: FLOPs of the backward pass.
        own: the part of `backward` that ran in gradient functions of the model's own (``torch.autograd.Function``).
        in_backward: to be set when the backward pass begins.
        uncounted: names of operations that have no formula and are not known to be free.
        tables: ``id()`` of tensors that were used as look-up tables.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.forward = self.differentiable = self.backward = self.own = 0
        self.in_backward = False
        self.uncounted: set[str] = set()
        self.tables: set[int] = set()
        self._formulas = formulas()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation (or the ones that it consists of) and count it."""
        kwargs = kwargs or {}
        packet = func if isinstance(func, HigherOrderOperator) else func._overloadpacket
        if packet not in self._formulas and packet is not func and func is not torch.ops.prim.device.default:
            with self:
                result = func.decompose(*args, **kwargs)
                if result is not NotImplemented:
                    return result
        result = func(*args, **kwargs)
        if packet in self._formulas:
            self._add(int(self._formulas[packet](*args, **kwargs, out_val=result)), (args, kwargs))
        elif packet is func or not is_free(func):
            self.uncounted.add(str(packet))
        if packet in _TABLE_OPS:
            self.tables.add(id(args[0]))
        return result

    def _add(self, flops: int, arguments: Any) -> None:
        graph = torch.is_grad_enabled() and any(_requires_grad(leaf) for leaf in tree_leaves(arguments))
        if not self.in_backward:
            self.forward += flops
            self.differentiable += flops if graph else 0
        elif not torch.is_grad_enabled():
            self.backward += flops
            self.own += flops if _in_own_gradient() else 0
        elif _in_own_gradient():  # such as a checkpoint's, whose forward pass ran without a graph
            self.differentiable += flops if graph else 0


def _requires_grad(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.requires_grad


def _in_own_gradient() -> bool:
    """Whether the node of the graph that is being executed is a ``torch.autograd.Function``."""
    return isinstance(torch._C._current_autograd_node(), BackwardCFunction)

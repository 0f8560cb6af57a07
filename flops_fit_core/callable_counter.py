"""A user's own FLOP formula as a counter.

In: any callable ``(model, batch) -> FLOPs``. Out: an object with the `FlopCounter` Protocol's method.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any
from weakref import WeakKeyDictionary

import attrs

from flops_fit_core.build import build, n_params, n_params_non_embedding, reason
from flops_fit_core.data import FlopCount, Workload
from flops_fit_core.errors import CountError
from flops_fit_core.sizes import size_key


@attrs.frozen
class CallableCounter:
    """Counts with ``function(model, batch)``: the FLOPs of one forward and backward pass over `batch`.

    The batch is the workload's example, as its data set and collation made it. The model is made on torch's meta
    device, where it costs nothing and shapes can be read; where the function fails on it, it is called
    once more with a real model on the CPU.

    Attributes:
        function: returns FLOPs of forward and backward, one multiply-add = 2.
    """

    function: Callable[[Any, Any], Any]
    _counts: WeakKeyDictionary[Workload, dict[str, FlopCount]] = attrs.field(
        factory=WeakKeyDictionary, init=False, repr=False, eq=False
    )

    def count(self, workload: Workload, size: Any) -> FlopCount:
        """Call the function on the example batch and divide by its units of data.

        Raises:
            CountError: it fails, or returns what is not a positive finite number.
            SizeRefusedError: the constructor does not take this size.
        """
        counts = self._counts.setdefault(workload, {})
        key = size_key(size)
        if key not in counts:
            counts[key] = self._count(workload, size)
        return counts[key]

    def _count(self, workload: Workload, size: Any) -> FlopCount:
        if workload.example is None or workload.units is None:
            raise CountError("a FLOP formula (model, batch) needs a batch: give the data set")
        model, real = build(workload, size)
        try:
            flops = self.function(model, workload.example)
        except Exception as error:
            if real:
                raise CountError(self._failed(size, error)) from error
            try:
                flops = self.function(workload.build(size), workload.example)
            except Exception as second:
                raise CountError(self._failed(size, second)) from second
        flops = flops.item() if hasattr(flops, "item") else flops
        if isinstance(flops, bool) or not isinstance(flops, Real) or not math.isfinite(flops) or flops <= 0:
            raise CountError(
                f"{self._name} returned {flops!r} for size {size}: it must return the FLOPs of one forward and backward "
                "pass over the batch, a positive number"
            )
        n = n_params(model)
        return FlopCount(
            size=size,
            n_params=n,
            n_params_non_embedding=n_params_non_embedding(model, n),
            flops_per_token=float(flops) / workload.units(workload.example),
            convention=f"by {self._name}",
        )

    @property
    def _name(self) -> str:
        return str(getattr(self.function, "__qualname__", type(self.function).__name__))

    def _failed(self, size: Any, error: Exception) -> str:
        return f"the FLOP formula {self._name} failed at size {size}: {reason(error)}"

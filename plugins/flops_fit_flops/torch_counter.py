"""Counter ``torch``: exact FLOPs of a model by running it once without its numbers.

In: a workload with an example batch, and a size. Out: a `FlopCount`, divided by the batch's units of data.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import attrs
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel

from flops_fit_core.build import build, n_params, n_params_non_embedding, quietly, reason
from flops_fit_core.calls import loss_of, require_gradient
from flops_fit_core.data import FlopCount, Workload
from flops_fit_core.errors import CountError, FlopsFitError
from flops_fit_core.sizes import REAL_LIMIT, size_key
from flops_fit_flops.batches import first_sample, length, map_tensors, to_meta
from flops_fit_flops.meter import FlopMeter


@attrs.frozen
class Counted:
    """One pass of one model over a batch that is `share` of the example."""

    n_params: int
    n_params_non_embedding: int
    flops: int
    backward: str
    uncounted: tuple[str, ...]
    share: float = 1.0


@attrs.frozen(kw_only=True)
class TorchFlopCounter:
    """Counts the matrix products, convolutions and attention of a forward and backward pass.

    The bare model (not wrapped, not checkpointed) is made and run on torch's meta device with the loss, under a
    dispatch mode that sees every operation and adds the formulas of ``torch.utils.flop_counter``.

    Conventions:

    * one multiply-add = 2 FLOPs; causal attention in full; no recomputation;
    * backward = twice forward, the field's convention. (Autograd runs a little less: no gradient is needed for the
      first layer's inputs, nor for the first state of a recurrent network.) Parts that run without
      gradient count once, a ``torch.autograd.Function`` or custom operator counts as its own two passes run. A
      model with frozen parameters is counted as autograd runs it;
    * element-wise operations, norms, softmax, reductions, embedding look-ups, optimizer and loss cost nothing,
      unless the loss multiplies matrices;
    * any other operation without a formula is named in ``uncounted_ops``, with a warning. Teach it
      with ``torch.utils.flop_counter.register_flop_formula``.

    A model that cannot live on the meta device is run with ``FakeTensor`` (no numbers either, but on a
    make-believe CPU), then for real on the CPU with one sample, then with the whole example batch; attention always
    in its plain mathematical form. If all fail, give ``flop_counter`` a callable ``(model, batch) -> FLOPs``.
    """

    _counts: WeakKeyDictionary[Workload, dict[str, FlopCount]] = attrs.field(
        factory=WeakKeyDictionary, init=False, repr=False, eq=False
    )

    def count(self, workload: Workload, size: Any) -> FlopCount:
        """Count one size; the same size of the same workload is counted once.

        Raises:
            CountError: there is no example batch, or the model cannot be made and run in any way.
            TrainingError: the loss is no scalar, or has no gradient.
            InputError, InputTypeError: the batch does not fit the loss, or the model has no usable ``num_params()``.
        """
        counts = self._counts.setdefault(workload, {})
        key = size_key(size)
        if key not in counts:
            counts[key] = _count(workload, size)
        return counts[key]


def _count(workload: Workload, size: Any) -> FlopCount:
    if workload.example is None or workload.units is None:
        raise CountError(
            "flop_counter='torch' runs the model on a batch and there is none: give dataset=, or use '6nd'"
        )
    failures: list[str] = []
    for name, way in _WAYS.items():
        try:
            with quietly():
                counted = way(workload, size)
        except FlopsFitError:
            raise
        except Exception as error:
            failures.append(f"on {name}: {reason(error)}")
            last = error
            continue
        return _flop_count(workload, size, name, counted)
    raise CountError(
        f"{workload.name} of size {size} cannot be run, so its FLOPs cannot be counted ({failures[-1]}; {failures[0]}). Correct "
        "the model or its data, or give flop_counter a callable (model, batch) -> FLOPs"
    ) from last


def _flop_count(workload: Workload, size: Any, way: str, counted: Counted) -> FlopCount:
    assert workload.units is not None
    if counted.uncounted:
        warnings.warn(
            f"{workload.name} of size {size} runs operations whose FLOPs are not counted: {', '.join(counted.uncounted)}. "
            "Register a formula with torch.utils.flop_counter.register_flop_formula",
            stacklevel=4,
        )
    if counted.flops <= 0:
        raise CountError(
            f"{workload.name} of size {size} multiplies no matrices, so it has no FLOPs to count "
            f"(not counted: {', '.join(counted.uncounted) or 'nothing'}): give flop_counter a callable (model, batch) -> FLOPs"
        )
    return FlopCount(
        size=size,
        n_params=counted.n_params,
        n_params_non_embedding=counted.n_params_non_embedding,
        flops_per_token=counted.flops / counted.share / workload.units(workload.example),
        convention=f"matrix products counted on {way}, backward {counted.backward}",
        uncounted_ops=counted.uncounted,
    )


def _on_meta(workload: Workload, size: Any) -> Counted:
    model, real = build(workload, size)
    if real:
        raise RuntimeError("the model cannot be made without its numbers")
    with torch.device("meta"):
        return _run(model, to_meta(workload.example), workload)


def _on_fake(workload: Workload, size: Any) -> Counted:
    example = map_tensors(lambda tensor: tensor.cpu(), workload.example)
    log = logging.getLogger(FakeTensorMode.__module__)  # it logs the traceback of what it raises
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, _silent(log), torch.device("cpu"):
        return _run(workload.build(size), map_tensors(mode.from_tensor, example), workload)


def _on_cpu(workload: Workload, size: Any) -> Counted:
    example = map_tensors(lambda tensor: tensor.cpu(), workload.example)
    counted = _run(_real(workload, size), first_sample(example), workload)
    return attrs.evolve(counted, share=1 / length(example))


def _on_cpu_whole(workload: Workload, size: Any) -> Counted:
    return _run(_real(workload, size), map_tensors(lambda tensor: tensor.cpu(), workload.example), workload)


def _real(workload: Workload, size: Any) -> Any:
    """The model with its numbers, if that is no danger to the machine's memory."""
    n = n_params(build(workload, size)[0])
    if n > REAL_LIMIT:
        raise RuntimeError(f"N = {n} is too large to be run for real (limit {REAL_LIMIT})")
    with torch.device("cpu"):
        return workload.build(size)


_WAYS: dict[str, Callable[[Workload, Any], Counted]] = {
    "meta": _on_meta,
    "FakeTensor": _on_fake,
    "the CPU": _on_cpu,
    "the CPU with a whole batch": _on_cpu_whole,
}


def _run(model: Any, batch: Any, workload: Workload) -> Counted:
    """One forward and backward pass under the meter."""
    n = n_params(model)
    if not callable(model):
        raise CountError(f"{type(model).__name__} cannot be called, so it cannot be counted: use flop_counter='6nd'")
    if isinstance(model, torch.nn.Module):
        model.train()
    with _plain_kernels(), torch.enable_grad(), FlopMeter() as meter:
        loss = loss_of(model, batch, workload.loss_fn)
        require_gradient(loss)
        meter.in_backward = True
        loss.backward()
    frozen = any(not tensor.requires_grad for tensor in _parameters(model))
    backward = meter.backward if frozen else 2 * meter.differentiable + meter.own
    return Counted(
        n_params=n,
        n_params_non_embedding=n_params_non_embedding(model, n, meter.tables),
        flops=meter.forward + backward,
        backward="as autograd runs it (frozen parameters)" if frozen else "= 2 x forward",
        uncounted=tuple(sorted(meter.uncounted)),
    )


@contextmanager
def _plain_kernels() -> Iterator[None]:
    """Attention and recurrent networks as the matrix products that they are, not as one fused operation."""
    with ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
        yield


@contextmanager
def _silent(log: logging.Logger) -> Iterator[None]:
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _parameters(model: Any) -> list[torch.Tensor]:
    return list(model.parameters()) if isinstance(model, torch.nn.Module) else []

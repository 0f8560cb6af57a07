"""How a model is called on a batch, and where its loss comes from: one convention for counters and trainers.

In: a model, a batch as the data set's collation made it, a loss function or none. Out: the loss,
checked; nothing here imports torch.

========================================  =====================================================
batch                                     loss
========================================  =====================================================
``(inputs, targets)``                     ``loss_fn(model(inputs), targets)``
``{"inputs": …, "targets": …}``           the same
``{…, "labels": …}`` (or ``"targets"``)   ``loss_fn(model(**the rest), labels)``
inputs that are a mapping                 ``model(**inputs)`` instead of ``model(inputs)``
a mapping, no `loss_fn`                   ``model(**batch)``, which returns its own loss
a tuple or list, no `loss_fn`             ``model(*batch)``, which returns its own loss
anything else, no `loss_fn`               ``model(batch)``, which returns its own loss
========================================  =====================================================

A model's own loss is its output's ``.loss``, ``["loss"]``, the one scalar of a tuple, or the output itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from flops_fit_core.errors import InputError, InputTypeError, TrainingError

TARGET_KEYS = ("targets", "labels")

LossFn = Callable[[Any, Any], Any]


def split(batch: Any) -> tuple[Any, Any]:
    """Part a batch into what the model sees and what the loss compares with.

    Returns:
        ``(inputs, targets)``, as in the table of this module.

    Raises:
        InputError: the batch is neither a pair nor a mapping with targets.
    """
    if isinstance(batch, Mapping):
        if set(batch) == {"inputs", "targets"}:
            return batch["inputs"], batch["targets"]
        for key in TARGET_KEYS:
            if key in batch:
                return {name: value for name, value in batch.items() if name != key}, batch[key]
        raise InputError(
            f"the batch has the keys {sorted(map(str, batch))} and none is {' or '.join(map(repr, TARGET_KEYS))}: "
            "loss_fn(outputs, targets) needs targets; name them so, or leave loss_fn out if the model returns its own loss"
        )
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    what = f"{len(batch)} parts" if isinstance(batch, tuple | list) else f"one {type(batch).__name__}"
    raise InputError(
        f"a batch is {what} where (inputs, targets) or a dict is needed: let the data set's items be pairs or dicts, "
        "or leave loss_fn out if the model returns its own loss"
    )


def run_model(model: Any, inputs: Any) -> Any:
    """Call the model: a mapping gives its keyword arguments, anything else is its one argument."""
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)


def outputs_and_loss(model: Any, batch: Any, loss_fn: LossFn | None) -> tuple[Any, Any]:
    """Run the model on a batch; return its outputs and the loss, a scalar tensor.

    Raises:
        InputError: the batch has no targets where `loss_fn` needs them.
        TrainingError: the loss is missing or is not a scalar.
    """
    if loss_fn is not None:
        inputs, targets = split(batch)
        outputs = run_model(model, inputs)
        return outputs, _scalar(loss_fn(outputs, targets), f"loss_fn {_name(loss_fn)}")
    outputs = model(*batch) if isinstance(batch, tuple | list) else run_model(model, batch)
    return outputs, _scalar(_own_loss(outputs), f"model {type(model).__name__} (no loss_fn was given)")


def loss_of(model: Any, batch: Any, loss_fn: LossFn | None) -> Any:
    """The loss of a model on a batch, a scalar tensor; see `outputs_and_loss`."""
    return outputs_and_loss(model, batch, loss_fn)[1]


def require_gradient(loss: Any) -> None:
    """Check that a training loss can be differentiated.

    Raises:
        TrainingError: it cannot.
    """
    if not getattr(loss, "requires_grad", False):
        raise TrainingError(
            "the loss has no gradient, so nothing can be trained: somewhere between the parameters and the loss "
            "it was detached (.item(), .detach(), no_grad, argmax, NumPy), or the model has no trainable parameter"
        )


def check_loss_fn(loss_fn: Any) -> None:
    """Check that a loss function is a callable that takes ``(outputs, targets)``; ``None`` is fine.

    Raises:
        InputTypeError: it is a class, not callable, or takes another number of arguments.
    """
    if loss_fn is None:
        return
    if inspect.isclass(loss_fn):
        name = loss_fn.__name__
        raise InputTypeError(f"loss_fn is the class {name}; hand over an instance: loss_fn={name}()")
    if not callable(loss_fn):
        raise InputTypeError(f"loss_fn={loss_fn!r} is not callable; it must be loss_fn(outputs, targets) -> scalar")
    try:
        signature = inspect.signature(getattr(loss_fn, "forward", loss_fn))
    except (TypeError, ValueError):  # built-ins without a signature: the first call will tell
        return
    try:
        signature.bind(None, None)
    except TypeError as error:
        raise InputTypeError(
            f"loss_fn {_name(loss_fn)}{signature} cannot be called as loss_fn(outputs, targets): {error}"
        ) from error


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", None) or type(function).__name__)


def _own_loss(outputs: Any) -> Any:
    if getattr(outputs, "loss", None) is not None:
        return outputs.loss
    if isinstance(outputs, Mapping):
        return outputs.get("loss")
    if isinstance(outputs, tuple | list):
        scalars = [output for output in outputs if _shape(output) == ()]
        return scalars[0] if len(scalars) == 1 else None
    return outputs


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if hasattr(value, "shape") else None


def _scalar(loss: Any, source: str) -> Any:
    if loss is None:
        raise TrainingError(f"{source} returned no loss: give loss_fn=…, or let the model return an output with .loss")
    if _shape(loss) is None or not hasattr(loss, "requires_grad"):
        raise TrainingError(
            f"{source} returned {loss!r:.80} ({type(loss).__name__}) as the loss; a scalar tensor is needed"
        )
    if _shape(loss) != ():
        raise TrainingError(
            f"{source} returned a loss of shape {_shape(loss)}; a scalar is needed: take its mean "
            "(reduction='mean', or loss.mean())"
        )
    return loss

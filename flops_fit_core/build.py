"""Make one model for looking at, and read N off it: on torch's meta device where that is possible.

In: a workload and one value of its size parameter. Out: a model that holds no numbers (or, where its
constructor needs real ones, a real model on the CPU), its N, or an error that tells a size that the
constructor refuses from a class that breaks the model contract. Nothing here imports torch: a
torch model cannot come without it, and plain Python classes need none.
"""

from __future__ import annotations

import contextlib
import io
import math
import sys
import warnings
from collections.abc import Collection, Iterator
from numbers import Integral, Real
from typing import Any

from flops_fit_core.data import Workload
from flops_fit_core.errors import InputError, InputTypeError, PlanError


class SizeRefusedError(PlanError):
    """A size that the constructor does not take; the message is its own reason."""


def build(workload: Workload, size: Any) -> tuple[Any, bool]:
    """Make the model of one size without its numbers where possible.

    First all of it on the meta device. A constructor that looks at numbers (``torch.linspace(...).tolist()``, NumPy)
    or makes parameters that stay on the CPU all the same (``torch.FloatTensor(3, 4)``) is called again on the
    CPU, each parameter losing its numbers as soon as it is registered. What cannot be made so either
    is made for real.

    What the constructor prints and warns is dropped (a sweep makes dozens of models only to look at
    them), and torch's random numbers are left as they were.

    Returns:
        The model, and whether it is real: it holds its numbers.

    Raises:
        SizeRefusedError: the constructor does not take this size.
    """
    torch = sys.modules.get("torch")
    with quietly():
        if torch is not None:
            for place in (torch.device("meta"), _without_numbers(torch)):
                try:
                    with place:
                        model = workload.build(size)
                except Exception as error:
                    if not needs_numbers(error):
                        raise SizeRefusedError(reason(error)) from error
                else:
                    if not stray_parameters(model):
                        return (model.to("meta") if isinstance(model, torch.nn.Module) else model), False
        try:
            return workload.build(size), torch is not None
        except Exception as error:
            raise SizeRefusedError(reason(error)) from error


def stray_parameters(model: Any) -> list[str]:
    """Names of parameters that hold numbers although the model was to be made without them."""
    if not hasattr(model, "named_parameters"):
        return []
    return [name for name, parameter in model.named_parameters() if parameter.device.type != "meta"]


@contextlib.contextmanager
def _without_numbers(torch: Any) -> Iterator[None]:
    """Send every parameter to the meta device when a module registers it; shared ones stay shared."""
    module = torch.nn.Module
    register = module.register_parameter
    sent = torch.utils.weak.WeakIdKeyDictionary()

    def register_on_meta(self: Any, name: str, parameter: Any) -> None:
        if parameter is not None and parameter.device.type != "meta":
            if parameter not in sent:
                sent[parameter] = type(parameter)(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)
            parameter = sent[parameter]
        register(self, name, parameter)

    module.register_parameter = register_on_meta
    try:
        yield
    finally:
        module.register_parameter = register


def needs_numbers(error: Exception) -> bool:
    """Whether an exception comes of the meta device, on which tensors have no values to look at."""
    return "meta" in str(error).lower() or isinstance(error, NotImplementedError)


def reason(error: BaseException) -> str:
    """An exception in one line: its type and its message."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def n_params(model: Any) -> int:
    """N, as the model's ``num_params()`` says.

    Raises:
        InputTypeError: there is no such method, or what it returns is no number.
        InputError: it returns a number that is not a positive whole one.
    """
    name = type(model).__name__
    method = getattr(model, "num_params", None)
    if method is None:
        raise InputTypeError(
            f"{name} has no num_params(): flops-fit needs N. Add to the class: "
            "def num_params(self): return sum(p.numel() for p in self.parameters())"
        )
    if not callable(method):
        raise InputTypeError(f"{name}.num_params is {method!r}; it must be a method: def num_params(self) -> int")
    try:
        value = method()
    except Exception as error:
        raise InputError(f"{name}.num_params() failed with {reason(error)}") from error
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputTypeError(
            f"{name}.num_params() returned {value!r} ({type(value).__name__}); it must return a whole number"
        )
    whole = int(value) if isinstance(value, Integral) else float(value)
    if not math.isfinite(whole) or whole <= 0 or whole != int(whole):
        raise InputError(f"{name}.num_params() returned {value!r}; N must be a positive whole number")
    return int(whole)


def n_params_non_embedding(model: Any, n: int, looked_up: Collection[int] = ()) -> int:
    """N without look-up tables: the weights of ``nn.Embedding`` and ``nn.EmbeddingBag``.

    Tied weights count once: a table that is also the output matrix is a look-up table, as in Kaplan
    et al. (2020, arXiv 2001.08361). A model without torch has none, and `n` is returned.

    Args:
        model: a torch module, or anything.
        n: N of all parameters, for what is no torch module.
        looked_up: ``id()`` of other parameters that were seen to be used as look-up tables.
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(model, torch.nn.Module):
        return n
    kinds = (torch.nn.Embedding, torch.nn.EmbeddingBag)
    tables = {id(module.weight) for module in model.modules() if isinstance(module, kinds)} | set(looked_up)
    return int(sum(p.numel() for p in model.parameters() if id(p) not in tables))


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Drop what is printed and warned, and leave torch's random numbers as they are."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        torch = sys.modules.get("torch")
        if torch is not None:
            stack.enter_context(torch.random.fork_rng(devices=[]))
        yield

"""The state of a run on disk: written beside, synced, renamed; the last good one stands until then.

In: a dict of tensors, numbers, strings and lists. Out: the same dict, read with ``weights_only=True``: nothing in the
file is ever executed.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from flops_fit_core.errors import StoreError
from flops_fit_core.store import sync_folder

FILE = "state.pt"

State = dict[str, Any]


def write_state(folder: Path, state: State) -> None:
    """Put a state in a folder, in place of the one before.

    Raises:
        StoreError: it could not be written, such as on a full disk; the one before is as it was.
    """

    def write(path: Path) -> None:
        with path.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())

    _replace(folder / FILE, write)


def read_state(folder: Path, peek: bool = False) -> State | None:
    """The state in a folder, or ``None`` where there is none.

    Args:
        folder: where it is.
        peek: leave the tensors on disk until they are asked for, to look at the rest.

    Raises:
        StoreError: the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        state: State = torch.load(path, map_location="cpu", weights_only=True, mmap=peek)
    except Exception as error:
        raise StoreError(
            f"the checkpoint {path} cannot be read ({error}): remove it to train that run from its beginning"
        ) from error
    return state


def write_weights(path: Path, model: torch.nn.Module) -> None:
    """Keep a finished model's weights as safetensors (tied weights once)."""

    def write(temporary: Path) -> None:
        save_file(_separate(model.state_dict()), str(temporary))
        with temporary.open("rb") as file:
            os.fsync(file.fileno())

    _replace(path, write)


def _separate(state: State) -> dict[str, torch.Tensor]:
    """Tensors as safetensors takes them: tied weights once, and none that is a part of a larger one."""
    found: dict[Any, tuple[str, torch.Tensor]] = {}
    for name, tensor in state.items():
        place = (tensor.data_ptr(), tensor.shape, tensor.stride()) if tensor.numel() else name
        found.setdefault(place, (name, tensor))
    return {
        name: tensor.contiguous()
        if tensor.nbytes == tensor.untyped_storage().nbytes()
        else tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in found.values()
    }


def _replace(path: Path, write: Any) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch reports a failed write as RuntimeError
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise StoreError(
            f"{path} could not be written ({error}): make room and start again; the run then goes on from its last "
            "checkpoint, and only what was trained since is lost"
        ) from error

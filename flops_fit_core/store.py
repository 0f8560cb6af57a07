"""The run store on disk: atomic, resumable, one folder a study.

In: a study's identity, plans and records. Out: files that are complete or absent (written to a
temporary name, fsynced, renamed), and the `Workspace` through which trainers and workers touch them.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from flops_fit_core.data import CurvePoint, Run, RunRecord
from flops_fit_core.errors import StoreError, StoreWriteError
from flops_fit_core.serial import from_plain, to_plain

SCHEMA = 1

Progress = Callable[[Run, int, float | None], None]


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say of a write that fails where, why and what to do.

    Raises:
        StoreWriteError: the disk is full, the folder is read-only, and so on.
    """
    try:
        yield
    except OSError as error:
        raise StoreWriteError(
            f"{path} could not be written ({error}): make room and call again. Recorded runs stand, and the others go on "
            "from their last checkpoints"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a file so that a kill or a full disk leaves the old one or the new one, never a part.

    Raises:
        StoreWriteError: it could not be written; the old one stands.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace_text(path, text)
        sync_folder(path.parent)


def _replace_text(path: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def remove_strays(folder: Path, name: str = "") -> None:
    """Remove what a killed writer left of a file, or of all in a folder; to be called by whoever holds its lock."""
    for stray in folder.glob(f".{name}*.tmp"):
        stray.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, plain: Any) -> None:
    """Write strict JSON (no NaN) atomically."""
    write_text(path, json.dumps(plain, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file of this schema.

    Raises:
        StoreError: the file is damaged, foreign or of another schema version; it says what to do.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read ({error}): it is damaged or not of flops-fit; {_REMEDY}") from error
    version = plain.get("schema") if isinstance(plain, dict) else None
    if version != SCHEMA:
        raise StoreError(f"{path} has schema {version!r} where this flops-fit writes {SCHEMA}; {_REMEDY}")
    return plain


_REMEDY = "move it away to train that part again, or choose another output_dir. Nothing was changed."


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock that the operating system frees when its process dies."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _absolute(path: str | Path) -> Path:
    return Path(path).absolute()


@attrs.frozen
class Workspace:
    """A study's folder, as trainers and workers see it. Travels to other processes by pickling.

    Attributes:
        root: the output folder.
        on_progress: called with every logged point, in the driver's own process only.
    """

    root: Path = attrs.field(converter=_absolute)
    on_progress: Progress | None = attrs.field(default=None, eq=False, repr=False)

    def __getstate__(self) -> tuple[Any, ...]:
        return (self.root, None)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        for name, value in zip(("root", "on_progress"), state, strict=True):
            object.__setattr__(self, name, value)

    def run_dir(self, run: Run) -> Path:
        """The run's own folder; it may not exist yet."""
        return self.root / "runs" / run.run_id

    def checkpoint_dir(self, run: Run) -> Path:
        """Where a trainer keeps what it needs to go on; removed when the record stands."""
        return self.run_dir(run) / "checkpoint"

    def trunk_dir(self, trunk_id: str) -> Path:
        """Where checkpoints live that several runs branch from."""
        return self.root / "trunks" / trunk_id

    def log(self, run: Run, point: CurvePoint) -> None:
        """Append a point to the run's curve and tell whoever watches."""
        path = self.run_dir(run) / "curve.jsonl"
        line = json.dumps(attrs.asdict(point), allow_nan=False) + "\n"
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(line)
        if self.on_progress is not None:
            self.on_progress(run, point.n_tokens, point.loss)

    def set_curve(self, run: Run, points: Sequence[CurvePoint]) -> None:
        """Replace the run's curve: what a trainer does when it starts, or goes on from a checkpoint."""
        text = "".join(json.dumps(attrs.asdict(point), allow_nan=False) + "\n" for point in points)
        write_text(self.run_dir(run) / "curve.jsonl", text)

    def curve(self, run: Run) -> tuple[CurvePoint, ...]:
        """The points logged so far; a last line cut short by a kill is left out."""
        path = self.run_dir(run) / "curve.jsonl"
        if not path.exists():
            return ()
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        return tuple(CurvePoint(**json.loads(line)) for line in lines)

    def record(self, run: Run) -> RunRecord | None:
        """The run's record, or ``None`` while it has none."""
        path = self.run_dir(run) / "record.json"
        if not path.exists():
            return None
        record = from_plain(read_json(path)["record"], RunRecord)
        return attrs.evolve(record, curve=self.curve(run))

    def save(self, record: RunRecord) -> None:
        """Write a record; its curve stays in its own file."""
        self.set_curve(record.run, record.curve)
        plain = to_plain(attrs.evolve(record, curve=()))
        write_json(self.run_dir(record.run) / "record.json", {"schema": SCHEMA, "record": plain})

    @contextlib.contextmanager
    def claim(self, runs: Sequence[Run]) -> Iterator[None]:
        """Hold the runs against other workers and drivers; frees itself when this process dies."""
        with contextlib.ExitStack() as stack:
            for run in sorted(runs, key=lambda run: run.run_id):
                stack.enter_context(locked(self.run_dir(run) / "lock"))
                remove_strays(self.run_dir(run))
            yield

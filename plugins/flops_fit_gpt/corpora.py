"""Where text comes from: documents of the standard library, or TinyStories.

In: a name and its options. Out: documents one by one, each marked as held out or not, and an
identity by which the token cache knows them again.
"""

from __future__ import annotations

import hashlib
import os
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import attrs

from flops_fit_core.errors import InputError, PluginImportError

HELD_OUT_SHARE = 10
"""One document in so many is held out where the corpus has no held-out split of its own."""

NOT_THE_LIBRARY = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}

TINY_STORIES = "roneneldan/TinyStories"


class Corpus(Protocol):
    """What the token cache needs."""

    name: str

    def identity(self) -> str:
        """A short text that changes whenever the documents may have changed; cheap to get."""
        ...

    def documents(self) -> Iterator[tuple[str, bool]]:
        """Every document once, in a fixed order, with whether it is held out from training."""
        ...


def held_out(document: str) -> bool:
    """Whether a document is held out: by its content, so that copies of it are on the same side."""
    digest = hashlib.blake2b(document.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % HELD_OUT_SHARE == 0


@attrs.frozen
class StdlibCorpus:
    """The ``.py`` files of a Python standard library, without tests and installed packages, sorted by path.

    Attributes:
        root: the library's folder; that of the running interpreter by default.
    """

    root: Path = attrs.field(factory=lambda: Path(sysconfig.get_path("stdlib")), converter=Path)
    name = "stdlib"

    def _files(self) -> list[Path]:
        files: list[Path] = []
        for folder, subfolders, names in os.walk(self.root):
            subfolders[:] = [name for name in subfolders if name not in NOT_THE_LIBRARY]
            files += [Path(folder, name) for name in names if name.endswith(".py")]
        if not files:
            raise InputError(
                f"{self.root} has no .py files (a frozen or zipped interpreter?): use corpus='tinystories', "
                "or corpus=StdlibCorpus(folder) with any folder of Python files"
            )
        return sorted(files)

    def identity(self) -> str:
        """Hash of every path and text."""
        digest = hashlib.sha256()
        for path in self._files():
            digest.update(path.relative_to(self.root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()

    def documents(self) -> Iterator[tuple[str, bool]]:
        """The text of every file."""
        for path in self._files():
            text = path.read_bytes().decode(errors="replace")
            if text:
                yield text, held_out(text)


@attrs.frozen(kw_only=True)
class TinyStoriesCorpus:
    """TinyStories (Eldan & Li 2023, arXiv 2305.07759), by its name on the hub or from a local folder.

    A folder holds ``.parquet`` files with a column ``text``, or ``.txt`` files whose stories end
    with a line ``<|endoftext|>``. Files with "valid" in their name (and the hub's validation split)
    are held out; without any, one story in ten by its hash is.

    Attributes:
        path: the local folder; ``None``: download `hub_name`.
        hub_name: name of a data set with a column ``text`` on the Hugging Face hub.
        revision: its commit or branch.
    """

    path: Path | None = attrs.field(default=None, converter=attrs.converters.optional(Path))
    hub_name: str = TINY_STORIES
    revision: str = "main"
    name = "tinystories"

    def _files(self, folder: Path) -> list[Path]:
        files = sorted([*folder.rglob("*.parquet"), *folder.rglob("*.txt")])
        if not files:
            raise InputError(f"{folder} has no .parquet or .txt file: give the folder that holds the stories")
        return files

    def identity(self) -> str:
        """Names, sizes and times of local files; name and revision on the hub."""
        if self.path is None:
            return f"{self.hub_name}@{self.revision}"
        stats = [(p.relative_to(self.path).as_posix(), p.stat()) for p in self._files(self.path)]
        return repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])

    def documents(self) -> Iterator[tuple[str, bool]]:
        """Every story."""
        parts = self._from_hub() if self.path is None else self._from_folder(self.path)
        names = [name for name, _ in parts]
        has_split = any("valid" in name for name in names) and not all("valid" in name for name in names)
        for name, stories in parts:
            for story in stories:
                if text := story.strip():
                    yield text, ("valid" in name if has_split else held_out(text))

    def _from_folder(self, folder: Path) -> list[tuple[str, Iterable[str]]]:
        load = _datasets().load_dataset
        parts: list[tuple[str, Iterable[str]]] = []
        for path in self._files(folder):
            kind = "parquet" if path.suffix == ".parquet" else "text"
            rows = load(kind, data_files=str(path), split="train", streaming=True)
            texts = _column(rows, path)
            parts.append((path.name, texts if kind == "parquet" else _stories(texts)))
        return parts

    def _from_hub(self) -> list[tuple[str, Iterable[str]]]:
        try:
            splits = _datasets().load_dataset(self.hub_name, revision=self.revision)
        except (OSError, ValueError, RuntimeError) as error:  # the hub's and datasets' errors are among these
            raise InputError(
                f"{self.hub_name!r} cannot be loaded from the Hugging Face hub ({type(error).__name__}: {error}). "
                'Without a network, copy its parquet or text files to a folder and say corpus_path="that/folder"'
            ) from error
        return [(name, _column(rows, self.hub_name)) for name, rows in splits.items()]


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise PluginImportError(f'TinyStories needs datasets: pip install "flops-fit[examples]" ({error})') from error
    return datasets


def _column(rows: Any, where: object) -> Iterator[str]:
    for row in rows:
        if "text" not in row:
            raise InputError(f"{where} has columns {sorted(row)}, none is named 'text'")
        yield row["text"]


def _stories(lines: Iterable[str]) -> Iterator[str]:
    story: list[str] = []
    for line in lines:
        before, end, after = line.partition("<|endoftext|>")
        story.append(before)
        if end:
            yield "\n".join(story)
            story = [after]
    yield "\n".join(story)

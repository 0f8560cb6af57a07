"""Token files on disk: made once from a corpus and a tokenizer, checked, memory-mapped ever after.

In: a corpus and the choice of a tokenizer. Out: a `TokenCache`, a folder with the training and the
held-out tokens. Two processes that want the same cache build it once; a damaged one is built anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from platformdirs import user_cache_path

from flops_fit_core.errors import InputError
from flops_fit_core.store import locked
from flops_fit_gpt.corpora import Corpus
from flops_fit_gpt.tokens import BpeTokenizer, ByteTokenizer, Tokenizer

FORMAT = 1
DTYPE = np.dtype("<u2")
PARTS = ("train", "held_out")


@attrs.frozen(kw_only=True)
class TokenCache:
    """Tokens of a corpus on disk: documents joined by the separator, which also stands at both ends.

    Attributes:
        folder: holds ``train.bin`` and ``held_out.bin`` (16-bit little-endian) and ``meta.json``.
        vocab_size: number of tokens.
        separator: the token between documents.
        n_tokens: length of each file in tokens.
        sha256: checksum of each file.
    """

    folder: Path
    vocab_size: int
    separator: int
    n_tokens: dict[str, int]
    sha256: dict[str, str]

    def file(self, part: str) -> Path:
        """The file of ``"train"`` or ``"held_out"``."""
        return self.folder / f"{part}.bin"

    @property
    def fingerprint(self) -> str:
        """Identifies the data, wherever it is stored."""
        return "tokens-sha256:" + hashlib.sha256("".join(self.sha256[part] for part in PARTS).encode()).hexdigest()


def default_folder() -> Path:
    """``flops-fit`` in the user's cache folder."""
    return user_cache_path("flops-fit") / "tokens"


def token_cache(corpus: Corpus, vocab_size: int | None, root: Path) -> TokenCache:
    """Return the cache of a corpus under `root`, made or mended where needed.

    Args:
        corpus: where the documents come from.
        vocab_size: size of a byte-pair encoding trained on the corpus; ``None``: bytes.
        root: folder of all caches.

    Raises:
        InputError: the folder cannot be written, or the corpus is empty.
    """
    key = [FORMAT, corpus.name, corpus.identity(), vocab_size]
    folder = root / f"{corpus.name}-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}"
    try:
        with locked(root / f"{folder.name}.lock"):
            cache = _read(folder)
            return cache if cache is not None else _build(corpus, vocab_size, folder)
    except OSError as error:
        raise InputError(
            f"tokens cannot be kept in {root} ({error}): give a folder that can be, cache_dir=..."
        ) from error


def _read(folder: Path) -> TokenCache | None:
    """The cache in `folder`, or ``None`` where it is missing, damaged or of another format."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        cache = TokenCache(folder=folder, **meta)
        intact = all(_sha256(cache.file(part)) == cache.sha256[part] for part in PARTS)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return cache if intact else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _build(corpus: Corpus, vocab_size: int | None, folder: Path) -> TokenCache:
    """Write the files beside their place, then put the folder there in one step."""
    workshop = folder.with_name(folder.name + ".building")  # the lock is held: what lies there is a killed build's
    shutil.rmtree(workshop, ignore_errors=True)
    workshop.mkdir()
    try:
        meta = _write(corpus, _tokenizer(corpus, vocab_size, workshop), workshop)
        (workshop / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        workshop.rename(folder)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return TokenCache(folder=folder, **meta)


def _tokenizer(corpus: Corpus, vocab_size: int | None, workshop: Path) -> Tokenizer:
    if vocab_size is None:
        return ByteTokenizer()
    tokenizer = BpeTokenizer.train((text for text, held_out in corpus.documents() if not held_out), vocab_size)
    (workshop / "tokenizer.json").write_text(tokenizer.to_json(), encoding="utf-8")
    return tokenizer


def _write(corpus: Corpus, tokenizer: Tokenizer, folder: Path) -> dict[str, Any]:
    """Write both token files in one pass over the corpus; return what ``meta.json`` says."""
    separator = np.array([tokenizer.separator], dtype=DTYPE).tobytes()
    files = {part: (folder / f"{part}.bin").open("wb") for part in PARTS}
    try:
        for file in files.values():
            file.write(separator)
        for text, held_out in corpus.documents():
            file = files[PARTS[held_out]]
            file.write(tokenizer.encode(text).astype(DTYPE).tobytes())
            file.write(separator)
        sizes = {part: file.tell() // DTYPE.itemsize for part, file in files.items()}
    finally:
        for file in files.values():
            file.close()
    for part, size in sizes.items():
        if size < 2:
            raise InputError(f"corpus {corpus.name!r} has no {part} document: it needs more, or longer, documents")
    checksums = {part: _sha256(folder / f"{part}.bin") for part in PARTS}
    vocabulary = {"vocab_size": tokenizer.vocab_size, "separator": tokenizer.separator}
    return {**vocabulary, "n_tokens": sizes, "sha256": checksums}

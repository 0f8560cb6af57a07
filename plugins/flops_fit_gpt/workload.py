"""Workload ``gpt``: model, text, loss and optimizer put together.

In: a corpus, a tokenizer and the model's fixed shape. Out: a `Workload` whose size is the width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flops_fit_core.data import Workload
from flops_fit_core.errors import InputError, nearest
from flops_fit_core.probe import TokenUnits
from flops_fit_gpt.cache import default_folder, token_cache
from flops_fit_gpt.corpora import Corpus, StdlibCorpus, TinyStoriesCorpus
from flops_fit_gpt.data import TokenSequences
from flops_fit_gpt.model import GPT, next_token_loss
from flops_fit_gpt.parametrization import adamw

CORPORA = ("stdlib", "tinystories")


def gpt(
    corpus: str | Corpus = "stdlib",
    *,
    corpus_path: str | Path | None = None,
    vocab_size: int | None = None,
    seq_len: int = 64,
    eval_tokens: int = 131_072,
    n_layers: int = 2,
    head_dim: int = 8,
    tie_weights: bool = False,
    parametrization: str = "standard",
    cache_dir: str | Path | None = None,
) -> Workload:
    """Make the workload: next-token prediction by a decoder whose size is its width ``d_model``.

    Args:
        corpus: ``"stdlib"`` (this interpreter's Python files, about 11 MB), ``"tinystories"``
            (2 GB), or an object with the methods of `flops_fit_gpt.corpora.Corpus`.
        corpus_path: a local folder that holds the corpus.
        vocab_size: train a byte-pair encoding of so many tokens; ``None``: bytes.
        seq_len: tokens in a sequence.
        eval_tokens: held-out tokens that a model is scored on, spread over the held-out documents.
        n_layers: blocks of the model.
        head_dim: width of one attention head; ``d_model`` is a multiple of it.
        tie_weights: one table for input and output.
        parametrization: ``"standard"``, or ``"u-mup"``, where one learning rate fits all widths.
        cache_dir: where token files are kept; ``None``: the user's cache folder.

    Raises:
        InputError: a value that makes no model or no data.
    """
    shape: dict[str, Any] = {
        "n_layers": n_layers,
        "head_dim": head_dim,
        "tie_weights": tie_weights,
        "parametrization": parametrization,
    }
    GPT(head_dim, vocab_size=257, **shape)  # says what is wrong before any text is read
    if seq_len < 1:
        raise InputError(f"seq_len={seq_len}: a sequence has at least one token")
    if eval_tokens < seq_len:
        raise InputError(f"eval_tokens={eval_tokens} is less than one sequence of seq_len={seq_len}")
    root = Path(cache_dir) if cache_dir is not None else default_folder()
    cache = token_cache(_corpus(corpus, corpus_path), vocab_size, root)
    return Workload(
        name="gpt",
        model_cls=GPT,
        size_param="d_model",
        model_kwargs={"vocab_size": cache.vocab_size, **shape},
        dataset=TokenSequences(cache, "train", seq_len),
        eval_dataset=TokenSequences(cache, "held_out", seq_len, at_most=eval_tokens // seq_len),
        loss_fn=next_token_loss,
        data_unit="tokens",
        units=TokenUnits(),
        optimizer=adamw,
        parametrization=parametrization,
        fingerprint=cache.fingerprint,
    )


def _corpus(corpus: str | Corpus, path: str | Path | None) -> Corpus:
    if not isinstance(corpus, str):
        if path is not None:
            raise InputError("corpus_path belongs to a corpus given by its name")
        return corpus
    if corpus not in CORPORA:
        raise InputError(f"corpus={corpus!r} is not one of {CORPORA}.{nearest(corpus, CORPORA)}")
    if path is not None and not Path(path).is_dir():
        raise InputError(f"corpus_path={str(path)!r} is not a folder")
    if corpus == "tinystories":
        return TinyStoriesCorpus(path=path)
    return StdlibCorpus() if path is None else StdlibCorpus(path)

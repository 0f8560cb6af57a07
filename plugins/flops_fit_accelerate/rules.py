"""Learning rates and batch sizes from the literature, as functions of a planned run.

In: a `Run` (its N, D and C). Out: a number for the trainer's ``lr`` or ``batch_size``. A rule was fitted
to somebody's language models; for other models or data it is a start, not a truth: see
``hparams={"lr": [...]}`` for trying several.
"""

from __future__ import annotations

import math

from flops_fit_core.data import Run


def kaplan_lr(run: Run) -> float:
    """Peak learning rate of Adam by N: ``0.003239 - 0.0001395 ln N``, at least 1e-4.

    Source: Kaplan et al. 2020, arXiv 2001.08361, appendix D.6, equation D.1, a rule of thumb (decoder-only transformers,
    768 to 1.5 billion non-embedding parameters; the paper says that it breaks down above 1e10, and the floor of 1e-4 is
    ours). Larger models get smaller rates, so that one rate for all sizes does not bend the fitted law (Porian et al.
    2024, arXiv 2406.19146).
    """
    n = run.n_params_non_embedding or run.n_params
    return max(0.003239 - 0.0001395 * math.log(n), 1e-4)


def deepseek_lr(run: Run) -> float:
    """Peak learning rate of AdamW by the run's FLOPs: ``0.3118 C^-0.1250``.

    Source: DeepSeek LLM (Bi et al. 2024, arXiv 2401.02954), equation 1, C from 1e17 to 2e19. The paper's C leaves the
    embeddings and the output layer out (M·D, with M the non-embedding FLOPs per token) and ``run.flops`` counts all: of
    C twice as large the rule makes a rate 8 % smaller. All sizes of one budget share a rate.
    """
    return 0.3118 * float(run.flops**-0.1250)


def deepseek_batch_tokens(run: Run) -> float:
    """Tokens in one optimizer step by the run's FLOPs: ``0.2920 C^0.3271``.

    Source: as `deepseek_lr`; of C twice as large it makes a batch 25 % larger. Divide by the length of a sequence to get
    the trainer's ``batch_size``: ``batch_size=lambda run: max(1, round(deepseek_batch_tokens(run) / 1024))``.
    """
    return 0.2920 * float(run.flops**0.3271)

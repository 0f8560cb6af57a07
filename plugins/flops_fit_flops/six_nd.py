"""Counter ``6nd``: the rule of thumb C = 6·N·D, for models whose FLOPs nobody counted.

In: a workload and a size. Out: 6·N FLOPs per token, with N from the model's ``num_params()``.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import attrs

from flops_fit_core.build import build, n_params, n_params_non_embedding
from flops_fit_core.data import FlopCount, Workload
from flops_fit_core.errors import CountError
from flops_fit_core.sizes import size_key


@attrs.frozen(kw_only=True)
class SixNDCounter:
    """C = 6·N·D: each parameter costs one multiply-add (2 FLOPs) forward and two backward per token.

    Kaplan et al. 2020 (arXiv 2001.08361), section 2.1. It needs no torch and no data. Its limits:

    * attention's 12·layers·width·context FLOPs per token are left out: 6 % of a GPT-3 with its
      context of 2048, but more than half of a small model with a long one;
    * look-up tables (embeddings) cost nothing yet are counted where ``num_params()`` counts them, which
      is most of a small model with a large vocabulary;
    * every parameter is taken to be used once per token: false for convolutions (once per position), for
      mixtures of experts and for weights shared between layers.

    N is what ``num_params()`` says. Only for data counted in tokens.
    """

    _counts: WeakKeyDictionary[Workload, dict[str, FlopCount]] = attrs.field(
        factory=WeakKeyDictionary, init=False, repr=False, eq=False
    )

    def count(self, workload: Workload, size: Any) -> FlopCount:
        """6·N for a size.

        Raises:
            CountError: the data are not counted in tokens.
            SizeRefusedError: the constructor does not take this size.
        """
        if workload.data_unit != "tokens":
            raise CountError(
                f"flop_counter='6nd' is for tokens and the data are counted in {workload.data_unit}: a parameter is used more "
                "than once for each of them. Use flop_counter='torch', which counts, or a callable (model, batch) -> FLOPs"
            )
        counts = self._counts.setdefault(workload, {})
        key = size_key(size)
        if key not in counts:
            model, _ = build(workload, size)
            n = n_params(model)
            counts[key] = FlopCount(
                size=size,
                n_params=n,
                n_params_non_embedding=n_params_non_embedding(model, n),
                flops_per_token=6.0 * n,
                convention="6N per token, forward and backward",
            )
        return counts[key]

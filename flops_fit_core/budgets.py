"""What a run costs and to which compute budget it belongs, for whoever groups runs: fitters, hold-out, diagnostics.

In: usable `Runs`. Out: C of every run, and its budget, with what was made of budgets that the table does not state.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flops_fit_core.clusters import cluster_budgets, merge_rounding, nearest_stated
from flops_fit_core.data import Runs
from flops_fit_core.errors import FitError
from flops_fit_core.text import si


def flops_of(runs: Runs) -> NDArray[np.float64]:
    """C of every run, FLOPs: as counted, and 6·N·D where it was not."""
    six_nd = 6.0 * runs.n_params * runs.n_tokens
    return six_nd if runs.flops is None else np.where(np.isfinite(runs.flops) & (runs.flops > 0), runs.flops, six_nd)


def budgets_of(runs: Runs, *, bands: bool = True) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The compute budget of every run, and how it is known.

    Budgets that the table states are taken as they are; the others are recovered by clustering C
    (`flops_fit_core.clusters.cluster_budgets`). Where C does not cluster, the runs are no IsoFLOP sweep, and what
    lies close together in C does so by chance.

    Args:
        runs: usable runs.
        bands: where C does not cluster, divide it into bands a factor of two wide, which are good enough to
            hold runs out by; else the runs that state no budget are each one of its own.

    Returns:
        Budgets in FLOPs, shape (n,), equal within a group; notes on the groups, empty where all were stated.

    Raises:
        FitError: without bands, where no run states a budget and C does not cluster.
    """
    stated = np.full(len(runs), np.nan) if runs.budget is None else runs.budget
    known = np.isfinite(stated) & (stated > 0)
    if known.all():
        return _stated(stated)
    budget = np.array(stated)
    budget[~known], given = nearest_stated(flops_of(runs)[~known], stated[known])
    known = np.isfinite(budget) & (budget > 0)
    if known.all():
        return merge_rounding(budget), given
    flops = flops_of(runs)[~known]
    clusters = cluster_budgets(flops, stated=np.unique(budget[known]))
    if clusters.grouped():
        budget[~known], note = clusters.budget, str(clusters)
    elif bands:
        budget[~known] = _bands(flops)
        note = "C does not group into budgets: runs were held out by bands of C a factor of two wide"
    elif known.any():
        budget[~known], note = flops, "C does not group into budgets where none is stated"
    else:
        raise FitError(
            f"the C of {len(runs)} usable runs, {si(flops.min())} to {si(flops.max())} FLOPs, does not group into budgets: "
            "without budgets there is no minimum over sizes to see. State them in a column 'budget', or fit 'ensemble' or "
            "'surface', which need none"
        )
    return merge_rounding(budget), (*given, note)


def _stated(stated: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Budgets as the table states them; their clusters where it states each run's own C, and what to say of that."""
    budget = merge_rounding(stated)
    clusters = cluster_budgets(budget)
    own = len(clusters.clusters) < len(np.unique(budget)) and _mostly_alone(budget) and clusters.grouped()
    if not own:
        return budget, ()
    return clusters.budget, (
        f"hardly two runs state the same budget, so these are taken for the runs' own C: {clusters}",
    )


def _mostly_alone(budget: NDArray[np.float64]) -> bool:
    """Whether most runs are the only one of their budget."""
    return bool(2 * (np.unique(budget, return_counts=True)[1] == 1).sum() > len(budget))


def _bands(flops: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each run's band of C, a factor of two wide, by its geometric mean."""
    band = np.floor(np.log2(flops.max() / flops)).astype(int)
    log_c = np.bincount(band, np.log(flops)) / np.maximum(np.bincount(band), 1)
    return np.asarray(np.exp(log_c[band]))

"""Recipe axes: the best of each cell, and best values at the end of their list."""

import pytest

from flops_fit_core.cells import at_the_end, best_of_cells
from flops_fit_core.data import Runs


def table(name, values, losses):
    n = len(values)
    return Runs(
        n_params=[100.0] * n, n_tokens=[1000.0] * n, loss=losses, budget=[1e6] * n, size=[8] * n, status=["done"] * n,
        hparams=[{name: value} for value in values],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("values", "losses", "said"),
    [
        ([1e-3, 2e-3, 4e-3], [3.0, 2.0, 3.0], []),
        ([1e-3, 2e-3, 4e-3], [4.0, 3.0, 2.0], ["the best lr is 0.004, the largest of its list, in 1 of 1 cells"]),
        ([4e-3, 1e-3, 2e-3], [3.0, 2.0, 4.0], ["the best lr is 0.001, the smallest of its list, in 1 of 1 cells"]),
        ([4e-3, 1e-3, 2e-3], [3.0, 4.0, 2.0], []),
    ],
)  # fmt: skip
def test_a_best_number_at_the_end_of_its_list_is_said(values, losses, said):
    best = best_of_cells(table("lr", values, losses))
    assert len(best) == 1
    found = at_the_end(best, {"lr": tuple(values)})
    assert len(found) == len(said)
    assert all(text.startswith(start) for text, start in zip(found, said, strict=True))


@pytest.mark.parametrize("values", [["cosine", "wsd"], [[0.9, 0.95], [0.9, 0.99]], [None, 1.0]])
def test_a_list_of_names_or_pairs_has_no_end(values):
    assert at_the_end(best_of_cells(table("axis", values, [2.0, 3.0])), {"axis": tuple(values)}) == []

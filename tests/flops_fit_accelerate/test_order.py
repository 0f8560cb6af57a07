import numpy as np
import pytest

from flops_fit_accelerate.order import Order, Permutation, held_out


@pytest.mark.parametrize("n", [1, 2, 3, 5, 64, 65, 1000, 4097])
def test_a_permutation_hits_every_place_once(n):
    assert sorted(Permutation(n, 7)(np.arange(n)).tolist()) == list(range(n))


def test_seeds_give_other_permutations_and_equal_seeds_the_same():
    a, b, c = (Permutation(1000, seed)(np.arange(1000)) for seed in (0, 0, 1))
    assert (a == b).all()
    assert (a == c).mean() < 0.01


def test_a_permutation_looks_random():
    """Neighbours are as far apart as in a random order, and every place is equally likely for the first sample."""
    n = 2000
    places = Permutation(n, 3)(np.arange(n))
    assert np.abs(np.diff(places)).mean() == pytest.approx(n / 3, rel=0.05)
    assert abs(np.corrcoef(np.arange(n), places)[0, 1]) < 0.08
    firsts = np.bincount([int(Permutation(10, seed)(np.array([0]))[0]) for seed in range(2000)], minlength=10)
    assert ((firsts - 200) ** 2 / 200).sum() < 28  # chi-squared with 9 degrees of freedom, p = 0.001


def test_an_epoch_holds_every_training_sample_once_and_no_held_out_one():
    left_out = held_out(103, 10)
    order = Order(103, 5, True, left_out)
    for epoch in range(3):
        indices = order.indices(epoch * 93, (epoch + 1) * 93)
        assert sorted(indices) == sorted(set(range(103)) - set(left_out.tolist()))
    assert order.indices(0, 93) != order.indices(93, 186)


def test_any_window_can_be_asked_for_at_any_time():
    whole = Order(50, 1).indices(0, 10_000)
    order = Order(50, 1)
    for start in (9_990, 0, 4_090, 123):
        assert order.indices(start, start + 10) == whole[start : start + 10]


def test_without_shuffling_the_order_is_that_of_the_data():
    assert Order(5, 0, shuffle=False, left_out=np.array([2])).indices(0, 8) == [0, 1, 3, 4, 0, 1, 3, 4]


def test_no_table_of_a_huge_data_set_is_made():
    assert all(0 <= i < 10**12 for i in Order(10**12, 0).indices(10**11, 10**11 + 32))


@pytest.mark.parametrize(
    ("length", "count"), [(100, 10), (10, 1), (2, 1), (1000, 33), (7, 7), (40, 0), (100_000, 2048)]
)
def test_held_out_samples_are_as_many_as_asked_and_spread(length, count):
    indices = held_out(length, count)
    assert len(set(indices.tolist())) == count
    assert all(0 <= i < length for i in indices)
    assert (np.diff(indices) > 0).all()
    if count >= 32:
        assert np.diff(indices).max() < 2 * length / 32


@pytest.mark.parametrize(
    ("length", "count"), [(40, 40), (45, 41), (33, 33), (7, 5), (1000, 999), (1000, 100), (2053, 2048)]
)
def test_held_out_samples_are_so_many_different_ones(length, count):
    indices = held_out(length, count)
    assert len(set(indices.tolist())) == len(indices) == count
    assert indices.tolist() == sorted(indices)
    assert indices[0] >= 0
    assert indices[-1] == length - 1

import pickle

import pytest
import torch

from flops_fit_core.errors import FlopsFitError
from flops_fit_vit import PhotographPatches
from flops_fit_vit.photographs import PARTS, PHOTOGRAPHS, _places, photographs
from flops_fit_vit.pixels import to_input


def columns_of(part, patches=2000):
    """The photograph's columns that patches of a part touch, by photograph."""
    data = PhotographPatches(part=part, per_photograph=patches)
    touched = []
    for photograph in photographs():
        places = _places(photograph.shape, part, data.side)
        corners = [places.place(rank)[1] for rank in range(patches)]
        touched.append({x for corner in corners for x in range(corner, corner + data.side)})
    return touched


def test_no_patch_crosses_the_line_and_no_column_is_on_both_sides():
    for train, held_out in zip(columns_of("train"), columns_of("held_out"), strict=True):
        assert all(x % 200 < 160 for x in train)
        assert all(x % 200 >= 160 for x in held_out)
        assert train
        assert held_out


@pytest.mark.parametrize(("height", "width"), [(40, 250), (33, 32), (64, 451)])
@pytest.mark.parametrize("part", ["train", "held_out"])
def test_all_places_are_different_and_inside(part, height, width):
    places = _places(torch.Size((3, height, width)), part, 32)
    corners = {places.place(rank) for rank in range(places.n)}
    first, last = PARTS[part]
    room = {x for x in range(width - 31) if first <= x % 200 and x % 200 + 32 <= last}
    assert corners == {(y, x) for y in range(height - 31) for x in room}
    assert len(corners) == places.n


def test_any_first_places_are_spread_over_the_photograph():
    for photograph in photographs():
        _, height, width = photograph.shape
        places = _places(photograph.shape, "train", 32)
        y, x = torch.tensor([places.place(rank) for rank in range(300)], dtype=torch.float64).T
        assert abs(y.mean() / (height - 32) - 0.5) < 0.1
        assert len(set(x.tolist())) > 20
        assert x.max() > width - 240


def test_items_are_patches_of_the_photograph_that_they_are_labelled_with():
    data = PhotographPatches(part="held_out", per_photograph=50)
    assert len(data) == 500
    image, label = data[3 * 10 + 4]
    assert (image.shape, image.dtype, label) == ((3, 32, 32), torch.float32, 4)
    assert -1 <= image.min() < image.max() <= 1
    whole = to_input(photographs()[4])
    windows = whole.unfold(1, 32, 1).unfold(2, 32, 1)  # every window of the photograph: channel, y, x, 32, 32
    found = (windows[:, :, :, 0, 0] == image[:, 0, 0][:, None, None]).all(0).nonzero()
    assert any(torch.equal(windows[:, y, x], image) for y, x in found.tolist())


def test_every_photograph_is_as_frequent_from_any_start():
    data = PhotographPatches(part="train", per_photograph=30)
    labels = [data[i][1] for i in range(len(data))]
    assert labels == list(range(len(PHOTOGRAPHS))) * 30


def test_photographs_are_colour_and_of_their_own_size():
    assert len(photographs()) == 10
    for photograph in photographs():
        assert photograph.dtype == torch.uint8
        assert photograph.shape[0] == 3
        assert min(photograph.shape[1:]) >= 300


def test_travels_small_and_means_the_same():
    data = PhotographPatches(part="train", per_photograph=20_000)
    text = pickle.dumps(data)
    assert len(text) < 1000
    again = pickle.loads(text)
    assert again.fingerprint == data.fingerprint
    assert torch.equal(again[123_456][0], data[123_456][0])


def test_parts_have_different_fingerprints():
    assert (
        PhotographPatches(part="train", per_photograph=9).fingerprint
        != PhotographPatches(part="held_out", per_photograph=9).fingerprint
    )


@pytest.mark.parametrize("per_photograph", [0, 10**7])
def test_more_patches_than_there_are_is_an_error(per_photograph):
    with pytest.raises(FlopsFitError, match=f"per_photograph={per_photograph}"):
        PhotographPatches(part="train", per_photograph=per_photograph)


def test_iterating_ends():
    assert sum(1 for _ in PhotographPatches(part="train", per_photograph=3)) == 30


def test_nothing_is_fetched_from_the_network():
    """Reading the photographs in a fresh process in which sockets cannot be opened."""
    import subprocess
    import sys

    program = (
        "import socket\n"
        "def refuse(*a, **k): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "from flops_fit_vit.photographs import photographs\n"
        "print(len(photographs()))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "10", done.stderr


def test_without_scikit_image_the_error_says_what_to_install(monkeypatch):
    import sys

    photographs.cache_clear()
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(FlopsFitError, match=r"flops-fit\[examples\]"):
        PhotographPatches(part="train", per_photograph=9)

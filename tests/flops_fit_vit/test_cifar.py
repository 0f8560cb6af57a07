import io
import pickle

import numpy as np
import pytest
import torch

from flops_fit_core.errors import FlopsFitError
from flops_fit_vit import Cifar10, vit


def png(image):
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def images(n, seed, shape=(32, 32, 3)):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network for datasets, and a cache of its own."""
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def parquet(tmp_path, offline):
    """A folder like the hub's: ``plain_text/train-….parquet`` and ``test-….parquet`` with PNGs inside."""
    import datasets

    folder = tmp_path / "cifar10" / "plain_text"
    folder.mkdir(parents=True)
    columns = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})
    for part, n, seed in (("train", 40, 0), ("test", 12, 1)):
        rows = {"img": [{"bytes": png(i), "path": None} for i in images(n, seed)], "label": [i % 10 for i in range(n)]}
        datasets.Dataset.from_dict(rows, features=columns).to_parquet(folder / f"{part}-00000-of-00001.parquet")
    return tmp_path / "cifar10"


def test_local_parquet_is_read_exactly(parquet):
    data = Cifar10(part="train", path=parquet)
    assert len(data) == 40
    stored = images(40, 0)
    for index in (0, 17, 39):
        image, label = data[index]
        expected = torch.from_numpy(stored[index].transpose(2, 0, 1).astype(np.float32) / 127.5 - 1)
        torch.testing.assert_close(image, expected)
        assert label == index % 10
    with pytest.raises(IndexError):
        data[40]
    assert len(Cifar10(part="test", path=parquet)) == 12


def test_travels_as_a_path(parquet):
    data = Cifar10(part="test", path=str(parquet))
    text = pickle.dumps(data)
    assert len(text) < 1000
    assert torch.equal(pickle.loads(text)[3][0], data[3][0])


def test_the_workload_takes_shape_and_classes_from_the_data(parquet):
    workload = vit("cifar10", data_path=parquet)
    assert workload.model_kwargs["image_size"] == (32, 32)
    assert workload.model_kwargs["n_classes"] == 10
    assert workload.data_unit == "images"
    image, label = workload.eval_dataset[0]
    loss = workload.loss_fn(workload.build(16)(image[None]), torch.tensor([label]))
    assert loss.isfinite()


def test_a_folder_of_image_files_with_other_sizes_and_classes(tmp_path, offline):
    for part, n in (("train", 4), ("test", 2)):
        for name in ("cat", "dog", "emu"):
            folder = tmp_path / "pets" / part / name
            folder.mkdir(parents=True)
            for i, image in enumerate(images(n, 5, (16, 24, 3))):
                (folder / f"{i}.png").write_bytes(png(image))
    workload = vit("cifar10", data_path=tmp_path / "pets")
    assert len(workload.dataset) == 12
    assert workload.model_kwargs["image_size"] == (16, 24)
    assert workload.model_kwargs["n_classes"] == 3


def test_a_missing_hub_says_how_to_use_a_local_copy(offline):
    with pytest.raises(FlopsFitError, match='data_path="that/folder"'):
        vit("cifar10")


def test_a_folder_that_is_none_or_holds_something_else(tmp_path, offline):
    with pytest.raises(FlopsFitError, match="is not a folder"):
        vit("cifar10", data_path=tmp_path / "nowhere")
    (tmp_path / "data").mkdir()
    with pytest.raises(FlopsFitError, match="data_path="):
        vit("cifar10", data_path=tmp_path / "data")
    (tmp_path / "data" / "train.csv").write_text("a,b\n1,2\n")
    (tmp_path / "data" / "test.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FlopsFitError, match=r"columns \['a', 'b'\]"):
        vit("cifar10", data_path=tmp_path / "data")


def test_images_of_two_sizes_are_refused(tmp_path, offline):
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / "pets" / part / name
            folder.mkdir(parents=True)
            (folder / "0.png").write_bytes(png(images(1, 5, (16, 24 if name == "cat" else 16, 3))[0]))
    with pytest.raises(FlopsFitError, match="2 sizes"):
        vit("cifar10", data_path=tmp_path / "pets")

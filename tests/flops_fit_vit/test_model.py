import math

import pytest
import torch

from flops_fit_core.errors import FlopsFitError
from flops_fit_vit import ViT, class_loss


def hand_count(width, layers, patch_numbers, patches, classes, token):
    """N by hand: maps with biases, two gains and biases of norms, positions."""
    block = (3 + 1 + 4 + 4) * width**2 + (3 + 1 + 4 + 1) * width + 4 * width
    ends = patch_numbers * width + width + width * classes + classes + 4 * width
    return layers * block + ends + patches * width + token * width


@pytest.mark.parametrize("pool", ["mean", "token"])
@pytest.mark.parametrize(
    ("image_size", "channels", "patch_size", "patch_numbers", "patches"),
    [(32, 3, 8, 192, 16), ((24, 40), 1, 8, 64, 15), ((12, 30), 5, (4, 10), 200, 9), (8, 3, 8, 192, 1)],
)
def test_any_image_any_patch(image_size, channels, patch_size, patch_numbers, patches, pool):
    model = ViT(16, 3, image_size=image_size, channels=channels, patch_size=patch_size, n_classes=7, pool=pool)
    height, width = image_size if isinstance(image_size, tuple) else (image_size, image_size)
    logits = model(torch.randn(2, channels, height, width))
    assert logits.shape == (2, 7)
    assert model.num_params() == hand_count(16, 3, patch_numbers, patches, 7, pool == "token")
    class_loss(logits, torch.tensor([0, 6])).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_patches_are_the_blocks_of_the_image():
    model = ViT(8, image_size=(4, 6), channels=2, patch_size=(2, 3))
    image = torch.arange(2 * 4 * 6.0).view(1, 2, 4, 6)
    cut = model.patches(image)
    assert cut.shape == (1, 4, 12)
    for number, (y, x) in enumerate([(0, 0), (0, 3), (2, 0), (2, 3)]):
        torch.testing.assert_close(cut[0, number], image[0, :, y : y + 2, x : x + 3].flatten())


def test_without_positions_the_order_of_patches_is_not_seen_and_with_them_it_is():
    torch.manual_seed(0)
    model = ViT(16)
    image = torch.randn(1, 3, 32, 32)
    turned = image.roll(8, dims=3)  # by one patch
    assert not torch.allclose(model(image), model(turned), atol=1e-5)
    torch.nn.init.zeros_(model.positions)
    torch.testing.assert_close(model(image), model(turned))


@pytest.mark.parametrize("pool", ["mean", "token"])
def test_meta_model_has_the_parameters_and_flops_of_the_hand_count(pool):
    from torch.utils.flop_counter import FlopCounterMode

    width, layers, patches, batch, classes = 24, 2, 16, 4, 10
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = ViT(width, layers, pool=pool)
        class_loss(model(torch.randn(batch, 3, 32, 32)), torch.zeros(batch, dtype=torch.long)).backward()
    assert all(p.is_meta for p in model.parameters())
    assert model.num_params() == ViT(width, layers, pool=pool).num_params()
    seen = patches + (pool == "token")
    embedding = 2 * 192 * width * patches  # images need no gradient: its backward is once its forward
    blocks = layers * seen * (2 * 12 * width**2 + 2 * 2 * seen * width)
    assert counter.get_total_flops() == batch * (2 * embedding + 3 * (blocks + 2 * width * classes))


def test_brightness_and_contrast_of_a_patch_are_not_seen():
    torch.manual_seed(0)
    model, image = ViT(16), torch.rand(1, 3, 32, 32)
    gain = (1 + torch.rand(4, 4)).repeat_interleave(8, 0).repeat_interleave(8, 1)
    torch.testing.assert_close(model(image), model(image * gain + 0.3 * gain), atol=1e-3, rtol=0)


def test_at_the_start_all_classes_are_about_as_likely():
    torch.manual_seed(0)
    loss = class_loss(ViT(32)(torch.randn(256, 3, 32, 32)), torch.randint(10, (256,)))
    assert abs(loss.item() - math.log(10)) < 0.3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image_size": 30}, r"height 30 is not a multiple of the patch height 8"),
        ({"image_size": (32, 36)}, r"width 36 is not a multiple of the patch width 8"),
        ({"patch_size": 64}, r"32 is not a multiple of .* 64"),
        ({"image_size": "32"}, "image_size='32'"),
        ({"image_size": (32, 32, 3)}, r"image_size=\(32, 32, 3\)"),
        ({"patch_size": 8.0}, "patch_size=8.0"),
        ({"patch_size": 0}, "at least 1"),
        ({"channels": 0}, "at least 1"),
        ({"width": 12}, "width=12 is not a positive multiple of head_dim=8"),
        ({"width": 0}, "width=0"),
        ({"n_layers": 0}, "n_layers=0"),
        ({"n_classes": 1}, "n_classes=1"),
        ({"pool": "men"}, "Did you mean 'mean'"),
    ],
)
def test_what_makes_no_model_is_said(options, said):
    with pytest.raises(FlopsFitError, match=said):
        ViT(**{"width": 16, **options})


def test_images_of_another_shape_are_refused():
    with pytest.raises(FlopsFitError, match=r"\(2, 1, 32, 32\)"):
        ViT(16)(torch.randn(2, 1, 32, 32))

"""What D counts is guessed only where there is one answer."""

import numpy as np
import pytest

from flops_fit_core.data import Workload
from flops_fit_core.errors import InputError
from flops_fit_core.probe import SampleUnits, TokenUnits, prepare


class Items:
    def __init__(self, item):
        self.item = item

    def __len__(self):
        return 8

    def __getitem__(self, i):
        return self.item


def prepared(item, **options):
    loss_fn = None if isinstance(item, dict) else lambda outputs, targets: outputs.mean()
    return prepare(
        Workload(name="w", model_cls=dict, size_param="n", dataset=Items(item), loss_fn=loss_fn, **options), 4
    )


IDS = np.arange(5)


@pytest.mark.parametrize(
    "item", [(IDS, IDS), (IDS, IDS[1:]), (IDS[:1], IDS[:1]), {"input_ids": IDS, "labels": IDS}, {"input_ids": IDS, "mask": IDS}]
)  # fmt: skip
def test_sequences_with_a_target_for_every_token_count_tokens(item):
    workload, _ = prepared(item)
    assert (workload.data_unit, type(workload.units)) == ("tokens", TokenUnits)


@pytest.mark.parametrize("item", [(IDS, 3), (IDS, IDS[:1]), {"input_ids": IDS, "labels": 3}])
def test_sequences_with_one_target_a_sample_must_say_what_d_counts(item):
    with pytest.raises(InputError, match=r"inputs of shape \(4, 5\) .* targets of shape \(4.*data_unit="):
        prepared(item)
    workload, step = prepared(item, data_unit="samples")
    assert (type(workload.units), step) == (SampleUnits, 4)
    assert prepared(item, data_unit="tokens")[1] == 20


def test_images_are_images_whatever_their_targets():
    assert prepared((np.zeros((3, 2, 2)), 1))[0].data_unit == "images"

import subprocess
import sys

import pytest
import torch

from flops_fit_core.data import Workload
from flops_fit_core.errors import FlopsFitError
from flops_fit_core.probe import prepare
from flops_fit_core.registry import Registry
from flops_fit_vit import vit


def test_default_is_photographs_by_width():
    workload = vit()
    assert isinstance(workload, Workload)
    assert (workload.size_param, workload.data_unit, len(workload.dataset)) == ("width", "images", 200_000)
    assert workload.build(24).num_params() > workload.build(16).num_params()
    prepared, step_images = prepare(workload, batch_size=16)
    assert step_images == 16
    assert prepared.units(prepared.example) == 16


def test_size_by_depth():
    workload = vit(size="depth", width=16)
    assert workload.size_param == "n_layers"
    counts = [workload.build(depth).num_params() for depth in (1, 2, 3)]
    assert counts[2] - counts[1] == counts[1] - counts[0] > 12 * 16**2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"data": "photograph"}, "Did you mean 'photographs'"),
        ({"data_path": "."}, "data_path belongs to"),
        ({"size": "deep"}, "Did you mean 'depth'"),
        ({"patch_size": 5}, "not a multiple"),
        ({"width": 16}, 'width=16 is what size="width" varies'),
        ({"size": "depth", "n_layers": 2}, 'n_layers=2 is what size="depth" varies'),
        ({"size": "depth", "width": 12}, "width=12 is not a positive multiple"),
        ({"n_layers": 0}, "n_layers=0"),
    ],
)
def test_bad_options_are_said_at_once(options, said):
    with pytest.raises(FlopsFitError, match=said):
        vit(**options)


def test_the_factory_leaves_the_random_numbers_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    vit()
    assert torch.equal(torch.get_rng_state(), before)


def test_offered_by_name_and_misspelt_options_are_refused():
    registry = Registry()
    assert registry.make("workload", "flops-fit:vit", n_layers=1).model_kwargs["n_layers"] == 1
    with pytest.raises(FlopsFitError, match="Did you mean 'patch_size'"):
        registry.make("workload", "vit", patch_sizes=4)


def test_the_package_is_light():
    program = "import sys, flops_fit_vit; flops_fit_vit.flops_fit_workloads(); print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
    )


def test_a_few_steps_learn_something():
    torch.manual_seed(0)
    workload = vit(n_layers=1)
    model = workload.build(16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(60):
        items = [workload.dataset[i * 37 % len(workload.dataset)] for i in range(step * 16, step * 16 + 16)]
        images, labels = torch.stack([item[0] for item in items]), torch.tensor([item[1] for item in items])
        optimizer.zero_grad()
        workload.loss_fn(model(images), labels).backward()
        optimizer.step()
    held_out = [workload.eval_dataset[i] for i in range(400)]
    with torch.no_grad():
        logits = model(torch.stack([item[0] for item in held_out]))
    assert workload.loss_fn(logits, torch.tensor([item[1] for item in held_out])).item() < 2.0

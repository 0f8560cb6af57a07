from collections import defaultdict

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from flops_fit_gpt import GPT, gpt, next_token_loss
from flops_fit_gpt.parametrization import Matrix, adamw, rule

WIDTHS = (64, 128, 256, 512)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Batches of real text."""
    workload = gpt(seq_len=32, cache_dir=tmp_path_factory.mktemp("cache"))
    order = torch.Generator().manual_seed(0)
    batches = iter(DataLoader(workload.dataset, batch_size=4, shuffle=True, generator=order))
    return [next(batches) for _ in range(12)]


def activation_scales(parametrization, lr, width, seed, batches):
    """Root-mean-square output of every layer and of every block after ten steps of training."""
    torch.manual_seed(seed)
    model = GPT(width, parametrization=parametrization)
    optimizer = adamw(model, lr=lr, betas=(0.9, 0.95), weight_decay=0.0)
    for inputs, targets in batches[:10]:
        next_token_loss(model(inputs), targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    scales = {}

    def remember(name):
        def hook(module, inputs, output):
            scales[name] = output.square().mean().sqrt().item()

        return hook

    for name, module in model.named_modules():
        if isinstance(module, Matrix) or name in ("blocks.0", "blocks.1"):
            module.register_forward_hook(remember(name))
    with torch.no_grad():
        model(torch.cat([inputs for inputs, _ in batches[10:]]))
    return scales


def slopes(parametrization, lr, text):
    """Log-log slope against width of every layer's activation scale; narrow models vary more, and get more seeds."""
    logs = defaultdict(list)
    for width in WIDTHS:
        drawn = [activation_scales(parametrization, lr, width, seed, text) for seed in range(512 // width)]
        for name in drawn[0]:
            logs[name].append(np.mean([np.log(scales[name]) for scales in drawn]))
    assert len(logs) == 12  # 2 tables, 2 x 4 matrices, 2 blocks
    return {name: np.polyfit(np.log(WIDTHS), values, 1)[0] for name, values in logs.items()}


def test_coordinate_check_u_mup(text):
    """Under u-µP no activation grows or shrinks with width while the model learns."""
    found = slopes("u-mup", 0.25, text)
    assert max(map(abs, found.values())) < 0.1, found


def test_coordinate_check_standard_fails(text):
    """The same check tells the standard parametrization from u-µP, at a rate that suits these widths."""
    found = slopes("standard", 0.003, text)
    assert max(map(abs, found.values())) > 0.3, found


def test_rules_are_those_of_the_paper():
    """Blake et al. 2024, table 2, for matrices of 64 inputs and 256 outputs in a model of 4 layers."""
    assert rule("u-mup", "embedding", 64, 256, 4) == pytest.approx((1, 1, 1 / 16))
    assert rule("u-mup", "hidden", 64, 256, 4) == pytest.approx((1, 1 / 8, 1 / 8 / 2))
    assert rule("u-mup", "output", 64, 256, 4) == pytest.approx((1, 1 / 64, 1))
    assert {rule("standard", kind, 64, 256, 4).lr for kind in ("embedding", "hidden", "output")} == {1}


def test_weights_start_with_unit_variance():
    torch.manual_seed(0)
    for parameter in GPT(64, parametrization="u-mup").parameters():
        assert parameter.std().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("layers", [1, 4, 16])
@pytest.mark.parametrize("parametrization", ["standard", "u-mup"])
def test_the_stream_does_not_grow_with_depth(parametrization, layers):
    torch.manual_seed(0)
    model = GPT(64, n_layers=layers, parametrization=parametrization)
    seen = []
    model.blocks[-1].register_forward_hook(lambda module, inputs, output: seen.append(output.std().item()))
    model(torch.randint(0, 257, (4, 32)))
    assert 1 < seen[0] < 2.5


def test_every_weight_has_its_rate():
    model = GPT(32, n_layers=4, parametrization="u-mup")
    optimizer = adamw(model, lr=0.5, betas=(0.8, 0.9), weight_decay=0.1)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert len(rates) == len(list(model.parameters()))
    assert rates[id(model.embedding.weight)] == pytest.approx(0.5 / 32**0.5)
    assert rates[id(model.blocks[0].down.weight)] == pytest.approx(0.5 / (4 * 32) ** 0.5 / 2)
    assert rates[id(model.head.weight)] == pytest.approx(0.5)
    assert all(group["betas"] == (0.8, 0.9) for group in optimizer.param_groups)


@pytest.mark.parametrize("parametrization", ["standard", "u-mup"])
def test_weight_decay_is_that_of_adamw_on_the_weights_in_use(parametrization):
    """Without a gradient, a step shrinks a weight by its own rate, as it acts in the model, times the decay."""
    torch.manual_seed(0)
    model = GPT(32, parametrization=parametrization)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    adamw(model, lr=0.5, betas=(0.9, 0.95), weight_decay=0.1).step()
    for name, module in model.named_modules():
        if isinstance(module, Matrix) and name != "embedding":
            effective_rate = 0.5 * module.lr_scale * (module.decay_scale if parametrization == "u-mup" else 1)
            torch.testing.assert_close(module.weight.detach(), before[f"{name}.weight"] * (1 - effective_rate * 0.1))
    assert torch.equal(model.embedding.weight, before["embedding.weight"])


def test_tied_weights_are_optimised_once():
    optimizer = adamw(GPT(16, tie_weights=True), lr=0.01, betas=(0.9, 0.95), weight_decay=0.1)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(parameters) == len({id(p) for p in parameters}) == 9

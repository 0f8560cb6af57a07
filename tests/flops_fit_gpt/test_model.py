import numpy as np
import pytest
import torch

from flops_fit_core.errors import FlopsFitError
from flops_fit_gpt import GPT, next_token_loss


@pytest.mark.parametrize("parametrization", ["standard", "u-mup"])
@pytest.mark.parametrize(("width", "layers", "vocabulary"), [(8, 1, 257), (24, 2, 300), (40, 3, 65)])
def test_num_params_is_the_hand_count(width, layers, vocabulary, parametrization):
    model = GPT(width, n_layers=layers, vocab_size=vocabulary, parametrization=parametrization)
    assert model.num_params() == 12 * layers * width**2 + 2 * vocabulary * width


def test_tied_weights_are_one_table():
    model = GPT(16, tie_weights=True)
    assert model.num_params() == 12 * 2 * 16**2 + 257 * 16
    model(torch.zeros(1, 4, dtype=torch.long)).sum().backward()
    assert model.embedding.weight is model.head.weight


@pytest.mark.parametrize("parametrization", ["standard", "u-mup"])
def test_meta_model_has_the_parameters_and_flops_of_the_real_one(parametrization):
    from torch.utils.flop_counter import FlopCounterMode

    width, layers, time, batch, vocabulary = 48, 2, 32, 4, 257
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = GPT(width, n_layers=layers, parametrization=parametrization)
        tokens = torch.zeros(batch, time, dtype=torch.long)
        next_token_loss(model(tokens), tokens).backward()
    assert all(p.is_meta for p in model.parameters())
    assert model.num_params() == GPT(width, n_layers=layers).num_params()
    matmuls = 2 * (12 * layers * width**2 + vocabulary * width)  # a multiply-add is two operations
    attention = 2 * 2 * time * width * layers  # scores and mixing, the causal mask not subtracted
    assert counter.get_total_flops() == 3 * (matmuls + attention) * batch * time


@pytest.mark.parametrize("parametrization", ["standard", "u-mup"])
def test_no_position_sees_a_later_one(parametrization):
    torch.manual_seed(0)
    model = GPT(16, parametrization=parametrization)
    tokens = torch.randint(0, 257, (2, 12))
    changed = tokens.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % 257
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :7], after[:, :7])
    assert not torch.allclose(before[:, 7:], after[:, 7:])


def test_attention_knows_how_far_not_where():
    """Rotary scores depend on distance alone: the same text later in the sequence is read the same way."""
    from flops_fit_gpt.model import rotary_waves, rotate

    torch.manual_seed(0)
    q, k = torch.randn(8).double().expand(20, 8), torch.randn(8).double().expand(20, 8)
    waves = rotary_waves(20, 8, q)
    scores = rotate(q, *waves) @ rotate(k, *waves).T
    for distance in (0, 1, 5):
        diagonal = scores.diagonal(-distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    assert scores[0, 0] != pytest.approx(float(scores[5, 0]))
    torch.testing.assert_close(rotate(q, *waves).norm(dim=-1), q.norm(dim=-1))


def test_loss_is_the_mean_over_targets_that_are_not_padding():
    logits, targets = torch.randn(2, 3, 5), torch.tensor([[1, 2, -100], [4, -100, -100]])
    log_p = logits.log_softmax(-1)
    expected = -(log_p[0, 0, 1] + log_p[0, 1, 2] + log_p[1, 0, 4]) / 3
    torch.testing.assert_close(next_token_loss(logits, targets), expected)


@pytest.mark.parametrize("parametrization", ["standard", "u-mup"])
def test_an_untrained_model_is_near_uniform(parametrization):
    torch.manual_seed(0)
    tokens = torch.randint(0, 257, (8, 32))
    loss = next_token_loss(GPT(64, parametrization=parametrization)(tokens), tokens)
    assert loss.item() == pytest.approx(np.log(257), abs=0.8)


def test_numpy_integers_are_widths():
    assert GPT(np.int64(16)).num_params() == GPT(16).num_params()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"d_model": 20}, "d_model=20 is not a positive multiple of head_dim=8"),
        ({"d_model": 0}, "d_model=0"),
        ({"d_model": -8}, "d_model=-8"),
        ({"d_model": 15, "head_dim": 5}, "head_dim=5"),
        ({"d_model": 16, "n_layers": 0}, "n_layers=0"),
        ({"d_model": 16, "parametrization": "umup"}, "Did you mean 'u-mup'"),
        ({"d_model": 16, "parametrization": "u-mup", "tie_weights": True}, "untie"),
    ],
)
def test_a_model_that_cannot_be_is_refused(options, said):
    with pytest.raises(ValueError, match=said) as caught:
        GPT(**options)
    assert isinstance(caught.value, FlopsFitError)


def test_a_width_is_a_whole_number():
    with pytest.raises(TypeError):
        GPT(16.5)


@pytest.mark.parametrize("parametrization", ["standard", "u-mup"])
def test_learns_to_count(parametrization):
    """A text in which the next token is known: the loss falls from ln 16 to almost nothing."""
    torch.manual_seed(0)
    from flops_fit_gpt.parametrization import adamw

    model = GPT(32, vocab_size=16, parametrization=parametrization)
    optimizer = adamw(model, lr=0.5 if parametrization == "u-mup" else 0.01, betas=(0.9, 0.95), weight_decay=0.0)
    for _ in range(60):
        text = (torch.randint(0, 16, (8, 1)) + torch.arange(17)) % 16
        loss = next_token_loss(model(text[:, :-1]), text[:, 1:])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert float(loss.detach()) < 0.1

"""Models of the transformers library, which look at their inputs, are counted as exactly as plain ones."""

import pytest

from flops_fit_core.data import Workload
from flops_fit_flops import TorchFlopCounter

pytestmark = pytest.mark.slow  # importing transformers takes long

D, T, V = 64, 32, 100


def gpt2(width):
    from transformers import GPT2Config, GPT2LMHeadModel

    ids = {"bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(n_embd=width, n_layer=2, n_head=4, vocab_size=V, n_positions=T, **ids))


def llama(width):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=V,
    )
    return LlamaForCausalLM(config)


def mixtral(width):
    """Two of eight experts see each token."""
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        vocab_size=V,
    )
    return MixtralForCausalLM(config)


@pytest.mark.parametrize(
    ("make", "layer"),
    [(gpt2, 12 * D * D), (llama, 3 * D * D + 9 * D * D), (mixtral, 4 * D * D + 8 * D + 2 * 6 * D * D)],
)
def test_language_models_with_their_own_loss(make, layer, monkeypatch):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    monkeypatch.setattr(transformers.PreTrainedModel, "num_params", lambda self: self.num_parameters(), raising=False)
    ids = torch.randint(0, V, (4, T))
    workload = Workload(
        name=make.__name__,
        model_cls=make,
        size_param="width",
        data_unit="tokens",
        units=lambda batch: batch["labels"].numel(),
        example={"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids)},
    )
    counted = TorchFlopCounter().count(workload, D)
    assert counted.uncounted_ops == ()
    assert counted.flops_per_token == pytest.approx(6 * (2 * (layer + 2 * T * D) + V * D), rel=1e-9)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flops_fit_core.errors import InputError
from flops_fit_gpt import BpeTokenizer, ByteTokenizer

DOCUMENTS = [f"def function_{i}(self, value):\n    return self.value + {i}\n" for i in range(200)]


@given(st.text())
def test_bytes_come_back_as_text(text):
    tokenizer = ByteTokenizer()
    tokens = tokenizer.encode(text)
    assert tokens.tolist() == list(text.encode())
    assert tokens.dtype == np.uint16
    assert tokenizer.decode([*tokens, tokenizer.separator]) == text
    assert tokenizer.separator < tokenizer.vocab_size


@pytest.fixture(scope="module")
def bpe():
    return BpeTokenizer.train(iter(DOCUMENTS), 300)


@given(text=st.text())
def test_byte_pairs_come_back_as_text(text, bpe):
    tokens = bpe.encode(text)
    assert bpe.decode([*tokens, bpe.separator]) == text
    assert all(token < bpe.separator for token in tokens)


def test_byte_pairs_are_fewer_than_bytes(bpe):
    assert bpe.vocab_size == 300
    assert len(bpe.encode(DOCUMENTS[0])) < len(DOCUMENTS[0]) / 2


def test_byte_pairs_survive_json(bpe):
    again = BpeTokenizer.from_json(bpe.to_json())
    assert again.encode(DOCUMENTS[7]).tolist() == bpe.encode(DOCUMENTS[7]).tolist()
    assert again.separator == bpe.separator


def test_training_again_gives_the_same_encoding(bpe):
    assert BpeTokenizer.train(iter(DOCUMENTS), 300).to_json() == bpe.to_json()


@pytest.mark.parametrize("vocab_size", [257, 65537])
def test_a_vocabulary_has_room_for_bytes_and_fits_in_16_bits(vocab_size):
    with pytest.raises(InputError, match=f"vocab_size={vocab_size}"):
        BpeTokenizer.train(iter(DOCUMENTS), vocab_size)

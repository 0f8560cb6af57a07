import pickle

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flops_fit_core.errors import InputError
from flops_fit_gpt import ByteTokenizer, TokenSequences
from flops_fit_gpt.cache import token_cache

texts = st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents=texts, seq_len=st.integers(1, 20))
def test_every_token_is_a_target_exactly_once(documents, seq_len, listed, tmp_path):
    corpus = listed((*((text, False) for text in documents), ("held out", True)))
    data = TokenSequences(token_cache(corpus, None, tmp_path), "train", seq_len)
    items = [data[i] for i in range(len(data))]
    targets = torch.cat([target for _, target in items])
    seen = targets[targets != -100].tolist()
    assert seen == [token for text in documents for token in [*text.encode(), 256]]
    for inputs, target in items:
        assert inputs.shape == target.shape == (seq_len,)
        assert inputs.dtype == target.dtype == torch.int64
        known = target != -100
        assert inputs[1:][known[:-1]].tolist() == target[:-1][known[:-1]].tolist()  # the shift by one
    assert items[0][0][0] == 256  # the first byte of the first document is predicted too


def test_held_out_documents_are_in_no_training_item(small, tmp_path):
    cache = token_cache(small, None, tmp_path)
    text = {}
    for part in ("train", "held_out"):
        data = TokenSequences(cache, part, 16)
        tokens = torch.cat([data[i][1] for i in range(len(data))])
        text[part] = ByteTokenizer().decode(tokens[tokens >= 0])
    for document, held_out in small.rows:
        assert (document in text["held_out"]) == held_out
        assert (document in text["train"]) == (not held_out)


def test_a_selection_is_spread_over_the_whole_part(listed, tmp_path):
    numbers = " ".join(str(i) for i in range(200))
    cache = token_cache(listed(((numbers, False), ("held out", True))), None, tmp_path)
    every = TokenSequences(cache, "train", 8)
    some = TokenSequences(cache, "train", 8, at_most=5)
    assert len(some) == 5
    places = [next(j for j in range(len(every)) if torch.equal(every[j][1], some[i][1])) for i in range(5)]
    assert len(set(places)) == 5
    assert places[0] == 0
    assert places[-1] >= len(every) * 3 / 5
    assert len(TokenSequences(cache, "train", 8, at_most=10**6)) == len(every)


def test_travels_as_a_path(small, tmp_path):
    data = TokenSequences(token_cache(small, None, tmp_path), "train", 8)
    before = data[3]
    message = pickle.dumps(data)
    assert len(message) < 1000
    assert torch.equal(pickle.loads(message)[3][0], before[0])


def test_ends(small, tmp_path):
    data = TokenSequences(token_cache(small, None, tmp_path), "train", 8)
    for index in (len(data), -1):
        with pytest.raises(IndexError):
            data[index]
    assert len(list(data)) == len(data)


@pytest.mark.parametrize("options", [{"seq_len": 0}, {"seq_len": 8, "at_most": 0}])
def test_lengths_are_positive(options, small, tmp_path):
    with pytest.raises(InputError, match="at least 1"):
        TokenSequences(token_cache(small, None, tmp_path), "train", **options)


def test_items_do_not_touch_the_file(small, tmp_path):
    cache = token_cache(small, None, tmp_path)
    before = cache.file("train").read_bytes()
    inputs, _ = TokenSequences(cache, "train", 8)[0]
    inputs.fill_(0)
    assert cache.file("train").read_bytes() == before
    assert np.fromfile(cache.file("train"), dtype="<u2")[0] == 256

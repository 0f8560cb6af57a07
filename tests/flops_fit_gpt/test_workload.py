import pickle
import subprocess
import sys

import pytest
import torch
from torch.utils.data import DataLoader

from flops_fit_core.errors import InputError
from flops_fit_gpt import GPT, StdlibCorpus, gpt


@pytest.fixture
def folder(tmp_path):
    """A small library of Python files, enough of them that some are held out."""
    for i in range(80):
        (tmp_path / f"m{i}.py").write_text(f"def f{i}(x):\n    return x + {i}\n" * 20)
    return tmp_path


def test_all_parts_fit_together(folder):
    workload = gpt(corpus_path=folder, seq_len=16, cache_dir=folder / "cache")
    assert (workload.name, workload.size_param, workload.data_unit) == ("gpt", "d_model", "tokens")
    model = workload.build(16)
    inputs, targets = batch = next(iter(DataLoader(workload.dataset, batch_size=4)))
    assert workload.units(batch) == 4 * 16
    loss = workload.loss_fn(model(inputs), targets)
    loss.backward()
    optimizer = workload.optimizer(model, lr=1e-2, betas=(0.9, 0.95), weight_decay=0.1)
    optimizer.step()
    assert float(workload.loss_fn(model(inputs), targets).detach()) < float(loss.detach())
    assert pickle.loads(pickle.dumps(workload)).fingerprint == workload.fingerprint


def test_held_out_data_is_other_data(folder):
    workload = gpt(corpus_path=folder, seq_len=16, eval_tokens=64, cache_dir=folder / "cache")
    assert len(workload.eval_dataset) == 4
    assert workload.eval_dataset.path != workload.dataset.path


def test_the_fingerprint_is_that_of_the_text(folder):
    options = {"corpus_path": folder, "seq_len": 16}
    first = gpt(**options, cache_dir=folder / "cache").fingerprint
    assert gpt(**options, cache_dir=folder / "other").fingerprint == first
    (folder / "m0.py").write_text("changed = True\n")
    assert gpt(**options, cache_dir=folder / "cache").fingerprint != first


def test_options_reach_the_model(folder):
    workload = gpt(
        corpus_path=folder, vocab_size=300, n_layers=3, head_dim=4, parametrization="u-mup", cache_dir=folder / "cache"
    )
    model = workload.build(12)
    assert isinstance(model, GPT)
    assert model.num_params() == 12 * 3 * 12**2 + 2 * 300 * 12
    assert workload.parametrization == "u-mup"
    assert max(int(workload.dataset[i][0].max()) for i in range(len(workload.dataset))) < 300


def test_tinystories_from_a_local_folder(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    stories = [f"Once there was a dog called {i}. It ran and ran and found {i} bones." for i in range(50)]
    pq.write_table(pa.table({"text": stories[:40]}), tmp_path / "train.parquet")
    pq.write_table(pa.table({"text": stories[40:]}), tmp_path / "validation.parquet")
    workload = gpt("tinystories", corpus_path=tmp_path, vocab_size=280, seq_len=16, cache_dir=tmp_path / "cache")
    assert workload.dataset.n_tokens < sum(map(len, stories[:40])) / 1.5  # byte pairs, not bytes
    assert len(workload.eval_dataset) == -(-(workload.eval_dataset.n_tokens - 1) // 16)
    inputs, targets = workload.dataset[0]
    assert torch.isfinite(workload.loss_fn(workload.build(16)(inputs[None]), targets[None]).detach())


def test_a_corpus_may_be_an_object(folder):
    named = gpt(corpus_path=folder, cache_dir=folder / "cache")
    assert gpt(StdlibCorpus(folder), cache_dir=folder / "cache").fingerprint == named.fingerprint


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"corpus": "tinystory"}, "Did you mean 'tinystories'"),
        ({"corpus_path": "/no/such/folder"}, "not a folder"),
        ({"corpus": StdlibCorpus("."), "corpus_path": "."}, "corpus_path"),
        ({"eval_tokens": 10}, "eval_tokens=10"),
        ({"seq_len": 0}, "seq_len=0"),
        ({"parametrization": "mup"}, "'mup' is not one of"),
        ({"head_dim": 7}, "head_dim=7"),
    ],
)
def test_bad_options_are_errors_before_any_text_is_read(options, said, tmp_path):
    with pytest.raises(InputError, match=said):
        gpt(**options, cache_dir=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_misspelt_option_is_an_error():
    with pytest.raises(TypeError, match="n_layer"):
        gpt(n_layer=2)


def test_the_package_is_light():
    code = "import sys, flops_fit_gpt; flops_fit_gpt.flops_fit_workloads(); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_items_are_the_same_in_another_process(folder):
    dataset = gpt(corpus_path=folder, seq_len=16, cache_dir=folder / "cache").dataset
    direct = torch.stack([dataset[i][0] for i in range(8)])
    workers = next(iter(DataLoader(dataset, batch_size=8, num_workers=0)))[0]
    assert torch.equal(direct, workers)

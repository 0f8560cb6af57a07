import math

import attrs
import pytest
import torch
import toys
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

from flops_fit_accelerate import AccelerateTrainer
from flops_fit_core.errors import InputError
from flops_fit_core.store import Workspace

Trainer = AccelerateTrainer


def trainer(**options):
    return Trainer(**{"lr": 1e-2, "batch_size": 16, "keep_weights": True} | options)


def bare(record):
    """A record without what a clock tells."""
    timed = ("tokens_per_second", "eval_seconds")
    metrics = {name: value for name, value in record.metrics.items() if name not in timed}
    return attrs.evolve(record, seconds=0.0, metrics=metrics)


def test_d_and_flops_are_those_planned(train):
    [record] = train(trainer(), toys.workload(), toys.run(640))
    assert (record.status, record.n_tokens, record.flops, record.flops_spent) == ("done", 640, 64_000, 64_000)
    assert record.seconds > 0
    assert record.curve[-1].n_tokens == 640


def test_d_that_is_no_whole_number_of_batches_is_met_within_one(train):
    [record] = train(trainer(), toys.workload(), toys.run(1001))
    assert 1001 <= record.n_tokens < 1001 + 16


def test_a_small_data_set_is_repeated_and_a_large_one_is_not_finished(train):
    few, many = (train(trainer(), toys.workload(dataset=toys.points(n)), toys.run(960))[0] for n in (200, 4000))
    assert few.epochs == pytest.approx(960 / 180)  # a tenth is held out
    assert many.epochs == pytest.approx(960 / 3600)


def test_equal_seeds_agree_to_the_bit_and_others_differ(train, tmp_path):
    w = toys.workload()
    runs = [toys.run(seed=0), toys.run(seed=1)]
    first, other = train(trainer(), w, *runs, folder="a")
    again, _ = train(trainer(), w, *runs, folder="b")
    assert bare(first) == bare(again)
    assert toys.equal_weights(tmp_path / "a", tmp_path / "b", runs[0])
    assert other.loss != first.loss


def test_the_caller_s_random_numbers_are_left_alone(train):
    torch.manual_seed(3)
    expected = torch.rand(())
    torch.manual_seed(3)
    train(trainer(), toys.workload(), toys.run(64))
    assert torch.rand(()) == expected


def test_the_loss_is_held_out_never_the_training_loss(train):
    """Random labels can be learned by heart and not be predicted: ln K is the best held-out loss."""
    generator = torch.Generator().manual_seed(0)
    data = TensorDataset(torch.randn(120, 6, generator=generator), torch.randint(0, 4, (120,), generator=generator))
    memorising = trainer(lr=2e-2, weight_decay=0.0, schedule="constant")
    [record] = train(memorising, toys.workload(toys.Plain, data), toys.run(40_000, size=256))
    assert record.curve[-1].loss < 0.05
    assert record.loss >= math.log(4)


def test_held_out_samples_do_not_depend_on_the_seed_and_are_not_trained_on(train):
    seen = set()

    class Spy(TensorDataset):
        def __getitem__(self, i):
            seen.add(i)
            return super().__getitem__(i)

    held_out = []
    for seed in (0, 1):
        seen.clear()
        data = Spy(*toys.points(100).tensors)
        w = toys.workload(dataset=data)
        seen.clear()
        train(trainer(), w, toys.run(1600, seed=seed))
        trained = set(seen)
        assert trained == set(range(100))  # training and evaluation together
        from flops_fit_accelerate.setup import open_sources

        source, held = open_sources(trainer(), w, 16)
        seen.clear()
        list(held["held_out"].held_out())
        held_out.append(set(seen))
        seen.clear()
        from flops_fit_accelerate.data import Share

        batches = source.steps(0, seed, Share())
        for _ in range(50):
            next(batches)
        assert not seen & held_out[-1]
    assert held_out[0] == held_out[1]
    assert len(held_out[0]) == 10


def test_the_standard_error_is_recorded_and_shrinks_with_the_held_out_set(train):
    small, large = (
        train(trainer(eval_samples=n), toys.workload(dataset=toys.points(8000)), toys.run(640))[0] for n in (50, 800)
    )
    assert small.metrics["eval_units"] == 50
    assert large.metrics["eval_units"] == 800
    assert 0 < large.loss_stderr < small.loss_stderr


def test_several_held_out_sets_are_measured_by_name(train):
    sets = {"val": toys.points(), "other": toys.points(100, seed=2)}
    [record] = train(trainer(), toys.workload(eval_dataset=sets), toys.run(1600))
    assert record.metrics["other"] > record.loss  # labelled by another map
    assert record.metrics["other_stderr"] > 0
    assert record.epochs == 4.0  # nothing was set aside of the 400 training samples


def test_a_loss_that_is_not_finite_is_recorded_and_the_next_run_is_trained(train):
    broken, fine = train(trainer(), toys.workload(), toys.run(hparams={"lr": 1e30, "clip_norm": None}), toys.run())
    assert (broken.status, broken.loss) == ("diverged", None)
    assert "training loss is" in broken.message
    assert fine.status == "done"


def test_hparams_override_options_and_others_are_refused(train):
    [record] = train(trainer(), toys.workload(), toys.run(hparams={"lr": 3e-3, "batch_size": 8}))
    assert (record.recipe["lr"], record.recipe["batch_size"]) == (3e-3, 8)
    [record] = train(trainer(), toys.workload(), toys.run(hparams={"learning_rate": 3e-3}))
    assert record.status == "failed"
    for name, meant in {"learning_rate": "lr", "weight_decya": "weight_decay"}.items():
        with pytest.raises(InputError, match=f"{name}.* Did you mean '{meant}'"):
            trainer().check(toys.workload(), [toys.run(hparams={name: 3e-3})])


def test_options_may_be_functions_of_the_run(train):
    made = trainer(lr=lambda run: 1 / run.n_params, weight_decay=lambda run: 0.2, batch_size=lambda run: run.size)
    [record] = train(made, toys.workload(), toys.run(size=8))
    assert (record.recipe["lr"], record.recipe["weight_decay"], record.recipe["batch_size"]) == (0.01, 0.2, 8)
    assert record.status == "done"


def test_a_loader_keeps_its_batch_size_and_collation(train):
    seen = []

    def collate(samples):
        seen.append(len(samples))
        return torch.utils.data.default_collate(samples)

    loader = DataLoader(toys.points(), batch_size=10, shuffle=True, collate_fn=collate)
    w = toys.workload(dataset=loader)
    seen.clear()
    [record] = train(trainer(batch_size=64), w, toys.run(200))
    assert record.recipe["batch_size"] == 10
    assert record.n_tokens == 200
    assert seen[:20] == [10] * 20


def test_an_endless_stream_stops_at_d(train):
    w = toys.workload(dataset=toys.Reread(toys.points(), endless=True))
    [record] = train(trainer(eval_samples=64), w, toys.run(1600))
    assert (record.status, record.n_tokens, record.epochs) == ("done", 1600, 0.0)
    assert record.metrics["eval_units"] == 64


def test_masked_targets_count_neither_as_data_nor_in_the_loss(train):
    w = toys.workload(toys.Lm, toys.Sentences())
    [record] = train(trainer(), w, toys.run(2000))
    assert 2000 <= record.n_tokens < 2000 + 16 * 8
    assert record.metrics["eval_units"] < 20 * 8
    assert record.loss < math.log(16)


def test_the_optimizer_factory_is_used(train):
    def sgd(model, lr, betas, weight_decay):
        return torch.optim.SGD([{"params": model.parameters(), "lr": 2 * lr}], lr=lr, momentum=betas[0])

    ours, theirs = (train(trainer(), toys.workload(optimizer=o), toys.run())[0] for o in (None, sgd))
    assert theirs.recipe["optimizer"] == "workload"
    assert ours.loss != theirs.loss


def test_accumulation_takes_the_same_steps(train, tmp_path):
    w = toys.workload(toys.Lm, toys.Sentences())
    whole, cut = (train(trainer(accumulate=k), w, toys.run(3000))[0] for k in (1, 4))
    assert cut.n_tokens == whole.n_tokens
    assert cut.loss == pytest.approx(whole.loss, abs=1e-4)
    assert [p.n_tokens for p in cut.curve] == [p.n_tokens for p in whole.curve]


def test_bf16_is_recorded_and_near(train):
    w = toys.workload(toys.Plain)
    full, half = (train(trainer(mixed_precision=p), w, toys.run())[0] for p in ("no", "bf16"))
    assert half.recipe["mixed_precision"] == "bf16"
    assert half.loss != full.loss
    assert half.loss == pytest.approx(full.loss, abs=0.05)


def test_evaluations_along_the_way_change_no_weight(train, tmp_path):
    w, one = toys.workload(), toys.run(3200)
    [often] = train(trainer(eval_share=10.0), w, one, folder="often")
    [never] = train(trainer(eval_share=0.0), w, one, folder="never")
    assert sum(p.eval_loss is not None for p in often.curve) == 10
    assert not any(p.eval_loss is not None for p in never.curve)
    assert often.loss == never.loss
    assert toys.equal_weights(tmp_path / "often", tmp_path / "never", one)


def test_batch_norm_is_evaluated_in_evaluation_mode(train, tmp_path):
    """The recorded loss is that of the kept weights, in evaluation mode, on the held-out samples."""
    w, one = toys.workload(), toys.run()
    [record] = train(trainer(), w, one, folder="a")
    model = toys.Mlp()
    model.load_state_dict(toys.weights(tmp_path / "a", one))
    model.eval()
    from flops_fit_accelerate.order import held_out

    rows = torch.from_numpy(held_out(400, 40))
    x, y = w.dataset.tensors
    with torch.no_grad():
        assert record.loss == pytest.approx(nn.functional.cross_entropy(model(x[rows]), y[rows]).item(), rel=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"lr": -1.0}, {"batch_size": 0}, {"batch_size": 16.5}, {"accumulate": 1.5}, {"num_workers": 0.5}, {"betas": (0.9,)},
        {"betas": 0.9}, {"betas": (0.9, 1.2)}, {"schedule": "cosin"}, {"mixed_precision": "fp8"},
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        Trainer(**options)


def test_a_second_held_out_loss_that_is_not_finite_is_said(train, tmp_path):
    x, y = toys.points(40).tensors
    odd = TensorDataset(torch.full_like(x, torch.nan), y)
    w = toys.workload(eval_dataset={"val": toys.points(40), "odd": odd, "too": toys.points(40)})
    [record] = train(trainer(), w, toys.run(320), folder="a")
    assert (record.status, record.message) == ("done", "the loss on the held-out data 'odd' is nan")
    assert {"odd", "odd_stderr"}.isdisjoint(record.metrics)
    assert "too" in record.metrics
    assert Workspace(tmp_path / "a").record(record.run) == record


class Reads(TorchDispatchMode):
    """Counts how often the host asks a tensor for its value, for which a GPU would have to be waited for."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **kwargs or {})


def test_values_are_read_no_more_often_than_points_are_logged(train):
    with Reads() as reads:
        [record] = train(trainer(eval_samples=16, eval_share=0), toys.workload(toys.Plain), toys.run(4800))
    assert len(record.curve) < 50
    assert reads.count <= len(record.curve) + 16  # of 300 steps, and sixteen held-out batches

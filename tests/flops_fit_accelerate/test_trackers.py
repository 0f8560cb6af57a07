"""TensorBoard, for real: what is read back from its event files is what was trained."""

import pytest
import toys

from flops_fit_accelerate import AccelerateTrainer

pytest.importorskip("tensorboard")


@pytest.mark.filterwarnings("ignore")  # tensorboard's own
def test_tensorboard_holds_one_run_for_each_run(train, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    runs = [toys.run(640), toys.run(640, seed=1)]
    trainer = AccelerateTrainer(lr=1e-2, batch_size=16, log_with="tensorboard", eval_share=1.0)
    records = train(trainer, toys.workload(), *runs, folder="a")
    for record in records:
        folder = tmp_path / "a" / "trackers" / record.run.run_id
        events = EventAccumulator(str(folder))
        events.Reload()
        losses = [(e.step, e.value) for e in events.Scalars("loss")]
        assert [step for step, _ in losses] == [p.n_tokens for p in record.curve]
        assert [value for _, value in losses] == pytest.approx([p.loss for p in record.curve])
        assert events.Scalars("eval_loss")[-1].step == 640
        assert events.Scalars("eval_loss")[-1].value == pytest.approx(record.loss)
        assert events.Scalars("tokens_per_second")[0].value > 0
        assert events.Scalars("flops_per_second")[0].value == pytest.approx(
            100 * events.Scalars("tokens_per_second")[0].value
        )
        configs = [EventAccumulator(str(path.parent)) for path in folder.rglob("events*") if path.parent != folder]
        text = "".join(path.read_text() for path in folder.rglob("hparams.yml"))
        assert configs
        for name in ("N: 100", "D: 640", "C: 64000"):
            assert name in text

"""The folder on disk: complete or absent, never a part; damage has a name and touches nothing."""

import os
import pickle
import shutil
import subprocess
import sys
import textwrap

import attrs
import pytest

from flops_fit_core.data import CurvePoint, Plan, Run, RunRecord
from flops_fit_core.differences import differences
from flops_fit_core.errors import StoreError
from flops_fit_core.manifest import Manifest, read_manifest, write_manifest
from flops_fit_core.store import Workspace, write_json, write_text

RUN = Run(budget=1e9, size=(2, 64), n_params=1000, n_tokens=10_000, flops=6e7, study="s")
RECORD = RunRecord(
    run=RUN, loss=2.0000000000000004, loss_stderr=1e-3, n_tokens=10_000, flops=6e7, flops_spent=6e7, seconds=1.5,
    curve=(CurvePoint(n_tokens=5000, loss=3.0), CurvePoint(n_tokens=10_000, loss=2.5, eval_loss=2.25)),
    metrics={"code": 1.25}, recipe={"lr": 1e-3, "schedule": "cosine"},
)  # fmt: skip
MANIFEST = Manifest(
    workload="w", data_unit="tokens", identity={"model": "m", "trainer": {"lr": 1}}, plan=Plan(runs=(RUN,))
)


def test_a_record_comes_back_exactly(tmp_path):
    workspace = Workspace(tmp_path)
    assert workspace.record(RUN) is None
    workspace.save(RECORD)
    assert workspace.record(RUN) == RECORD
    assert workspace.record(RUN).run.run_id == RUN.run_id


def test_the_curve_leaves_out_a_line_that_was_cut_short(tmp_path):
    workspace = Workspace(tmp_path)
    for point in RECORD.curve:
        workspace.log(RUN, point)
    path = workspace.run_dir(RUN) / "curve.jsonl"
    path.write_text(path.read_text()[:-7])
    assert workspace.curve(RUN) == RECORD.curve[:1]


def test_a_workspace_travels_without_its_callback(tmp_path):
    workspace = Workspace(tmp_path, on_progress=lambda *_: None)
    copy = pickle.loads(pickle.dumps(workspace))
    assert copy.root == workspace.root
    assert copy.on_progress is None


@pytest.mark.parametrize("damage", ['{"schema": 1, "rec', "", "[]", '{"schema": 99}'])
def test_a_damaged_record_is_named_and_left_alone(tmp_path, damage):
    workspace = Workspace(tmp_path)
    workspace.save(RECORD)
    path = workspace.run_dir(RUN) / "record.json"
    path.write_text(damage)
    with pytest.raises(StoreError, match=r"record\.json"):
        workspace.record(RUN)
    assert path.read_text() == damage


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    write_text(path, "old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(
        StoreError, match=r"file\.json could not be written .*No space.*make room and call again"
    ) as caught:
        write_text(path, "new")
    assert isinstance(caught.value, OSError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_point_that_cannot_be_logged_says_where(tmp_path):
    workspace = Workspace(tmp_path)
    (workspace.run_dir(RUN) / "curve.jsonl").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"curve\.jsonl could not be written"):
        workspace.log(RUN, RECORD.curve[0])


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    strays = [Workspace(tmp_path).run_dir(RUN) / ".record.json.x1.tmp", tmp_path / ".sweep.json.x2.tmp"]
    for stray in strays:
        stray.parent.mkdir(parents=True, exist_ok=True)
        stray.write_text("{")
    with Workspace(tmp_path).claim([RUN]):
        assert not strays[0].exists()
    shutil.rmtree(tmp_path / "runs")
    write_manifest(tmp_path, MANIFEST, resume=True)
    assert not strays[1].exists()


def test_json_is_strict(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "file.json", {"x": float("nan")})


def test_a_claim_is_freed_when_its_process_dies(tmp_path):
    code = f"""
        import os
        from flops_fit_core.store import Workspace
        from flops_fit_core.data import Run
        run = Run(budget=1e9, size=(2, 64), n_params=1000, n_tokens=10000, flops=6e7, study="s")
        with Workspace({str(tmp_path)!r}).claim([run]):
            os.kill(os.getpid(), 9)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)]).returncode == -9
    with Workspace(tmp_path).claim([RUN]):
        pass


def test_a_folder_is_extended_by_the_same_study_only(tmp_path):
    root = tmp_path / "out"
    write_manifest(root, MANIFEST, resume=True)
    more = attrs.evolve(RUN, budget=2e9, n_tokens=20_000)
    joined = write_manifest(root, attrs.evolve(MANIFEST, plan=Plan(runs=(more,))), resume=True)
    assert [run.budget for run in joined.plan.runs] == [1e9, 2e9]
    assert read_manifest(root) == joined

    before = (root / "sweep.json").read_bytes()
    other = attrs.evolve(MANIFEST, identity={"model": "m", "trainer": {"lr": 2}})
    with pytest.raises(StoreError, match=r"trainer\.lr \(was 1, is 2\)"):
        write_manifest(root, other, resume=True)
    with pytest.raises(StoreError, match="resume=False"):
        write_manifest(root, MANIFEST, resume=False)
    assert (root / "sweep.json").read_bytes() == before


RATE = {"name": "mine.<lambda>", "source": "b0609d50" * 8}
LOSS = {"class": "torch.nn.CrossEntropyLoss", "source": "0" * 64, "state": {"label_smoothing": "0.0"}}


@pytest.mark.parametrize(("before", "now", "said"), [
    ({"lr": RATE}, {"lr": "0.01"}, "lr (was mine.<lambda>, is 0.01)"),
    ({"lr": RATE}, {"lr": RATE | {"source": "c1" * 32}}, "lr.source (its code, or code that it uses, is another)"),
    ({"lr": RATE}, {"lr": {"partial": RATE, "args": []}}, "lr (was mine.<lambda>, is a partial of mine.<lambda>)"),
    ({"lr": RATE | {"closure": {"k": 1}}}, {"lr": RATE | {"closure": {"k": 2}}}, "lr.closure.k (was 1, is 2)"),
    ({"loss": LOSS}, {"loss": LOSS | {"state": {"label_smoothing": "0.1"}}},
     "loss.state.label_smoothing (was 0.0, is 0.1)"),
    ({"loss": LOSS}, {"loss": {"class": "mine.Loss", "state": {}}}, "loss (was torch.nn.CrossEntropyLoss, is mine.Loss)"),
    ({"loss": LOSS}, {"loss": None}, "loss (was torch.nn.CrossEntropyLoss, is None)"),
    ({"data": {"sample": "a" * 64, "length": 3}}, {"data": {"sample": "b" * 64, "length": 4}},
     "data.length (was 3, is 4); data.sample (other items)"),
    ({"w": {"shape": [2], "digest": "a" * 64}}, {"w": {"shape": [2], "digest": "b" * 64}}, "w.digest (other values)"),
    ({"rules": [RATE, "1"]}, {"rules": [RATE | {"source": "c1" * 32}, "1"]},
     "rules.0.source (its code, or code that it uses, is another)"),
    ({"betas": ["0.9", "0.95"]}, {"betas": ["0.9", "0.99"]}, "betas (was [0.9, 0.95], is [0.9, 0.99])"),
    ({"mix": {"a": 1}}, {"mix": {"a": 1, "b": None}}, "mix.b (was absent, is None)"),
    ({"mix": {}}, {"mix": [{"a": 1, "b": [2]}, "x"]}, "mix (was {}, is [{a: 1, b: [2]}, x])"),
    ({"data": "corpus " + "x" * 99}, {"data": "corpus " + "y" * 99},
     f"data (was corpus {'x' * 32}…, is corpus {'y' * 32}…)"),
    ({"data": "x" * 99 + "1"}, {"data": "x" * 99 + "2"}, "data (was …xxxxxxxx1, is …xxxxxxxx2)"),
    ({"sizes": list(range(99))}, {"sizes": list(range(98))}, "sizes (was …, 96, 97, 98], is …, 96, 97])"),
    ({"sizes": list(range(9, 99))}, {"sizes": [1]}, "sizes (was [9, 10, 11, 12, 13, 14, 15, 16, 17, 18,…], is [1])"),
    ({}, {f"{i:02}": i for i in range(12)},
     "; ".join(f"{i:02} (was absent, is {i})" for i in range(10)) + "; and 2 more"),
])  # fmt: skip
def test_what_differs_is_short_and_readable(before, now, said):
    assert "; ".join(differences(before, now)) == said


def test_a_damaged_manifest_is_named(tmp_path):
    write_manifest(tmp_path / "out", MANIFEST, resume=True)
    path = tmp_path / "out" / "sweep.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(StoreError, match=r"sweep\.json"):
        read_manifest(tmp_path / "out")

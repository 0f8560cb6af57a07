"""Real training of a tiny model through the front door: what was planned is what was trained and fitted."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.utils.data import TensorDataset  # noqa: E402

import flops_fit  # noqa: E402
from flops_fit_core.study import refined  # noqa: E402
from flops_fit_core.text import si  # noqa: E402

BUDGETS = [1e6, 2e6, 4e6]


class Student(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, width), nn.Tanh(), nn.Linear(width, 1))

    def forward(self, x):
        return self.layers(x).squeeze(-1)

    def num_params(self):
        return sum(p.numel() for p in self.parameters())


def teacher_data(n=4096, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 8, generator=generator)
    return TensorDataset(x, torch.sin(x @ torch.randn(8, 4, generator=generator)).sum(1))


def sweep(tmp_path, **changes):
    arguments = {
        "model_cls": Student, "model_size_param": "width", "dataset": teacher_data(), "loss_fn": nn.MSELoss(),
        "compute_budgets": BUDGETS, "data_unit": "samples", "sizes": [2, 4, 8, 16, 32], "fitter": "surface",
        "trainer": flops_fit.trainer("accelerate", lr=1e-2, batch_size=16), "output_dir": tmp_path / "out",
    }  # fmt: skip
    return flops_fit.find_optimal(**{**arguments, **changes})


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return sweep(tmp_path_factory.mktemp("study"))


def test_every_run_trains_its_planned_data_and_spends_its_budget(result):
    assert [record.status for record in result.records] == ["done"] * 15
    for record in result.records:
        assert abs(record.n_tokens - record.run.n_tokens) <= 16
        assert record.flops == pytest.approx(record.run.budget, rel=0.02)
        assert record.n_tokens % 16 == 0
        assert record.loss > 0
        assert record.loss_stderr > 0
        assert record.seconds > 0
        assert record.epochs == pytest.approx(record.n_tokens / (4096 - 4096 // 10), rel=0.05)


def test_the_table_names_sizes_that_the_constructor_takes(result):
    table = result.chinchilla_table([*BUDGETS, 1e8])
    for row in table.data:
        real = result.study.nearest_size(row["n_params"])
        assert real.size == row["size"]
        assert real.n_params == Student(row["size"]).num_params()
        cost = refined(result.cost, real)  # exact at the real size
        assert cost.flops(row["n_params"], row["n_tokens"]) == pytest.approx(row["compute_budget"], rel=0.01)
    assert "<table>" in table._repr_html_()
    assert list(table.to_pandas()["compute_budget"]) == [*BUDGETS, 1e8]


def test_figures_and_table_are_on_disk(result):
    table = (result.output_dir / "table.md").read_text()
    assert table == f"{result.chinchilla_table()}\n\ntrained for {si(sum(r.flops for r in result.records), 3)} FLOPs\n"
    assert {path.suffix for path in (result.output_dir / "plots").iterdir()} == {".png", ".svg"}
    assert json.loads((result.output_dir / "fit.json").read_text())["schema"] == 1


def test_the_second_call_trains_nothing_and_other_settings_are_refused(result):
    again = sweep(result.output_dir.parent)
    assert again.records == result.records
    with pytest.raises(flops_fit.FlopsFitError, match=r"trainer\.lr"):
        sweep(result.output_dir.parent, trainer=flops_fit.trainer("accelerate", lr=2e-2, batch_size=16))
    with pytest.raises(flops_fit.FlopsFitError, match="data set"):
        sweep(result.output_dir.parent, dataset=teacher_data(seed=1))


def test_a_collation_and_an_optimizer_of_the_users_own_are_used(tmp_path):
    seen = {"batches": 0, "rates": set()}

    def collate(samples):
        seen["batches"] += 1
        return torch.stack([x for x, _ in samples]), torch.stack([y for _, y in samples])

    def sgd(model, lr, betas, weight_decay):
        seen["rates"].add(lr)
        return torch.optim.SGD(model.parameters(), lr=lr)

    result = sweep(tmp_path, collate_fn=collate, optimizer=sgd, compute_budgets=BUDGETS[:2], reporter=None)
    assert {record.status for record in result.records} == {"done"}
    assert seen["batches"] >= sum(record.n_tokens for record in result.records) // 16
    assert seen["rates"] == {1e-2}


def test_classes_of_the_main_script_train_in_worker_processes_to_the_same_bits(result, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import torch, flops_fit
        from torch import nn
        from torch.utils.data import TensorDataset

        class Student(nn.Module):
            def __init__(self, width):
                super().__init__()
                self.layers = nn.Sequential(nn.Linear(8, width), nn.Tanh(), nn.Linear(width, 1))
            def forward(self, x):
                return self.layers(x).squeeze(-1)
            def num_params(self):
                return sum(p.numel() for p in self.parameters())

        if __name__ == "__main__":
            generator = torch.Generator().manual_seed(0)
            x = torch.randn(4096, 8, generator=generator)
            data = TensorDataset(x, torch.sin(x @ torch.randn(8, 4, generator=generator)).sum(1))
            result = flops_fit.find_optimal(
                Student, "width", None, data, lambda outputs, targets: ((outputs - targets) ** 2).mean(), [1e6, 2e6],
                data_unit="samples", sizes=[2, 4, 8, 16, 32], fitter="surface", reporter=None,
                trainer=flops_fit.trainer("accelerate", lr=1e-2, batch_size=16),
                executor=flops_fit.executor("processes", slots=2),
            )
            for record in result.records:
                print(record.run.budget, record.run.size, record.status, repr(record.loss), record.message)
        """)
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    seen = [line.split(" ", 4) for line in done.stdout.splitlines()]
    assert [status for _, _, status, _, _ in seen] == ["done"] * 10, done.stdout
    here = {(record.run.budget, record.run.size): record.loss for record in result.records}
    for budget, size, _, loss, _ in seen:
        assert float(loss) == pytest.approx(here[float(budget), int(size)], rel=1e-6)

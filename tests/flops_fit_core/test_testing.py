"""The contracts applied to every default plugin, and to stages that break them: a contract that cannot fail is none."""

import pytest

import flops_fit
from flops_fit_core import testing
from flops_fit_core.data import Workload


class TestIsoFlopPlanner(testing.PlannerContract):
    name = "isoflop"

    def make_planner(self):
        return flops_fit.planner("isoflop")


class TestSixND(testing.FlopCounterContract):
    name = "6nd"

    def make_flop_counter(self):
        return flops_fit.flop_counter("6nd")


class TestTorchCounter(testing.FlopCounterContract):
    name = "torch"

    def make_flop_counter(self):
        return flops_fit.flop_counter("torch")

    def make_workload(self):
        return perceptron()


class TestSimulate(testing.TrainerContract):
    name = "simulate"

    def make_trainer(self):
        return flops_fit.trainer("simulate")


class TestAccelerate(testing.TrainerContract):
    name = "accelerate"

    def make_trainer(self):
        return flops_fit.trainer("accelerate", batch_size=8, eval_samples=32)

    def make_workload(self):
        return perceptron()


class TestSurface(testing.FitterContract):
    name = "surface"

    def make_fitter(self):
        return flops_fit.fitter("surface")


class TestFrontier(testing.FitterContract):
    name = "frontier"

    def make_fitter(self):
        return flops_fit.fitter("frontier", hold_out=False)


class TestEnsemble(testing.FitterContract):
    name = "ensemble"

    def make_fitter(self):
        return flops_fit.fitter("ensemble", bootstrap=100)


class TestIsoFlopFitter(testing.FitterContract):
    name = "isoflop"

    def make_fitter(self):
        return flops_fit.fitter("isoflop", bootstrap=100)


class TestEnvelope(testing.FitterContract):
    name = "envelope"
    tolerance = 0.5  # N_opt can only be a size that was trained

    def make_fitter(self):
        return flops_fit.fitter("envelope", bootstrap=100)


class TestMatplotlib(testing.ReporterContract):
    name = "matplotlib"

    def make_reporter(self):
        return flops_fit.reporter("matplotlib")


class TestSerial(testing.ExecutorContract):
    name = "serial"

    def make_executor(self):
        return flops_fit.executor("serial")


class TestProcesses(testing.ExecutorContract):
    name = "processes"

    def make_executor(self):
        return flops_fit.executor("processes", slots=2)


class TestGpt(testing.WorkloadContract):
    sizes = (8, 16, 32)

    @pytest.fixture(autouse=True)
    def _corpus(self, tmp_path_factory):
        root = tmp_path_factory.getbasetemp() / "contract-corpus"
        root.mkdir(exist_ok=True)
        for i in range(60):
            (root / f"part{i}.py").write_text(f"x{i} = {i}\n" * 40)
        self.root = root

    def make_workload(self):
        options = {"corpus_path": self.root, "eval_tokens": 256, "seq_len": 16, "cache_dir": self.root / "cache"}
        return flops_fit.workload("gpt", **options)


class TestVit(testing.WorkloadContract):
    name = "vit"
    sizes = (8, 16, 32)

    def make_workload(self):
        return flops_fit.workload("vit")


def perceptron():
    """A two-layer net on points."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self, width):
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Linear(6, width), torch.nn.Tanh(), torch.nn.Linear(width, 4))

        def forward(self, x):
            return self.layers(x)

        def num_params(self):
            return sum(p.numel() for p in self.parameters())

    x = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    data = torch.utils.data.TensorDataset(x, x[:, :4].argmax(1))
    return Workload(
        name="perceptron", model_cls=Net, size_param="width", dataset=data, loss_fn=torch.nn.CrossEntropyLoss(), data_unit="points"
    )  # fmt: skip

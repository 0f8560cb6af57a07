"""Steps per second of trainer ``accelerate`` against a loop written by hand, and what watching it costs.

Run: ``OMP_NUM_THREADS=1 python tests/benchmarks/bench_train.py``. Prints ratios of CPU time (peer over ours: above 1.00
ours is faster), medians over interleaved rounds in one process.

* The peer: plain PyTorch, ``torch.optim.AdamW`` as it comes, on batches that lie ready in memory; no clipping, no
  schedule, no curve. Ours reads, collates, clips, schedules and logs. A second peer has ``fused=True``.
* Overhead: a longer run with evaluation, curve and checkpoints at their defaults against the optimizer loop alone, in
  wall time: waiting for the disk counts.
* Memory: peak resident size of ours over the peer's, each in a process of its own.
  That data larger than memory stream is a test: ``tests/flops_fit_accelerate/test_streaming.py``.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import torch
from torch.utils.data import TensorDataset

from flops_fit_accelerate import AccelerateTrainer
from flops_fit_accelerate.loop import Clock, Job
from flops_fit_accelerate.session import Session
from flops_fit_accelerate.setup import Setup
from flops_fit_core.data import Run, Workload
from flops_fit_core.probe import prepare
from flops_fit_core.store import Workspace

VOCABULARY, LENGTH, BATCH = 256, 64, 4


class Gpt(torch.nn.Module):
    """A decoder of two layers with SDPA, as sweeps on a CPU train it."""

    def __init__(self, width):
        super().__init__()
        self.embed = torch.nn.Embedding(VOCABULARY, width)
        self.place = torch.nn.Embedding(LENGTH, width)
        layer = {
            "d_model": width,
            "nhead": 4,
            "dim_feedforward": 4 * width,
            "dropout": 0.0,
            "batch_first": True,
            "norm_first": True,
        }
        self.blocks = torch.nn.ModuleList(torch.nn.TransformerEncoderLayer(**layer) for _ in range(2))
        self.head = torch.nn.Linear(width, VOCABULARY, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("mask", torch.full((LENGTH, LENGTH), float("-inf")).triu(1), persistent=False)

    def forward(self, tokens):
        x = self.embed(tokens) + self.place.weight
        for block in self.blocks:
            x = block(x, src_mask=self.mask, is_causal=True)
        return self.head(x)

    def num_params(self):
        return sum(p.numel() for p in self.parameters())


def loss_fn(logits, targets):
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def data(n=4096):
    tokens = torch.randint(0, VOCABULARY, (n, LENGTH + 1), generator=torch.Generator().manual_seed(0))
    return TensorDataset(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())


class ByHand:
    """The hand-written loop."""

    def __init__(self, width, fused=False):
        x, y = data().tensors
        self.batches = [(x[i : i + BATCH].clone(), y[i : i + BATCH].clone()) for i in range(0, len(x), BATCH)]
        self.model = Gpt(width)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=fused)

    def __call__(self, steps):
        for inputs, targets in self.batches[:steps]:
            loss = loss_fn(self.model(inputs), targets)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)


def workload(width):
    made = Workload(name="gpt", model_cls=Gpt, size_param="width", dataset=data(), loss_fn=loss_fn)
    return prepare(made, BATCH)[0], Gpt(width).num_params()


def planned(width, steps):
    prepared, n = workload(width)
    d = steps * BATCH * LENGTH
    return prepared, Run(budget=6.0 * n * d, size=width, n_params=n, n_tokens=d, flops=6.0 * n * d)


class Ours:
    """The trainer's own loop, a part of a long run at a time."""

    def __init__(self, width, folder):
        prepared, run = planned(width, 1_000_000)
        trainer, workspace = AccelerateTrainer(lr=1e-3, batch_size=BATCH), Workspace(folder)
        setup = Setup.of(trainer, run, prepared, workspace)
        self.job = Session(trainer=trainer, run=run, workspace=workspace, setup=setup).job
        self.clock = Clock(trainer.checkpoint_every)

    def __call__(self, steps):
        self.job.train_until(self.job.at.tokens + steps * BATCH * LENGTH, self.clock, lambda: None)


def cpu_seconds(loop, steps):
    start = time.process_time()
    loop(steps)
    return time.process_time() - start


def speed(width, steps, rounds):
    with tempfile.TemporaryDirectory() as folder:
        loops = {"ours": Ours(width, folder), "plain": ByHand(width), "fused": ByHand(width, fused=True)}
        for loop in loops.values():
            loop(20)
        taken = {name: [] for name in loops}
        for _ in range(rounds):
            for name, loop in loops.items():
                taken[name].append(cpu_seconds(loop, steps))
    ratio = {name: statistics.median(t / u for t, u in zip(taken[name], taken["ours"], strict=True)) for name in loops}
    milliseconds = statistics.median(taken["ours"]) / steps * 1e3
    print(
        f"N = {Gpt(width).num_params():6d}: {milliseconds:.2f} ms a step; steps/s over AdamW by hand {ratio['plain']:.2f}, "
        f"over fused AdamW by hand {ratio['fused']:.2f}"
    )


class Timed:
    """Counts the wall time inside functions that it replaces; what is called inside another is taken off that one."""

    def __init__(self):
        self.seconds = {}
        self.stack = [0.0]

    def watch(self, owner, name):
        function = getattr(owner, name)

        def timed(*arguments, **options):
            start = time.perf_counter()
            self.stack.append(0.0)
            try:
                return function(*arguments, **options)
            finally:
                took = time.perf_counter() - start
                self.seconds[name] = self.seconds.get(name, 0.0) + took - self.stack.pop()
                self.stack[-1] += took

        setattr(owner, name, timed)
        return owner, name, function


def whole_run(width, steps, **options):
    """Seconds of a run's parts: ``train_until`` (the optimizer loop), ``_on_point``, ``_measure``, ``_save``, ``rest``."""
    prepared, run = planned(width, steps)
    trainer = AccelerateTrainer(lr=1e-3, batch_size=BATCH, **options)
    timed = Timed()
    watched = [timed.watch(Job, "train_until")]
    watched += [timed.watch(Session, name) for name in ("_on_point", "_measure", "_save", "train")]
    try:
        with tempfile.TemporaryDirectory() as folder:
            [record] = list(trainer.train([run], prepared, Workspace(folder)))
    finally:
        for owner, name, function in watched:
            setattr(owner, name, function)
    assert record.status == "done"
    return timed.seconds | {"final": record.metrics["eval_seconds"], "wall": record.seconds}


def overhead(width, seconds):
    often = whole_run(width, 100, eval_share=0.0, checkpoint_every=0.0)  # after every step but the last
    checkpoints = often["_save"] / 99 / AccelerateTrainer().checkpoint_every
    steps = max(200, int(seconds / (whole_run(width, 100, eval_share=0.0)["train_until"] / 100)))
    parts = whole_run(width, steps)
    loop = parts["train_until"]
    final = parts["final"]
    extra = parts["_on_point"] + checkpoints * loop + max(parts["_measure"] - final, 0.0) + parts["train"]
    print(
        f"a run of {loop:.0f} s ({steps} steps), wall time: evaluation, curve, checkpoints {100 * extra / loop:.1f} % of the loop "
        f"(curve {100 * parts['_on_point'] / loop:.2f} %, checkpoints {100 * checkpoints:.2f} %); "
        f"the final evaluation {100 * final / loop:.1f} %"
    )


def memory(width):
    sizes = {}
    for who in ("by_hand", "ours"):
        command = [sys.executable, __file__, "--memory", who, "--width", str(width)]
        sizes[who] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    ratio = sizes["ours"] / sizes["by_hand"]
    print(
        f"peak memory over the hand-written loop's: {ratio:.2f} ({sizes['ours'] / 1024:.0f} MiB, both with the same imports)"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=70.0, help="length of the run whose overhead is measured")
    parser.add_argument("--memory", choices=("by_hand", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--width", type=int, default=256, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        whole_run(options.width, 30) if options.memory == "ours" else ByHand(options.width)(30)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    speed(36, options.steps, options.rounds)
    speed(88, options.steps, options.rounds)
    memory(options.width)
    if options.seconds:
        overhead(36, options.seconds)


if __name__ == "__main__":
    main()

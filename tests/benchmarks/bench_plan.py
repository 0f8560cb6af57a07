"""How long planning the GPT workload for 1e18, 1e19 and 1e20 FLOPs takes, and how much memory.

Prints medians of CPU seconds over fresh processes (torch's import apart), for a GPT that grows in width and for
one that grows in depth, next to the time that making the smallest of those models for real takes. Run: python
tests/benchmarks/bench_plan.py [repeats]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

PROGRAM = """
import json, resource, sys, time
import torch
from flops_fit_core.data import PlanRequest, Workload
from flops_fit_flops import TorchFlopCounter
from flops_fit_gpt.model import GPT, next_token_loss
from flops_fit_isoflop import IsoFlopPlanner

size_param, kwargs = json.loads(sys.argv[1])
ids = torch.zeros(32, 64, dtype=torch.long)
workload = Workload(
    name="gpt", model_cls=GPT, size_param=size_param, model_kwargs=kwargs, data_unit="tokens",
    units=lambda batch: batch[0].numel(), example=(ids, ids), loss_fn=next_token_loss,
)
request = PlanRequest(workload=workload, budgets=(1e18, 1e19, 1e20), counter=TorchFlopCounter(), step_tokens=2**19)
start = time.process_time()
plan = IsoFlopPlanner().plan(request)
seconds = time.process_time() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
start = time.process_time()
workload.build(min(plan.runs, key=lambda run: run.n_params).size)
smallest = time.process_time() - start
print(json.dumps([seconds, peak, smallest, len(plan), max(run.n_params for run in plan.runs)]))
"""

CASES = {
    "width, 2 layers (the workload's default)": ("d_model", {"vocab_size": 257}),
    "width, 12 layers, vocabulary 50257": ("d_model", {"n_layers": 12, "vocab_size": 50257, "head_dim": 64}),
    "depth, width 2048": ("n_layers", {"d_model": 2048, "vocab_size": 50257, "head_dim": 64}),
}


def main(repeats: int = 3) -> None:
    print(
        f"{'GPT that grows in':42} {'CPU s':>7} {'peak GB':>8} {'runs':>5} {'largest N':>10} {'one real model, s':>18}"
    )
    for name, case in CASES.items():
        rows = []
        for _ in range(repeats):
            command = [sys.executable, "-c", PROGRAM, json.dumps(case)]
            rows.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        seconds, peak, smallest, n_runs, largest = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:42} {seconds:7.2f} {peak:8.2f} {n_runs:5.0f} {largest:10.2e} {smallest:18.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

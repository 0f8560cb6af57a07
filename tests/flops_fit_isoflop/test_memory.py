"""Planning makes no model for real: budgets up to 1e20, models up to 6e9 parameters, in under 1 GB."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, re, resource
from pathlib import Path
import torch
from flops_fit_core.data import PlanRequest, Workload
from flops_fit_flops import TorchFlopCounter
from flops_fit_gpt.model import GPT, next_token_loss
from flops_fit_isoflop import IsoFlopPlanner

ids = torch.zeros(32, 64, dtype=torch.long)
workload = Workload(
    name="gpt", model_cls=GPT, size_param="d_model", model_kwargs={"n_layers": 2, "vocab_size": 257, "head_dim": 64},
    data_unit="tokens", units=lambda batch: batch[0].numel(), example=(ids, ids), loss_fn=next_token_loss,
)
request = PlanRequest(workload=workload, budgets=(1e20,), counter=TorchFlopCounter(), step_tokens=2**19)
plan = IsoFlopPlanner().plan(request)
status = Path("/proc/self/status")
if status.exists():  # Linux hands ru_maxrss down from the process that started this one
    peak = 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1])
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: bytes
print(json.dumps([len(plan), max(run.n_params for run in plan.runs), peak]))
"""


def test_planning_for_1e20_flops_takes_less_than_a_gigabyte():
    pytest.importorskip("torch")
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    n_runs, largest, peak = json.loads(done.stdout)
    assert n_runs == 7
    assert largest > 4e9
    assert peak < 1e9

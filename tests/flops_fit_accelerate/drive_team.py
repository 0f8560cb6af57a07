"""What each process runs in the tests of several processes: train runs as the pipeline does, say what came of it.

Usage: drive_team.py FOLDER SCENARIO
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
import toys
from torch import nn

from flops_fit_accelerate import AccelerateTrainer
from flops_fit_core.store import Workspace
from flops_fit_core.training import train_group

RANK = int(os.environ.get("RANK", "0"))


class Breaks(nn.CrossEntropyLoss):
    """A loss that ends this process, or raises, at its n-th call."""

    def __init__(self, what, rank, call):
        super().__init__()
        self.what, self.rank, self.left = what, rank, call

    def forward(self, outputs, targets):
        self.left -= 1
        if self.left == 0 and self.rank in (RANK, "all"):
            if self.what == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("broken on purpose")
        return super().forward(outputs, targets)


def main(folder, scenario):
    settings = {"lr": 1e-2, "batch_size": 16, "keep_weights": True, "eval_samples": 32, "checkpoint_tokens": 160}
    runs = [toys.run(1120), toys.run(800, hparams={"lr": 3e-3})]
    loss_fn, model, data = nn.CrossEntropyLoss(), toys.Plain, None
    if scenario == "diverges":
        runs[0] = toys.run(1120, hparams={"lr": 1e30, "clip_norm": None})
    if scenario in ("raises", "dies"):
        loss_fn = Breaks(scenario, 1, 40)
    if scenario == "all raise":
        loss_fn = Breaks("raises", "all", 40)
    if scenario == "stream":
        data = toys.Reread(toys.points())
    if scenario == "masked":
        model, data, loss_fn = toys.Lm, toys.Sentences(), toys.token_loss
    if scenario == "accumulate":
        settings["accumulate"] = 2
    if scenario == "tracked":
        settings["log_with"] = "tensorboard"
    if scenario == "norms":
        model = toys.Mlp
    if scenario == "trunk":
        settings["schedule"] = "wsd"
        runs = [toys.run(480), toys.run(1120)]
    w = toys.workload(model, data, loss_fn=loss_fn)
    trainer = AccelerateTrainer(**settings)
    workspace = Workspace(folder)
    records = []
    for group in trainer.groups(runs):
        try:
            records += train_group(trainer, group, w, workspace)
        except RuntimeError:  # as the serial executor does
            records += trainer.team.share(lambda group=group: [workspace.record(run) for run in group])
    told = [
        {
            "status": r.status,
            "loss": r.loss,
            "stderr": r.loss_stderr,
            "n_tokens": r.n_tokens,
            "curve": [[p.n_tokens, p.loss] for p in r.curve],
            "processes": r.recipe.get("processes"),
            "spent": r.flops_spent,
            "message": r.message,
        }
        for r in records
    ]
    Path(folder, f"told-{RANK}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], sys.argv[2])

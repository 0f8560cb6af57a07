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
from torch.utils.data import Dataset

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
            if self.what == "is nan":
                return super().forward(outputs, targets) + torch.nan
            raise RuntimeError("broken on purpose")
        return super().forward(outputs, targets)


class Blind(Dataset):
    """Sentences of which a process sees no target between its first two and the 1001 after."""

    def __init__(self):
        self.data, self.reads = toys.Sentences(masked=False), 0

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        x, y = self.data[i]
        self.reads += 1
        return x, y if self.reads <= 2 or self.reads > 1003 else torch.full_like(y, -100)


def main(folder, scenario):
    settings = {"lr": 1e-2, "batch_size": 16, "keep_weights": True, "eval_samples": 32, "checkpoint_tokens": 160}
    runs = [toys.run(1120), toys.run(800, hparams={"lr": 3e-3})]
    loss_fn, model, data, options = nn.CrossEntropyLoss(), toys.Plain, None, {}
    if scenario == "diverges":
        runs[0] = toys.run(1120, hparams={"lr": 1e30, "clip_norm": None})
    if scenario in ("raises", "dies", "is nan"):
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
        model, settings["eval_samples"] = toys.Mlp, None
        options["eval_dataset"] = toys.points(100, seed=1)
    if scenario == "shifted":
        model, data, loss_fn = toys.gpt2, toys.Ragged(), None
        settings["lr"] = 1e-3
    if scenario == "empty share":
        model, data, loss_fn = toys.gpt2, toys.Ragged(empty=range(0, 200, 3)), None
        settings |= {"lr": 1e-3, "batch_size": 4, "accumulate": 2}
    if scenario == "nothing":
        model, data, loss_fn = toys.Lm, Blind(), toys.token_loss
        settings["batch_size"], options["eval_dataset"] = 2, toys.Sentences()
    if scenario == "trunk":
        settings["schedule"] = "wsd"
        runs = [toys.run(480), toys.run(1120)]
    w = toys.workload(model, data, settings["batch_size"], loss_fn=loss_fn, **options)
    trainer = AccelerateTrainer(**settings)
    workspace = Workspace(folder)
    records = []
    for group in trainer.groups(runs):
        try:
            records += train_group(trainer, group, w, workspace)
        except Exception:  # as the serial executor does
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

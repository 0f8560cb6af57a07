"""What each process runs in the test of a whole study on several processes. Usage: drive_study.py FOLDER."""

import json
import os
import sys
from pathlib import Path

import torch
import toys

import flops_fit
from flops_fit_accelerate import AccelerateTrainer

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    result = flops_fit.find_optimal(
        toys.Plain, "width", {}, toys.points(800), torch.nn.CrossEntropyLoss(), [4e5, 8e5],
        sizes=[4, 6, 8, 12], data_unit="points", trainer=AccelerateTrainer(lr=1e-2, batch_size=16), fitter="isoflop",
        reporter=None, output_dir=folder / "study",
    )  # fmt: skip
    told = {
        "losses": [record.loss for record in result.records],
        "runs": [record.run.run_id for record in result.records],
        "processes": [record.recipe["processes"] for record in result.records],
        "diagnostics": [str(diagnostic) for diagnostic in result.diagnostics],
        "fit": None if result.fit is None else result.fit.values,
        "summary": str(result),
    }
    (folder / f"told-{os.environ.get('RANK', '0')}.json").write_text(json.dumps(told))

"""Does the best learning rate move with width? Under the standard parametrization yes, under u-µP hardly.

    python examples/05_mup_lr_sweep.py                     # about ten minutes on two cores; goes on where it was stopped

Four widths, seven rates, two parametrizations, the same text and number of steps for all. This also shows how to use
the stages by themselves for an experiment that is not an IsoFLOP sweep: make `Run` values, hand them to an executor.
"""

from pathlib import Path

import matplotlib.pyplot as plt

import flops_fit
from flops_fit_core.probe import prepare
from flops_fit_core.store import Workspace
from flops_fit_core.training import train_group

WIDTHS = (32, 64, 128, 256)
RATES = {
    "standard": [2.0**power for power in range(-10, -3)],
    "u-mup": [2.0**power for power in range(-4, 3)],
}
BATCH, SEQUENCE, STEPS = 8, 64, 200
FOLDER = Path("outputs/mup_lr_sweep")


def planned(workload: flops_fit.Workload, rates: list[float]) -> list[flops_fit.Run]:
    """Every width at every rate, wide ones first."""
    runs = []
    for width in sorted(WIDTHS, reverse=True):
        n_params, n_tokens = workload.build(width).num_params(), BATCH * SEQUENCE * STEPS
        flops = 6.0 * n_params * n_tokens
        for rate in rates:
            run = flops_fit.Run(
                budget=flops, size=width, n_params=n_params, n_tokens=n_tokens, flops=flops, hparams={"lr": rate}
            )
            runs.append(run)
    return runs


def sweep() -> dict[str, list[flops_fit.RunRecord]]:
    """Train what is not trained yet; records by parametrization."""
    trainer = flops_fit.trainer("accelerate", batch_size=BATCH, weight_decay=0.0)
    executor = flops_fit.executor("processes")
    futures = {}
    for name, rates in RATES.items():
        workload, _ = prepare(flops_fit.workload("gpt", parametrization=name, seq_len=SEQUENCE), BATCH)
        workspace = Workspace(FOLDER / name)
        runs = planned(workload, rates)
        futures[name] = [executor.submit(train_group, trainer, [run], workload, workspace) for run in runs]
    records = {name: [future.result()[0] for future in waiting] for name, waiting in futures.items()}
    executor.shutdown()
    return records


def best_rates(records: list[flops_fit.RunRecord]) -> dict[int, float]:
    """The rate with the lowest held-out loss at every width."""
    done = [record for record in records if record.status == "done"]
    lowest = {w: min((r for r in done if r.run.size == w), key=lambda record: record.loss) for w in WIDTHS}
    return {width: record.run.hparams["lr"] for width, record in lowest.items()}


def draw(records: dict[str, list[flops_fit.RunRecord]]) -> Path:
    """Loss against rate, a line for each width, the best rate of each marked."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
    for panel, (name, found) in zip(panels, records.items(), strict=True):
        for i, (width, best) in enumerate(best_rates(found).items()):
            done = sorted((r.run.hparams["lr"], r.loss) for r in found if r.status == "done" and r.run.size == width)
            colour = plt.get_cmap("viridis")(i / len(WIDTHS))
            panel.plot(*zip(*done, strict=True), "o-", color=colour, markersize=3, label=f"width {width}")
            panel.plot(best, dict(done)[best], "*", color=colour, markersize=13)
        panel.set_xscale("log", base=2)
        panel.set_title(name)
        panel.set_xlabel("learning rate")
    panels[0].set_ylabel("held-out loss, nats per byte")
    lowest = min(r.loss for found in records.values() for r in found if r.loss is not None)
    panels[0].set_ylim(lowest - 0.05, lowest + 1.2)
    panels[0].legend()
    path = FOLDER / "mup_lr_sweep.svg"
    figure.savefig(path)
    figure.savefig(path.with_suffix(".png"), dpi=150)
    plt.close(figure)
    return path


def main() -> None:
    records = sweep()
    for name, found in records.items():
        print(f"{name:>10}: best rate " + ", ".join(f"{lr:g} at width {w}" for w, lr in best_rates(found).items()))
    print(f"Figure: {draw(records)}")


if __name__ == "__main__":  # the worker processes import this file
    main()

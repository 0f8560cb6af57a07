"""Experiment trackers through Accelerate's own API: one tracked run for each run of the sweep, grouped by study.

In: ``log_with`` and a run. Out: N, D, C as its configuration; losses, tokens/s and FLOP/s as they come. TensorBoard and
wandb (offline) were seen; trackio and others go the same way and were not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from accelerate import Accelerator, tracking
from accelerate.utils import LoggerType

from flops_fit_accelerate.recipe import Recipe
from flops_fit_core.data import CurvePoint, Run
from flops_fit_core.errors import InputError, nearest


def check_trackers(log_with: Any) -> None:
    """Refuse what Accelerate cannot log with: an unknown name, or a tracker whose package is missing.

    Accelerate itself raises, or warns and logs nothing, only once a run begins.
    """
    if log_with is None:
        return
    known, available = ["all", *tracking.LOGGER_TYPE_TO_CLASS], [str(one) for one in tracking.get_available_trackers()]
    for one in log_with if isinstance(log_with, list | tuple) else [log_with]:
        if isinstance(one, tracking.GeneralTracker):
            continue
        if not isinstance(one, str | LoggerType) or str(one) not in known:
            raise InputError(
                f"log_with={one!r} is no tracker that Accelerate knows.{nearest(str(one), known)} It knows "
                f"{', '.join(map(repr, known))}; an object of a class of accelerate.tracking.GeneralTracker will do too"
            )
        # a name that was registered with Accelerate by hand is not of LoggerType: it needs no package
        if str(one) != "all" and one in LoggerType and str(one) not in available:
            raise InputError(
                f"log_with={str(one)!r} needs a package that is not installed: pip install {one}, or choose another. "
                f"Installed: {', '.join(map(repr, available)) or 'none'}"
            )


@attrs.frozen
class Tracker:
    """Reports one run; does nothing where no tracker was asked for."""

    accelerator: Accelerator
    run: Run
    workload: str

    def start(self, recipe: Recipe, seen: int) -> None:
        """Open the tracked run, or go on with it after `seen` units of data; what it logged beyond is superseded."""
        run, accelerator, made = self.run, self.accelerator, []
        wanted = accelerator.log_with
        config = {"size": str(run.size), "N": run.n_params, "D": run.n_tokens, "C": run.flops, "budget": run.budget}
        config |= {"seed": run.seed} | {f"recipe/{name}": _plain(value) for name, value in recipe.record().items()}
        label = f"{self.workload}-{run.size}-D{run.n_tokens}-seed{run.seed}-{run.run_id[:6]}"
        named = {"name": label, "group": run.study or self.workload, "resume": "allow"}
        options = {
            "tensorboard": {"purge_step": seen + 1},
            "wandb": {**named, "id": run.run_id},
            "trackio": named,
        }
        for one in wanted:  # one at a time: what is a project to others is TensorBoard's folder of a run
            accelerator.log_with, accelerator.trackers = [one], []
            project = run.run_id if str(one) == "tensorboard" else "flops-fit"
            accelerator.init_trackers(project, config=config, init_kwargs=options)
            made += accelerator.trackers
        accelerator.log_with, accelerator.trackers = wanted, made

    def point(self, point: CurvePoint, seconds: float) -> None:
        """Report a point of the curve; `seconds` of training so far."""
        if not self.accelerator.log_with:
            return
        values = {"loss": point.loss, "eval_loss": point.eval_loss}
        if seconds > 0:
            rate = point.n_tokens / seconds
            values |= {"tokens_per_second": rate, "flops_per_second": rate * self.run.flops_per_token}
        self.accelerator.log({name: value for name, value in values.items() if value is not None}, step=point.n_tokens)

    def final(self, losses: Mapping[str, float], n_tokens: int) -> None:
        """Report the held-out losses at the end, by name; the first is the loss of the run."""
        if not self.accelerator.log_with:
            return
        first, *others = losses.items()
        values = {"eval_loss": first[1]} | {f"eval_loss/{name}": loss for name, loss in others}
        self.accelerator.log(values, step=n_tokens)

    def end(self) -> None:
        """Close the tracked run. Not by ``end_training``, which would also part the processes."""
        for tracker in self.accelerator.trackers:
            tracker.finish()


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str | bool) else str(value)

"""Kill a real sweep at many instants, start it again each time, and compare every record with a sweep never killed.

Usage: kill_harness.py FOLDER KILLS. Prints how many kills fell in which phase; exit code 0 if all records agree.

Some kills come from outside at a random time; the others are fault points: the sweep kills itself half-way through the
bytes of a checkpoint, before or after the n-th fsync or rename of a checkpoint or of a record. The harness only imports
torch and forks a process for every start, so that a start takes no seconds.
"""

import importlib
import json
import logging
import mmap
import os
import pkgutil
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import attrs
import lmfit  # noqa: F401 - imported before forking
import scipy.optimize  # noqa: F401
import torch
import toys

import flops_fit
from flops_fit_accelerate import AccelerateTrainer, checkpoint, session
from flops_fit_core import store
from flops_fit_core.data import Workload

PHASES = ("before", "step", "evaluation", "checkpoint", "record", "after")


class Stage:
    """The phase that the sweep is in, in memory that parent and child share."""

    def __init__(self):
        self.memory = mmap.mmap(-1, 2)

    def get(self):
        return PHASES[self.memory[0]]

    def set(self, phase):
        self.memory[0] = PHASES.index(phase)
        if phase == "step":
            self.memory[1] = 1

    @property
    def begun(self):
        return bool(self.memory[1])

    def reset(self):
        self.memory[0] = self.memory[1] = 0


STAGE = Stage()


def during(phase, function):
    """The function, in a phase of its own."""

    def wrapped(*arguments, **options):
        before = STAGE.get()
        STAGE.set(phase)
        try:
            return function(*arguments, **options)
        finally:
            STAGE.set("step" if before in ("before", "step") else before)

    return wrapped


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def fault(phase, number):
    """Kill this process at the `number`-th touch of the disk in a phase: in the middle of the bytes, or around a call."""
    left = [number]

    def around(function):
        def wrapped(*arguments, **options):
            if STAGE.get() == phase:
                left[0] -= 1
                if left[0] == 0:
                    die()
            result = function(*arguments, **options)
            if STAGE.get() == phase:
                left[0] -= 1
                if left[0] == 0:
                    die()
            return result

        return wrapped

    def half(state, file):
        if STAGE.get() == phase:
            left[0] -= 1
            if left[0] == 0:
                file.write(b"PK" * 100)
                file.flush()
                die()
        return save(state, file)

    save = torch.save
    checkpoint.torch.save = half
    os.fsync, os.replace = around(os.fsync), around(os.replace)


def sweep(folder, fault_point=None):
    """The sweep; every start of it is this call."""
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    session.write_state = during("checkpoint", session.write_state)
    session.evaluate = during("evaluation", session.evaluate)
    store.Workspace.save = during("record", store.Workspace.save)
    session.Session.train = during("step", session.Session.train)
    if fault_point:
        fault(*fault_point)
    workload = Workload(
        name="mlp", model_cls=toys.Mlp, size_param="width", dataset=toys.Noisy(toys.points()), eval_dataset=toys.points(),
        loss_fn=torch.nn.CrossEntropyLoss(), data_unit="points", fingerprint="points with noise",
    )  # fmt: skip
    trainer = AccelerateTrainer(lr=1e-2, batch_size=16, schedule="wsd", checkpoint_every=0.1, keep_weights=True)
    result = flops_fit.find_optimal(
        workload=workload, compute_budgets=[4e5, 8e5], sizes=[4, 6, 8, 12], trainer=trainer, fitter="isoflop", reporter=None,
        output_dir=folder,
    )  # fmt: skip
    STAGE.set("after")
    return result


def start(folder, fault_point=None):
    """Fork a process that runs the sweep; return its id."""
    STAGE.reset()
    child = os.fork()
    if child == 0:
        try:
            sweep(folder, fault_point)
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        os._exit(code)
    return child


def finish(child, kill_after=None):
    """Wait for a process, or kill it after some seconds of training; return its exit code and its phase then."""
    deadline = None
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), STAGE.get()
        if kill_after is not None and STAGE.begun:
            deadline = deadline or time.monotonic() + kill_after
            if time.monotonic() >= deadline:
                os.kill(child, signal.SIGSTOP)
                phase = STAGE.get()
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return -signal.SIGKILL, phase
        time.sleep(0.0005)


def records(folder):
    """Every record without what a clock tells, and the weights behind it."""
    found = {}
    for path in sorted(Path(folder).glob("runs/*/record.json")):
        plain = json.loads(path.read_text())["record"]
        plain["seconds"] = 0
        plain["metrics"] = {k: v for k, v in plain["metrics"].items() if k not in ("tokens_per_second", "eval_seconds")}
        others = [path.with_name(name).read_bytes() for name in ("curve.jsonl", "weights.safetensors")]
        found[path.parent.name] = (plain, *others)
    return found


@attrs.define
class Plan:
    """Which kind of kill comes next: a third checkpoints, a third records, a third random instants, in random order."""

    kills: int
    seconds: float
    random: random.Random
    queue: list = attrs.field(init=False)

    def __attrs_post_init__(self):
        third = -(-self.kills // 3)
        points = [("checkpoint", self.random.randint(1, 30)) for _ in range(third)]
        points += [("record", self.random.randint(1, 10)) for _ in range(third)]
        points += [None] * (self.kills - len(points))
        self.random.shuffle(points)
        self.queue = points


PACKAGES = (
    "flops_fit_core",
    "flops_fit",
    "flops_fit_isoflop",
    "flops_fit_flops",
    "flops_fit_lmfit",
    "flops_fit_executors",
)


def import_everything():
    """Import what every start needs: a start then takes no seconds, and none sees another version of a module."""
    for name in PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
            importlib.import_module(module.name)


def main(folder, kills):
    folder = Path(folder)
    import_everything()
    begin = time.monotonic()
    code, _ = finish(start(folder / "whole"))
    assert code == 0, "the sweep that is never killed failed"
    seconds = time.monotonic() - begin
    expected = records(folder / "whole")
    plan = Plan(kills, seconds, random.Random(0))
    print(f"{len(expected)} records, {seconds:.1f} s without a kill")
    phases, studies, wrong = Counter(), 0, 0
    while sum(phases.values()) < kills:
        studies += 1
        here = folder / f"killed-{studies}"
        while True:
            point = plan.queue[0] if plan.queue else None
            wait = plan.random.uniform(0, seconds / 3) if point is None and plan.queue else None
            code, phase = finish(start(here, point), wait)
            if code == 0:
                break
            assert code == -signal.SIGKILL, f"a start after {sum(phases.values())} kills ended with {code}"
            if phase in ("before", "after"):  # outside the training: not what is asked for
                continue
            phases[phase] += 1
            plan.queue.pop(0)
        found = records(here)
        differing = [name for name in expected if found.get(name) != expected[name]]
        wrong += len(differing) + len(found.keys() - expected.keys())
        for name in differing[:2]:
            print("DIFFERS", here, name)
    print("kills by phase:", ", ".join(f"{phase} {n}" for phase, n in sorted(phases.items())))
    print(f"{studies} studies, {studies * len(expected)} records compared, {wrong} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))

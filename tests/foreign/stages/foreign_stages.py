"""One of every stage, each leaving a trace that only it could leave."""

from concurrent.futures import Future
from pathlib import Path

import attrs

import flops_fit


class Family:
    def __init__(self, width):
        self.width = width

    def num_params(self):
        return 10 * self.width


class Data:
    def __len__(self):
        return 40

    def __getitem__(self, i):
        return [i] * 8, [i] * 8


def workload():
    return flops_fit.Workload(
        name="foreign family",
        model_cls=Family,
        size_param="width",
        dataset=Data(),
        loss_fn=abs_loss,
        data_unit="crumbs",
    )


def abs_loss(outputs, targets):
    return abs(outputs - targets)


class Planner:
    """Plans four odd widths, and D from the counter's cost."""

    def plan(self, request):
        runs = []
        for budget in request.budgets:
            for width in (11, 13, 17, 19):
                count = request.counter.count(request.workload, width)
                d = int(budget / count.flops_per_token)
                runs.append(
                    flops_fit.Run(budget=budget, size=width, n_params=count.n_params, n_tokens=d,
                                  flops=d * count.flops_per_token, convention=count.convention)
                )  # fmt: skip
        return flops_fit.Plan(runs=tuple(runs))


class Counter:
    """Every unit of data costs 777 FLOPs a parameter."""

    def count(self, workload, size):
        n = workload.build(size).num_params()
        return flops_fit.FlopCount(
            size=size, n_params=n, n_params_non_embedding=n, flops_per_token=777.0 * n, convention="foreign 777"
        )


@attrs.frozen(kw_only=True)
class Trainer:
    """The loss is 3 plus the width's distance from 15 in log space, and a mark of its own in the record."""

    offset: float = 3.0

    def groups(self, runs):
        return [[run] for run in runs]

    def train(self, group, workload, workspace):
        for run in group:
            yield flops_fit.RunRecord(
                run=run, loss=self.offset + abs(run.size - 15) / 10, n_tokens=run.n_tokens, flops=run.flops,
                metrics={"foreign trainer": 1.0},
            )  # fmt: skip


class Fitter:
    """Every optimum has 12345 parameters."""

    def fit(self, runs, cost):
        return flops_fit.Fit(
            fitter="foreign", params={"n": flops_fit.Estimate(value=12345.0)}, n_used=len(runs), largest_budget=max(runs.budget),
            cost=cost,
        )  # fmt: skip

    def optimum(self, params, cost, budget):
        return params["n"], cost.tokens(params["n"], budget), 2.5


class Reporter:
    def report(self, result, out_dir):
        path = Path(out_dir) / "foreign.txt"
        path.write_text(f"{len(result.records)} records of the {result.workload}")
        return flops_fit.Report(text="foreign", files=(path,))


class Executor:
    """Works at once, and counts in a file."""

    slots = 1

    def submit(self, fn, /, *args):
        future = Future()
        try:
            future.set_result(fn(*args))
        except Exception as error:
            future.set_exception(error)
        workspace = args[3]
        with (workspace.root / "executor.txt").open("a") as file:
            file.write("foreign\n")
        return future

    def shutdown(self):
        pass


@flops_fit.hookimpl
def flops_fit_planners():
    return {"foreign": Planner}


@flops_fit.hookimpl
def flops_fit_flop_counters():
    return {"foreign": Counter}


@flops_fit.hookimpl
def flops_fit_trainers():
    return {"foreign": Trainer}


@flops_fit.hookimpl
def flops_fit_fitters():
    return {"foreign": Fitter}


@flops_fit.hookimpl
def flops_fit_reporters():
    return {"foreign": Reporter}


@flops_fit.hookimpl
def flops_fit_executors():
    return {"foreign": Executor}


@flops_fit.hookimpl
def flops_fit_workloads():
    return {"foreign": workload}


@flops_fit.hookimpl
def flops_fit_run_end(record):
    with Path("run_ends.txt").open("a") as file:
        file.write(f"{record.run.size}\n")

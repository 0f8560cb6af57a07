"""The time left follows the FLOPs, which differ between runs, and not the count of runs."""

import attrs
import pytest

from flops_fit_core.data import Plan, Run, RunRecord
from flops_fit_progress.tally import Tally, clock_face, describe, outcome


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def run(flops, seed=0):
    return Run(budget=flops, size=8, n_params=100, n_tokens=1000, flops=flops, seed=seed)


SMALL, LARGE = run(1e12), run(9e12, seed=1)


@pytest.fixture
def tally():
    tally = Tally.of(Plan(runs=(SMALL, LARGE)))
    tally.clock = Clock()
    return tally


def test_nothing_is_known_before_anything_is_done(tally):
    assert (tally.fraction, tally.seconds_left, tally.time_left()) == (0.0, None, "")
    tally.progress(SMALL)
    assert tally.seconds_left is None


def test_half_the_runs_may_be_a_tenth_of_the_work(tally):
    tally.progress(SMALL)
    tally.clock.now += 20
    tally.end(RunRecord(run=SMALL, loss=1.0))
    assert tally.n_ended == 1
    assert tally.fraction == pytest.approx(0.1)
    assert tally.seconds_left == pytest.approx(180)
    assert tally.time_left() == "0:03:00 left"


def test_runs_under_way_count_by_the_data_they_have_seen(tally):
    tally.progress(SMALL, 0)
    tally.progress(LARGE, 0)
    tally.clock.now += 10
    tally.progress(SMALL, 500)
    tally.progress(LARGE, 500)
    assert tally.flops == pytest.approx(5e12)
    assert tally.seconds_left == pytest.approx(10)


def test_the_waiting_before_the_first_run_is_not_training(tally):
    tally.clock.now += 500
    tally.progress(SMALL)
    tally.clock.now += 20
    tally.progress(SMALL, 1000)
    assert tally.seconds_left == pytest.approx(180)


def test_a_run_that_fails_half_way_leaves_nothing_to_wait_for(tally):
    for each, status in ((SMALL, "done"), (LARGE, "failed")):
        tally.progress(each, 400)
        tally.clock.now += 30
        tally.end(RunRecord(run=each, status=status))
    assert (tally.fraction, tally.seconds_left) == (1.0, 0.0)
    assert tally.summary() == "1 done, 1 failed in 0:01:00"


def test_a_run_that_the_planner_added_joins_the_work(tally):
    added = run(10e12, seed=2)
    tally.end(RunRecord(run=LARGE))
    assert tally.fraction == pytest.approx(0.9)
    tally.progress(added, 0)
    assert tally.fraction == pytest.approx(0.45)
    assert len(tally.planned) == 3


def test_a_run_that_overshoots_by_a_batch_is_done_and_no_more(tally):
    tally.progress(SMALL, 1010)
    assert tally.flops == 1e12


def test_a_run_that_was_never_seen_to_start_may_end(tally):
    tally.end(RunRecord(run=SMALL, status="failed"))
    assert tally.n_ended == 1
    assert not tally.active


def test_what_an_interrupted_sweep_left_is_told(tally):
    assert tally.summary() == "no run ended, 2 not trained in 0:00:00"


def test_an_empty_plan_divides_by_nothing():
    tally = Tally.of(Plan(runs=()))
    assert (tally.fraction, tally.seconds_left, tally.time_left()) == (1.0, None, "")


def test_words():
    assert clock_face(3661.4) == "1:01:01"
    assert describe(LARGE) == "C=9e12 N=100 seed 1"
    assert describe(attrs.evolve(SMALL, hparams={"lr": 0.01})) == "C=1e12 N=100 lr=0.01"
    assert outcome(RunRecord(run=SMALL, loss=3.14159)) == "loss 3.1416"
    assert outcome(RunRecord(run=SMALL, status="failed", message="out of\n  memory")) == "failed: out of memory"

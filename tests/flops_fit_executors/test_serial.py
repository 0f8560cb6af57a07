"""The serial executor does the work where it is submitted."""

import os
import subprocess
import sys

import pytest

from flops_fit_core.stages import Executor
from flops_fit_executors import SerialExecutor


def test_it_is_an_executor_of_one_slot():
    assert isinstance(SerialExecutor(), Executor)
    assert SerialExecutor().slots == 1


def test_work_is_done_here_and_at_once():
    done = []
    future = SerialExecutor().submit(lambda x: done.append(x) or os.getpid(), 3)
    assert done == [3]
    assert future.result(timeout=0) == os.getpid()


def test_an_exception_is_kept_for_whoever_asks():
    future = SerialExecutor().submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        future.result(timeout=0)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_stops_the_driver_and_not_just_the_run(stop):
    def interrupted():
        raise stop

    with pytest.raises(stop):
        SerialExecutor().submit(interrupted)


def test_it_may_be_used_again_after_a_shutdown():
    executor = SerialExecutor()
    executor.shutdown()
    assert executor.submit(abs, -1).result() == 1


def test_offering_executors_loads_no_loky():
    code = "import sys, flops_fit_executors as e; e.flops_fit_executors(); assert 'loky' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

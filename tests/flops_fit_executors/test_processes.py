"""Worker processes: work of any kind, one thread each, and a death costs one piece of work."""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import CancelledError, wait
from pathlib import Path

import pytest

from flops_fit_core.errors import FlopsFitError, InputError, InputTypeError
from flops_fit_core.stages import Executor
from flops_fit_executors import ProcessesExecutor, WorkerDiedError

LONG = 600


@pytest.fixture
def executor():
    executor = ProcessesExecutor(slots=2)
    yield executor
    executor.shutdown()


def until(condition, what):
    """Wait for what must come true; how long it takes is not what is tested."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.02)


def alive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def test_it_is_an_executor_and_counts_the_cores_by_default():
    assert isinstance(ProcessesExecutor(slots=3), Executor)
    assert 1 <= ProcessesExecutor().slots <= os.cpu_count()
    assert ProcessesExecutor(slots=3).settings() == {"slots": 3}


@pytest.mark.parametrize("slots", [0, -1, 1.5, True, "two", None])
def test_a_number_of_slots_that_is_none_is_refused(slots):
    with pytest.raises(InputError, match=f"slots={slots!r}"):
        ProcessesExecutor(slots=slots)


def test_work_is_done_elsewhere_by_as_many_processes_as_slots(executor):
    def where(seconds):
        time.sleep(seconds)
        return os.getpid()

    pids = [future.result() for future in [executor.submit(where, 0.3) for _ in range(6)]]
    assert len(set(pids)) == 2
    assert os.getpid() not in pids


def test_two_pieces_of_work_run_at_once(executor, tmp_path):
    def meet(mine, other):
        Path(mine).touch()
        while not Path(other).exists():
            time.sleep(0.01)

    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    futures = [executor.submit(meet, a, b), executor.submit(meet, b, a)]
    assert not wait(futures, timeout=120).not_done


def test_an_exception_comes_back_with_the_workers_traceback(executor):
    def faulty_model():
        raise LookupError("no such layer")

    future = executor.submit(faulty_model)
    with pytest.raises(LookupError, match="no such layer") as caught:
        future.result()
    assert "faulty_model" in str(caught.value.__cause__)


@pytest.mark.parametrize(("how", "told"), [("SIGKILL", "SIGKILL"), ("exit", "7")])
def test_a_death_fails_the_work_that_died_and_no_other(executor, how, told):
    def work(i, how):
        time.sleep(0.05)
        if how == "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "exit":
            os._exit(7)
        return i

    futures = [executor.submit(work, i, how if i in (1, 4) else "") for i in range(10)]
    for i, future in enumerate(futures):
        if i in (1, 4):
            with pytest.raises(WorkerDiedError, match=told):
                future.result()
        else:
            assert future.result() == i


def test_the_death_of_a_waiting_worker_costs_nothing():
    executor = ProcessesExecutor(slots=1)
    try:
        pid = executor.submit(os.getpid).result()
        os.kill(pid, signal.SIGKILL)
        until(lambda: executor._crew._workers[0]._pool._flags.broken, "loky has seen it")
        assert executor.submit(os.getpid).result() != pid
    finally:
        executor.shutdown()


def test_the_message_of_a_death_names_the_cause_and_the_remedy(executor):
    def die():
        os.kill(os.getpid(), 9)

    error = executor.submit(die).exception()
    assert isinstance(error, FlopsFitError)
    assert isinstance(error, RuntimeError)
    assert "fewer slots" in str(error)
    assert "Detailed tracebacks" not in str(error)


def test_work_that_cannot_travel_says_so_and_the_next_goes_on(executor):
    with pytest.raises(InputTypeError, match="serial"):
        executor.submit(lambda lock: None, threading.Lock()).result()
    assert executor.submit(abs, -1).result() == 1


def test_a_result_that_cannot_be_read_back_fails_alone(executor):
    def unreadable():
        class Result:
            def __reduce__(self):
                return (pickle.loads, (b"not a pickle",))

        return Result()

    future = executor.submit(unreadable)
    others = [executor.submit(abs, -i) for i in range(4)]
    with pytest.raises(InputTypeError, match="between processes"):
        future.result()
    assert [other.result() for other in others] == [0, 1, 2, 3]


def test_a_worker_has_one_thread_and_says_so_before_anything_is_imported(executor):
    def threads():
        import torch

        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_WAIT_POLICY")
        return torch.get_num_threads(), [os.environ[name] for name in names]

    assert executor.submit(threads).result() == (1, ["1", "1", "1", "PASSIVE"])


def test_torch_is_held_to_one_thread_whatever_the_work_before_set(executor):
    def spread():
        import torch

        torch.set_num_threads(2)

    def threads():
        import torch

        return torch.get_num_threads()

    one = ProcessesExecutor(slots=1)
    try:
        one.submit(spread).result()
        assert one.submit(threads).result() == 1
    finally:
        one.shutdown()


def test_a_shutdown_cancels_what_waits_fails_what_runs_and_frees_the_processes(tmp_path):
    def sleep(path):
        Path(path).write_text(str(os.getpid()))
        time.sleep(LONG)

    executor = ProcessesExecutor(slots=2)
    files = [tmp_path / str(i) for i in range(4)]
    futures = [executor.submit(sleep, str(path)) for path in files]
    until(lambda: all(p.exists() and p.read_text() for p in files[:2]), "both workers are at work")
    executor.shutdown()
    pids = [int(path.read_text()) for path in files[:2]]
    assert not any(map(alive, pids))
    assert [future.done() for future in futures] == [True] * 4
    assert all(isinstance(future.exception(), RuntimeError) for future in futures[:2])
    for future in futures[2:]:
        with pytest.raises(CancelledError):
            future.result()


def test_children_of_a_worker_go_with_it(executor, tmp_path):
    def parent(path):
        child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({LONG})"])
        Path(path).write_text(str(child.pid))
        time.sleep(LONG)

    path = tmp_path / "child"
    executor.submit(parent, str(path))
    until(lambda: path.exists() and path.read_text(), "the worker has a child")
    executor.shutdown()
    until(lambda: not alive(int(path.read_text())), "the worker's child is gone")


def test_it_may_be_used_again_after_a_shutdown(executor):
    executor.shutdown()
    assert executor.submit(abs, -1).result() == 1
    executor.shutdown()
    assert executor.submit(abs, -2).result() == 2


DRIVER = """
import os, signal, sys, time
from pathlib import Path
from flops_fit_executors import ProcessesExecutor

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is started without it

class Model:
    '''Defined in __main__: no worker could import it.'''
    def __init__(self, size):
        self.size = size

def build(folder, size, seconds):
    Path(folder, str(size)).write_text(str(os.getpid()))
    time.sleep(seconds)
    return Model(size)

executor = ProcessesExecutor(slots=2)
# No `if __name__ == "__main__"` guard: users' scripts have none.
try:
    futures = [executor.submit(build, sys.argv[1], size, float(sys.argv[2])) for size in (3, 4)]
    print([future.result().size for future in futures], all(type(f.result()) is Model for f in futures), flush=True)
except KeyboardInterrupt:
    print("stopped", flush=True)
finally:
    executor.shutdown()
"""


def start_driver(tmp_path, seconds):
    script = tmp_path / "driver.py"
    script.write_text(textwrap.dedent(DRIVER))
    return subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), str(seconds)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def workers(tmp_path):
    files = [tmp_path / "3", tmp_path / "4"]
    until(lambda: all(path.exists() and path.read_text() for path in files), "both workers are at work")
    return [int(path.read_text()) for path in files]


def test_a_class_of_the_script_itself_travels_both_ways(tmp_path):
    out, err = start_driver(tmp_path, 0).communicate()
    assert (out, err) == ("[3, 4] True\n", "")


def test_ctrl_c_at_a_terminal_leaves_no_orphan_and_no_worker_traceback(tmp_path):
    driver = start_driver(tmp_path, LONG)
    pids = workers(tmp_path)
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: the whole process group
    out, err = driver.communicate(timeout=120)
    # On a busy machine loky's tracker may warn of a semaphore that was removed before it was told so: nothing is leaked.
    said = [
        line
        for line in err.splitlines()
        if not ("resource_tracker" in line or line.strip().startswith("warnings.warn"))
    ]
    assert (out, said, driver.returncode) == ("stopped\n", [], 0)
    until(lambda: not any(map(alive, pids)), "the workers are gone")


def test_the_workers_of_a_killed_driver_go_too(tmp_path):
    driver = start_driver(tmp_path, LONG)
    pids = workers(tmp_path)
    driver.kill()
    until(lambda: not any(map(alive, pids)), "the workers are gone")
    driver.communicate()

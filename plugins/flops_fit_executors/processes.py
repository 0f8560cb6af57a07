"""Worker processes of this machine: as many runs train at once as there are slots, one thread each.

In: functions and arguments of any kind that cloudpickle can carry (classes defined in ``__main__``
too). Out: futures. A worker that dies fails the future of the work it was doing and no other: every
slot has a process of its own that is given one piece of work at a time, so nobody has to guess.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import attrs
from loky import cpu_count
from loky.process_executor import BrokenProcessPool, ProcessPoolExecutor, ShutdownExecutorError, TerminatedWorkerError

from flops_fit_core.errors import FlopsFitError, InputError, InputTypeError

# Set before anything is imported in the worker. Threads that wait must sleep: spinning ones would
# take the cores from the other workers.
WORKER_ENV = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    # loky takes a worker whose runs grow for a leaking one and replaces it, with a warning.
    "LOKY_MAX_MEMORY_LEAK_SIZE": "1e18",
}


class WorkerDiedError(FlopsFitError, RuntimeError):
    """The process that did the work died: it was killed, ran out of memory or crashed."""


def _check_slots(_: Any, __: Any, slots: Any) -> None:
    if isinstance(slots, bool) or not isinstance(slots, int) or slots < 1:
        raise InputError(f"processes: slots={slots!r} cannot be used: give a whole number of workers, 1 or more")


@attrs.define(kw_only=True, eq=False)
class ProcessesExecutor:
    """Trains in `slots` processes started afresh (never forked), each with one thread.

    Workers start at the first `submit` and live until `shutdown`, or until this process is gone;
    after a shutdown the executor may be used again.

    Attributes:
        slots: how many pieces of work run at once; by default the number of cores this process may use.
    """

    slots: int = attrs.field(factory=cpu_count, validator=_check_slots)
    _crew: _Crew | None = attrs.field(default=None, init=False, repr=False)

    def settings(self) -> dict[str, Any]:
        """What identifies this executor in the manifest."""
        return {"slots": self.slots}

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Queue ``fn(*args)`` for the next free worker.

        The future raises what `fn` raised (the worker's traceback as its cause), `WorkerDiedError`
        where its worker died, `InputTypeError` where the work cannot be sent to another process.
        """
        if self._crew is None:
            self._crew = _Crew(self.slots)
        return self._crew.submit(fn, args)

    def shutdown(self) -> None:
        """Kill the workers and whatever they started; waiting work is cancelled, running work fails."""
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.dismiss()


class _Crew:
    """One thread a slot, each with a worker of its own, from the first submit to the shutdown."""

    def __init__(self, slots: int) -> None:
        self._own = threading.local()
        self._workers: list[_Worker] = []
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="flops-fit-slot", initializer=self._hire)

    def _hire(self) -> None:
        self._own.worker = _Worker()
        self._workers.append(self._own.worker)

    def submit(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Future[Any]:
        return self._threads.submit(lambda: self._own.worker.call(fn, args))

    def dismiss(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in tuple(self._workers):
            worker.dismiss()
        self._threads.shutdown(wait=True)


class _Worker:
    """One process, replaced when it dies. `call` belongs to one thread; `dismiss` may come from any."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._dismissed = False
        self._lock = threading.Lock()

    def call(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        try:
            return self._start(fn, args).result()
        except TerminatedWorkerError as error:
            raise WorkerDiedError(_why_it_died(error)) from error
        except (BrokenProcessPool, pickle.PicklingError) as error:
            raise InputTypeError(_why_it_did_not_travel(error)) from error

    def _start(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Future[Any]:
        with self._lock:
            if self._dismissed:
                raise ShutdownExecutorError("the executor was shut down before this work began")
            future: Future[Any]
            try:
                self._pool = self._pool or _new_process()
                future = self._pool.submit(_call, fn, args)
            except BrokenProcessPool:
                # It died at or after its last piece of work: this one has lost nothing.
                self._pool = _new_process()
                future = self._pool.submit(_call, fn, args)
            return future

    def dismiss(self) -> None:
        with self._lock:
            self._dismissed = True
            if self._pool is not None:
                self._pool.shutdown(wait=True, kill_workers=True)


def _new_process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(max_workers=1, env=WORKER_ENV, initializer=_begin, initargs=(os.getpid(),))


def _why_it_died(error: TerminatedWorkerError) -> str:
    _, _, codes = str(error).partition("exit codes of the workers are ")
    how = codes.split("\n")[0] or "unknown exit code"
    return (
        f"the worker process died ({how}) before its run was finished: most often the machine ran out of memory "
        "(use fewer slots) or a library crashed (see the messages above); the other runs go on"
    )


def _why_it_did_not_travel(error: Exception) -> str:
    return (
        f"executor 'processes' could not move the work, or its result, between processes ({error}): models, data, "
        "losses and settings must be picklable here; the traceback above names the one that is not. "
        "Or use executor='serial'"
    )


def _begin(driver: int) -> None:
    """In the worker, once: leave Ctrl-C to the driver, and die when the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(driver,), daemon=True).start()


def _follow(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(1.0)
    os._exit(1)


def _call(fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """In the worker, for each piece of work. Builds of torch without OpenMP do not read OMP_NUM_THREADS."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
    return fn(*args)

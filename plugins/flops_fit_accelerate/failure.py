"""An exception in one of several processes: it is written down, and ends the job unless all processes have it.

In: the exception of this process. Out: the same exception where every process failed at the same step (a model that does
not fit in memory): they are still in step, the run is recorded as failed and the sweep goes on. Otherwise the others wait
for this process in vain, so it leaves with exit code 1, and the launcher ends the rest; the next call goes on from the
run's checkpoint. The cause is in ``runs/<run_id>/error-rank<k>.txt``.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flops_fit_accelerate.team import ProcessTeam
from flops_fit_core.store import write_text

log = logging.getLogger("flops_fit")

#: Seconds in which the other processes may come to the same end.
PATIENCE = 10.0


@contextmanager
def together(team: ProcessTeam, folder: Path) -> Iterator[None]:
    """Run a block on every process, so that none goes on without the others.

    Raises:
        SystemExit: another process did not fail, or failed elsewhere.
    """
    if team.size == 1:
        yield
        return
    mine = folder / f"error-rank{team.rank}.txt"
    mine.unlink(missing_ok=True)
    team.gather(None)
    try:
        yield
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} in {last.name}, line {last.lineno}"
        write_text(mine, f"{place}\n{error}\n\n{traceback.format_exc()}")
        if not _all_failed(team, folder, place):
            log.exception("process %d failed alone: the job ends; starting it again goes on from here", team.rank)
            raise SystemExit(1) from error
        raise


def _all_failed(team: ProcessTeam, folder: Path, place: str) -> bool:
    """Whether every process failed in the same place, within `PATIENCE` seconds."""
    deadline = time.monotonic() + PATIENCE
    files = [folder / f"error-rank{rank}.txt" for rank in range(team.size)]
    while not all(file.exists() for file in files):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return all(file.read_text(encoding="utf-8").split("\n", 1)[0] == place for file in files)

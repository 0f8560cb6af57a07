"""For every test: no progress bars, one thread, no display, and the caches of the session's own."""

import os

os.environ["FLOPS_FIT_PROGRESS"] = "0"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.pop("DISPLAY", None)

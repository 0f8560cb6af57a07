"""Conformance tests that authors of plugins subclass: what the pipeline relies on, tried on a stage of yours.

In: a stage object of yours, from the one method that you write. Out: pytest tests, collected because your
subclass is called ``Test…``. Nothing here imports pytest or torch, so that a plugin needs neither
to be installed. A fitter's whole test file:

.. code-block:: python

    from flops_fit_core.testing import FitterContract
    from my_plugin import MyFitter

    class TestMyFitter(FitterContract):
        name = "mine"                       # as the plugin offers it; leave out if it is not installed

        def make_fitter(self):
            return MyFitter()

Each contract names what else a subclass may set. A contract asks only what every stage of its kind must do;
what yours does beyond that is for tests of your own.
"""

import sys

if "pytest" in sys.modules:  # so that a failing assertion shows its values
    sys.modules["pytest"].register_assert_rewrite(
        *(f"{__name__}.{module}" for module in ("stage", "planning", "training", "answering"))
    )

from flops_fit_core.testing.answering import FitterContract, ReporterContract
from flops_fit_core.testing.planning import FlopCounterContract, PlannerContract, WorkloadContract
from flops_fit_core.testing.stage import StageContract
from flops_fit_core.testing.training import ExecutorContract, TrainerContract

__all__ = [
    "ExecutorContract",
    "FitterContract",
    "FlopCounterContract",
    "PlannerContract",
    "ReporterContract",
    "StageContract",
    "TrainerContract",
    "WorkloadContract",
]

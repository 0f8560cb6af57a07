"""Makes `toys` importable, here and in the drivers that tests start."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def train(tmp_path):
    """Train runs as the pipeline does, each call in a folder of its own unless one is named."""
    import itertools

    import toys

    numbers = itertools.count()

    def go(trainer, workload, *runs, folder=None):
        root = tmp_path / (folder or f"study-{next(numbers)}")
        return toys.train(trainer, workload, runs, root)

    return go

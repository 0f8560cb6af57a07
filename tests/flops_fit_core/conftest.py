"""A file of runs for the tests that read one."""

import pytest


@pytest.fixture
def table(tmp_path):
    def write(text, name="runs.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write

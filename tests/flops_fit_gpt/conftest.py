import attrs
import pytest


@attrs.frozen
class Listed:
    """A corpus of given documents: text and whether it is held out."""

    rows: tuple = ()
    name = "listed"

    def identity(self):
        return repr(self.rows)

    def documents(self):
        yield from self.rows


@pytest.fixture
def listed():
    return Listed


@pytest.fixture
def small(listed):
    """Twenty training documents and five held-out ones."""
    return listed(tuple((f"document {i}: " + "né, à la carte. " * (i % 5), i % 5 == 4) for i in range(25)))

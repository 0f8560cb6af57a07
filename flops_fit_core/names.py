"""Names of stages that mean one distribution's own.

In: a name and a distribution. Out: a string that the registry resolves there, so that nobody's plugin
can take a default's place by offering its name.
"""

from __future__ import annotations


class OwnName(str):
    """A default name: it means its own distribution's stage, whoever else offers one of that name."""

    distribution: str

    def __new__(cls, name: str, distribution: str) -> OwnName:
        """Make the name."""
        made = super().__new__(cls, name)
        made.distribution = distribution
        return made

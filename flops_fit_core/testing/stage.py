"""What every stage must do, whatever its kind: have its methods, be found by its name, say what it is.

In: the object that a subclass makes. Out: tests.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from flops_fit_core.identity import Identifier, settings_of
from flops_fit_core.registry import STAGES, default_registry
from flops_fit_core.serial import plain


class StageContract:
    """Base of the contracts; subclass one of those.

    Attributes:
        stage: the kind of stage, set by each contract.
        name: the name that an installed plugin offers it by, or ``None``: then that is not tested.
    """

    stage: ClassVar[str] = ""
    name: ClassVar[str | None] = None

    def made(self) -> Any:
        """A new object of the subclass's ``make_<stage>()``."""
        return getattr(self, f"make_{self.stage}")()

    def test_it_is_a_stage_of_its_kind(self) -> None:
        """It has the methods of its Protocol."""
        for method in STAGES[self.stage][1]:
            assert hasattr(self.made(), method), f"a {self.stage} needs {method!r}"

    def test_it_is_found_by_its_name(self) -> None:
        """The installed plugin's factory makes this very class."""
        if self.name is None:
            import pytest

            pytest.skip("no name was given")
        assert type(default_registry().make(self.stage, self.name)) is type(self.made())

    def test_its_settings_are_the_same_every_time(self) -> None:
        """Its settings are strict JSON and depend on nothing but its options: resume compares them."""
        first, second = (json.dumps(plain(settings_of(self.made(), Identifier())), allow_nan=False) for _ in range(2))
        assert first == second

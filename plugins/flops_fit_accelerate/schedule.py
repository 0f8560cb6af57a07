"""How the learning rate moves over a run: warm-up, then cosine, or stable and cooldown, or constant.

In: a run's D and N and the recipe's fractions. Out: a factor of the peak rate as a pure function of the units
of data seen, so that a resumed run, or one on other processes, sees the same rates to the bit.
"""

from __future__ import annotations

import math

import attrs

SCHEDULES = ("cosine", "wsd", "constant")
COOLDOWNS = ("1-sqrt", "linear")


@attrs.frozen(kw_only=True)
class Schedule:
    """The factor of the peak learning rate, in units of data.

    Attributes:
        kind: ``"cosine"``: half a cosine from the peak to `floor` at D. ``"wsd"``: constant, then a cooldown to
            `floor` (warm-up, stable, decay: Hägele et al. 2024, arXiv 2405.18392). ``"constant"``: no decay.
        horizon: D, units of data.
        warmup: units over which the rate rises in a straight line to the peak.
        cooldown: units at the end over which a ``wsd`` run cools down.
        shape: of the cooldown, with t from 0 to 1 over it: ``"1-sqrt"`` 1 - sqrt(t), ``"linear"`` 1 - t.
        floor: factor at the end.
    """

    kind: str
    horizon: int
    warmup: float
    cooldown: float = 0.0
    shape: str = "1-sqrt"
    floor: float = 0.0

    @property
    def branch(self) -> float:
        """Units of data after which the rate depends on `horizon`: where a ``wsd`` run leaves its trunk."""
        return self.horizon - self.cooldown if self.kind == "wsd" else 0.0

    def factor(self, seen: int, step: int) -> float:
        """Factor for a step that starts after `seen` units and takes about `step` more."""
        rise = min((seen + step) / self.warmup, 1.0) if self.warmup > 0 else 1.0
        return rise * (self.floor + (1.0 - self.floor) * self._decay(seen))

    def _decay(self, seen: int) -> float:
        """From 1 at the peak to 0 at the horizon."""
        if self.kind == "cosine":
            t = (seen - self.warmup) / max(self.horizon - self.warmup, 1.0)
            return 0.5 * (1.0 + math.cos(math.pi * min(max(t, 0.0), 1.0)))
        if self.kind == "wsd" and seen > self.branch:
            t = min((seen - self.branch) / self.cooldown, 1.0)
            return 1.0 - (math.sqrt(t) if self.shape == "1-sqrt" else t)
        return 1.0

    @property
    def too_short(self) -> str:
        """Why the run is too short for its schedule, or an empty string."""
        if self.warmup + self.cooldown <= self.horizon:
            return ""
        return (
            f"D = {self.horizon} is shorter than warm-up ({self.warmup:.0f}) and cooldown ({self.cooldown:.0f}) "
            "together: the run never trains at its peak rate"
        )

"""A fitted law as plain data: numbers with intervals, the law, the prediction.

In: what a fitter found. Out: values that print, save as JSON and answer `loss(n, d)` and
`predict(budget)` by asking the fitter's law.
"""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any, Self

import attrs
import numpy as np
from numpy.typing import ArrayLike, NDArray

from flops_fit_core.data.cost import CostModel
from flops_fit_core.errors import FitError, FlopsFitError, InputError
from flops_fit_core.text import si

if TYPE_CHECKING:
    from flops_fit_core.stages import Fitter

Floats = NDArray[np.float64]


@attrs.frozen(kw_only=True)
class Estimate:
    """A number with its interval at the fit's confidence; ``float()`` gives the number.

    Attributes:
        value: the estimate.
        low: lower end of the interval; for predictions it holds sampling and model error together.
        high: upper end.
        stderr: standard deviation of the bootstrap draws.
        sampling_low: for predictions, lower end of the part that comes of sampling alone.
        sampling_high: its upper end.
    """

    value: float
    low: float | None = None
    high: float | None = None
    stderr: float | None = None
    sampling_low: float | None = None
    sampling_high: float | None = None

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return self.text()

    def text(self, confidence: float | None = None) -> str:
        """The number and its intervals by name, with their confidence where that is given."""
        percent = "" if confidence is None else f"{100 * confidence:g} % "
        if self.low is None or self.high is None:
            return si(self.value, 5)
        if self.sampling_low is None or self.sampling_high is None:
            return f"{si(self.value, 5)} ({percent}{si(self.low)} to {si(self.high)})"
        if (self.low, self.high) == (self.sampling_low, self.sampling_high):  # no model error is in it
            return f"{si(self.value, 5)} ({percent}sampling {si(self.low)} to {si(self.high)})"
        return (
            f"{si(self.value, 5)} ({percent}prediction {si(self.low)} to {si(self.high)}; "
            f"{percent}sampling {si(self.sampling_low)} to {si(self.sampling_high)})"
        )


@attrs.frozen(kw_only=True)
class Excluded:
    """A run (by its label) or a budget that a fit left out or flagged, and why."""

    run: str
    reason: str
    used: bool = False


@attrs.frozen(kw_only=True)
class ModelError:
    """How wrong the law itself may be: half-widths of the 90 % interval per unit of ln(C / C_max).

    At another confidence `Fit.predict` scales them as those of a normal error.

    Attributes:
        loss: relative half-width of the loss.
        n_params: half-width of ln N_opt.
        source: where the two numbers come from, in words.
    """

    loss: float
    n_params: float
    source: str


@attrs.frozen(kw_only=True)
class Prediction:
    """What a budget buys, by a fitted law.

    Attributes:
        compute_budget: C, FLOPs.
        n_params: compute-optimal N.
        n_tokens: compute-optimal D, units of data; cost(N)·D = C.
        loss: the loss to expect there.
        size: nearest value of the size parameter that the constructor accepts, where it is known.
        extrapolation: `compute_budget` over the largest budget that was fitted.
        confidence: of the intervals, such as 0.9.
        warning: why not to trust it, where it is too far beyond or below that; else empty.
    """

    compute_budget: float
    n_params: Estimate
    n_tokens: Estimate
    loss: Estimate
    size: Any = None
    extrapolation: float
    confidence: float = 0.9
    warning: str = ""

    @property
    def tokens_per_param(self) -> float:
        """D / N at the optimum."""
        return self.n_tokens.value / self.n_params.value

    def __str__(self) -> str:
        lines = [
            f"C = {si(self.compute_budget)} FLOPs, {self.extrapolation:.3g} times the largest budget that was fitted"
        ]
        for symbol, estimate in (("N", self.n_params), ("D", self.n_tokens), ("loss", self.loss)):
            lines.append(f"{symbol:>6} = {estimate.text(self.confidence)}")
        lines.append(f"{'D/N':>6} = {self.tokens_per_param:.4g}")
        if self.size is not None:
            lines.append(f"{'size':>6} = {self.size}, the nearest that the model takes")
        return "\n".join([*lines, *([f"note: {self.warning}"] if self.warning else [])])


def _tuples(value: Any) -> Any:
    """Lists to tuples, all the way down: as JSON values come back, so that a loaded fit equals the saved one."""
    if isinstance(value, Mapping):
        return {str(key): _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value


@attrs.frozen(kw_only=True)
class Fit:
    """A fitted law, plain data: a fit read from JSON answers as the one that was saved.

    Attributes:
        fitter: the fitter's name, by which a loaded fit finds its formula again.
        params: the law's parameters and derived exponents, each with its interval.
        cost: C as a function of N and D.
        confidence: of every interval, such as 0.9.
        draws: the bootstrap's parameters by name, each of shape (bootstrap,); empty without one.
        objective: value of the objective at the fit; ``None`` where the fitter does not say.
        converged: whether the optimizer's own criterion was met; ``None`` where the fitter does not say.
        gradient_norm: norm of the scaled gradient at the fit.
        n_used: runs that were fitted; 0 where the fitter does not say.
        excluded: runs and budgets left out or flagged, each with its reason.
        hold_out: errors of rolling hold-out, by name; empty where it could not be done.
        model_error: how wrong the law's form may be, or ``None`` where the fitter does not say.
        largest_budget: the largest C among the fitted runs.
        formula: the law in words.
        notes: what a reader must know: unidentified parameters, no interval, …
        details: the fitter's own tables, plain JSON values, for reporters that know it.
        law: the fitter object; found again by name where it is not at hand.
    """

    fitter: str
    params: Mapping[str, Estimate]
    cost: CostModel = attrs.field(factory=CostModel)
    confidence: float = 0.9
    draws: Mapping[str, Floats] = attrs.field(factory=dict, repr=False, eq=False)
    objective: float | None = None
    converged: bool | None = None
    gradient_norm: float | None = None
    n_used: int = 0
    excluded: tuple[Excluded, ...] = ()
    hold_out: Mapping[str, float] = attrs.field(factory=dict)
    model_error: ModelError | None = None
    largest_budget: float | None = None
    formula: str = ""
    notes: tuple[str, ...] = ()
    details: Mapping[str, Any] = attrs.field(factory=dict, converter=_tuples, repr=False)
    law: Fitter | None = attrs.field(default=None, repr=False, eq=False)

    @property
    def values(self) -> dict[str, float]:
        """The parameters as plain numbers."""
        return {name: estimate.value for name, estimate in self.params.items()}

    @property
    def members(self) -> dict[str, Fit]:
        """The fits that this one averages, by fitter; empty for most fits.

        They count C as this fit does, and answer by what its law hands out as `member_laws`, else by their names. Draws
        of this fit that bear the names of a member's parameters are that member's own.
        """
        members = {}
        for name, plain in self.details.get("members", {}).items():
            fit = Fit.from_dict(plain)
            draws = self.draws if set(self.draws) <= set(fit.params) else fit.draws
            members[name] = attrs.evolve(fit, cost=self.cost, draws=draws, law=self._law_of_member(name))
        return members

    def _law_of_member(self, name: str) -> Fitter | None:
        """As this fit's own law hands it out; ``None``: found by name, when it is asked."""
        try:
            laws: Mapping[str, Fitter] = getattr(self._law(), "member_laws", {})
        except FlopsFitError:  # not installed or broken here: the member's own may be whole
            return None
        return laws.get(name)

    def _law(self) -> Fitter:
        if self.law is not None:
            return self.law
        from flops_fit_core.registry import default_registry

        return default_registry().make("fitter", self.fitter)  # type: ignore[no-any-return]

    def loss(self, n_params: ArrayLike, n_tokens: ArrayLike) -> Any:
        """Loss of N parameters after D units of data; arrays broadcast, two numbers give a float.

        Raises:
            FitError: this fitter has no law of N and D (``isoflop`` and ``envelope`` have not).
        """
        law = self._law()
        if not hasattr(law, "loss"):
            raise FitError(f"fitter {self.fitter!r} describes only the optimum, not L(N, D): use 'surface' for it")
        n, d = np.asarray(n_params, dtype=np.float64), np.asarray(n_tokens, dtype=np.float64)
        if not (np.all(n > 0) and np.all(d > 0)):
            wrong = next(float(x) for x in (*n.flat, *d.flat) if not x > 0)
            raise InputError(f"N and D must be positive numbers, and one is {wrong:g}")
        # A law along the frontier has C beside N: it takes the cost model as a fourth argument.
        extra = (self.cost,) if "cost" in signature(law.loss).parameters else ()
        answer = np.asarray(law.loss(self.values, n, d, *extra))
        return float(answer) if answer.ndim == 0 else answer

    def predict(self, compute_budget: float) -> Prediction:
        """Compute-optimal N, D and loss for a budget in FLOPs, with intervals.

        Raises:
            InputError: the budget is not a positive finite number.
        """
        from flops_fit_core.predict import predict

        return predict(self, self._law(), compute_budget)

    def summary(self) -> str:
        """The fit as text: parameters, intervals, points used, hold-out errors, the formula."""
        from flops_fit_core.summary import summary

        return summary(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values from which `from_dict` makes the same fit."""
        from flops_fit_core.serial import to_plain

        return to_plain(self)  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        from flops_fit_core.serial import from_plain

        return from_plain(plain, cls)

    def __str__(self) -> str:
        return self.summary()

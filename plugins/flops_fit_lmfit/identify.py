"""What the runs cannot say: parameters of the additive law that are not identified, and why.

In: a fit, and what was free to move in it. Out: sentences for `Fit.notes`, and whether the fit may be called converged
at all.
"""

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray

from flops_fit_lmfit.additive import NAMES
from flops_fit_lmfit.solve import AdditiveFit, robust_sigma

Floats = NDArray[np.float64]

COLLINEAR = 1e-7
"""Share of the variance of ln D that ln N leaves unexplained."""
VANISHED = 1e-8
"""Share of the loss by which a term must differ between runs to be more than a part of E."""
CLEAR = 3.0
"""Standard errors that the effect of N, or of D, must stand away from nothing."""
NOTHING = 1e-6
"""Share of the loss below which E is 0: a search that may not touch a bound stops short of it."""
FLAT = 1e-9
"""Exponent at or below which a term does not fall."""
_TERMS = (("A", "alpha", "N"), ("B", "beta", "D"))


@attrs.frozen(kw_only=True, eq=False)
class Freedom:
    """What was free to move in a fit.

    Attributes:
        names: those of the law's parameters that moved by themselves; no complaint is about another one.
        chain: derivatives of the coordinates `AdditiveFit.theta` by what moved, shape (5, any number).
        swaps: whether N and D could change places in the law, so that only the runs can tell which is which.
    """

    names: tuple[str, ...]
    chain: Floats
    swaps: bool

    def of(self, *names: str) -> tuple[str, ...]:
        """Those of the parameters that moved by themselves."""
        return tuple(name for name in names if name in self.names)


@attrs.frozen(kw_only=True)
class Gap:
    """Parameters that the runs do not tell.

    Attributes:
        names: of the parameters.
        why: the reason, in words.
        hardly: whether they are told, though badly: a point, and not a whole family.
    """

    names: tuple[str, ...]
    why: str
    hardly: bool = False

    def __str__(self) -> str:
        be = "is" if len(self.names) == 1 else "are"
        return f"{listed(self.names)} {be} {'hardly' if self.hardly else 'not'} identified: {self.why}"


def unidentified(fit: AdditiveFit) -> tuple[tuple[str, ...], bool]:
    """What is not identified, and whether that leaves a fit to speak of.

    Returns:
        notes, and False where the law's parameters are not a point but a whole family.
    """
    found = gaps(fit, everything(fit))
    return tuple(map(str, found)), all(gap.hardly for gap in found)


def everything(fit: AdditiveFit) -> Freedom:
    """All parameters free, but E where it is at 0, the least it may be."""
    return Freedom(names=NAMES, chain=np.eye(5)[:, 1 if fit.params["E"] == 0 else 0 :], swaps=True)


def gaps(fit: AdditiveFit, freedom: Freedom) -> tuple[Gap, ...]:
    """What the runs do not tell of what was free."""
    loss = fit.problem.loss
    free = [freedom.of(amplitude, exponent) for amplitude, exponent, _ in _TERMS]
    terms = [np.atleast_2d(term)[0] for term in fit.problem.terms(fit.theta[None])[1:]]
    gone = [bool(np.ptp(term) < VANISHED * loss.mean()) for term in terms]
    e_moves = "E" in freedom.names or bool(freedom.chain[0].any())
    names = free[0] + free[1]
    level = np.ptp(loss) <= 1e-12 * loss.mean()
    if names and level and e_moves and all(term or own for term, own in zip(gone, free, strict=True)):
        return (Gap(names=names, why="all losses are equal, so that E alone explains them"),)
    found = []
    strength = _strength(fit, freedom.chain)
    for (amplitude, exponent, symbol), own, term, nothing, clear in zip(
        _TERMS, free, terms, gone, strength, strict=True
    ):
        of_e = (
            e_moves or term.mean() < VANISHED * loss.mean()
        )  # else what holds E tells a term that is the same everywhere
        if own and nothing and of_e:
            same = f"the fit needs no term in {symbol} ({amplitude}/{symbol}^{exponent} is the same at every run, a part of E)"
            found.append(Gap(names=own, why=same))
        elif own and not nothing and clear < CLEAR:
            weak = f"the effect of {symbol} on the loss is only {clear:.1f} standard errors away from nothing"
            found.append(Gap(names=own, why=weak, hardly=True))
    if freedom.swaps and collinear(fit):
        found.append(
            Gap(
                names=names,
                why="ln N and ln D are collinear (D is a power of N in every run), so that what N does cannot be told from "
                "what D does; vary D at fixed N",
            )
        )
    return tuple(found)


def collinear(fit: AdditiveFit) -> bool:
    """Whether D is a power of N in every run."""
    x, y = fit.problem.x, fit.problem.y
    return bool(1.0 - float(x @ y) ** 2 / max(float(x @ x) * float(y @ y), 1e-300) < COLLINEAR)


def listed(names: tuple[str, ...]) -> str:
    """Names as a sentence lists them: A, alpha and B."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def unfinished(converged: bool, gradient_norm: float) -> tuple[str, ...]:
    """That a search ended before its minimum; nothing where it did not."""
    if converged:
        return ()
    return (
        f"the search ended before its minimum (gradient norm {gradient_norm:.2g}): these runs hardly tell the law's parameters",
    )


def oddities(fit: AdditiveFit) -> tuple[str, ...]:
    """A fit at the edge of what the law means."""
    notes = [*unfinished(fit.converged, fit.gradient_norm)]
    if fit.params["E"] <= NOTHING * fit.problem.center[2]:
        notes.append("E is 0, the least it may be: these runs show no irreducible loss")
    for _, exponent, symbol in _TERMS:
        if fit.params[exponent] <= FLAT:
            what = "not positive" if fit.params[exponent] <= 0 else "0 but for rounding"
            notes.append(f"{exponent} is {what}: the loss does not fall as {symbol} grows, the fit has no optimum")
    return tuple(notes)


def saturated(fit: AdditiveFit) -> tuple[str, ...]:
    """That there are no more points than parameters, all of them free."""
    points = np.unique(np.stack([fit.problem.x, fit.problem.y]), axis=1).shape[1]
    if points > len(NAMES):
        return ()
    return (
        f"{points} different points (N, D) for {len(NAMES)} parameters: the law can pass through all of them, whether it is "
        "true or not; more runs are needed to judge it",
    )


def _strength(fit: AdditiveFit, chain: Floats) -> tuple[float, float]:
    """How many standard errors the slopes alpha·A/N^alpha and beta·B/D^beta at the centre stand away from 0.

    Without end where neither the term nor its exponent moved.
    """
    problem = fit.problem
    columns = problem.jacobian(fit.theta) @ chain
    sigma = robust_sigma(problem.residuals(fit.theta[None])[0], least=1e-12 * problem.unit)
    size = np.maximum(np.linalg.norm(columns, axis=0), 1e-100)
    _, singular, rotation = np.linalg.svd(columns / size, full_matrices=False)
    least = max(1e-14 * singular.max(initial=0.0), 1e-100)
    answer = []
    for amplitude, exponent in ((1, 3), (2, 4)):
        direction = np.zeros(5)
        direction[amplitude] = 1.0
        slope = fit.theta[exponent]
        direction[exponent] = 1.0 / slope if abs(slope) > 1e-12 else 1e12
        spread = rotation @ (chain.T @ direction / size) / np.maximum(singular, least)
        answer.append(1.0 / max(sigma * float(np.linalg.norm(spread)), 1e-300))
    return answer[0], answer[1]

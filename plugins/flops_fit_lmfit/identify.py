"""What the runs cannot say: parameters of the additive law that are not identified, and why.

In: a fit. Out: sentences for `Fit.notes`, and whether the fit may be called converged at all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flops_fit_lmfit.solve import AdditiveFit, robust_sigma

Floats = NDArray[np.float64]

COLLINEAR = 1e-7
"""Share of the variance of ln D that ln N leaves unexplained."""
VANISHED = 1e-8
"""Share of the loss by which a term must differ between runs to be more than a part of E."""
CLEAR = 3.0
"""Standard errors that the effect of N, or of D, must stand away from nothing."""


def unidentified(fit: AdditiveFit) -> tuple[tuple[str, ...], bool]:
    """What is not identified, and whether that leaves a fit to speak of.

    Returns:
        notes, and False where the law's parameters are not a point but a whole family.
    """
    problem = fit.problem
    x, y, loss = problem.x, problem.y, problem.loss
    if np.ptp(loss) <= 1e-12 * loss.mean():
        return ("A, alpha, B and beta are not identified: all losses are equal, so that E alone explains them",), False
    notes = []
    _, u, v = (np.atleast_2d(term)[0] for term in problem.terms(fit.theta[None]))
    vanished = [np.ptp(term) < VANISHED * loss.mean() for term in (u, v)]
    strength = _strength(fit)
    names = (("A", "alpha", "N"), ("B", "beta", "D"))
    for (amplitude, exponent, symbol), gone, clear in zip(names, vanished, strength, strict=True):
        if gone:
            notes.append(
                f"{amplitude} and {exponent} are not identified: the fit needs no term in {symbol} "
                f"({amplitude}/{symbol}^{exponent} is the same at every run, a part of E)"
            )
        elif clear < CLEAR:
            notes.append(
                f"{amplitude} and {exponent} are hardly identified: the effect of {symbol} on the loss is only {clear:.1f} "
                "standard errors away from nothing"
            )
    spread = 1.0 - float(x @ y) ** 2 / max(float(x @ x) * float(y @ y), 1e-300)
    if spread < COLLINEAR:
        notes.append(
            "A, alpha, B and beta are not identified: ln N and ln D are collinear (D is a power of N in every run), so "
            "that what N does cannot be told from what D does; vary D at fixed N"
        )
    return tuple(notes), not (any(vanished) or spread < COLLINEAR)


def oddities(fit: AdditiveFit) -> tuple[str, ...]:
    """A fit at the edge of what the law means."""
    notes = []
    if fit.params["E"] == 0:
        notes.append("E is 0, the least it may be: these runs show no irreducible loss")
    for exponent, symbol in (("alpha", "N"), ("beta", "D")):
        if fit.params[exponent] <= 0:
            notes.append(
                f"{exponent} is not positive: the loss does not fall as {symbol} grows, the fit has no optimum"
            )
    return tuple(notes)


def _strength(fit: AdditiveFit) -> tuple[float, float]:
    """How many standard errors the slopes alpha·A/N^alpha and beta·B/D^beta at the centre stand away from 0."""
    problem = fit.problem
    columns = problem.jacobian(fit.theta)
    sigma = robust_sigma(problem.residuals(fit.theta[None])[0], least=1e-12 * problem.unit)
    free = slice(1 if fit.params["E"] == 0 else 0, 5)
    size = np.maximum(np.linalg.norm(columns, axis=0), 1e-300)
    _, singular, rotation = np.linalg.svd((columns / size)[:, free], full_matrices=False)
    answer = []
    for amplitude, exponent in ((1, 3), (2, 4)):
        direction = np.zeros(5)
        direction[amplitude] = 1.0
        slope = fit.theta[exponent]
        direction[exponent] = 1.0 / slope if abs(slope) > 1e-12 else 1e12
        spread = rotation @ (direction / size)[free] / np.maximum(singular, 1e-14 * singular[0])
        answer.append(1.0 / max(sigma * float(np.linalg.norm(spread)), 1e-300))
    return answer[0], answer[1]

"""Fitter ``kaplan``: L(N, D) = ((N_c/N)^(alpha_N/alpha_D) + D_c/D)^alpha_D (Kaplan et al. 2020, arXiv 2001.08361, eq. 1.5).

In: runs and a cost model. Out: a `Fit` of the four parameters. The law has no irreducible loss: it falls
towards zero for ever, so it is for losses far above the floor, and a check on how much a floor changes the answer.
"""

import attrs
import numpy as np

import flops_fit
from flops_fit_core.errors import FitError

NAMES = ("alpha_N", "alpha_D", "ln_N_c", "ln_D_c")
SIZES = np.geomspace(1e3, 1e15, 4001)  # where the optimum is looked for: steps of 0.7 %


@attrs.frozen(kw_only=True)
class KaplanFitter:
    """Least squares in ln L; residuals beyond `delta` count linearly (Huber)."""

    delta: float = 0.01

    def fit(self, runs, cost):
        from scipy.optimize import least_squares  # late: listing plugins must stay cheap

        runs = runs.where(runs.usable())
        if len(runs) < 5:
            raise FitError(f"kaplan has 4 parameters and {len(runs)} runs are usable: at least 5 are needed")
        n, d, y = np.log(runs.n_params), np.log(runs.n_tokens), np.log(runs.loss)

        def named(p):  # p[2], p[3]: ln L at mean ln N (mean ln D) if nothing else limited it; far better conditioned
            return dict(zip(NAMES, (p[0], p[1], n.mean() + p[2] / p[0], d.mean() + p[3] / p[1]), strict=True))

        start = [0.08, 0.1, y.mean() - 0.07, y.mean() - 0.07]
        found = least_squares(lambda p: _log_loss(named(p), n, d) - y, start, loss="huber", f_scale=self.delta)
        return flops_fit.Fit(
            fitter="kaplan",
            params={name: flops_fit.Estimate(value=float(value)) for name, value in named(found.x).items()},
            cost=cost, objective=float(found.cost), converged=bool(found.success), n_used=len(runs),
            largest_budget=float(cost.flops(runs.n_params, runs.n_tokens).max()),
            formula="L(N, D) = ((N_c/N)^(alpha_N/alpha_D) + D_c/D)^alpha_D",
        )  # fmt: skip

    def loss(self, params, n, d):
        return np.exp(_log_loss(params, np.log(n), np.log(d)))

    def optimum(self, params, cost, budget):
        columns = {name: np.asarray(value)[..., None] for name, value in params.items()}  # draws down, sizes across
        losses = self.loss(columns, SIZES, cost.tokens(SIZES, budget))
        best = losses.argmin(axis=-1)
        return SIZES[best], cost.tokens(SIZES[best], budget), losses.min(axis=-1)


def _log_loss(params, log_n, log_d):
    alpha_n, alpha_d, ln_n_c, ln_d_c = (params[name] for name in NAMES)
    return alpha_d * np.logaddexp(alpha_n / alpha_d * (ln_n_c - log_n), ln_d_c - log_d)


@flops_fit.hookimpl
def flops_fit_fitters():
    return {"kaplan": KaplanFitter}

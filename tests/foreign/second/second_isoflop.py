"""A plugin that offers a fitter by a name that flops-fit offers too."""

import flops_fit


class Fitter:
    def fit(self, runs, cost):
        return flops_fit.Fit(fitter="isoflop", params={"second": flops_fit.Estimate(value=2.0)}, largest_budget=1.0)

    def optimum(self, params, cost, budget):
        return params["second"], params["second"], params["second"]


@flops_fit.hookimpl
def flops_fit_fitters():
    return {"isoflop": Fitter}

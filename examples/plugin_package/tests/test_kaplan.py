"""The contract of every fitter, on runs made of the law itself with the values of Kaplan et al. 2020, table 2."""

import numpy as np
from flops_fit_kaplan import KaplanFitter

from flops_fit_core.testing import FitterContract

TRUTH = {"alpha_N": 0.076, "alpha_D": 0.103, "ln_N_c": np.log(6.4e13), "ln_D_c": np.log(1.8e13)}


class TestKaplan(FitterContract):
    name = "kaplan"

    def make_fitter(self):
        return KaplanFitter()

    def true_loss(self, n, d):
        return ((np.exp(TRUTH["ln_N_c"]) / n) ** (0.076 / 0.103) + np.exp(TRUTH["ln_D_c"]) / d) ** 0.103

    def test_it_finds_the_exponents(self):
        found = self.fitted().values
        assert abs(found["alpha_N"] / TRUTH["alpha_N"] - 1) < 0.05
        assert abs(found["alpha_D"] / TRUTH["alpha_D"] - 1) < 0.05

"""Known standard errors weigh runs, and no slip in them, nor a diverged run's own loss, makes one run rule the fit."""

import attrs
import numpy as np
import pytest

from flops_fit_lmfit import EnsembleFitter, FrontierFitter, SurfaceFitter
from flops_fit_lmfit.isoflop import IsoFlopFitter
from flops_fit_lmfit.standard_errors import StandardErrors
from known_laws import ADDITIVE, SIX_ND, additive_sweep

RUNS = additive_sweep(ADDITIVE["chinchilla"], noise=0.005)[0]


def surface(runs, **options):
    return SurfaceFitter(bootstrap=0, hold_out=False, outliers="keep", **options).fit(runs, SIX_ND)


@pytest.mark.parametrize("delta", [1e-3, "adaptive"])
def test_a_standard_error_lends_a_diverged_run_no_weight(delta):
    loss = RUNS.loss.copy()
    loss[[4, 30]] *= 1.6, 10.0
    bad = attrs.evolve(RUNS, loss=loss)
    alike = surface(bad, delta=delta).predict(1e21).n_params.value
    for stderr in (np.full(35, 0.012), 0.005 * RUNS.loss):
        weighed = surface(attrs.evolve(bad, loss_stderr=stderr), delta=delta)
        assert weighed.predict(1e21).n_params.value == pytest.approx(alike, rel=0.03)
        assert not any("loss_stderr" in note for note in weighed.notes)


@pytest.mark.parametrize("own", [1e-200, 1e-12, 1e-5])
@pytest.mark.parametrize(
    "fitter", [SurfaceFitter(bootstrap=0), FrontierFitter(), EnsembleFitter(bootstrap=0), IsoFlopFitter()]
)
def test_a_standard_error_of_nothing_counts_as_a_tenth_of_the_usual_one(fitter, own):
    stderr = 0.005 * RUNS.loss
    least, stderr[6] = np.where(np.arange(35) == 6, 0.1, 1.0) * stderr, own
    found, same = (fitter.fit(attrs.evolve(RUNS, loss_stderr=each), SIX_ND) for each in (stderr, least))
    assert found.predict(1e21).n_params.value == pytest.approx(same.predict(1e21).n_params.value, rel=1e-2)
    assert sum(note.startswith(f"loss_stderr of {RUNS.name(6)} is less than 0.1") for note in found.notes) == 1
    assert not any("loss_stderr" in note for note in same.notes)


@pytest.mark.parametrize("unknown", [np.nan, 0.0, -1.0, np.inf, 1e200])
def test_what_is_no_standard_error_is_unknown(unknown):
    assert StandardErrors.of(np.full(35, unknown), RUNS.loss) is None
    assert surface(attrs.evolve(RUNS, loss_stderr=np.full(35, unknown))).values == surface(RUNS).values
    errors = StandardErrors.of([0.01, 0.02, 0.03, unknown])
    np.testing.assert_array_equal(errors.own, [0.01, 0.02, 0.03, 0.02])
    np.testing.assert_allclose(errors.variances(0.02), errors.own**2)
    np.testing.assert_allclose(errors.variances(0.05), errors.own**2 + 0.05**2 - 0.02**2)

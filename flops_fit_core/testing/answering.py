"""Contracts of what comes after training: fitters and reporters.

In: the objects that subclasses make. Out: tests.
"""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
from numpy.typing import NDArray

from flops_fit_core.data import CostModel, Fit, Report, Result, Runs
from flops_fit_core.errors import FlopsFitError
from flops_fit_core.fitting import fit_one
from flops_fit_core.testing.known import BUDGETS, additive_loss, best, known_records, known_result
from flops_fit_core.testing.stage import StageContract

Floats = NDArray[np.float64]

#: What N costs where 6N is off: a model with attention and a table.
MEASURED = CostModel.measured(np.geomspace(1e6, 1e10, 9), 6.0 * np.geomspace(1e6, 1e10, 9) ** 0.97 * 1.9)


class FitterContract(StageContract):
    """Write ``make_fitter()``; ``true_loss()`` too, where the additive law is not of your law's family.

    Attributes:
        tolerance: how far ln N_opt may be from the truth, with 45 runs and 0.1 % of noise.
        loss_tolerance: how far the loss may be, relative.
    """

    stage = "fitter"
    tolerance: ClassVar[float] = 0.2
    loss_tolerance: ClassVar[float] = 0.01

    def true_loss(self, n: Floats, d: Floats) -> Floats:
        """The law that the runs are made of; N_opt under C = 6ND must lie between 1e4 and 1e12 for C from 1e17 to 1e20."""
        return additive_loss(n, d)

    def make_runs(self) -> Runs:
        """The runs that are fitted: five budgets of nine sizes."""
        return Runs.from_records(known_records(self.true_loss))

    def fitted(self) -> Fit:
        """The fit of these runs under C = 6ND, made once."""
        if "_fitted" not in type(self).__dict__:
            type(self)._fitted = self.fit(self.make_runs())  # type: ignore[attr-defined]
        fit: Fit = type(self)._fitted  # type: ignore[attr-defined]
        return fit

    def fit(self, runs: Runs, cost: CostModel | None = None) -> Fit:
        """Fit as the pipeline does."""
        return fit_one(self.made(), runs, CostModel.six_nd() if cost is None else cost)

    def test_it_finds_the_optimum_that_is_there(self) -> None:
        """N_opt and loss at the largest budget are those of the law that made the runs."""
        n, loss = best(self.true_loss, BUDGETS[-1])
        predicted = self.fitted().predict(BUDGETS[-1])
        assert abs(math.log(predicted.n_params.value / n)) < self.tolerance
        assert abs(predicted.loss.value / loss - 1) < self.loss_tolerance

    def test_the_budget_is_kept(self) -> None:
        """cost(N)·D = C to 1 %, by 6ND and by a measured cost, inside the budgets and beyond."""
        fits = (self.fitted(), self.fit(self.make_runs(), MEASURED))
        for fit in fits:
            for budget in (BUDGETS[0], BUDGETS[-1], 30 * BUDGETS[-1]):
                n, d, _ = self.made().optimum(fit.values, fit.cost, budget)
                assert abs(float(fit.cost.flops(n, d)) / budget - 1) < 0.01

    def test_it_answers_for_arrays_of_draws(self) -> None:
        """``optimum`` of an array of parameters is the array of its answers."""
        fit, fitter = self.fitted(), self.made()
        scaled = {name: value * (1 + 1e-4 * np.arange(3)) for name, value in fit.values.items()}
        drawn = {name: draws[:3] for name, draws in fit.draws.items()} or scaled
        together = [np.broadcast_to(part, (3,)) for part in fitter.optimum({**fit.values, **drawn}, fit.cost, 1e19)]
        for i in range(3):
            one = fitter.optimum({**fit.values, **{name: draws[i] for name, draws in drawn.items()}}, fit.cost, 1e19)
            assert np.allclose([part[i] for part in together], [float(part) for part in one], rtol=1e-6)

    def test_no_other_model_is_better(self) -> None:
        """Where there is a law L(N, D), the optimum's loss is its own, and half and twice the N are no better.

        The average of several laws' lowest losses is a little below their average at one N.
        """
        fit = self.fitted()
        if not hasattr(self.made(), "loss"):
            import pytest

            pytest.skip("no law of N and D")
        at = fit.predict(BUDGETS[-1])
        least = fit.loss(at.n_params.value, at.n_tokens.value) / at.loss.value - 1
        assert -1e-6 < least < (0.01 if fit.members else 1e-6)
        for factor in (0.5, 2.0):
            n = factor * at.n_params.value
            assert fit.loss(n, float(fit.cost.tokens(n, BUDGETS[-1]))) >= at.loss.value

    def test_the_law_takes_arrays(self) -> None:
        """Where there is a law L(N, D), N and D broadcast, and more of either is never worse."""
        fit = self.fitted()
        if not hasattr(self.made(), "loss"):
            import pytest

            pytest.skip("no law of N and D")
        n = float(fit.predict(BUDGETS[2]).n_params)
        grid = fit.loss(n * np.array([[0.7], [1.0], [1.4]]), np.array([0.7, 1.0, 1.4]) * BUDGETS[2] / (6 * n))
        assert grid.shape == (3, 3)
        assert np.allclose(grid[1, 1], fit.loss(n, BUDGETS[2] / (6 * n)))
        assert (np.diff(grid[:, 2]) <= 0).all()

    def test_fitting_again_gives_the_same(self) -> None:
        """The bootstrap too is a function of the runs and the options."""
        again = self.fit(self.make_runs())
        assert again == self.fitted()
        assert {name: draws.tolist() for name, draws in again.draws.items()} == {
            name: draws.tolist() for name, draws in self.fitted().draws.items()
        }

    def test_the_order_of_runs_changes_nothing(self) -> None:
        """The answer is the same for shuffled rows."""
        runs = self.make_runs()
        shuffled = self.fit(runs.where(np.random.default_rng(0).permutation(len(runs))))
        at, other = (fit.predict(BUDGETS[-1]) for fit in (self.fitted(), shuffled))
        assert abs(other.n_params.value / at.n_params.value - 1) < 1e-5
        assert abs(other.loss.value / at.loss.value - 1) < 1e-6

    def test_runs_that_are_not_done_change_nothing(self) -> None:
        """A diverged run is in no fit."""
        records = list(known_records(self.true_loss))
        bad = attrs.evolve(records[0], run=attrs.evolve(records[0].run, seed=1), status="diverged", loss=None)
        fit = self.fit(Runs.from_records([*records, bad]))
        at, other = (each.predict(BUDGETS[-1]) for each in (self.fitted(), fit))
        assert fit.n_used == self.fitted().n_used
        assert abs(other.n_params.value / at.n_params.value - 1) < 1e-9

    def test_the_runs_are_left_as_they_were(self) -> None:
        """Fitting writes into no column."""
        runs, before = self.make_runs(), self.make_runs()
        self.fit(runs)
        assert runs == before

    def test_too_few_runs_are_refused(self) -> None:
        """An error of flops-fit's own family, not a law through one point."""
        for runs in (Runs.empty(), self.make_runs().where([0])):
            try:
                fit = self.fit(runs)
            except FlopsFitError:
                continue
            raise AssertionError(f"{len(runs)} runs were fitted: {fit}")

    def test_a_saved_fit_answers_as_the_fit_did(self) -> None:
        """Through strict JSON and back: equal, and the same prediction with the same intervals."""
        fit = self.fitted()
        text = json.dumps(fit.to_dict(), allow_nan=False)
        loaded = Fit.from_dict(json.loads(text))
        assert loaded == fit
        assert attrs.evolve(loaded, law=self.made()).predict(1e20) == fit.predict(1e20)

    def test_it_says_what_it_did(self) -> None:
        """Name, numbers of runs, largest budget, finite parameters."""
        fit = self.fitted()
        assert fit.fitter
        assert 0 < fit.n_used <= len(self.make_runs())
        assert fit.largest_budget is not None
        assert abs(fit.largest_budget / BUDGETS[-1] - 1) < 0.05
        assert all(math.isfinite(value) for value in fit.values.values())
        assert 0 < fit.confidence < 1
        if fit.draws:
            assert len({len(draws) for draws in fit.draws.values()}) == 1


class ReporterContract(StageContract):
    """Write ``make_reporter()``."""

    stage = "reporter"

    def results(self, folder: Path) -> dict[str, Result]:
        """Studies that a reporter must be able to show."""
        whole = known_result(folder)
        unfitted = attrs.evolve(whole, fits=())
        empty = attrs.evolve(unfitted, records=(), runs=Runs.empty())
        return {"whole": whole, "unfitted": unfitted, "empty": empty}

    def test_it_writes_only_into_its_folder_and_says_what(self, tmp_path: Path, monkeypatch: Any) -> None:
        """For a whole study, one without a fit, one without a record; a second time too."""
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)
        for name, result in self.results(tmp_path).items():
            folder = tmp_path / name
            folder.mkdir()
            for _ in range(2):
                report = self.made().report(result, folder)
                assert isinstance(report, Report)
                written = {path for path in folder.rglob("*") if path.is_file()}
                assert {Path(path).absolute() for path in report.files} == written
                assert all(path.stat().st_size for path in written)
        assert list(elsewhere.iterdir()) == []

    def test_the_result_is_left_as_it_was(self, tmp_path: Path) -> None:
        """Reporting only looks."""
        result = known_result(tmp_path)
        before = copy.deepcopy(result)
        self.made().report(result, tmp_path)
        assert result == before

    def test_a_whole_study_is_shown(self, tmp_path: Path) -> None:
        """It leaves something: text, a figure or a file."""
        report = self.made().report(known_result(tmp_path), tmp_path)
        assert report.text or report.figures or report.files

"""The whole study: plan, records, fits, what to doubt, and the table that people came for.

In: everything a sweep made. Out: `Result`, which prints as its table and diagnostics, predicts,
plots and reports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from flops_fit_core.data.cost import CostModel
from flops_fit_core.data.fit import Fit, Prediction
from flops_fit_core.data.plan import Plan
from flops_fit_core.data.runs import RunRecord, Runs
from flops_fit_core.errors import FitError
from flops_fit_core.text import html_table, markdown_table

if TYPE_CHECKING:
    from flops_fit_core.study import Study


@attrs.frozen(kw_only=True)
class Diagnostic:
    """Something to doubt about a result, in plain words.

    Attributes:
        kind: a short fixed name, such as ``"edge"`` or ``"extrapolation"``.
        message: what was seen, with its numbers, and what to do about it.
    """

    kind: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


@attrs.frozen(kw_only=True)
class Report:
    """What a reporter made.

    Attributes:
        text: to be printed.
        figures: figures by name, as the reporter's library has them.
        files: what was written.
    """

    text: str = ""
    figures: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    files: tuple[Path, ...] = ()


@attrs.frozen(kw_only=True)
class Table:
    """A table of text that prints as Markdown and shows as HTML in a notebook.

    Attributes:
        head: column titles.
        rows: cells as text.
        data: the numbers behind them, one mapping a row.
        notes: what to doubt about it, or about single rows.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    data: tuple[Mapping[str, Any], ...] = attrs.field(default=(), repr=False)
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join([markdown_table(self.head, self.rows), *(f"\nnote: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return html_table(self.head, self.rows) + notes

    def to_pandas(self) -> Any:
        """The numbers as a ``pandas.DataFrame`` (needs pandas)."""
        import pandas as pd

        return pd.DataFrame([dict(row) for row in self.data])


@attrs.frozen(kw_only=True)
class Result:
    """The whole study.

    Attributes:
        workload: the workload's name.
        plan: every run of the study, trained now or before.
        records: what came of them.
        runs: the same as a table.
        fits: the fits that could be made, in the order of the fitters.
        diagnostics: what to doubt.
        cost: C as a function of N and D, as measured at the sizes that were trained; a fit's own cost also knows
            real sizes near its optima.
        sizes: budgets, the real size nearest to the optimum at each: what is left of the model in a loaded result.
        data_unit: what D counts.
        output_dir: where it is stored.
        plugins: names and versions of the plugins that made it.
        chosen: name or class of every stage that made it.
        study: the live study (model, counter, reporter) where there is one; not saved.
    """

    workload: str
    plan: Plan
    records: tuple[RunRecord, ...]
    runs: Runs = attrs.field(repr=False)
    fits: tuple[Fit, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    cost: CostModel = attrs.field(factory=CostModel, repr=False)
    sizes: tuple[tuple[float, Any], ...] = attrs.field(default=(), repr=False)
    data_unit: str = "tokens"
    output_dir: Path | None = None
    plugins: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    chosen: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    study: Study | None = attrs.field(default=None, repr=False, eq=False)

    @property
    def fit(self) -> Fit | None:
        """The first fit, which gives the answer; ``None`` with the reason in `diagnostics`."""
        return self.fits[0] if self.fits else None

    def predict(self, compute_budget: float) -> Prediction:
        """Compute-optimal N, D, loss and real size for a budget in FLOPs.

        The nearest real size is counted exactly. A loaded result, which has no model at hand, knows this size and its
        cost at the study's own budgets and at ten and a hundred times the largest of them, so that it answers there
        as the first time; elsewhere it takes C as a power law between the sizes that were counted, and names no size.

        Raises:
            FitError: there is no fit; the message says why.
            InputError: the budget is not a positive finite number.
        """
        from flops_fit_core.answer import predict_size

        if self.fit is None:
            why = "; ".join(d.message for d in self.diagnostics if d.kind in ("fit", "failed", "diverged"))
            raise FitError(f"nothing was fitted, so nothing can be predicted: {why or 'no run is finished yet'}")
        return predict_size(self, self.fit, compute_budget)

    def chinchilla_table(self, compute_budgets: Sequence[float] | None = None) -> Table:
        """The compute-optimal C, N, D, D/N, loss and size, at the study's own budgets or at those given.

        Where the fit has intervals, that of sampling alone and that of prediction stand beside N and loss;
        ``Table.data`` holds their ends as ``…_sampling_low``, ``…_sampling_high``, ``…_low`` and ``…_high``.

        Raises:
            FitError, InputError: as `predict`.
        """
        from flops_fit_core.answer import chinchilla_table
        from flops_fit_core.compare import listed

        return chinchilla_table(self, self.plan.budgets if compute_budgets is None else listed(compute_budgets))

    def compare(self, compute_budgets: Sequence[float] | None = None) -> Table:
        """Every fit, and the members of those that average several, side by side.

        Args:
            compute_budgets: FLOPs; ``None``: the largest budget, and ten and a hundred times that.
        """
        from flops_fit_core.compare import compare, listed

        compute_budgets = None if compute_budgets is None else listed(compute_budgets)
        fits: Sequence[Fit] = self.fits
        if self.study is not None and compute_budgets is not None:
            fits = [self.study.exact(fit, compute_budgets) for fit in fits]
        return compare(fits, compute_budgets)

    def report(self, out_dir: str | Path | None = None, reporter: Any = None) -> Report:
        """Let a reporter (a name or an object; the study's own by default) write its files.

        Raises:
            InputError: no reporter is known, or no folder.
        """
        from flops_fit_core.answer import report

        return report(self, None if out_dir is None else Path(out_dir), reporter)

    def plot(self) -> Mapping[str, Any]:
        """The figures by name, also written to the study's folder."""
        return self.report().figures

    def __str__(self) -> str:
        from flops_fit_core.answer import answer_text

        return answer_text(self)

    def _repr_html_(self) -> str:
        from flops_fit_core.answer import answer_html

        return answer_html(self)

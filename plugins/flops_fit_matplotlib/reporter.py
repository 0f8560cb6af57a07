"""The reporter: draws what a result holds and saves it, touching no state of matplotlib's own.

In: a `Result`. Out: figures by name, and ``plots/<name>.png`` and ``.svg`` in the output folder.
"""

from __future__ import annotations

from pathlib import Path

import attrs
from matplotlib.figure import Figure

from flops_fit_core.data import Report, Result
from flops_fit_matplotlib.curves import Sweep
from flops_fit_matplotlib.isoflop import isoflop_figure
from flops_fit_matplotlib.scaling import scaling_figure

DPI = 200


@attrs.frozen(kw_only=True)
class MatplotlibReporter:
    """Draws ``isoflop`` (loss against N, a curve for every budget) and ``scaling`` (the optimum against C).

    In ``isoflop`` curves, optima and path are all the first fit's: the slices of its law in N and D with the optimum that
    it answers with, hollow outside the sizes that were fitted at that budget; of a fit without such a law its parabolas
    and their minima (fitter ``isoflop``), or the path alone (``envelope``). An average (``ensemble``) answers with the
    average of ln N_opt: the lowest point of the drawn curve only to a few percent in N.

    In ``scaling`` the dots are what each budget's runs show by themselves: the minimum of a parabola in ln N (that of
    fitter ``isoflop`` where it is among the fits); where none was seen, the best run, hollow. The lines go on to ten
    times the largest budget that was fitted: a result knows the budgets that were trained and not those that somebody
    will ask about, which `Fit.predict` answers at any distance.

    Figures are plain `matplotlib.figure.Figure` objects that pyplot does not know: nothing is left
    open, no display is needed and ``rcParams`` stay as they are.
    """

    def report(self, result: Result, out_dir: Path) -> Report:
        """Draw and save; without a usable run there is nothing to draw, without a fit only the runs."""
        figures = self.figures(result)
        files = tuple(
            path for name, figure in figures.items() for path in _save(figure, Path(out_dir) / "plots" / name)
        )
        if not files:
            return Report(text="no figure: no run has a loss yet")
        return Report(text="figures: " + ", ".join(map(str, files)), figures=figures, files=files)

    def figures(self, result: Result) -> dict[str, Figure]:
        """The figures by name, not saved."""
        sweep = Sweep.of(result)
        if not sweep.usable.any():
            return {}
        scaling = scaling_figure(result, sweep)
        return {"isoflop": isoflop_figure(result, sweep), **({} if scaling is None else {"scaling": scaling})}


def _save(figure: Figure, stem: Path) -> tuple[Path, ...]:
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = tuple(stem.with_suffix(suffix) for suffix in (".png", ".svg"))
    for path in paths:
        figure.savefig(path, dpi=DPI, metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths

"""Results to draw, of a law that is known, and what can be read off the figures of them."""

from itertools import combinations

import attrs
import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from flops_fit_core.data import Estimate, Fit, Plan, Result, Runs
from flops_fit_matplotlib import MatplotlibReporter

E, A, B, ALPHA, BETA = 1.7, 400.0, 410.0, 0.34, 0.28
BUDGETS = (1e15, 3e15, 1e16, 3e16)
SIZES = 7


def optimum(budget):
    n = (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA)) * (budget / 6) ** (BETA / (ALPHA + BETA))
    return n, budget / 6 / n


@attrs.frozen
class Additive:
    """The law itself as a fitter's law, with parameters of its own for each draw."""

    def loss(self, params, n, d):
        return params["E"] + params["A"] / n**ALPHA + params["B"] / d**BETA

    def optimum(self, params, cost, budget):
        g = (ALPHA * params["A"] / (BETA * params["B"])) ** (1 / (ALPHA + BETA))
        n = g * (budget / 6) ** (BETA / (ALPHA + BETA))
        return n, cost.tokens(n, budget), self.loss(params, n, cost.tokens(n, budget))


@attrs.frozen
class OptimumOnly:
    """A law without L(N, D)."""

    def optimum(self, params, cost, budget):
        n = params["k_n"] * budget ** params["a"]
        return n, cost.tokens(n, budget), params["E"] + 100 * budget**-0.1


def sweep(budgets=BUDGETS, sizes=SIZES, around=1.0):
    """Runs that lie on the law, around so many times its optimum at every budget."""
    n = np.concatenate([around * optimum(c)[0] * np.geomspace(1 / 8, 8, sizes) for c in budgets])
    c = np.repeat(budgets, sizes)
    d = c / 6 / n
    return Runs(
        n_params=n, n_tokens=d, loss=E + A / n**ALPHA + B / d**BETA, budget=c, flops=c,
        loss_stderr=np.full(len(n), 0.01), label=[f"run{i}" for i in range(len(n))], status=["done"] * len(n),
    )  # fmt: skip


def surface_fit(**more):
    rng = np.random.default_rng(0)
    values = {"E": E, "A": A, "B": B}
    draws = {name: value * np.exp(0.03 * rng.standard_normal(200)) for name, value in values.items()}
    return Fit(
        fitter="surface", params={name: Estimate(value=value) for name, value in values.items()}, draws=draws,
        largest_budget=BUDGETS[-1], law=Additive(), **more,
    )  # fmt: skip


def isoflop_fit(runs, unused=(), outliers=()):
    """What fitter isoflop leaves in its details, by NumPy's own least squares."""
    rows = []
    for i, c in enumerate(np.unique(runs.budget)):
        here = runs.usable() & (runs.budget == c)
        x, y = np.log(runs.n_params[here]), runs.loss[here]
        c2, c1, c0 = np.polyfit(x, y, 2)
        n_opt = float(np.exp(-c1 / (2 * c2)))
        rows.append({
            "budget": float(c), "n_points": int(here.sum()), "n_range": [float(np.exp(x.min())), float(np.exp(x.max()))],
            "parabola": [float(c0), float(c1), float(c2)], "n_opt": n_opt, "d_opt": float(c / 6 / n_opt),
            "loss_opt": float(c0 - c1 * c1 / (4 * c2)), "outliers": list(outliers) if i == 0 else [],
            "used": i not in unused, "reason": "edge" if i in unused else "",
        })  # fmt: skip
    slope, height = np.polyfit(np.log([r["budget"] for r in rows]), np.log([r["n_opt"] for r in rows]), 1)
    params = {"k_n": float(np.exp(height)), "E": E, "a": float(slope)}
    return Fit(
        fitter="isoflop", params={name: Estimate(value=value) for name, value in params.items()},
        largest_budget=BUDGETS[-1], law=OptimumOnly(), details={"budgets": rows},
    )  # fmt: skip


def result(runs=None, fits=(), **more):
    runs = sweep() if runs is None else runs
    return Result(workload="toy", plan=Plan(runs=()), records=(), runs=runs, fits=tuple(fits), **more)


def draw(*args, **more):
    return MatplotlibReporter().figures(result(*args, **more))


def points(axes):
    """The runs as drawn, budget by budget: (N, loss) arrays."""
    return [container[0].get_xydata().T for container in axes.containers]


def curves(axes):
    return [line.get_xydata().T for line in axes.lines if len(line.get_xdata()) == 120]


def marked(axes, label):
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return line.get_xydata()


def texts(figure):
    return {text.get_text() for text in figure.findobj(Text)} - {""}


def overlaps(figure: Figure) -> list[str]:
    """What spoils the reading of a figure: words over other words, over a panel, or cut off by the edge."""
    words = _words(figure)
    pairs = [f"{one!r} over {two!r}" for (one, a), (two, b) in combinations(words, 2) if _cover(a, b)]
    panels = [f"{word!r} in a panel" for word, box in words for axes in figure.axes if _cover(box, axes.bbox)]
    sheet = figure.bbox
    cut = [f"{w!r} cut" for w, b in words if b.x0 < 0 or b.y0 < 0 or b.x1 > sheet.width or b.y1 > sheet.height]
    return pairs + panels + cut


def _words(figure: Figure) -> list[tuple[str, Bbox]]:
    """Every text that is seen, with its box in pixels."""
    figure.draw_without_rendering()
    seen = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    unseen = {
        label for axes in figure.axes for i, axis in enumerate((axes.xaxis, axes.yaxis)) for label in _outside(axis, i)
    }
    return [(text.get_text(), text.get_window_extent()) for text in seen if text not in unseen]


def _outside(axis, along: int) -> list[Text]:
    """Labels of ticks beyond the axis's ends, which are not drawn."""
    low, high = sorted(axis.get_view_interval())
    labels = axis.get_ticklabels() + axis.get_ticklabels(minor=True)
    return [label for label in labels if not low <= label.get_position()[along] <= high]


def _cover(a: Bbox, b: Bbox) -> bool:
    shared = Bbox.intersection(a, b)
    return shared is not None and min(shared.width, shared.height) > 1

"""A fit as text: the law, its parameters with intervals, what went in, what did not, how far to trust it.

In: a `Fit`. Out: the text that ``print(fit)`` shows. Numbers have six significant digits: an exponent
rounded to two moves an extrapolated optimum by tens of percent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from flops_fit_core.data.fit import Estimate, Excluded, Fit, Prediction
from flops_fit_core.errors import FlopsFitError
from flops_fit_core.text import markdown_table, si

_DIGITS = 6
_MOST_NAMED = 20
_AHEAD = (1, 10, 100)
_MEANINGS = {
    "loss_error": "mean absolute relative error of the loss",
    "bias": "mean relative error of the loss, with its sign",
    "regret": "relative excess loss at the predicted N",
    "log_n_error": "mean absolute error of ln N_opt: the loss hardly depends on N near its minimum",
    "origins": "times it was fitted, each to the budgets up to another one",
    "budgets": "predicted in all, above those",
}
"""Of the hold-out errors whose names `flops_fit_core` knows; another fitter's own stand by their names."""


def summary(fit: Fit) -> str:
    """Parameters with intervals, the law as a formula, runs used and excluded, hold-out errors, convergence."""
    return "\n".join(
        [
            f"{fit.fitter}: {fit.formula}" if fit.formula else fit.fitter,
            *_with_numbers(fit),
            "",
            *_parameters(fit),
            "",
            *_optimizer(fit),
            *([f"points used: {fit.n_used}"] if fit.n_used else []),
            *_excluded(fit.excluded),
            *_hold_out(fit.hold_out),
            *_members(fit),
            *_predictions(fit),
            *(f"note: {note}" for note in fit.notes),
        ]
    )


def digits(value: float | None) -> str:
    """A number to six significant digits, trailing zeros kept: ``0.347800``, ``482.010``, ``1.23457e9``."""
    if value is None:
        return "—"
    if not math.isfinite(value):
        return str(value)
    text = f"{value:#.{_DIGITS}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        return f"{mantissa}e{int(exponent)}"
    return text.rstrip(".")


def formula_with_numbers(fit: Fit) -> str:
    """The law with its parameters' names replaced by their values."""
    names = sorted(fit.params, key=len, reverse=True)
    if not names:
        return fit.formula
    pattern = r"(?<![\w.])(" + "|".join(map(re.escape, names)) + r")(?!\w)"
    heads = re.compile(r"^[^=]*=|(?<=, )[^=,]*=")  # left-hand sides, such as L(N, D), are names of functions

    def number(match: re.Match[str]) -> str:
        text = digits(fit.params[match[1]].value)
        return f"({text})" if text.startswith("-") else text

    pieces, at = [], 0
    for head in heads.finditer(fit.formula):
        pieces += [re.sub(pattern, number, fit.formula[at : head.start()]), head[0]]
        at = head.end()
    return "".join([*pieces, re.sub(pattern, number, fit.formula[at:])])


def _with_numbers(fit: Fit) -> list[str]:
    """The law with its own numbers; of an average every member's, whose parameters may share a name."""
    members = fit.members
    laws = {f"{name}: ": each for name, each in members.items()} if members else {"": fit}
    return [f"  {name}{formula_with_numbers(law)}" for name, law in laws.items() if law.formula]


def _objectives(fit: Fit) -> str:
    """What was minimised and how small it became; of an average, by every member."""
    known = {name: each for name, each in fit.members.items() if each.objective is not None}
    return ", ".join(f"{name} {_objective(each)}" for name, each in known.items()) or _objective(fit)


def _objective(fit: Fit) -> str:
    kind, delta = fit.details.get("objective"), fit.details.get("delta")
    how = [kind] if isinstance(kind, str) else []
    if isinstance(delta, float) and all("huber" in each for each in how):  # only Huber's loss has one
        how.append(f"delta {delta:.6g}")
    return digits(fit.objective) + (f" ({', '.join(how)})" if how else "")


def _parameters(fit: Fit) -> list[str]:
    percent = f"{100 * fit.confidence:g} %"
    draws = next((len(values) for values in fit.draws.values()), 0)
    known = any(estimate.low is not None for estimate in fit.params.values())
    head = ["parameter", "value", f"{percent} low", f"{percent} high", "stderr"] if known else ["parameter", "value"]
    rows = [_row(name, estimate)[: len(head)] for name, estimate in fit.params.items()]
    if known:
        title = f"sampling intervals ({percent}, {draws} resamples{_resampled(fit)})"
    elif draws:
        title = f"no sampling intervals of the parameters; predictions have them, of {draws} resamples"
    else:
        title = "no sampling intervals: this fit has no resamples" + ("; its notes may say why" if fit.notes else "")
    return [markdown_table(head, rows), title]


def _resampled(fit: Fit) -> str:
    """Whose law the intervals take as true; of an average that is the member whose own the draws are."""
    members = fit.members
    if not members:
        return "; the law taken as true"
    own = [name for name, member in members.items() if fit.draws and set(fit.draws) <= set(member.params)]
    whose = f" of member {own[0]}, its law taken as true" if len(own) == 1 else ""
    return whose + ("; how far the members differ is not in them" if whose and len(members) > 1 else "")


def _row(name: str, estimate: Estimate) -> list[str]:
    return [name, *map(digits, (estimate.value, estimate.low, estimate.high, estimate.stderr))]


def _optimizer(fit: Fit) -> list[str]:
    """How the minimisation ended, as far as the fitter says."""
    norm = "" if fit.gradient_norm is None else f"gradient norm {fit.gradient_norm:.2e}"
    lines = [norm] if norm else []
    if fit.converged is not None:
        lines = [f"converged: {'yes' if fit.converged else 'NO'}" + (f" ({norm})" if norm else "")]
    return lines + ([] if fit.objective is None else [f"objective: {_objectives(fit)}"])


def _excluded(excluded: tuple[Excluded, ...]) -> list[str]:
    lines = []
    for title, group in (
        ("excluded", [item for item in excluded if not item.used]),
        ("flagged, but used", [item for item in excluded if item.used]),
    ):
        if group or title == "excluded":
            lines.append(f"{title}: {len(group) or 'none'}")
        lines += [f"  {item.run}: {item.reason}" for item in group[:_MOST_NAMED]]
        if len(group) > _MOST_NAMED:
            lines.append(f"  and {len(group) - _MOST_NAMED} more (all in fit.excluded)")
    return lines


def _hold_out(errors: Mapping[str, float]) -> list[str]:
    if not errors:
        return ["hold-out: none (not possible with these runs, not asked for, or not offered by this fitter)"]
    return ["hold-out (fitted below a budget, predicted above it):"] + [
        f"  {name}: {f'{value:g}' if float(value).is_integer() else digits(value)}"
        + (f" ({_MEANINGS[name]})" if name in _MEANINGS else "")
        for name, value in errors.items()
    ]


def _members(fit: Fit) -> list[str]:
    """What each fit that is averaged here answers by itself, and how far its hold-out was off."""
    if not fit.members or fit.largest_budget is None:
        return []
    budgets = [times * fit.largest_budget for times in _AHEAD]
    head = ["member", "hold-out loss_error", *(f"{name} at {si(c)}" for c in budgets for name in ("N_opt", "loss"))]
    rows = []
    for name, member in fit.members.items():
        answers = _answers(member, budgets)
        if isinstance(answers, str):
            cells = ["no answer"] * (len(head) - 2)
        else:
            cells = [digits(e.value) for answer in answers for e in (answer.n_params, answer.loss)]
        rows.append([name, digits(member.hold_out.get("loss_error")), *cells])
    return [
        "",
        markdown_table(head, rows),
        "members: what this fit averages",
    ]


def _predictions(fit: Fit) -> list[str]:
    """What the largest budget and ten and a hundred times that buy, each with both intervals, and what to doubt."""
    if fit.largest_budget is None:
        return []
    answers = _answers(fit, [times * fit.largest_budget for times in _AHEAD])
    if isinstance(answers, str):
        return ["", f"no predictions: {answers}"]
    return ["", *predictions_text(fit, answers), *(f"note: {warning}" for warning in _warnings(answers))]


def _warnings(predictions: Sequence[Prediction]) -> list[str]:
    """What the predictions themselves doubt, each once: not what another of them says with more."""
    said = list(dict.fromkeys(answer.warning for answer in predictions if answer.warning))
    return [text for text in said if not any(text != other and text in other for other in said)]


def _answers(fit: Fit, budgets: Sequence[float]) -> list[Prediction] | str:
    """The fit's predictions, or why there are none: its law has no optimum, or its fitter is not installed here."""
    try:
        return [fit.predict(budget) for budget in budgets]
    except FlopsFitError as error:
        return str(error)


def predictions_text(fit: Fit, predictions: Sequence[Prediction]) -> list[str]:
    """A fit's predictions as a table, one row a quantity, and what their intervals are where there are any.

    Without a model error there is no column of prediction intervals, as `flops_fit_core.answer` has none.
    """
    percent = f"{100 * fit.confidence:g} %"
    rows, known = [], False
    for answer in predictions:
        for name, e in (("N_opt", answer.n_params), ("D_opt", answer.n_tokens), ("loss", answer.loss)):
            known = known or e.low is not None
            sampling = "—" if e.sampling_low is None else f"{digits(e.sampling_low)} … {digits(e.sampling_high)}"
            whole = "—" if e.low is None else f"{digits(e.low)} … {digits(e.high)}"
            rows.append([si(answer.compute_budget, 5), name, digits(e.value), sampling, whole])
    head = ["C", "quantity", "value", f"{percent} sampling", f"{percent} prediction"]
    if not known:
        return [markdown_table(head[:3], [row[:3] for row in rows])]
    if fit.model_error is None:
        table = markdown_table(head[:4], [row[:4] for row in rows])
        return [table, "the intervals are of sampling alone: this fitter does not say how wrong its law may be"]
    error = (
        "prediction intervals hold sampling and model error in quadrature; model error, 90 % half-width per unit of "
        f"ln(C / C_max): {100 * fit.model_error.loss:.5g} % of loss, {fit.model_error.n_params:.5g} in ln N_opt "
        f"({fit.model_error.source})" + ("; nowhere less than how far apart the members lie" if fit.members else "")
    )
    return [markdown_table(head, rows), error]

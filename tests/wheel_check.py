"""Run by CI in an environment that has the wheel and nothing else: no torch, not editable."""

import importlib.util
import sys
from pathlib import Path

import flops_fit

HEAVY = ("torch", "scipy", "lmfit", "accelerate", "matplotlib")


class Width:
    """A model family in plain Python: nothing but a number of parameters."""

    def __init__(self, width: int) -> None:
        self.width = width

    def num_params(self) -> int:
        return 12 * self.width**2


class Sentences:
    """A data set in plain Python."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, i: int) -> tuple[list[int], list[int]]:
        return list(range(i, i + 16)), list(range(i + 1, i + 17))


def main() -> None:
    loaded = [name for name in HEAVY if name in sys.modules]
    assert not loaded, f"import flops_fit loaded {loaded}"
    assert importlib.util.find_spec("torch") is None, "this check is for an environment without torch"
    assert "site-packages" in flops_fit.__file__, f"not the installed wheel: {flops_fit.__file__}"
    for plugin in flops_fit.plugins():
        print(plugin)
        assert plugin.error is None, plugin.error

    result = flops_fit.find_optimal(
        Width, "width", None, Sentences(), lambda outputs, targets: 0.0, [1e17, 3e17, 1e18, 3e18],
        flop_counter="6nd", trainer="simulate", output_dir="outputs",
    )  # fmt: skip
    print(result)
    assert result.fit is not None
    assert (Path("outputs") / "table.md").exists()
    figures = sorted(path.name for path in Path("outputs/plots").iterdir())
    print("figures:", *figures)
    assert any(name.endswith(".png") for name in figures)

    rows = ["n_params,n_tokens,loss"]
    rows += [f"{row['n_params']},{row['n_tokens']},{row['loss']}" for row in result.runs]
    Path("runs.csv").write_text("\n".join(rows))
    fit = flops_fit.fit(flops_fit.read_runs("runs.csv"))
    print(fit.summary())
    print(fit.predict(1e19))
    try:
        flops_fit.trainer("accelerate")
    except flops_fit.FlopsFitError as error:
        print("without torch:", error)
        assert 'pip install "flops-fit[train]"' in str(error)
    else:
        raise AssertionError("trainer 'accelerate' was made without torch")
    print("the wheel works")


if __name__ == "__main__":
    main()

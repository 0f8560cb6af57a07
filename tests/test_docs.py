"""The documentation is true: its Python runs, its names exist, what exists is in it, and its links lead somewhere.

Every ``python`` block of the pages below runs, page by page, in one namespace, unless an HTML comment
``<!-- not run: why -->`` stands before it. Sweeps that would train are answered by trainer ``simulate``; everything else,
options of the trainer too, is the real thing.
"""

import fnmatch
import inspect
import math
import re
import subprocess
import sys
import types
from pathlib import Path

import attrs
import pytest

import flops_fit
from flops_fit_core import hookspecs, testing
from flops_fit_core.registry import STAGES, Registry

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "docs/howto.md", "docs/plugins.md"]
LINKED = [ROOT / "README.md", ROOT / "examples" / "plugin_package" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?ms)^(?P<skip><!-- not run: [^>]+-->\n)?```python\n(?P<code>.*?)^```")


def mine():
    """A user's own module: a model with ``num_params()``, and token sequences."""
    import torch

    class GPT(torch.nn.Module):
        def __init__(self, d_model):
            super().__init__()
            self.embed, self.head = torch.nn.Embedding(256, d_model), torch.nn.Linear(d_model, 256)
            self.mix = torch.nn.Linear(d_model, 4 * d_model), torch.nn.Linear(4 * d_model, d_model)
            self.up, self.down = self.mix

        def forward(self, x):
            return self.head(self.down(self.up(self.embed(x)).relu())).transpose(1, 2)

        def num_params(self):
            return sum(p.numel() for p in self.parameters())

    tokens = torch.arange(64 * 17).reshape(64, 17) % 256
    data = torch.utils.data.TensorDataset(tokens[:, :-1], tokens[:, 1:])
    others = torch.utils.data.TensorDataset(tokens[:8, :-1], tokens[:8, 1:])
    module = types.ModuleType("mine")
    vars(module).update(GPT=GPT, train_set=data, val_set=others, code_set=others)
    return module


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A folder with somebody's runs, their module, and sweeps that train nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "mine", mine())
    real = flops_fit.find_optimal

    def find_optimal(*args, **options):
        trainer = options.get("trainer", "accelerate")
        if trainer == "accelerate" or type(trainer).__name__ == "AccelerateTrainer":
            options["mode"] = "mock"
        options.setdefault("reporter", None)  # figures cost more than all the rest
        return real(*args, **options)

    monkeypatch.setattr(flops_fit, "find_optimal", find_optimal)
    grid = [(c, n) for c in (1e17, 3e17, 1e18, 3e18, 1e19) for n in (2e7, 4e7, 8e7, 1.6e8, 3.2e8, 6.4e8)]
    losses = [
        1.69 + 406.4 / n**0.34 + 410.7 / (c / (6 * n)) ** 0.28 + 0.005 * math.sin(7 * i)
        for i, (c, n) in enumerate(grid)
    ]
    rows = [f"{n:g},{c / (6 * n):g},{loss:.6f},{loss:.6f}" for (c, n), loss in zip(grid, losses, strict=True)]
    Path("runs.csv").write_text("\n".join(["params,tokens,loss,eval/loss", *rows]) + "\n")


def run_blocks(page):
    """Run a page's blocks; what they define."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert text.count("```python") == len(list(BLOCK.finditer(text)))
    namespace = {"__name__": f"page {page}"}
    for block in BLOCK.finditer(text):
        if not block["skip"]:
            lines_before = text[: block.start("code")].count("\n")
            exec(compile("\n" * lines_before + block["code"], page, "exec"), namespace)
    return namespace


@pytest.mark.parametrize("page", PAGES)
def test_every_block_runs(page, user):
    run_blocks(page)


def test_what_the_plugin_guide_makes_passes_the_contract_as_printed(tmp_path):
    """The guide's fitter and the test class that it shows for it, with nothing added, under pytest."""
    text = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    blocks = [block["code"] for block in BLOCK.finditer(text)]
    study, fitter = blocks[:2]
    (contract,) = [code for code in blocks if "Contract)" in code]
    page = tmp_path / "test_page.py"
    page.write_text("\n".join([study, fitter, contract]))
    options = ["-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", tmp_path]
    command = [sys.executable, "-m", "pytest", *options, page]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 10


def test_the_tutorial_shows_the_plan_that_its_code_makes(user):
    made = str(run_blocks("docs/tutorial.md")["plan"]).splitlines()
    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    shown = re.search(r"(?ms)^```\n(\| budget C.*?)^```", page)[1].splitlines()
    assert len(shown) > 8
    assert [line for line in shown if line != "…" and line not in made] == []


@pytest.mark.parametrize("name", flops_fit.__all__)
def test_every_public_name_is_in_the_api_page(name):
    api = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert re.search(rf"\b(autofunction|autoclass):: (flops_fit\.)?{name}\b|`flops_fit\.{name}`|errors", api)


def test_every_hook_is_in_the_hooks_page():
    page = (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8")
    hooks = {name for name, thing in vars(hookspecs).items() if name.startswith("flops_fit_") and callable(thing)}
    assert hooks == set(re.findall(r"hookspecs\.(flops_fit_\w+)", page))
    assert len(hooks) == len(STAGES) + 5
    assert all(getattr(hookspecs, hook).__doc__ for hook in hooks)


def test_every_contract_is_in_the_api_page_and_in_the_guide():
    for page in ("api.md", "plugins.md"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        assert [name for name in testing.__all__ if name != "StageContract" and name not in text] == []


def stages():
    """Every stage on offer by flops-fit itself: kind, name and what its factory makes it of."""
    registry = Registry()
    for kind in STAGES:
        for name, (offer, *_) in sorted(registry._offers[kind].items()):
            if offer.info.distribution == "flops-fit":
                yield kind, name, getattr(offer.factory, "resolve", lambda made=offer.factory: made)()


@pytest.mark.parametrize(("kind", "name", "made"), [pytest.param(*s, id=f"{s[0]}-{s[1]}") for s in stages()])
def test_every_option_of_every_stage_is_explained(kind, name, made):
    api = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert f".{made.__name__}\n" in api
    assert f"`{name}`" in api
    options = (
        [f.name for f in attrs.fields(made) if f.init] if attrs.has(made) else list(inspect.signature(made).parameters)
    )
    documented = inspect.getdoc(made) or ""
    assert [option for option in options if not re.search(rf"(?m)^\s*{option}: ", documented)] == []


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name} links {target}"
        if anchor:
            titles = re.findall(r"(?m)^#+ (.+)$", there.read_text(encoding="utf-8"))
            assert anchor in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_is_in_the_table_of_contents():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
    listed = {line.strip() for block in re.findall(r"(?s)```{toctree}(.*?)```", index) for line in block.splitlines()}
    assert [page for page in pages if not any(fnmatch.fnmatch(page, pattern) for pattern in listed if pattern)] == []

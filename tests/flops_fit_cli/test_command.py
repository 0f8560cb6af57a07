import pytest

from flops_fit_cli.command import spread
from flops_fit_cli.settings import Settings, value_of
from flops_fit_core.errors import FlopsFitError


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("gpt --budgets 1e12 3e12", "gpt --budgets 1e12 --budgets 3e12"),
        ("gpt --budgets 1e12 3e12 --json", "gpt --budgets 1e12 --budgets 3e12 --json"),
        ("--budgets=1 2 3 --seeds 0 1", "--budgets=1 --budgets 2 --budgets 3 --seeds 0 --seeds 1"),
        ("--budgets 1 --budgets 2", "--budgets 1 --budgets 2"),
        ("--budgets -1e3 -2", "--budgets -1e3 --budgets -2"),
        ("--json gpt", "--json gpt"),
        ("gpt more --budgets 1", "gpt more --budgets 1"),
        ("--planner isoflop gpt", "--planner isoflop gpt"),
        ("--budgets 1 -- 2 3", "--budgets 1 -- 2 3"),
        ("--budgets", "--budgets"),
        ("", ""),
    ],
)
def test_lists_are_spread_over_their_option(words, expected):
    assert spread(words.split(), {"--budgets", "--seeds"}) == expected.split()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-3", 1e-3),
        ("true", True),
        ("True", True),
        ("null", None),
        ("None", None),
        ("[4, 8]", [4, 8]),
        ("(4, 8)", (4, 8)),
        ("'3'", "3"),
        ("cifar10", "cifar10"),
        ("data/folder", "data/folder"),
        ("", ""),
    ],
)
def test_words_are_values(text, value):
    assert value_of(text) == value
    assert type(value_of(text)) is type(value)


def test_options_go_to_their_stage():
    words = ["trainer.lr=0.1", "workload.n_layers=3", "trainer.schedule=a=b"]
    settings = Settings(words, {"trainer": ["accelerate"], "workload": ["gpt"]})
    assert settings.options("trainer", "accelerate") == {"lr": 0.1, "schedule": "a=b"}
    assert settings.options("workload", "gpt") == {"n_layers": 3}


def test_one_of_several_has_options_of_its_own():
    words = ["fitter.mine:surface.seed=2", "fitter.seed=1", "fitter.confidence=0.8"]
    settings = Settings(words, {"fitter": ["mine:surface", "isoflop"]})
    assert settings.options("fitter", "mine:surface") == {"seed": 2, "confidence": 0.8}
    assert settings.options("fitter", "isoflop") == {"seed": 1, "confidence": 0.8}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("lr=0.1", "is not STAGE.OPTION=VALUE"),
        ("trainer.lr", "is not STAGE.OPTION=VALUE"),
        ("trainr.lr=1", "Did you mean 'trainer'"),
        ("fitter.delta=1", "no stage 'fitter' here"),
        ("trainer.acelerate.lr=1", "no trainer 'acelerate' was chosen. Did you mean 'accelerate'"),
        ("trainer..lr=1", "is not STAGE.OPTION=VALUE"),
        ("trainer.accelerate.=1", "is not STAGE.OPTION=VALUE"),
    ],
)
def test_a_wrong_setting_is_said(word, said):
    with pytest.raises(FlopsFitError, match=said):
        Settings([word], {"trainer": ["accelerate"], "workload": ["gpt"]})

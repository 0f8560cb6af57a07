"""When two things are the same study and when they are not, across restarts of Python."""

import functools
import subprocess
import sys

import attrs
import numpy as np
import pytest

import flops_fit
from flops_fit_core.identity import Identifier, fingerprint, identify_workload

SCALE = 2.0


def helper(x):
    return x * SCALE


def loss(outputs, targets):
    return helper(outputs) - targets


def rate(base):
    def rule(run):
        return base / run.size

    return rule


class Model:
    def __init__(self, width):
        self.width = helper(width)


@attrs.frozen
class Settings:
    lr: float = 1e-3
    rule: object = None


class Data:
    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, i):
        return np.array(self.values[i])


def identify(thing):
    return Identifier()(thing)


def test_a_closure_is_identified_by_what_it_closes_over():
    assert identify(rate(0.1)) == identify(rate(0.1))
    assert identify(rate(0.1)) != identify(rate(0.2))


def test_a_lambda_is_identified_without_the_rest_of_its_line():
    one = {"budgets": [1e9], "loss": lambda outputs, targets: outputs - targets}
    two = {"budgets": [1e9, 2e9], "seeds": (0, 1), "loss": lambda outputs, targets: outputs - targets}
    assert identify(one["loss"])["source"] == identify(two["loss"])["source"]
    first, second = (lambda x: x + 1), (lambda x: x + 2)
    assert identify(first)["source"] != identify(second)["source"]


def test_partials_and_bound_methods_keep_their_arguments():
    assert identify(functools.partial(loss, targets=1)) != identify(functools.partial(loss, targets=2))
    assert identify(Data([1]).__len__) != identify(Data([2]).__len__)


def test_a_change_in_a_helper_or_a_constant_of_the_module_is_seen(monkeypatch):
    before = identify(loss)
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert identify(loss) != before


def test_objects_are_identified_by_class_and_state():
    assert identify(Settings()) == identify(Settings())
    assert identify(Settings()) != identify(Settings(lr=2e-3))
    assert identify(Settings(rule=rate(1.0))) != identify(Settings(rule=rate(2.0)))


def test_data_is_identified_by_a_sample_and_by_its_length():
    whole = Identifier().data(Data(list(range(100))), "dataset")
    assert whole == Identifier().data(Data(list(range(100))), "dataset")
    assert whole != Identifier().data(Data(list(range(99))), "dataset")
    assert whole != Identifier().data(Data(list(range(1, 101))), "dataset")


def test_a_fingerprint_comes_beside_length_and_sample_not_in_their_place():
    class Named(Data):
        fingerprint = "corpus 7"

    assert Identifier().data(Named([1, 2]), "dataset") == Identifier().data(Named([1, 2]), "dataset")
    assert Identifier().data(Named([1, 2]), "dataset") != Identifier().data(Named([1, 2, 3]), "dataset")
    one = flops_fit.Workload(name="w", model_cls=Model, size_param="width", dataset=Data([1]), fingerprint="f")
    other = attrs.evolve(one, dataset=Data([1, 2]))
    assert identify_workload(one, Identifier()) != identify_workload(other, Identifier())
    assert identify_workload(one, Identifier()) != identify_workload(attrs.evolve(one, fingerprint="g"), Identifier())


def test_data_that_is_never_the_same_twice_is_said_to_be_so():
    class Noise(Data):
        def __getitem__(self, i):
            return np.random.default_rng().normal(size=3)

    identifier = Identifier()
    assert identifier.data(Noise([1, 2, 3]), "dataset") == Identifier().data(Noise([1, 2, 3]), "dataset")
    assert "other items each time" in identifier.unknown[0]


def test_what_shows_no_source_is_said_to_be_unknown():
    namespace = {}
    exec("def f(x):\n    return x", namespace)
    identifier = Identifier()
    identifier(namespace["f"], "loss_fn")
    assert "loss_fn" in identifier.unknown[0]


def test_a_torch_loss_is_identified_by_its_settings():
    torch = pytest.importorskip("torch")
    plain, smooth = torch.nn.CrossEntropyLoss(), torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    assert identify(plain) == identify(torch.nn.CrossEntropyLoss())
    assert identify(plain) != identify(smooth)


def test_identities_survive_a_restart_of_python(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from flops_fit_core.identity import Identifier, fingerprint\n"
        "class Model:\n    '''A model.'''\n    def __init__(self, width):\n        self.width = width\n"
        "print(fingerprint({'model': Identifier()(Model), 'set': Identifier()({'b', 'a', 'c'})}))\n"
    )
    seen = {subprocess.check_output([sys.executable, script], text=True) for _ in range(2)}
    assert len(seen) == 1
    # what else the script does, such as naming more budgets, does not change the model
    script.write_text(script.read_text() + "budgets = [1e9, 2e9]  # another line\n")
    seen.add(subprocess.check_output([sys.executable, script], text=True))
    assert len(seen) == 1


def test_fingerprints_are_short_and_stable():
    assert fingerprint({"a": 1}) == fingerprint({"a": 1})
    assert len(fingerprint({"a": 1})) == 16

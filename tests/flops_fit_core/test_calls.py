import types
from collections import UserDict

import pytest

from flops_fit_core.calls import check_loss_fn, loss_of, outputs_and_loss, require_gradient, run_model, split
from flops_fit_core.errors import InputError, InputTypeError, TrainingError

torch = pytest.importorskip("torch")
nn = torch.nn


@pytest.mark.parametrize("batch", [("x", "y"), ["x", "y"], {"inputs": "x", "targets": "y"}])
def test_a_pair_is_inputs_and_targets(batch):
    assert split(batch) == ("x", "y")


@pytest.mark.parametrize("key", ["labels", "targets"])
@pytest.mark.parametrize("kind", [dict, UserDict])
def test_a_mapping_gives_its_labels_and_keeps_the_rest_as_keyword_arguments(key, kind):
    inputs, targets = split(kind({"ids": 1, "mask": 2, key: 3}))
    assert (inputs, targets) == ({"ids": 1, "mask": 2}, 3)
    assert run_model(lambda ids, mask: ids + mask, inputs) == 3


@pytest.mark.parametrize(("batch", "word"), [({"ids": 1}, "ids"), (("x", "y", "z"), "3 parts"), (7, "one int")])
def test_a_batch_without_targets_is_refused_with_its_shape(batch, word):
    with pytest.raises(InputError, match=word):
        split(batch)


X, Y = torch.ones(2, 3), torch.zeros(2, 1)


def test_loss_fn_compares_outputs_with_targets():
    model = nn.Linear(3, 1)
    outputs, loss = outputs_and_loss(model, (X, Y), nn.functional.mse_loss)
    assert torch.equal(loss, (model(X) ** 2).mean())
    assert torch.equal(outputs, model(X))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda logits, loss: types.SimpleNamespace(logits=logits, loss=loss),
        lambda logits, loss: {"logits": logits, "loss": loss},
        lambda logits, loss: (logits, loss),
        lambda logits, loss: (loss, logits),
        lambda logits, loss: loss,
    ],
)
@pytest.mark.parametrize("batch", [(X, Y), {"inputs": X, "labels": Y}])
def test_a_model_may_return_its_own_loss(wrap, batch):
    line = nn.Linear(3, 1)

    def model(inputs, labels):
        return wrap(line(inputs), ((line(inputs) - labels) ** 2).mean())

    assert torch.equal(loss_of(model, batch, None), (line(X) ** 2).mean())


@pytest.mark.parametrize(
    ("loss_fn", "word"),
    [
        (lambda o, t: o - t, r"shape \(2, 1\)"),
        (lambda o, t: 1.0, "float"),
        (lambda o, t: None, "no loss"),
    ],
)
def test_a_loss_that_is_no_scalar_tensor_is_refused(loss_fn, word):
    with pytest.raises(TrainingError, match=word):
        loss_of(nn.Linear(3, 1), (X, Y), loss_fn)


def test_a_model_without_a_loss_of_its_own_is_told_to_bring_one():
    with pytest.raises(TrainingError, match=r"no loss_fn was given.*shape \(2, 1\)"):
        loss_of(nn.Linear(3, 1), X, None)
    with pytest.raises(TrainingError, match="give loss_fn"):
        loss_of(lambda x: {"logits": x}, X, None)


def test_a_loss_without_gradient_is_refused():
    require_gradient(nn.Linear(3, 1)(X).sum())
    with pytest.raises(TrainingError, match="detached"):
        require_gradient(X.sum())


@pytest.mark.parametrize(
    "good", [None, nn.CrossEntropyLoss(), nn.functional.cross_entropy, lambda o, t: o, lambda *a: a]
)
def test_usable_loss_functions_pass(good):
    check_loss_fn(good)


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (nn.CrossEntropyLoss, r"CrossEntropyLoss\(\)"),
        ("mse", "not callable"),
        (lambda o: o, "outputs, targets"),
        (lambda o, t, w: o, "outputs, targets"),
    ],
)
def test_unusable_loss_functions_are_refused_before_training(bad, word):
    with pytest.raises(InputTypeError, match=word):
        check_loss_fn(bad)

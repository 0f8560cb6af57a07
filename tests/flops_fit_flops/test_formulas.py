"""Formulas of single operations against products counted one by one, and the list of free ones."""

import itertools

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from flops_fit_flops.formulas import formulas  # noqa: E402
from flops_fit_flops.free_ops import FREE, is_free  # noqa: E402
from flops_fit_flops.meter import FlopMeter  # noqa: E402

aten = torch.ops.aten


def naive_convolution(x, weight, out, groups, transposed):
    """Multiply-adds of a convolution: every output channel meets the input channels of its group at every tap."""
    batch, c_in, *size_in = x.shape
    _, c_out, *size_out = out.shape
    places = size_in if transposed else size_out
    taps = weight.shape[2:]
    c_each = c_out // groups if transposed else c_in // groups
    c_all = c_in if transposed else c_out
    return batch * c_all * c_each * torch.Size(places).numel() * torch.Size(taps).numel()


@pytest.mark.parametrize(
    ("dimensions", "groups", "stride", "transposed"), list(itertools.product((1, 2), (1, 2, 4), (1, 2), (False, True)))
)
def test_each_gradient_of_a_convolution_costs_its_forward_pass(dimensions, groups, stride, transposed):
    kinds = {(1, False): nn.Conv1d, (2, False): nn.Conv2d, (1, True): nn.ConvTranspose1d, (2, True): nn.ConvTranspose2d}
    with torch.device("meta"):
        layer = kinds[dimensions, transposed](4, 8, 3, stride=stride, groups=groups)
        x = torch.empty(5, 4, *[9] * dimensions, requires_grad=True)
        with FlopMeter() as meter:
            out = layer(x)
            meter.in_backward = True
            out.sum().backward()
    hand = 2 * naive_convolution(x, layer.weight, out, groups, transposed)
    assert (meter.forward, meter.backward) == (hand, 2 * hand)


A, B, U, V = torch.ones(3, 4), torch.ones(4, 5), torch.ones(3), torch.ones(4)


@pytest.mark.parametrize(
    ("operation", "hand"),
    [
        (lambda: A @ B, 2 * 3 * 4 * 5),
        (lambda: A @ V, 2 * 3 * 4),
        (lambda: V @ V, 2 * 4),
        (lambda: torch.vdot(V, V), 2 * 4),
        (lambda: torch.addmv(U, A, V), 2 * 3 * 4),
        (lambda: torch.addbmm(torch.ones(3, 5), A.expand(2, 3, 4), B.expand(2, 4, 5)), 2 * 2 * 3 * 4 * 5),
        (lambda: torch.einsum("ij,jk,k->i", A, B, torch.ones(5)), None),
        (lambda: A * A + A.sum(), 0),
        (lambda: torch.cumsum(A, 0).softmax(0).sort().values, 0),
    ],
)
def test_products_of_matrices_and_vectors(operation, hand):
    with FlopMeter() as meter:
        operation()
    assert not meter.uncounted
    assert meter.forward > 0 if hand is None else meter.forward == hand


def test_attention_and_its_gradient_on_the_cpu():
    from torch.nn.attention import SDPBackend, sdpa_kernel

    q = torch.ones(2, 3, 8, 4, requires_grad=True)
    kv = torch.ones(2, 3, 16, 4, requires_grad=True)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), FlopMeter() as meter:
        out = nn.functional.scaled_dot_product_attention(q, kv, kv).sum()
        meter.in_backward = True
        out.backward()
    hand = 2 * (2 * 2 * 3 * 8 * 16 * 4)
    assert (meter.forward, meter.backward, meter.uncounted) == (hand, 2 * hand, set())


def test_no_operation_is_both_free_and_counted():
    names = {
        packet._qualified_op_name.split("::")[-1] for packet in formulas() if hasattr(packet, "_qualified_op_name")
    }
    assert not names & FREE


@pytest.mark.parametrize(
    "operation",
    [aten.mm, aten.bmm, aten.convolution, aten._fft_c2c, aten._cdist_forward, aten.linalg_inv_ex, aten.mkldnn_rnn_layer,
     aten._trilinear, aten._scaled_dot_product_flash_attention_for_cpu, aten._weight_int8pack_mm, aten.linalg_matrix_exp],
)  # fmt: skip
def test_operations_that_multiply_are_never_free(operation):
    assert not any(is_free(getattr(operation, overload)) for overload in operation.overloads())


@pytest.mark.parametrize(
    "operation",
    [
        aten.add,
        aten.relu_,
        aten.native_layer_norm,
        aten.embedding,
        aten._softmax,
        aten.view,
        aten.index_put_,
        aten.gelu_,
    ],
)
def test_cheap_operations_are_free(operation):
    assert all(is_free(getattr(operation, overload)) for overload in operation.overloads() if "out" not in overload)

"""Operations that cost no FLOPs by convention: nothing else may count as zero without being reported.

In: an operation. Out: whether it is a view, element-wise, a norm or softmax, a reduction, a look-up,
a copy, a pooling or resampling, a loss, random numbers or a question about a tensor. Element-wise
operations are known by torch's own tag, views by their schema, everything else by name.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

_NAMES = """
views and copies:
    _unsafe_view _reshape_alias _reshape_copy alias as_strided detach lift lift_fresh lift_fresh_copy clone copy copy_
    contiguous _to_copy _to_dense _pin_memory cat _chunk_cat stack block_diag repeat repeat_interleave flip roll rot90 tril
    triu diag_embed unsafe_split unsafe_split_with_sizes split_with_sizes_copy constant_pad_nd reflection_pad1d
    reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d pixel_shuffle pixel_unshuffle
    channel_shuffle im2col col2im unfold_backward resize resize_as set t transpose unsqueeze squeeze
    slice_backward select_backward diagonal_backward slice_scatter select_scatter diagonal_scatter as_strided_scatter
    reflection_pad1d_backward reflection_pad2d_backward reflection_pad3d_backward replication_pad1d_backward
    replication_pad2d_backward replication_pad3d_backward _jagged_to_padded_dense_forward _padded_dense_to_jagged_forward
    _pack_padded_sequence _pack_padded_sequence_backward

new tensors and random numbers:
    empty empty_like empty_permuted empty_strided new_empty new_empty_strided new_full new_ones new_zeros full full_like ones
    ones_like zeros zeros_like zero fill scalar_tensor arange linspace logspace eye tril_indices triu_indices hann_window
    rand rand_like randn randn_like randint randint_like randperm normal uniform bernoulli multinomial poisson
    exponential geometric cauchy log_normal _standard_gamma native_dropout native_dropout_backward _masked_scale

element-wise, without torch's tag in some of their forms:
    add sub mul div where masked_fill elu_backward gelu glu glu_backward hardswish hardswish_backward hardsigmoid_backward
    hardtanh_backward leaky_relu_backward log_sigmoid_forward log_sigmoid_backward softplus_backward threshold mish
    rrelu_with_noise rrelu_with_noise_backward _prelu_kernel _prelu_kernel_backward copysign complex polar addr rsub
    floor_divide masked_scatter masked_scatter_backward _thnn_fused_lstm_cell _thnn_fused_lstm_cell_backward_impl
    _thnn_fused_gru_cell _thnn_fused_gru_cell_backward

norms and softmax:
    native_layer_norm native_layer_norm_backward native_group_norm native_group_norm_backward native_batch_norm
    native_batch_norm_backward _native_batch_norm_legit _native_batch_norm_legit_functional _native_batch_norm_legit_no_training
    _batch_norm_with_update _batch_norm_with_update_functional _batch_norm_no_update batch_norm_backward _fused_rms_norm
    _fused_rms_norm_backward linalg_vector_norm norm renorm _weight_norm_interface _weight_norm_interface_backward
    _softmax _softmax_backward_data _log_softmax _log_softmax_backward_data _safe_softmax logsumexp

reductions, scans and sorting:
    sum mean prod amax amin aminmax max min argmax argmin all any var std var_mean std_mean median nanmedian nansum mode
    count_nonzero trace cumsum cumprod cummax cummin _cummax_helper _cummin_helper logcumsumexp sort topk kthvalue bincount
    histc unique_consecutive unique_dim _unique _unique2 nonzero nonzero_static dist value_selecting_reduction_backward
    segment_reduce _segment_reduce_backward

look-ups:
    embedding embedding_dense_backward embedding_renorm _embedding_bag _embedding_bag_forward_only _embedding_bag_backward
    _embedding_bag_dense_backward _embedding_bag_per_sample_weights_backward gather scatter scatter_add scatter_reduce
    index index_select index_put _index_put_impl _unsafe_index _unsafe_index_put _unsafe_masked_index
    _unsafe_masked_index_put_accumulate index_add index_copy index_fill index_reduce take put masked_select searchsorted
    bucketize isin

pooling and resampling:
    _adaptive_avg_pool2d _adaptive_avg_pool2d_backward _adaptive_avg_pool3d _adaptive_avg_pool3d_backward avg_pool2d
    avg_pool2d_backward avg_pool3d avg_pool3d_backward adaptive_max_pool2d adaptive_max_pool2d_backward adaptive_max_pool3d
    adaptive_max_pool3d_backward max_pool2d_with_indices max_pool2d_with_indices_backward max_pool3d_with_indices
    max_pool3d_with_indices_backward fractional_max_pool2d max_unpool2d max_unpool3d grid_sampler_2d grid_sampler_2d_backward
    grid_sampler_3d grid_sampler_3d_backward affine_grid_generator upsample_nearest1d upsample_nearest2d upsample_nearest3d
    upsample_nearest1d_backward upsample_nearest2d_backward upsample_nearest3d_backward upsample_linear1d
    upsample_linear1d_backward upsample_bilinear2d upsample_bilinear2d_backward upsample_trilinear3d
    upsample_trilinear3d_backward upsample_bicubic2d upsample_bicubic2d_backward _upsample_nearest_exact1d
    _upsample_nearest_exact2d _upsample_nearest_exact2d_backward _upsample_bilinear2d_aa _upsample_bilinear2d_aa_backward
    _upsample_bicubic2d_aa _upsample_bicubic2d_aa_backward

losses:
    nll_loss_forward nll_loss_backward nll_loss2d_forward nll_loss2d_backward mse_loss mse_loss_backward smooth_l1_loss
    smooth_l1_loss_backward huber_loss huber_loss_backward binary_cross_entropy binary_cross_entropy_backward
    binary_cross_entropy_with_logits soft_margin_loss soft_margin_loss_backward multi_margin_loss
    multilabel_margin_loss_forward

questions:
    _local_scalar_dense item equal is_same_size is_pinned is_coalesced dense_dim sparse_dim _assert_async
    _functional_assert_async _assert_scalar _assert_tensor_metadata sym_constrain_range sym_constrain_range_for_size
    _amp_foreach_non_finite_check_and_unscale
"""

FREE = frozenset(name for line in _NAMES.splitlines() if not line.endswith(":") for name in line.split())

_VIEW_COPIES = getattr(torch.Tag, "view_copy", None)


@cache
def is_free(func: Any) -> bool:
    """Whether an operation (one overload) is known to cost no FLOPs by convention."""
    if func.namespace == "prim":  # questions about tensors
        return True
    if func.namespace not in ("aten", "prims"):
        return False
    name = func._schema.name.split("::")[1]
    base = name.rstrip("_")  # the in-place form costs what the other costs
    if {name, base} & FREE or func.is_view or _VIEW_COPIES in func.tags:
        return True
    return any(torch.Tag.pointwise in overload.tags for overload in _overloads(func.namespace, base))


def _overloads(namespace: str, name: str) -> list[Any]:
    packet = getattr(getattr(torch.ops, namespace), name, None)
    return [] if packet is None else [getattr(packet, overload) for overload in packet.overloads()]

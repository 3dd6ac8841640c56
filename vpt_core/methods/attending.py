"""Attention and its backward, two ways: by torch's flash kernels for the CPU, or as plain matrix products.

Both keep of the attention rows their sums alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

FLASH, PRODUCTS = "flash", "products"

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def attend(way: str, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """What queries q (B, H, R, D) find in k and v (B, H, M, D): (B, H, R, D), and the logarithms of the rows' sums."""
    if way == FLASH:
        return _flash(q, k, v)
    scores = _scores(q, _centred(k))
    sums = scores.logsumexp(-1)
    return scores.sub_(sums[..., None]).exp_().to(v.dtype) @ v, sums


def attend_backward(
    way: str, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, told: Tensor, sums: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v, given that of `told`, which `attend` gave with `sums`."""
    if way == FLASH:
        return _flash_backward(grad, q, k, v, told, sums, 0.0, False)
    k = _centred(k)
    weights, grad_scores = _backward_of_scores(grad, q, k, v, told, sums)
    return grad_scores @ k, grad_scores.mT @ q, weights.to(grad.dtype).mT @ grad


def attend_backward_from(
    first: int, way: str, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, told: Tensor, sums: Tensor
) -> tuple[Tensor, Tensor]:
    """Of what `attend_backward` gives, the gradients of k and v from number `first` on alone: (B, H, M - first, D) each.

    They need no more than these columns of the attention rows. In float32 at least.
    """
    kind = torch.promote_types(q.dtype, torch.float32)
    k = _centred(k) if way == PRODUCTS else k
    grad, q, k, v, told = (t.to(kind) for t in (grad, q, k[:, :, first:], v[:, :, first:], told))
    weights, grad_scores = _backward_of_scores(grad, q, k, v, told, sums)
    return grad_scores.mT @ q, weights.mT @ grad


def _backward_of_scores(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, told: Tensor, sums: Tensor
) -> tuple[Tensor, Tensor]:
    """The attention rows (B, H, R, M) and the gradient of the products q k that they come from."""
    weights = _scores(q, k).sub_(sums[..., None]).exp_()
    towards = (grad @ v.mT).to(sums.dtype).sub_((grad * told).sum(-1, keepdim=True, dtype=sums.dtype))
    return weights, towards.mul_(weights).mul_(q.shape[-1] ** -0.5).to(q.dtype)


def _centred(k: Tensor) -> Tensor:
    """Keys less their mean. Every score of a query loses the same, so that its softmax stays, and so do all gradients; but
    smaller scores lose less where a product is rounded to bfloat16."""
    return (k - k.mean(2, keepdim=True, dtype=torch.promote_types(k.dtype, torch.float32))).to(k.dtype)


def _scores(q: Tensor, k: Tensor) -> Tensor:
    """Scaled products of queries and keys, in float32 at least."""
    scores = torch.baddbmm(q.new_empty(()), q.flatten(0, 1), k.flatten(0, 1).mT, beta=0, alpha=q.shape[-1] ** -0.5)
    return scores.unflatten(0, q.shape[:2]).to(torch.promote_types(q.dtype, torch.float32))

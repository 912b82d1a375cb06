"""What is computed on one tile of raw logits `[rows, cols]`, in plain torch; `triton/tiles.py` has the same functions.

`stats.py` says what the rows of statistics are and how they merge. Scaled logits are softcap(z) / T.
"""

from __future__ import annotations

import torch
from torch import Tensor

from prorl_kernels.linear_token_stats.stats import FAR


def tile_statistics(
    logits: Tensor,
    targets: Tensor,
    inverse_temperature: Tensor | None,
    softcap: float | None,
    ref_logits: Tensor | None,
    valid_cols: int,
) -> Tensor:
    """Statistics `[4, rows]`, with a reference `[9, rows]`, of the first `valid_cols` columns; overwrites both tiles.

    `targets` `[rows]` count from the first column and may lie outside; `inverse_temperature` is `[rows]`.
    """
    logits = scale(logits[:, :valid_cols], inverse_temperature, softcap)
    owned, index = _owned(targets, valid_cols)
    top, target = _shift(logits, owned, index)
    weights = logits.exp()
    if ref_logits is None:
        return torch.stack((top, weights.sum(1), logits.mul_(weights).sum(1), target))
    ref_logits = scale(ref_logits[:, :valid_cols], inverse_temperature, softcap)
    ref_top, ref_target = _shift(ref_logits, owned, index)
    ratio = logits - ref_logits
    total, weighted = weights.sum(1), logits.mul_(weights).sum(1)
    cross = weights.mul_(ratio).sum(1)
    ref_weights = ref_logits.exp_()
    ref_total = ref_weights.sum(1)
    ref_cross = ratio.mul_(ref_weights).sum(1).neg_()
    return torch.stack((top, total, weighted, target, ref_top, ref_total, ref_target, cross, ref_cross))


def tile_gradient(
    logits: Tensor,
    targets: Tensor,
    inverse_temperature: Tensor | None,
    softcap: float | None,
    ref_logits: Tensor | None,
    valid_cols: int,
    scalars: Tensor,
    out: Tensor,
) -> Tensor:
    """dL/d logits of the tile, written to `out` (`logits` itself is fine); overwrites both tiles.

    `scalars` are of the whole vocabulary: `[5, rows]` top, log-sum and entropy, then the upstream gradients of logprob
    and entropy; with a reference `[10, rows]`: and its top, its log-sum and kl_reverse, then the upstream gradients of
    kl_reverse and kl_forward.
    """
    out[:, valid_cols:] = 0.0
    logits, out = scale(logits[:, :valid_cols], inverse_temperature, softcap), out[:, :valid_cols]
    slope = None if softcap is None else _slope_of_cap(logits, inverse_temperature, softcap)
    top, log_sum, entropy, logprob_grad, entropy_grad, *of_reference = scalars[:, :, None]
    if inverse_temperature is not None:
        logprob_grad, entropy_grad = (g * inverse_temperature[:, None] for g in (logprob_grad, entropy_grad))
    # two subtractions: top + log-sum would round the log-sum away when the logits are large
    logprobs = logits.sub_(top).sub_(log_sum).clamp_(min=-FAR)
    gradient = logprobs.exp()
    constant = -(logprob_grad + entropy_grad * entropy)
    if ref_logits is None:
        factor = logprobs.mul_(-entropy_grad).add_(constant)
        gradient = torch.mul(gradient, factor, out=out) if out.dtype == gradient.dtype else gradient.mul_(factor)
    else:
        ref_top, ref_log_sum, kl, kl_grad, forward_grad = of_reference
        if inverse_temperature is not None:
            kl_grad, forward_grad = (g * inverse_temperature[:, None] for g in (kl_grad, forward_grad))
        ref_logits = scale(ref_logits[:, :valid_cols], inverse_temperature, softcap)
        ref_logprobs = ref_logits.sub_(ref_top).sub_(ref_log_sum).clamp_(min=-FAR)
        factor = logprobs.mul_(kl_grad - entropy_grad).add_(constant - kl_grad * kl + forward_grad)
        gradient.mul_(factor.addcmul_(ref_logprobs, -kl_grad))
        gradient.addcmul_(ref_logprobs.exp_(), -forward_grad)
    owned, index = _owned(targets, valid_cols)
    gradient.scatter_add_(1, index, torch.where(owned[:, None], logprob_grad, 0.0))
    if slope is not None:
        gradient.mul_(slope)
    return out if gradient.data_ptr() == out.data_ptr() else out.copy_(gradient)


def scale(logits: Tensor, inverse_temperature: Tensor | None, softcap: float | None) -> Tensor:
    """softcap · tanh(z / softcap) / T, in place."""
    if softcap is not None:
        logits.div_(softcap).tanh_().mul_(softcap)
    return logits if inverse_temperature is None else logits.mul_(inverse_temperature[:, None])


def _slope_of_cap(scaled: Tensor, inverse_temperature: Tensor | None, softcap: float) -> Tensor:
    """d softcap(z) / dz = 1 − tanh², from scaled logits."""
    tanh = scaled / softcap if inverse_temperature is None else scaled / (inverse_temperature[:, None] * softcap)
    return tanh.square_().neg_().add_(1.0).clamp_(min=0.0)


def _owned(targets: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Which rows have their target among the columns `[rows]`, and a safe column for all of them `[rows, 1]`."""
    return (targets >= 0) & (targets < width), targets.clamp(0, width - 1)[:, None].long()


def _shift(scaled: Tensor, owned: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum and target of every row; `scaled` becomes s − m, bounded below so that 0 · (−∞) cannot arise."""
    target = torch.where(owned, scaled.gather(1, index).squeeze(1), -torch.inf)
    top = scaled.amax(1).clamp_(min=torch.finfo(scaled.dtype).min)  # finite even if the whole tile is −inf
    scaled.sub_(top[:, None]).clamp_(min=-FAR)
    return top, target

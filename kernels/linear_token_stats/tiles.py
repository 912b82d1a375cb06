"""The two operations on one tile of raw logits `[rows, cols]`, in plain torch; `triton/tiles.py` has the same.

`stats.py` defines the rows of statistics and their merge. Scaled logits are softcap(z) / T.
"""

from __future__ import annotations

import torch
from torch import Tensor

from prorl_kernels.linear_token_stats.stats import MAX_LOG_RATIO


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
    row_max, target = _subtract_max(logits, owned, index)
    p = logits.exp()
    if ref_logits is None:
        return torch.stack((row_max, p.sum(1), logits.mul_(p).sum(1), target))
    ref_logits = scale(ref_logits[:, :valid_cols], inverse_temperature, softcap)
    ref_max, ref_target = _subtract_max(ref_logits, owned, index)
    ratio = logits - ref_logits
    row_sum, entropy_sum = p.sum(1), logits.mul_(p).sum(1)
    kl_reverse_sum = p.mul_(ratio).sum(1)
    ref_p = ref_logits.exp_()
    ref_sum = ref_p.sum(1)
    kl_forward_sum = ratio.mul_(ref_p).sum(1).neg_()
    policy = (row_max, row_sum, entropy_sum, target)
    return torch.stack((*policy, ref_max, ref_sum, ref_target, kl_reverse_sum, kl_forward_sum))


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

    `scalars` are taken over the whole vocabulary: `[5, rows]` row max, log-sum, entropy and the upstream gradients of
    logprob and entropy; with a reference `[10, rows]`, its row max, its log-sum, kl_reverse and the upstream gradients
    of kl_reverse and kl_forward as well.
    """
    out[:, valid_cols:] = 0.0
    logits, out = scale(logits[:, :valid_cols], inverse_temperature, softcap), out[:, :valid_cols]
    derivative = None if softcap is None else _softcap_derivative(logits, inverse_temperature, softcap)
    row_max, log_sum, entropy, d_logprob, d_entropy, *of_reference = scalars[:, :, None]
    if inverse_temperature is not None:
        d_logprob, d_entropy = (g * inverse_temperature[:, None] for g in (d_logprob, d_entropy))
    # two subtractions: row_max + log_sum would round the log-sum away when the logits are large
    logprobs = logits.sub_(row_max).sub_(log_sum).clamp_(min=-MAX_LOG_RATIO)
    gradient = logprobs.exp()
    constant = -(d_logprob + d_entropy * entropy)
    if ref_logits is None:
        factor = logprobs.mul_(-d_entropy).add_(constant)
        gradient = torch.mul(gradient, factor, out=out) if out.dtype == gradient.dtype else gradient.mul_(factor)
    else:
        ref_max, ref_log_sum, kl_reverse, d_kl_reverse, d_kl_forward = of_reference
        if inverse_temperature is not None:
            d_kl_reverse, d_kl_forward = (g * inverse_temperature[:, None] for g in (d_kl_reverse, d_kl_forward))
        ref_logits = scale(ref_logits[:, :valid_cols], inverse_temperature, softcap)
        ref_logprobs = ref_logits.sub_(ref_max).sub_(ref_log_sum).clamp_(min=-MAX_LOG_RATIO)
        factor = logprobs.mul_(d_kl_reverse - d_entropy).add_(constant - d_kl_reverse * kl_reverse + d_kl_forward)
        gradient.mul_(factor.addcmul_(ref_logprobs, -d_kl_reverse))
        gradient.addcmul_(ref_logprobs.exp_(), -d_kl_forward)
    owned, index = _owned(targets, valid_cols)
    gradient.scatter_add_(1, index, torch.where(owned[:, None], d_logprob, 0.0))
    if derivative is not None:
        gradient.mul_(derivative)
    return out if gradient.data_ptr() == out.data_ptr() else out.copy_(gradient)


def scale(logits: Tensor, inverse_temperature: Tensor | None, softcap: float | None) -> Tensor:
    """softcap · tanh(z / softcap) / T, in place."""
    if softcap is not None:
        logits.div_(softcap).tanh_().mul_(softcap)
    return logits if inverse_temperature is None else logits.mul_(inverse_temperature[:, None])


def _softcap_derivative(scaled: Tensor, inverse_temperature: Tensor | None, softcap: float) -> Tensor:
    """d softcap(z) / dz = 1 − tanh², from scaled logits."""
    tanh = scaled / softcap if inverse_temperature is None else scaled / (inverse_temperature[:, None] * softcap)
    return tanh.square_().neg_().add_(1.0).clamp_(min=0.0)


def _owned(targets: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """A mask `[rows]` of the rows whose target is among the columns, and a valid column for all of them `[rows, 1]`."""
    return (targets >= 0) & (targets < width), targets.clamp(0, width - 1)[:, None].long()


def _subtract_max(scaled: Tensor, owned: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum and target of every row; `scaled` becomes s − m, bounded below so that 0 · (−∞) cannot arise."""
    target = torch.where(owned, scaled.gather(1, index).squeeze(1), -torch.inf)
    row_max = scaled.amax(1).clamp_(min=torch.finfo(scaled.dtype).min)  # finite even if the whole tile is −inf
    scaled.sub_(row_max[:, None]).clamp_(min=-MAX_LOG_RATIO)
    return row_max, target

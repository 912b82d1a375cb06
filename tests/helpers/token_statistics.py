"""The definition of the packed statistics and of the logits' gradient, in fp64 and from full logits."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import Tensor

DEVICE = "cuda" if torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1" else "cpu"


@dataclass(kw_only=True, slots=True)
class Case:
    """Raw fp64 logits `[rows, columns]` and what is to be computed from them."""

    logits: Tensor
    targets: Tensor
    inverse_temperature: Tensor | None = None
    softcap: float | None = None
    ref_logits: Tensor | None = None
    valid_cols: int

    def log_probabilities(self, logits: Tensor) -> Tensor:
        scores = logits[:, : self.valid_cols]
        if self.softcap is not None:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        if self.inverse_temperature is not None:
            scores = scores * self.inverse_temperature.double()[:, None]
        return torch.log_softmax(scores, 1)

    def expected(self, logits: Tensor) -> Tensor:
        """`[2, rows]` logprob and entropy; with a reference `[5, rows]`: and ref logprob, kl_reverse, kl_forward."""
        log_p = self.log_probabilities(logits)
        rows = torch.arange(len(logits), device=logits.device)
        results = [log_p[rows, self.targets.long()], -expectation(log_p, log_p)]
        if self.ref_logits is not None:
            log_q = self.log_probabilities(self.ref_logits)
            results += [log_q[rows, self.targets.long()], expectation(log_p, log_p - log_q)]
            results += [expectation(log_q, log_q - log_p)]
        return torch.stack(results)

    def expected_gradient(self, upstream: Tensor) -> Tensor:
        """`[rows, columns]` for upstream gradients `[4, rows]` of logprob, entropy, kl_reverse and kl_forward."""
        logits = self.logits.detach().clone().requires_grad_()
        results = self.expected(logits)
        loss = (upstream[:2].double() * results[:2]).sum()
        if self.ref_logits is not None:
            loss = loss + (upstream[2:].double() * results[3:]).sum()
        return torch.autograd.grad(loss, logits)[0]


def expectation(log_p: Tensor, values: Tensor) -> Tensor:
    """Σ p · values, where columns without mass count for nothing whatever their value."""
    return (log_p.exp() * torch.where(log_p > -torch.inf, values, 0.0)).sum(1)


def finished(statistics: Tensor) -> Tensor:
    """What `Case.expected` gives, from packed statistics."""
    statistics = statistics.double()
    row_max, row_sum, entropy_sum, target = statistics[:4]
    log_sum = row_sum.log()
    results = [target - row_max - log_sum, log_sum - entropy_sum / row_sum]
    if len(statistics) == 9:
        ref_max, ref_sum, ref_target, kl_reverse_sum, kl_forward_sum = statistics[4:]
        ref_log_sum = ref_sum.log()
        results += [ref_target - ref_max - ref_log_sum, kl_reverse_sum / row_sum - log_sum + ref_log_sum]
        results += [kl_forward_sum / ref_sum - ref_log_sum + log_sum]
    return torch.stack(results)


def scalars(statistics: Tensor, upstream: Tensor) -> Tensor:
    """What the gradient kernels want per row, `[5, rows]` or `[10, rows]`."""
    results = finished(statistics)
    rows = [statistics[0], statistics[1].log(), results[1], *upstream[:2]]
    if len(statistics) == 9:
        rows += [statistics[4], statistics[5].log(), results[3], *upstream[2:]]
    return torch.stack([row.float() for row in rows])

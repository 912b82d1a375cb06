"""Random inputs of a case, and the correct results in fp64."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from prorl_kernels.benchmarks.cases import Case, Mode

STATISTICS = ("logprob", "entropy", "kl_reverse")
SAMPLE = 128  # rows of d_hidden and rows of d_weight whose errors are measured


@dataclass(slots=True)
class Problem:
    """Tensors on the device of the measurement. `upstream` holds the gradients of `STATISTICS`, in that order."""

    hidden: Tensor  # [tokens, width]
    weight: Tensor  # [columns, width]
    targets: Tensor  # [tokens] int64
    upstream: Tensor  # [3, tokens] fp32
    ref_hidden: Tensor | None
    ref_weight: Tensor | None

    @property
    def active(self) -> Tensor:
        """Whether tokens have a gradient, `[tokens]` bool."""
        return (self.upstream != 0).any(0)


def new_problem(case: Case, device: torch.device) -> Problem:
    """Random and peaked inputs, like a trained policy's: the target's logit is 6 to 20 above noise of deviation 1.5.

    One target in ten is drawn at random instead, an unlikely token. The reference is a disturbed policy. Zeros and
    flat distributions would be faster (fewer bits flip) and would hide wrong indexing. bf16 on a GPU, fp32 on a CPU.
    """
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    generator = torch.Generator(device).manual_seed(case.tokens + case.width)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device, dtype=torch.float32)

    tokens, width, columns = case.tokens, case.width, case.columns
    weight = (normal(columns, width) / math.sqrt(width)).to(dtype)
    likely = torch.randint(0, columns, (tokens,), generator=generator, device=device)
    other = torch.randint(0, columns, (tokens,), generator=generator, device=device)
    height = 6 + 14 * torch.rand(tokens, generator=generator, device=device)
    hidden = (1.5 * normal(tokens, width) + height[:, None] * weight[likely].float()).to(dtype)
    targets = torch.where(torch.rand(tokens, generator=generator, device=device) < 0.1, other, likely)
    upstream = normal(3, tokens) * torch.tensor([1.0, 0.1, 0.1], device=device)[:, None]
    inactive = torch.randperm(tokens, generator=generator, device=device)[case.active_tokens :]
    upstream[:, inactive] = 0.0
    reference = (None, None)
    if case.mode.has_reference:
        near = hidden.float() + 0.2 * normal(tokens, width)
        reference = near.to(dtype), (weight.float() + 0.05 / math.sqrt(width) * normal(columns, width)).to(dtype)
    return Problem(hidden, weight, targets, upstream, *reference)


class Truth(NamedTuple):
    """The results in fp64, from the definitions. Gradients of sampled rows only: whole ones take too long."""

    statistics: dict[str, Tensor]  # by the names of `Outputs`
    d_hidden: tuple[Tensor, Tensor]  # [SAMPLE] which rows, [SAMPLE, width]
    d_weight: tuple[Tensor, Tensor]  # the same; half of the rows are targets


def new_truth(problem: Problem, mode: Mode, mean: bool) -> Truth:
    """The truth for the loss of `mode`: each token with its own upstream gradient, or the mean of the log-probs."""
    tokens, columns, device = len(problem.hidden), len(problem.weight), problem.hidden.device
    upstream = torch.zeros(3, tokens, dtype=torch.float64, device=device)
    if mean:
        upstream[0] = 1.0 / tokens
    for row in () if mean else map(STATISTICS.index, mode.gradients):
        upstream[row] = problem.upstream[row]
    active = problem.active.nonzero().squeeze(1)
    rows = active[:: max(1, len(active) // SAMPLE)][:SAMPLE]
    some = torch.arange(0, columns, max(1, 2 * columns // SAMPLE), device=device)
    some = torch.cat([some, problem.targets[active]]).unique()[:SAMPLE]
    chosen = torch.zeros(tokens, dtype=torch.bool, device=device)
    chosen[rows] = True
    weight, stats, d_hidden = problem.weight.detach().double(), [], []
    d_weight = torch.zeros(len(some), weight.shape[1], dtype=torch.float64, device=device)
    for part in torch.arange(tokens, device=device).split(max(1, (1 << 25) // columns)):  # 256 MB of logits
        hidden = problem.hidden.detach()[part].double()
        logits = (hidden @ weight.t()).requires_grad_()
        found = _statistics(logits, problem, part)
        (gradient,) = torch.autograd.grad((found * upstream[:, part]).sum(), logits)
        stats.append(found.detach())
        d_hidden.append(gradient[chosen[part]] @ weight)
        d_weight += gradient[:, some].t() @ hidden
    results = dict(zip(STATISTICS, torch.cat(stats, 1), strict=True))
    results["mean_logprob"] = results["logprob"].mean()
    return Truth(results, (rows, torch.cat(d_hidden)), (some, d_weight))


def _statistics(logits: Tensor, problem: Problem, part: Tensor) -> Tensor:
    """`[3, tokens]` of fp64 logits; without a reference its KL is 0."""
    log_p = torch.log_softmax(logits, 1)
    p, logprob = log_p.exp(), log_p.gather(1, problem.targets[part, None]).squeeze(1)
    kl_reverse = torch.zeros_like(logprob)
    if problem.ref_hidden is not None and problem.ref_weight is not None:
        log_q = torch.log_softmax(problem.ref_hidden[part].double() @ problem.ref_weight.double().t(), 1)
        kl_reverse = (p * (log_p - log_q)).sum(1)
    return torch.stack((logprob, -(p * log_p).sum(1), kl_reverse))

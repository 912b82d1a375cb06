"""The cases: output layers of models, the results asked for, and the floating-point operations needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

MODELS = {  # output layers: width and vocabulary
    "Qwen2.5-0.5B": (896, 151936),
    "R1-Distill-1.5B": (1536, 151936),  # and Qwen2.5-1.5B
    "Qwen3-1.7B": (2048, 151936),
    "Qwen3-4B": (2560, 151936),
    "Qwen2.5-7B": (3584, 152064),
    "Qwen3-8B": (4096, 151936),
    "Llama-3-8B": (4096, 128256),
    "Gemma-3-4B": (2560, 262208),
    "Qwen3.5": (2048, 248320),
    "GPT-OSS-20B": (2880, 201088),
    "DeepSeek-V3": (7168, 129280),
    "demo": (256, 100),  # the demonstration that trains on a CPU
    "narrow": (256, 151936),  # a width at which a CPU shows the cost of the statistics
    "tiny": (64, 1003),  # shows that everything runs
}


class Mode(NamedTuple):
    """The statistics that get a gradient, and the share of the tokens for which they do."""

    name: str
    gradients: tuple[str, ...]  # of "logprob", "entropy", "kl_reverse"; empty for a forward pass without autograd
    active: float = 1.0  # share of the tokens whose upstream gradients are not zero
    frozen_head: bool = False  # the weight needs no gradient

    @property
    def has_reference(self) -> bool:
        return "kl_reverse" in self.gradients


MODES = {
    mode.name: mode
    for mode in (
        Mode("forward", ()),
        Mode("logprob", ("logprob",)),
        Mode("entropy", ("logprob", "entropy")),
        Mode("kl", ("logprob", "entropy", "kl_reverse")),
        Mode("half", ("logprob",), active=0.5),
        Mode("frozen", ("logprob",), frozen_head=True),
    )
}


@dataclass(kw_only=True, slots=True, frozen=True)
class Case:
    """One cell of the table, measured for every provider."""

    model: str  # a key of MODELS
    tokens: int
    mode: Mode
    ranks: int = 1  # tensor parallelism, emulated: the shapes of one rank, no communication
    cold: bool = False  # the L2 cache is overwritten before every repetition

    @property
    def width(self) -> int:
        return MODELS[self.model][0]

    @property
    def columns(self) -> int:
        """Ids of one rank; the padded vocabulary is divided evenly."""
        return -(-MODELS[self.model][1] // self.ranks)

    @property
    def active_tokens(self) -> int:
        return round(self.tokens * self.mode.active)

    @property
    def name(self) -> str:
        shard = f" 1/{self.ranks} of the vocabulary" if self.ranks > 1 else ""
        return f"{self.model}{shard}, {self.tokens} tokens, {self.mode.name}{', cold L2' if self.cold else ''}"

    @property
    def forward_flop(self) -> float:
        """The logits: 2 · tokens · width · columns, twice that with a reference (of the same width)."""
        return 2.0 * self.tokens * self.width * self.columns * (1 + self.mode.has_reference)

    @property
    def backward_flop(self) -> float:
        """d_hidden and, unless the head is frozen, d_weight, for the active tokens: the least of any method."""
        products = 0 if not self.mode.gradients else 1 if self.mode.frozen_head else 2
        return 2.0 * self.active_tokens * self.width * self.columns * products

    @property
    def recompute_flop(self) -> float:
        """The logits once more in the backward pass, for the active tokens."""
        return self.forward_flop * self.mode.active if self.mode.gradients else 0.0


def _cases(models: Iterable[str], tokens: Iterable[int], modes: Iterable[str], **options: Any) -> list[Case]:
    """All combinations."""
    combinations = product(models, tokens, modes)
    return [Case(model=model, tokens=n, mode=MODES[mode], **options) for model, n, mode in combinations]


_HEADLINE = ("R1-Distill-1.5B", "Qwen3-8B")
_OTHERS = [name for name in MODELS if name not in (*_HEADLINE, "demo", "narrow", "tiny")]

GRIDS = {
    "gpu": [  # the most important first, for runs that are short of time
        *_cases(_HEADLINE, [8192], ["forward", "logprob", "entropy", "kl"]),
        *_cases(_HEADLINE, [8192], ["half", "frozen"]),
        *_cases(_HEADLINE, [8192], ["logprob"], cold=True),
        *_cases(_HEADLINE, [1024, 2048, 4096, 16384, 32768], ["forward", "logprob"]),
        *(case for ranks in (2, 4, 8) for case in _cases(["Qwen3-8B"], [8192], ["entropy"], ranks=ranks)),
        *_cases(_OTHERS, [8192], ["forward", "logprob", "kl"]),
        *_cases(_HEADLINE, [65536], ["forward", "logprob"]),
    ],
    "cpu": [
        *_cases(["narrow"], [256], MODES),
        *_cases(["Qwen2.5-0.5B"], [128], MODES),
        *_cases(["demo"], [16384], ["forward", "logprob", "entropy"]),
    ],
    # Every mode, in a second: tests that everything runs, not its speed.
    "tiny": [*_cases(["tiny"], [96], MODES), *_cases(["tiny"], [96], ["entropy"], ranks=2)],
}

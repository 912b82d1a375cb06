"""What is measured: output layers of models, what is asked of them, and how many floating-point operations it takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Model(NamedTuple):
    """An output layer `[vocab, width]`."""

    name: str
    width: int
    vocab: int


MODELS = {
    model.name: model
    for model in (
        Model("Qwen2.5-0.5B", 896, 151936),
        Model("R1-Distill-1.5B", 1536, 151936),  # and Qwen2.5-1.5B
        Model("Qwen3-1.7B", 2048, 151936),
        Model("Qwen3-4B", 2560, 151936),
        Model("Qwen2.5-7B", 3584, 152064),
        Model("Qwen3-8B", 4096, 151936),
        Model("Llama-3-8B", 4096, 128256),
        Model("Gemma-3-4B", 2560, 262208),
        Model("Qwen3.5", 2048, 248320),
        Model("GPT-OSS-20B", 2880, 201088),
        Model("DeepSeek-V3", 7168, 129280),
        Model("demo", 256, 100),  # the demonstration that trains on a CPU
        Model("narrow", 256, 151936),  # a width at which a CPU shows the cost of the statistics
        Model("tiny", 64, 1003),  # shows that everything runs
    )
}


class Mode(NamedTuple):
    """What is asked for: the statistics that get a gradient, for which share of the tokens."""

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

    model: Model
    tokens: int
    mode: Mode
    ranks: int = 1  # of tensor parallelism, emulated: the shapes of one rank, no communication
    cold: bool = False  # the L2 cache is overwritten before every repetition

    @property
    def columns(self) -> int:
        """Ids of one rank; the padded vocabulary is divided evenly."""
        return -(-self.model.vocab // self.ranks)

    @property
    def active_tokens(self) -> int:
        return round(self.tokens * self.mode.active)

    @property
    def name(self) -> str:
        shard = f" 1/{self.ranks} of the vocabulary" if self.ranks > 1 else ""
        return f"{self.model.name}{shard}, {self.tokens} tokens, {self.mode.name}{', cold L2' if self.cold else ''}"

    @property
    def forward_flop(self) -> float:
        """The logits: 2 · tokens · width · columns, twice that with a reference (of the same width)."""
        return 2.0 * self.tokens * self.model.width * self.columns * (1 + self.mode.has_reference)

    @property
    def backward_flop(self) -> float:
        """d_hidden and, unless the head is frozen, d_weight, for the active tokens: what no method can avoid."""
        products = 0 if not self.mode.gradients else 1 if self.mode.frozen_head else 2
        return 2.0 * self.active_tokens * self.model.width * self.columns * products

    @property
    def recompute_flop(self) -> float:
        """The logits once more in the backward pass, for the active tokens."""
        return self.forward_flop * self.mode.active if self.mode.gradients else 0.0


def _cases(models: Iterable[str], tokens: Iterable[int], modes: Iterable[str]) -> list[Case]:
    """All combinations."""
    return [
        Case(model=MODELS[model], tokens=count, mode=MODES[mode])
        for model in models
        for count in tokens
        for mode in modes
    ]


def gpu_cases() -> list[Case]:
    """The most telling first, so that a run that is short of time loses the rest."""
    headline = ("R1-Distill-1.5B", "Qwen3-8B")
    others = [name for name in MODELS if name not in (*headline, "demo", "narrow", "tiny")]
    return [
        *_cases(headline, [8192], ["forward", "logprob", "entropy", "kl"]),
        *_cases(headline, [8192], ["half", "frozen"]),
        *(Case(model=MODELS[name], tokens=8192, mode=MODES["logprob"], cold=True) for name in headline),
        *_cases(headline, [1024, 2048, 4096, 16384, 32768], ["forward", "logprob"]),
        *(Case(model=MODELS["Qwen3-8B"], tokens=8192, mode=MODES["entropy"], ranks=ranks) for ranks in (2, 4, 8)),
        *_cases(others, [8192], ["forward", "logprob", "kl"]),
        *_cases(headline, [65536], ["forward", "logprob"]),
    ]


def cpu_cases() -> list[Case]:
    return [
        *_cases(["narrow"], [256], MODES),
        *_cases(["Qwen2.5-0.5B"], [128], MODES),
        *_cases(["demo"], [16384], ["forward", "logprob", "entropy"]),
    ]


def tiny_cases() -> list[Case]:
    """Every mode, in a second: shows that the machinery runs, says nothing about speed."""
    return [*_cases(["tiny"], [96], MODES), Case(model=MODELS["tiny"], tokens=96, mode=MODES["entropy"], ranks=2)]


GRIDS = {"gpu": gpu_cases, "cpu": cpu_cases, "tiny": tiny_cases}

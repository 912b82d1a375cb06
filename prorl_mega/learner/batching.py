"""The packed micro-batches of one data-parallel rank, made of a list of sequences.

Every rank sees the whole list and computes the whole plan, so that no communication is needed to agree on it. The
weights of the loss are fixed here, on the host, from the global list: the sum over all rows of all micro-batches of
all ranks is the objective itself, whatever the packing.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from prorl_mega.errors import ConfigError
from prorl_mega.learner.shared_prompts import families, lay_out
from prorl_mega.recipe.loss import TokenWeights
from prorl_mega.types import TrainSample


@dataclass(kw_only=True, slots=True, frozen=True)
class PackedBatch:
    """Sequences laid end to end, one forward pass of one data-parallel rank.

    A sequence of `L` tokens has `L - 1` inputs: the last token predicts nothing. Sequences may have inputs in common
    (`shared_prompts.py`). *Rows* are the positions that predict completion tokens; only they reach the LM head. `N`
    inputs, `R` rows, `S` sequences.
    """

    lengths: tuple[int, ...]  # [S] inputs of each sequence, a padding sequence at the tail included
    tokens: torch.Tensor  # [N] int64, inputs
    sources: torch.Tensor | None  # [sum of lengths] int64, indices into N, sequence by sequence; None: N is that sum
    rows: torch.Tensor  # [R] int64, indices into N
    targets: torch.Tensor  # [R] int64, the completion tokens that the rows predict
    sequence_ids: torch.Tensor  # [R] int64, index into S of the sequence that each row belongs to
    weights: torch.Tensor  # [R] float32, of each token in the loss
    metric_weights: torch.Tensor  # [R] float32, of each token in metrics
    advantages: torch.Tensor  # [R] float32
    rollout_logprobs: torch.Tensor  # [R] float32
    old_logprobs: torch.Tensor | None = None  # [R] float32; None: the current ones
    reference_logprobs: torch.Tensor | None = None  # [R] float32; None: no reference was evaluated
    global_rows: torch.Tensor  # [R] int64, where each row belongs when the completions of all samples lie end to end
    reference_hidden: torch.Tensor | None = None  # [R, d], final hidden states of the reference policy, for exact KL
    reference_head: torch.Tensor | None = None  # [V / TP, d], this rank's rows of the reference policy's LM head

    def to(self, device: torch.device) -> PackedBatch:
        """The same batch with all tensors on `device`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}
        return replace(self, **{name: value.to(device, non_blocking=True) for name, value in tensors.items()})


def share_out(lengths: list[int], ranks: int) -> list[list[int]]:
    """Indices of each data-parallel rank, balanced by tokens: longest first, each to the rank that has least."""
    assigned: list[list[int]] = [[] for _ in range(ranks)]
    loads = [0] * ranks
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        rank = min(range(ranks), key=loads.__getitem__)
        assigned[rank].append(index)
        loads[rank] += lengths[index]
    return assigned


def _fill(indices: list[int], lengths: list[int], capacity: int) -> list[list[int]]:
    """`indices`, in their order, cut into the fewest runs of at most `capacity` tokens."""
    runs: list[list[int]] = []
    load = 0
    for index in indices:
        if not runs or load + lengths[index] > capacity:
            runs.append([])
            load = 0
        runs[-1].append(index)
        load += lengths[index]
    return runs


def plan_microbatches(lengths: list[int], *, ranks: int, capacity: int) -> list[list[list[int]]]:
    """Which sequences go into which micro-batch: `[ranks][micro-batches]` lists of indices into `lengths`.

    All ranks get the same number of micro-batches, the fewest with which none exceeds `capacity` tokens; a rank
    without enough sequences gets empty ones. Within a rank sequences are sorted by length, so that neighbours are
    alike, and the runs are cut as evenly as that order allows.
    """
    assigned = share_out(lengths, ranks)
    count = max(1, *(len(_fill(share, lengths, capacity)) for share in assigned))
    plan = []
    for share in assigned:
        low, high = max((lengths[index] for index in share), default=0), capacity
        while low < high:
            middle = (low + high) // 2
            if len(_fill(share, lengths, middle)) <= count:
                high = middle
            else:
                low = middle + 1
        runs = _fill(share, lengths, high)
        plan.append(runs + [[] for _ in range(count - len(runs))])
    return plan


@dataclass(kw_only=True, slots=True, frozen=True)
class Packer:
    """Packs lists of sequences for one data-parallel rank.

    `multiple` is what the length of a pack must be divisible by: the tensor-parallel size under sequence parallelism,
    and what suits the linear layers of a CPU. The missing tokens form a sequence of their own at the tail, which has no
    rows.
    """

    data_size: int
    data_rank: int
    capacity: int  # `parallel.max_tokens_per_microbatch`
    multiple: int
    valid_vocab: int
    share: bool  # whether a prompt stands once for all completions in a pack

    def pack(self, sequences: list[TrainSample], weights: TokenWeights) -> list[PackedBatch]:
        """This rank's micro-batches, on the host. Raises ConfigError for a sequence that cannot be processed."""
        assert sequences, "a step without sequences"
        self._check(sequences)
        starts = completion_offsets(sequences)
        parts, sizes = self._parts(sequences)
        plan = plan_microbatches(sizes, ranks=self.data_size, capacity=self._usable)
        optional = ("old_logprobs", "reference_logprobs")
        annotated = [name for name in optional if all(getattr(each, name) is not None for each in sequences)]
        return [
            self._pack_one(sequences, [parts[part] for part in chosen], weights, starts, annotated)
            for chosen in plan[self.data_rank]
        ]

    def empty(self) -> PackedBatch:
        """A micro-batch of padding only."""
        nothing = np.empty(0)
        return self._pack_one([], [], TokenWeights(loss=nothing, metric_weights=nothing), nothing, [])

    def _parts(self, sequences: list[TrainSample]) -> tuple[list[list[int]], list[int]]:
        """The families that stay together in one pack: lists of indices, and the inputs of each.

        Several ranks get families in at least four parts for each of them, or one would wait for another.
        """
        lengths = [len(sequence.tokens) - 1 for sequence in sequences]
        if not self.share:
            return [[index] for index in range(len(sequences))], lengths
        even = self._usable if self.data_size == 1 else sum(lengths) // (4 * self.data_size)
        return families(sequences, min(self._usable, max(even, *lengths)))

    @property
    def _usable(self) -> int:
        """The longest pack."""
        return self.capacity - self.capacity % self.multiple

    def _check(self, sequences: list[TrainSample]) -> None:
        longest = max(len(sequence.tokens) - 1 for sequence in sequences)
        if longest > self._usable:
            raise ConfigError(
                f"parallel.max_tokens_per_microbatch={self.capacity} is too small for a sequence of {longest + 1} "
                f"tokens; set it to at least {longest + self.multiple} or shorten prompts and responses"
            )
        highest = max(int(sequence.tokens.max()) for sequence in sequences)
        if highest >= self.valid_vocab:
            raise ConfigError(
                f"token id {highest} is outside the vocabulary of {self.valid_vocab}; the tokenizer does not belong to "
                "the model, or padding rows of the LM head were sampled"
            )
        for sequence in sequences:
            assert sequence.prompt_length > 0, "the first token of a completion needs a token before it"
            assert sequence.completion_length > 0, "a sequence without completion"

    def _pack_one(
        self,
        sequences: list[TrainSample],
        parts: list[list[int]],
        weights: TokenWeights,
        starts: np.ndarray,
        annotated: list[str],
    ) -> PackedBatch:
        indices = [index for part in parts for index in part]
        chosen = [sequences[index] for index in indices]
        counts = np.array([sequence.completion_length for sequence in chosen], dtype=np.int64)
        layout = lay_out([[sequences[index] for index in part] for part in parts])
        tail = -layout.size % self.multiple if chosen else self.multiple
        sources = layout.sources + ([np.arange(layout.size, layout.size + tail)] if tail else [])
        lengths = tuple(map(len, sources))
        optional = {name: _joined([getattr(each, name) for each in chosen], np.float32) for name in annotated}
        return PackedBatch(
            lengths=lengths,
            tokens=_joined([*layout.tokens, np.zeros(tail)], np.int64),
            sources=_joined(sources, np.int64) if sum(lengths) > layout.size + tail else None,
            rows=_joined(layout.rows, np.int64),
            targets=_joined([sequence.tokens[sequence.prompt_length :] for sequence in chosen], np.int64),
            sequence_ids=_joined([np.full(n, owner) for owner, n in enumerate(counts)], np.int64),
            weights=_joined([np.full(n, weights.loss[i]) for i, n in zip(indices, counts, strict=True)], np.float32),
            metric_weights=_joined(
                [np.full(n, weights.metric_weights[i]) for i, n in zip(indices, counts, strict=True)], np.float32
            ),
            advantages=_joined([np.full(n, s.advantage) for s, n in zip(chosen, counts, strict=True)], np.float32),
            rollout_logprobs=_joined([sequence.rollout_logprobs for sequence in chosen], np.float32),
            global_rows=_joined([np.arange(starts[i], starts[i + 1]) for i in indices], np.int64),
            **optional,
        )


def _joined(parts: list[np.ndarray], dtype: type) -> torch.Tensor:
    """All parts end to end; an empty tensor when there are none."""
    return torch.from_numpy(np.concatenate([np.empty(0, dtype), *(part.astype(dtype, copy=False) for part in parts)]))


def completion_offsets(sequences: list[TrainSample]) -> np.ndarray:
    """The start of each completion when all of them lie end to end, `[samples + 1]` int64."""
    return np.cumsum([0, *(sequence.completion_length for sequence in sequences)])

"""Prompts that several sequences of a pack have in common: they stand in it once.

The answers of a group follow the same prompt, so the model's layers would compute the same hidden states for it again
and again: with 16 answers of 8 tokens to a prompt of 40, five sixths of an update. Here a token of the prompt is one
row for all of them. Attention alone sees whole sequences; it takes each one's rows together (`PackedSequences.owners`),
and a row that several sequences own collects the gradients of all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prorl_mega.types import TrainSample

MOST_COPIES = 4
"""Attention still keeps every sequence's rows for the backward pass: at most so many times the inputs of its pack."""


@dataclass(kw_only=True, slots=True, frozen=True)
class PackLayout:
    """The place of everything in a pack of `N` inputs. `R` rows, `S` sequences."""

    tokens: list[np.ndarray]  # pieces of [N]
    sources: list[np.ndarray]  # [S][inputs of the sequence], the place in the pack of each of its inputs
    rows: list[np.ndarray]  # [S][T], the inputs that predict its completion
    size: int  # N


def families(sequences: list[TrainSample], most: int) -> tuple[list[list[int]], list[int]]:
    """Indices of sequences with the same prompt, in parts of at most `most` inputs where possible; their inputs.

    One input of a family is one of its prompt or one of a completion; the last token of a completion is none.
    """
    parts: list[list[int]] = []
    sizes: list[int] = []
    copies: list[int] = []  # inputs of the part's sequences, each with its prompt
    part_of: dict[bytes, int] = {}
    for index, sequence in enumerate(sequences):
        prompt = sequence.tokens[: sequence.prompt_length].tobytes()
        own = sequence.completion_length - 1
        part = part_of.get(prompt)
        whole = sequence.prompt_length + own
        if part is None or sizes[part] + own > most or copies[part] + whole > MOST_COPIES * (sizes[part] + own):
            part = part_of[prompt] = len(parts)
            parts.append([])
            sizes.append(sequence.prompt_length)
            copies.append(0)
        parts[part].append(index)
        sizes[part] += own
        copies[part] += whole
    return parts, sizes


def lay_out(parts: list[list[TrainSample]]) -> PackLayout:
    """Lay parts of families end to end, each with its prompt once."""
    tokens: list[np.ndarray] = []
    sources: list[np.ndarray] = []
    rows: list[np.ndarray] = []
    size = 0
    for part in parts:
        length = part[0].prompt_length
        prompt = np.arange(size, size + length)
        tokens.append(part[0].tokens[:length])
        size += length
        for sequence in part:
            own = sequence.completion_length - 1
            tokens.append(sequence.tokens[length:-1])
            sources.append(np.concatenate([prompt, np.arange(size, size + own)]))
            rows.append(sources[-1][length - 1 :])
            size += own
    return PackLayout(tokens=tokens, sources=sources, rows=rows, size=size)

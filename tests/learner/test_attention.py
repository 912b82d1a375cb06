"""Packed attention against attention written out for one sequence at a time, in float64."""

from __future__ import annotations

import pytest
import torch
from helpers.tiny import tiny_checkpoint
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.transformer_config import TransformerConfig

from prorl_mega.families.family import ModelDescription
from prorl_mega.huggingface.config import describe
from prorl_mega.learner.attention import PackedAttention
from prorl_mega.learner.packed_sequences import pack_lengths
from prorl_mega.learner.rotary import RotaryPositions

CPU = torch.device("cpu")
HEADS, KV_HEADS, HEAD_DIM = 4, 2, 16


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> ModelDescription:
    return describe(tiny_checkpoint(tmp_path_factory.mktemp("tiny"), "llama3", head_dim=HEAD_DIM))


def attend(
    description: ModelDescription,
    lengths: list[int],
    inputs: tuple[torch.Tensor, ...],
    multiple: int = 1,
    sources: torch.Tensor | None = None,
) -> torch.Tensor:
    config = TransformerConfig(num_layers=1, hidden_size=HEADS * HEAD_DIM, num_attention_heads=HEADS)
    attention = PackedAttention(config, 1, AttnMaskType.causal, "self")
    packed = RotaryPositions(description)(pack_lengths(lengths, multiple=multiple, device=CPU, sources=sources))
    return attention(*inputs, None, packed_seq_params=packed)


def written_out(description: ModelDescription, lengths: list[int], inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Complex rotations, explicit mask and softmax, heads copied for their groups; `[tokens, heads * head_dim]`."""
    frequencies = RotaryPositions(description).frequencies.double()
    outputs = []
    for q, k, v in zip(*(x.double().split(lengths) for x in inputs), strict=True):
        angles = torch.outer(torch.arange(len(q)).double(), frequencies)[:, None]
        turn = torch.polar(torch.ones_like(angles), angles)

        def rotated(x: torch.Tensor, turn: torch.Tensor = turn) -> torch.Tensor:
            planes = torch.complex(*x.chunk(2, dim=-1)) * turn
            return torch.cat((planes.real, planes.imag), dim=-1)

        q, k, v = rotated(q), rotated(k).repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        scores = torch.einsum("ihd,jhd->hij", q, k) / HEAD_DIM**0.5
        scores = scores.masked_fill(torch.ones(len(q), len(q)).triu(1).bool(), float("-inf"))
        outputs.append(torch.einsum("hij,jhd->ihd", scores.softmax(-1), v).flatten(1))
    return torch.cat(outputs)


def random_inputs(tokens: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(3)
    return tuple(
        torch.randn(tokens, heads, HEAD_DIM, generator=generator).requires_grad_()
        for heads in (HEADS, KV_HEADS, KV_HEADS)
    )


@pytest.mark.parametrize(
    "lengths",
    [
        [17],  # one sequence: rows are tokens
        [8, 8, 8],  # one rectangle without padding
        [7, 5, 8, 6],  # one rectangle with padding
        [1, 40, 3, 2, 1, 39, 5],  # several rectangles, members out of order
    ],
)
def test_output_and_gradients(description: ModelDescription, lengths: list[int]) -> None:
    inputs = random_inputs(sum(lengths))
    upstream = torch.randn(sum(lengths), HEADS * HEAD_DIM, generator=torch.Generator().manual_seed(4))
    found = attend(description, lengths, inputs)
    expected = written_out(description, lengths, inputs)
    gradients = torch.autograd.grad(found, inputs, upstream)
    expected_gradients = torch.autograd.grad(expected, inputs, upstream.double())
    difference = float((found - expected).abs().max())
    gradient_difference = max(float((a - b).abs().max()) for a, b in zip(gradients, expected_gradients, strict=True))
    print(f"lengths {lengths}: output {difference:.1e}, gradients {gradient_difference:.1e}")
    assert difference <= 2e-6
    assert gradient_difference <= 5e-6


@pytest.mark.parametrize("answers", [[3, 9, 1, 9], [4, 4, 4]])
def test_a_shared_prompt_gets_what_its_copies_would(description: ModelDescription, answers: list[int]) -> None:
    """Two prompts, of 7 and 5 tokens, each with these answers behind it, and a sequence that shares nothing."""
    sources, lengths, size = [], [], 0
    for prompt in (7, 5):
        shared = list(range(size, size + prompt))
        size += prompt
        for answer in answers:
            sources += [*shared, *range(size, size + answer)]
            lengths.append(prompt + answer)
            size += answer
    sources += range(size, size + 6)
    lengths.append(6)
    inputs, index = random_inputs(size + 6), torch.tensor(sources)
    upstream = torch.randn(size + 6, HEADS * HEAD_DIM, generator=torch.Generator().manual_seed(4))
    found = attend(description, lengths, inputs, sources=index)
    copies = written_out(description, lengths, tuple(x[index] for x in inputs))
    expected = copies[[sources.index(token) for token in range(size + 6)]]
    gradients = torch.autograd.grad(found, inputs, upstream)
    expected_gradients = torch.autograd.grad(expected, inputs, upstream.double())
    assert float((found - expected).abs().max()) <= 2e-6
    assert max(float((a - b).abs().max()) for a, b in zip(gradients, expected_gradients, strict=True)) <= 5e-6


def test_is_deterministic_bit_for_bit(description: ModelDescription) -> None:
    lengths = [1, 40, 3, 2, 1, 39, 5]
    inputs = random_inputs(sum(lengths))
    runs = []
    for _ in range(2):
        output = attend(description, lengths, inputs)
        runs.append((output, *torch.autograd.grad(output.square().sum(), inputs)))
    assert all(torch.equal(first, second) for first, second in zip(*runs, strict=True))


def test_sequences_do_not_see_each_other_or_the_padding(description: ModelDescription) -> None:
    lengths = [6, 11, 4]
    clean = random_inputs(24)  # three tokens of padding
    spoiled = tuple(x.detach().clone() for x in clean)
    for x in spoiled:
        x[6:17] += 100.0
        x[21:] = float("nan")
    before = attend(description, lengths, clean, multiple=8)
    after = attend(description, lengths, spoiled, multiple=8)
    assert before.shape == (24, HEADS * HEAD_DIM)
    assert torch.equal(before[:6], after[:6])
    assert torch.equal(before[17:21], after[17:21])
    assert not torch.equal(before[6:17], after[6:17])


def test_a_pack_of_unlike_sequences_at_most_doubles_its_rows() -> None:
    lengths = [1000, *range(1, 100), 513]
    packed = pack_lengths(lengths, multiple=1, device=CPU)
    assert sum(count for count, _ in packed.rectangles) == len(lengths)
    assert sum(count * length for count, length in packed.rectangles) <= 2 * packed.tokens
    assert len(packed.rectangles) <= 11

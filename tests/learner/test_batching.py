"""The plan of a step: balance, capacity, alignment of rows and targets, weights of the loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.learning import VALID_VOCAB, make_sequences

from prorl_mega.config.recipe import LossAggregation
from prorl_mega.errors import ConfigError
from prorl_mega.learner.batching import PackedBatch, Packer, completion_offsets, plan_microbatches, share_out
from prorl_mega.learner.shared_prompts import MOST_COPIES
from prorl_mega.recipe.loss import TokenWeights, token_weights
from prorl_mega.types import TrainSample

FIXED = 64


def packer(*, share: bool = False, **changes: int) -> Packer:
    settings: dict[str, Any] = {
        "data_size": 1,
        "data_rank": 0,
        "capacity": 64,
        "multiple": 1,
        "valid_vocab": VALID_VOCAB,
    }
    return Packer(**(settings | changes), share=share)


def weigh(sequences: list[TrainSample], aggregation: LossAggregation = LossAggregation.token_mean) -> TokenWeights:
    return token_weights([sequence.completion_length for sequence in sequences], aggregation, FIXED)


def by_hand(batch: PackedBatch, sequence: TrainSample, start: int, row: int) -> None:
    """One sequence of a pack, position by position."""
    tokens = batch.tokens.numpy()
    np.testing.assert_array_equal(tokens[start : start + len(sequence.tokens) - 1], sequence.tokens[:-1])
    for offset in range(sequence.completion_length):
        position = sequence.prompt_length + offset
        assert batch.targets[row + offset] == sequence.tokens[position]
        assert batch.rows[row + offset] == start + position - 1
        assert batch.advantages[row + offset] == np.float32(np.ravel(sequence.advantage)[offset])
        assert batch.sequence_ids[row + offset] == batch.sequence_ids[row]
        assert batch.rollout_logprobs[row + offset] == sequence.rollout_logprobs[offset]


@pytest.mark.parametrize("multiple", [1, 4])
def test_rows_predict_the_completion(multiple: int) -> None:
    wanted = make_sequences(17)
    for sequence in wanted:
        sequence.advantage = np.linspace(0, 1, sequence.completion_length) + sequence.completion_length
    starts = completion_offsets(wanted)
    seen = set()
    for batch in packer(multiple=multiple).pack(wanted, weigh(wanted)):
        assert len(batch.tokens) == sum(batch.lengths) <= 64
        assert len(batch.tokens) % multiple == 0
        row, sequence_ids = 0, []
        for start in np.cumsum([0, *batch.lengths[:-1]]).tolist():
            if row == len(batch.rows):
                break  # the dummy sequence at the tail
            index = int(np.searchsorted(starts, int(batch.global_rows[row])))
            assert starts[index] == int(batch.global_rows[row])
            by_hand(batch, wanted[index], start, row)
            seen.add(index)
            sequence_ids.append(int(batch.sequence_ids[row]))
            row += wanted[index].completion_length
        assert row == len(batch.rows) == len(batch.targets) == len(batch.weights) == len(batch.metric_weights)
        assert sequence_ids == list(range(len(sequence_ids))), (
            "a whole sequence is in one pack, and knows which one it is"
        )
    assert seen == set(range(17))


def grouped(prompts: int, samples: int) -> list[TrainSample]:
    """`samples` completions of each prompt, group after group."""
    sequences = make_sequences(prompts * samples, longest=24)
    for index, sequence in enumerate(sequences):
        first = sequences[index - index % samples]
        completion = sequence.tokens[sequence.prompt_length :]
        sequence.tokens = np.concatenate([first.tokens[: first.prompt_length], completion])
        sequence.prompt_length = first.prompt_length
    return sequences


@pytest.mark.parametrize("multiple", [1, 8])
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_shared_prompt_stands_once_and_every_sequence_can_be_read(ranks: int, multiple: int) -> None:
    wanted = grouped(6, 4)
    starts = completion_offsets(wanted)
    settings = {"capacity": 104, "multiple": multiple, "data_size": ranks}
    batches = [
        batch
        for rank in range(ranks)
        for batch in packer(data_rank=rank, share=True, **settings).pack(wanted, weigh(wanted))
    ]
    seen = []
    for batch in batches:
        assert len(batch.tokens) <= 104
        assert len(batch.tokens) % multiple == 0
        sources = torch.arange(len(batch.tokens)) if batch.sources is None else batch.sources
        assert len(sources) == sum(batch.lengths)
        row = 0
        for inputs in sources.split(list(batch.lengths)):
            if row == len(batch.rows):
                break  # the padding at the tail
            index = int(np.searchsorted(starts, int(batch.global_rows[row])))
            sequence = wanted[index]
            count = sequence.completion_length
            np.testing.assert_array_equal(batch.tokens[inputs], sequence.tokens[:-1])
            np.testing.assert_array_equal(batch.rows[row : row + count], inputs[sequence.prompt_length - 1 :])
            np.testing.assert_array_equal(batch.targets[row : row + count], sequence.tokens[sequence.prompt_length :])
            seen.append(index)
            row += count
    assert sorted(seen) == list(range(24))
    inputs = sum(len(batch.tokens) for batch in batches)
    copies = sum(len(sequence.tokens) - 1 for sequence in wanted)
    assert inputs < copies - sum(sequence.prompt_length for sequence in wanted) // 3, "prompts are still copied"


def test_a_family_beyond_the_capacity_is_cut() -> None:
    wanted = grouped(1, 30)
    batches = packer(capacity=64, share=True).pack(wanted, weigh(wanted))
    assert len(batches) > 1
    assert all(len(batch.tokens) <= 64 for batch in batches)
    assert sorted(slot for batch in batches for slot in batch.global_rows.tolist()) == list(
        range(int(completion_offsets(wanted)[-1]))
    )


def test_attention_sees_few_copies_of_a_long_prompt() -> None:
    wanted = make_sequences(32)
    prompt = np.arange(200, dtype=np.int32) % VALID_VOCAB
    for sequence in wanted:
        sequence.tokens = np.concatenate([prompt, sequence.tokens[-sequence.completion_length :]])
        sequence.prompt_length = len(prompt)
    batches = packer(capacity=4000, share=True).pack(wanted, weigh(wanted))
    assert all(sum(batch.lengths) <= MOST_COPIES * len(batch.tokens) for batch in batches)
    assert sum(len(batch.tokens) for batch in batches) < sum(len(sequence.tokens) for sequence in wanted) / 2
    assert sum(len(batch.rows) for batch in batches) == completion_offsets(wanted)[-1]


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_plan_covers_everything_once_within_capacity(ranks: int) -> None:
    lengths = [len(sequence.tokens) - 1 for sequence in make_sequences(50, seed=3)]
    plan = plan_microbatches(lengths, ranks=ranks, capacity=80)
    assert len({len(batches) for batches in plan}) == 1, "a collective would hang"
    assert sorted(index for batches in plan for batch in batches for index in batch) == list(range(50))
    for batches in plan:
        assert all(sum(lengths[index] for index in batch) <= 80 for batch in batches)
    loads = [sum(lengths[index] for batch in batches for index in batch) for batches in plan]
    assert max(loads) - min(loads) <= max(lengths)


def test_neighbours_are_alike_and_runs_are_even() -> None:
    (batches,) = plan_microbatches([10] * 7 + [5] * 7, ranks=1, capacity=60)
    assert [[10, 5][index >= 7] for batch in batches for index in batch] == [10] * 7 + [5] * 7
    assert max(sum([10, 5][index >= 7] for index in batch) for batch in batches) < 60, "cut evenly, not 60 + 45"


def test_a_rank_without_sequences_gets_an_empty_micro_batch() -> None:
    wanted = make_sequences(2)
    assert share_out([5, 3], 3) == [[0], [1], []]
    (batch,) = packer(data_size=3, data_rank=2, multiple=2).pack(wanted, weigh(wanted))
    assert batch.tokens.shape == (2,)
    assert len(batch.rows) == 0


@pytest.mark.parametrize("aggregation", list(LossAggregation))
@pytest.mark.parametrize("ranks", [1, 3])
def test_weights_add_up_over_the_world(aggregation: LossAggregation, ranks: int) -> None:
    wanted = make_sequences(11)
    batches = [
        batch
        for rank in range(ranks)
        for batch in packer(data_size=ranks, data_rank=rank).pack(wanted, weigh(wanted, aggregation))
    ]
    assert float(sum(batch.metric_weights.double().sum() for batch in batches)) == pytest.approx(1.0, abs=1e-6)
    mean = float(np.mean([sequence.completion_length for sequence in wanted]))
    total = mean / FIXED if aggregation is LossAggregation.fixed_length else 1.0
    assert float(sum(batch.weights.double().sum() for batch in batches)) == pytest.approx(total, abs=1e-6)


def test_what_cannot_be_processed_is_named() -> None:
    wanted = make_sequences(3)
    with pytest.raises(ConfigError, match=r"parallel\.max_tokens_per_microbatch=8 is too small"):
        packer(capacity=8).pack(wanted, weigh(wanted))
    wanted[1].tokens[0] = VALID_VOCAB
    with pytest.raises(ConfigError, match="token id 250 is outside the vocabulary of 250"):
        packer().pack(wanted, weigh(wanted))


def test_log_probabilities_are_carried_only_when_all_sequences_have_them() -> None:
    wanted = make_sequences(4)
    for sequence in wanted:
        sequence.reference_logprobs = -np.arange(sequence.completion_length, dtype=np.float32)
    wanted[0].old_logprobs = wanted[0].rollout_logprobs
    (batch,) = packer(capacity=1000).pack(wanted, weigh(wanted))
    assert batch.old_logprobs is None
    assert batch.reference_logprobs is not None
    starts = completion_offsets(wanted)
    for row, slot in enumerate(batch.global_rows.tolist()):
        index = int(np.searchsorted(starts, slot, side="right")) - 1
        assert batch.reference_logprobs[row] == -(slot - starts[index])

"""Speculative decoding changes how fast samples come, and not what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.distributed import run_ranks
from helpers.rollouts import ENDS, VALID_VOCABULARY, checkpoint_tensors, engine_checkpoint
from torch import Tensor

from prorl_mega.rollout.speculation import expand_batch_to_tokens

SAMPLES, LENGTH, TEMPERATURE = 6000, 6, 0.8


def test_values_are_repeated_for_the_tokens_of_each_sequence() -> None:
    temperatures = torch.tensor([0.5, 1.2, 0.0, 2.0])
    found = expand_batch_to_tokens(temperatures, torch.tensor([2, 2, 3, 6]), 6, 0, 1)
    assert torch.equal(found, torch.tensor([0.5, 0.5, 1.0, 2.0, 2.0, 2.0]))
    assert torch.equal(expand_batch_to_tokens(torch.tensor([7, 3]), torch.tensor([1, 3]), 3), torch.tensor([7, 3, 3]))


def peaked(checkpoint: Path) -> dict[str, Tensor]:
    """Weights whose next token is one of a few."""
    tensors = checkpoint_tensors(checkpoint)
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"] * 8
    return tensors


def sampled(checkpoint: str, guesses: int, prompt: list[int]) -> dict[str, Any]:
    """The tokens of SAMPLES samples with their log-probabilities, and the forward passes that they took."""
    from prorl_mega.config.schema import Precision, RolloutConfig
    from prorl_mega.rollout.engine import VllmRollout

    config = RolloutConfig(
        max_prompt_tokens=8, max_response_tokens=LENGTH, max_concurrent=64, speculative_tokens=guesses,
        speculative_ngram=1,
    )  # fmt: skip
    rollout = VllmRollout(
        Path(checkpoint), config, precision=Precision.fp32, valid_vocab=VALID_VOCABULARY, end_ids=ENDS, seed=1
    )
    rollout.update_weights(iter(peaked(Path(checkpoint)).items()), 0)
    steps, found = 0, dict[int, Any]()
    for finished in rollout.generate(
        [np.array(prompt, dtype=np.int32)], samples=SAMPLES, seeds=[list(range(SAMPLES))], temperature=TEMPERATURE,
        top_p=1.0, max_tokens=None,
    ):  # fmt: skip
        steps += 1
        found |= {index: (each.tokens.tolist(), each.logprobs.tolist()) for index, each in finished}
    return {"steps": steps, "samples": [found[index] for index in range(SAMPLES)]}


def huggingface(checkpoint: Path) -> Any:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    tensors = peaked(checkpoint)
    model.load_state_dict({"lm_head.weight": tensors["model.embed_tokens.weight"]} | tensors)
    return model


@torch.no_grad()
def log_probabilities(model: Any, tokens: list[int]) -> Tensor:
    """`[tokens, vocabulary]` of what comes after each."""
    return (model(torch.tensor([tokens])).logits[0, :, :VALID_VOCABULARY] / TEMPERATURE).log_softmax(-1)


def repeated_prompt(model: Any) -> list[int]:
    """[a, b, a], after which b is guessed and has a probability between 0.2 and 0.7."""
    for first in range(10, 200):
        likely = log_probabilities(model, [first])[-1].topk(8).indices.tolist()
        for second in likely:
            share = float(log_probabilities(model, [first, second, first])[-1][second].exp())
            if 0.2 < share < 0.7 and second not in ENDS:
                return [first, second, first]
    raise AssertionError("no prompt found")


def fit(tokens: list[int], shares: np.ndarray) -> float:
    """The p-value of these tokens under these probabilities; rare ones are one class."""
    counts, expected = np.bincount(tokens, minlength=len(shares)).astype(float), shares * len(tokens)
    rare = expected < 5
    counts, expected = np.append(counts[~rare], counts[rare].sum()), np.append(expected[~rare], expected[rare].sum())
    statistic = ((counts - expected) ** 2 / np.maximum(expected, 1e-9)).sum()
    freedom = torch.tensor((len(counts) - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, torch.tensor(statistic / 2, dtype=torch.float64)))


@pytest.mark.slow
def test_samples_have_the_distribution_of_the_policy(tmp_path: Path) -> None:
    checkpoint = engine_checkpoint(tmp_path / "model", "qwen2_tied")
    model = huggingface(checkpoint)
    prompt = repeated_prompt(model)
    (guessed,) = run_ranks(sampled, 1, str(checkpoint), 3, prompt, timeout_s=600)
    (plain,) = run_ranks(sampled, 1, str(checkpoint), 0, prompt, timeout_s=600)
    assert guessed["steps"] < 0.9 * plain["steps"], "guesses are kept"
    for each in (guessed, plain):
        samples = [tokens for tokens, _ in each["samples"]]
        first = log_probabilities(model, prompt)[-1].exp().numpy()
        assert fit([tokens[0] for tokens in samples], first) > 1e-3
        assert fit([tokens[0] for tokens in samples], first**0.8 / (first**0.8).sum()) < 1e-6, "it would be noticed"
        followed = [tokens[1] for tokens in samples if tokens[0] == prompt[1] and len(tokens) > 1]
        second = log_probabilities(model, [*prompt, prompt[1]])[-1].exp().numpy()
        assert len(followed) > 1000
        assert fit(followed, second) > 1e-3
        for tokens, logprobs in each["samples"][:200]:
            expected = log_probabilities(model, prompt + tokens)[len(prompt) - 1 : -1]
            gaps = expected.gather(1, torch.tensor(tokens)[:, None])[:, 0] - torch.tensor(logprobs)
            assert float(gaps.abs().max()) < 1e-4


@pytest.mark.slow
def test_a_seed_gives_the_same_samples(tmp_path: Path) -> None:
    checkpoint = str(engine_checkpoint(tmp_path / "model", "qwen2_tied"))
    results = [run_ranks(sampled, 1, checkpoint, 2, [20, 21, 20], timeout_s=600)[0]["samples"] for _ in range(2)]
    assert [tokens for tokens, _ in results[0]] == [tokens for tokens, _ in results[1]]

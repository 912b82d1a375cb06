"""One engine in one process: real vLLM on a tiny model with tied embeddings. What it did is judged afterwards.

The engine works in a process of its own, because vLLM joins process groups that other tests must not find.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from helpers.distributed import run_ranks
from helpers.rollouts import (
    ENDS,
    SETTINGS,
    TEMPERATURE,
    VALID_VOCABULARY,
    by_prompt,
    checkpoint_tensors,
    engine_checkpoint,
    huggingface_error,
    some_prompts,
    some_seeds,
    start_rollout,
    steps_of,
    stream,
)

from prorl_mega.checksum import Checksum
from prorl_mega.errors import DataError, ProRLError
from prorl_mega.protocols import Finished
from prorl_mega.rollout.engine import VllmRollout
from prorl_mega.rollout.matmul import rounded_rows
from prorl_mega.types import Completion, FinishReason

SAMPLES = 12


def _error(call: Any) -> tuple[str, str]:
    try:
        call()
    except ProRLError as error:
        return type(error).__name__, str(error)
    return "nothing", ""


def _learner_like() -> torch.Tensor:
    torch.manual_seed(11)
    layer = torch.nn.Linear(96, 96)
    out = torch.nn.functional.silu(layer(torch.randn(33, 96))).pow(2).sum()
    out.backward()
    return torch.cat([layer.weight.grad.flatten(), out.detach().view(1), torch.rand(3)])


def _switches() -> list[Any]:
    torch.set_num_threads(2)
    settable = torch.get_num_threads() == 2
    torch.set_num_threads(1)
    return [
        settable,
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_grad_enabled(),
        _memory_is_bound(),
    ]


def _memory_is_bound() -> bool:
    maps = Path("/proc/self/numa_maps")
    return maps.exists() and any(line.split()[1].startswith("bind") for line in maps.read_text().splitlines())


def observe(checkpoint: str) -> dict[str, Any]:
    """Everything that the tests below look at, in one life of an engine."""
    import random

    directory = Path(checkpoint)
    tensors = checkpoint_tensors(directory)
    others = {name: tensor * 1.1 for name, tensor in tensors.items()}
    prompts, seeds = some_prompts(), some_seeds(5, SAMPLES)
    seen: dict[str, Any] = {"switches before": _switches(), "computed before": _learner_like()}
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state(legacy=False)["state"]["key"].tolist()
    rollout = start_rollout(directory)
    seen["rows of products"], batches = _recorded_rows(), _recorded_batches(rollout)

    def sample(**changes: Any) -> list[list[Completion]]:
        return by_prompt(steps_of(rollout, prompts, **{"seeds": seeds, **changes}), len(prompts))

    seen["before weights"] = _error(sample)
    sent = Checksum()
    seen["received"] = rollout.update_weights(sent.observe(stream(tensors)), 0)
    seen["sent"] = sent.hexdigest()
    seen["steps"] = steps_of(rollout, prompts, seeds)
    seen["first"] = first = by_prompt(seen["steps"], len(prompts))
    now = torch.get_rng_state(), random.getstate(), np.random.get_state(legacy=False)["state"]["key"].tolist()
    seen["generators kept"] = torch.equal(now[0], states[0]) and now[1:] == states[1:]
    seen["switches after"], seen["computed after"] = _switches(), _learner_like()
    seen["error"] = huggingface_error(tensors, directory, prompts, first)
    seen["again"] = sample()
    seen["batches"] = set(batches)
    batches.clear()
    with _as_vllm_does_it(rollout):
        seen["as vLLM does it"] = sample()
    seen["batches as vLLM does it"] = set(batches)
    seen["other seeds"] = sample(seeds=some_seeds(5, SAMPLES, first=10_000))
    seen["alone"] = [
        by_prompt(steps_of(rollout, [prompt], [[seed[0]]]), 1)[0][0]
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]
    seen["nucleus"] = sample(top_p=0.3)
    seen["shorter"] = sample(max_tokens=3)
    seen["left behind"] = _leave_early(rollout, prompts, seeds)
    seen["after leaving"] = sample()
    seen["bad prompts"] = [_error(lambda p=prompt: _one(rollout, p)) for prompt in _bad_prompts()]
    rollout.update_weights(stream(others), 7)
    seen["second weights"] = sample()
    seen["second error"] = huggingface_error(others, directory, prompts, seen["second weights"])
    rollout.sleep()
    rollout.wake()
    seen["after sleep"] = _error(sample)
    rollout.update_weights(stream(tensors), 8)
    seen["back"] = sample()
    rollout.update_weights(stream(tensors | {"model.norm.weight": torch.full((64,), torch.nan)}), 9)
    seen["not finite"] = _error(sample)
    short = tensors | {"model.embed_tokens.weight": tensors["model.embed_tokens.weight"][:-1]}
    seen["broken weights"] = _error(lambda: rollout.update_weights(stream(short), 10))
    seen["after broken weights"] = _error(sample)
    seen["weights after broken ones"] = _error(lambda: rollout.update_weights(stream(tensors), 11))
    return seen


def _recorded_rows() -> set[int]:
    """Fills up with the numbers of rows of all products that the engine has oneDNN compute from now on."""
    product, rows = torch.ops._C.onednn_mm, set()

    def record(output: torch.Tensor, *operands: Any) -> None:
        rows.add(len(output))
        product(output, *operands)

    torch.ops._C.onednn_mm = record
    return rows


def _recorded_batches(rollout: VllmRollout) -> set[int]:
    """Fills up with the numbers of tokens that the model is given from now on."""
    rows: set[int] = set()

    def record(model: torch.nn.Module, operands: Any, named: dict[str, Any]) -> None:
        rows.add(len(named["input_ids"]))

    rollout._engine.apply_model(lambda model: model.register_forward_pre_hook(record, with_kwargs=True))
    return rows


@contextlib.contextmanager
def _as_vllm_does_it(rollout: VllmRollout) -> Iterator[None]:
    """Batches without padding, products with it, and log-probabilities with ranks."""
    from vllm.v1.sample.sampler import Sampler

    driver: Any = rollout._engine.engine_core.engine_core.model_executor.driver_worker
    dispatcher = driver.worker.model_runner.cudagraph_dispatcher
    gather: Any = Sampler.gather_logprobs
    with (
        patch.object(dispatcher, "dispatch", functools.partial(type(dispatcher).dispatch, dispatcher)),
        patch.object(Sampler, "gather_logprobs", staticmethod(gather.args[0])),
    ):
        yield


def _one(rollout: VllmRollout, prompt: np.ndarray) -> None:
    steps_of(rollout, [some_prompts()[0], prompt], [[1], [2]])


def _leave_early(rollout: VllmRollout, prompts: list[np.ndarray], seeds: list[list[int]]) -> bool:
    """Whether an engine has requests left whose iterator was closed in the middle, by an error of the caller's."""
    steps = rollout.generate(prompts, samples=SAMPLES, seeds=seeds, temperature=TEMPERATURE, top_p=1.0, max_tokens=None)
    with contextlib.suppress(ValueError), contextlib.closing(steps):
        for finished in steps:
            if finished:
                raise ValueError("not of the engine's making")
    return bool(rollout._engine.has_unfinished_requests())


def _bad_prompts() -> list[np.ndarray]:
    too_long = np.full(SETTINGS.max_prompt_tokens + 1, 3, np.int32)
    return [too_long, np.array([], np.int32), np.array([3, VALID_VOCABULARY], np.int32), np.array([-1], np.int32)]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    checkpoint = engine_checkpoint(tmp_path_factory.mktemp("model"), "qwen2_tied")
    return _with_tempting_padding(checkpoint)


def _with_tempting_padding(checkpoint: Path) -> dict[str, Any]:
    """Give the padding rows of the vocabulary logits that would win nearly every draw, then run the engine."""
    from safetensors.torch import save_file

    tensors = checkpoint_tensors(checkpoint)
    row = tensors["model.embed_tokens.weight"][VALID_VOCABULARY]
    tensors["model.embed_tokens.weight"][VALID_VOCABULARY:] = 50 * row
    tensors["model.embed_tokens.weight"][VALID_VOCABULARY] = -50 * row
    save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})
    return run_ranks(observe, 1, str(checkpoint), timeout_s=400)[0]


def _equal(left: list[list[Completion]], right: list[list[Completion]]) -> bool:
    return all(
        np.array_equal(a.tokens, b.tokens) and np.array_equal(a.logprobs, b.logprobs)
        for group, other in zip(left, right, strict=True)
        for a, b in zip(group, other, strict=True)
    )


def _flat(groups: list[list[Completion]]) -> list[Completion]:
    return [completion for group in groups for completion in group]


def test_refuses_to_sample_without_weights(seen: dict[str, Any]) -> None:
    for moment in ("before weights", "after sleep", "after broken weights"):
        kind, message = seen[moment]
        assert kind == "RolloutError"
        assert "update_weights" in message or "new engine" in message


def test_log_probabilities_are_hugging_faces(seen: dict[str, Any]) -> None:
    assert seen["error"] <= 1e-5
    assert seen["second error"] <= 1e-5


def test_an_update_replaces_all_weights_and_can_be_taken_back(seen: dict[str, Any]) -> None:
    assert not _equal(seen["first"], seen["second weights"])
    assert _equal(seen["first"], seen["back"])
    versions = [{each.version for each in _flat(seen[key])} for key in ("first", "second weights", "back")]
    assert versions == [{0}, {7}, {8}]


def test_checksum_is_the_senders(seen: dict[str, Any]) -> None:
    assert seen["received"] == seen["sent"]


def test_seeds_decide(seen: dict[str, Any]) -> None:
    assert _equal(seen["first"], seen["again"])
    assert not _equal(seen["first"], seen["other seeds"])
    tokens = [tuple(each.tokens) for each in seen["first"][0]]
    assert len(set(tokens)) == SAMPLES  # of one prompt, seeds apart


def test_other_requests_do_not_matter(seen: dict[str, Any]) -> None:
    for alone, group in zip(seen["alone"], seen["first"], strict=True):
        assert np.array_equal(alone.tokens, group[0].tokens)
        np.testing.assert_allclose(alone.logprobs, group[0].logprobs, rtol=0, atol=1e-5)


def test_padding_of_the_vocabulary_is_never_sampled(seen: dict[str, Any]) -> None:
    for key in ("first", "other seeds", "nucleus"):
        assert max(each.tokens.max() for each in _flat(seen[key])) < VALID_VOCABULARY


def test_samples_end_at_an_end_token_or_at_the_limit(seen: dict[str, Any]) -> None:
    completions = _flat(seen["first"] + seen["other seeds"] + seen["second weights"])
    stopped = [each for each in completions if each.finish is FinishReason.STOP]
    assert stopped
    assert {int(each.tokens[-1]) for each in stopped} == set(ENDS)
    assert not any(set(ENDS) & set(each.tokens[:-1].tolist()) for each in stopped)
    cut = [each for each in completions if each.finish is FinishReason.LENGTH]
    assert cut
    assert all(
        len(each.tokens) == SETTINGS.max_response_tokens and not set(ENDS) & set(each.tokens.tolist()) for each in cut
    )


def test_a_smaller_limit_cuts_the_same_samples(seen: dict[str, Any]) -> None:
    """An engine that was built for the longest stage of a schedule serves the shorter ones."""
    for short, full in zip(_flat(seen["shorter"]), _flat(seen["first"]), strict=True):
        assert np.array_equal(short.tokens, full.tokens[:3])
        assert short.finish is (full.finish if len(full.tokens) <= 3 else FinishReason.LENGTH)


def test_completions_hold_arrays(seen: dict[str, Any]) -> None:
    assert [len(group) for group in seen["first"]] == [SAMPLES] * 5
    for each in _flat(seen["first"]):
        assert each.tokens.dtype == np.int32
        assert each.logprobs.dtype == np.float32
        assert each.tokens.shape == each.logprobs.shape


def test_completions_are_seen_when_they_end(seen: dict[str, Any]) -> None:
    """Each of them once, the short ones while the long ones are sampled still."""
    watched: list[Finished] = seen["steps"]
    flat = dict(sum(watched, []))  # noqa: RUF017
    assert sorted(flat) == list(range(5 * SAMPLES)) == sorted(number for step in watched for number, _ in step)
    assert all(flat[number] is each for number, each in enumerate(_flat(seen["first"])))
    assert len(watched) >= SETTINGS.max_response_tokens, "after every step"
    for step, finished in enumerate(watched):
        for _, completion in finished:
            # 60 samples share 32 places, so that half of them begin late
            assert len(completion.tokens) <= step + 1
    early = [len(each.tokens) for step in watched[: SETTINGS.max_response_tokens - 1] for _, each in step]
    assert early
    assert max(early) < SETTINGS.max_response_tokens


def test_a_caller_that_leaves_early_leaves_an_engine_that_works_on(seen: dict[str, Any]) -> None:
    assert not seen["left behind"]
    assert _equal(seen["after leaving"], seen["first"])


def test_nucleus_sampling_reports_the_truncated_distribution(seen: dict[str, Any]) -> None:
    """With a nucleus of 0.3 every token's own probability is at least what it was before the rest was cut off."""
    full = np.concatenate([each.logprobs for each in _flat(seen["first"])]).mean()
    cut = np.concatenate([each.logprobs for each in _flat(seen["nucleus"])]).mean()
    assert cut > full + 0.5


def test_bad_prompts_are_named_before_anything_is_generated(seen: dict[str, Any]) -> None:
    kinds, messages = zip(*seen["bad prompts"], strict=True)
    assert set(kinds) == {DataError.__name__}
    assert "prompt 1 has 25 tokens and rollout.max_prompt_tokens is 24" in messages[0]
    assert "empty" in messages[1]
    assert "token 250" in messages[2]
    assert "token -1" in messages[3]


def test_an_engine_takes_nothing_after_an_update_that_broke_off(seen: dict[str, Any]) -> None:
    assert seen["broken weights"][0] == "WeightSyncError"
    kind, message = seen["weights after broken ones"]
    assert kind == "RolloutError"
    assert "start a new engine" in message


def test_log_probabilities_that_are_not_finite_stop_the_run(seen: dict[str, Any]) -> None:
    kind, message = seen["not finite"]
    assert kind == "RolloutError"
    assert "not finite" in message


def test_padded_batches_and_bare_log_probabilities_change_no_bit(seen: dict[str, Any]) -> None:
    assert _equal(seen["as vLLM does it"], seen["first"])
    assert seen["batches"] == {rounded_rows(rows) for rows in seen["batches as vLLM does it"]}
    assert seen["batches"] != seen["batches as vLLM does it"]


def test_products_have_few_numbers_of_rows(seen: dict[str, Any]) -> None:
    """Prefills of hundreds of tokens, and batches that shrink from 32 samples to one."""
    rows = seen["rows of products"]
    assert rows == {rounded_rows(each) for each in rows}
    assert 1 in rows
    assert max(rows) > SETTINGS.max_concurrent
    sizes = [rounded_rows(rows) for rows in range(1, 8193)]
    assert all(rows <= size <= 1.25 * rows for rows, size in enumerate(sizes, start=1))
    assert len(set(sizes)) < 50


def test_the_learner_does_not_notice_the_engine(seen: dict[str, Any]) -> None:
    assert seen["generators kept"]
    assert seen["switches after"] == seen["switches before"]
    assert torch.equal(seen["computed after"], seen["computed before"])

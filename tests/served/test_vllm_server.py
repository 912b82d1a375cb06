"""The server that vLLM ships, on a CPU with a tiny random model, asked through both APIs."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.chat_models import chat_model
from helpers.distributed import run_ranks
from helpers.fake_openai import COMPLETIONS, server_config, some_requests
from helpers.rollouts import checkpoint_tensors, stream
from helpers.served_models import Heard
from helpers.tiny import tiny_checkpoint

from prorl_mega.config.schema import Precision, RolloutConfig
from prorl_mega.huggingface.tokenizer import Tokenizer
from prorl_mega.rollout.engine import VllmRollout
from prorl_mega.sample_requests import SampleAnswer, SampleRequest

pytestmark = pytest.mark.slow

TEMPERATURE, TOP_P, MOST_TOKENS, CONTEXT = 1.2, 0.9, 12, 128
SAMPLES = 8
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of bytes whose every id is a token, so that no padding of the vocabulary can be sampled."""
    directory = chat_model(tmp_path_factory.mktemp("model"), chat_template=TEMPLATE)
    tokenizer = Tokenizer(directory)
    heads = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2, "num_hidden_layers": 2}
    return tiny_checkpoint(directory, "qwen2", vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_id, **heads)


@pytest.fixture(scope="module")
def url(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    arguments = [
        "--model", str(checkpoint), "--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port),
        "--dtype", "float32", "--enforce-eager", "--kv-cache-memory-bytes", str(256 << 20), "--max-model-len",
        str(CONTEXT), "--no-enable-chunked-prefill", "--max-num-batched-tokens", "1024", "--logprobs-mode",
        "processed_logprobs", "--generation-config", "vllm", "--api-key", "tiny-key",
    ]  # fmt: skip
    variables = {"VLLM_PLUGINS": "", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *arguments],
            env=os.environ | variables, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(60)


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(log.read_text()[-3000:])


def ask(url: str, checkpoint: Path, requests: list[SampleRequest], **server: Any) -> tuple[Heard, list[SampleAnswer]]:
    os.environ["TINY_KEY"] = "tiny-key"
    heard = Heard(
        server_config(url, model=None, key_env="TINY_KEY", timeout_s=120.0, concurrency=5, **server),
        temperature=TEMPERATURE, top_p=TOP_P, max_tokens=MOST_TOKENS, tokenizer=Tokenizer(checkpoint),
    )  # fmt: skip
    heard.ask(requests)
    return heard, [heard.answers[place] for place in sorted(heard.answers)]


def of_the_engine(checkpoint: str, requests: list[tuple[list[int], int]]) -> list[tuple[list[int], list[float]]]:
    """Tokens and log-probabilities that our own engine samples for these prompts and seeds."""
    tokenizer = Tokenizer(checkpoint)
    config = RolloutConfig(max_prompt_tokens=CONTEXT - MOST_TOKENS, max_response_tokens=MOST_TOKENS, max_concurrent=5)
    rollout = VllmRollout(
        Path(checkpoint),
        config,
        precision=Precision.fp32,
        valid_vocab=len(tokenizer),
        end_ids=tokenizer.end_ids,
        seed=1,
    )
    rollout.update_weights(stream(checkpoint_tensors(Path(checkpoint))), version=1)
    prompts = [np.array(prompt, dtype=np.int32) for prompt, _ in requests]
    steps = rollout.generate(
        prompts, samples=1, seeds=[[seed] for _, seed in requests],
        temperature=TEMPERATURE, top_p=TOP_P, max_tokens=MOST_TOKENS,
    )  # fmt: skip
    ended = dict(each for finished in steps for each in finished)
    return [(ended[place].tokens.tolist(), ended[place].logprobs.tolist()) for place in sorted(ended)]


def test_completions_are_those_of_our_engine_at_the_same_seeds(url: str, checkpoint: Path) -> None:
    requests = some_requests(SAMPLES)
    heard, answers = ask(url, checkpoint, requests, **COMPLETIONS)
    assert heard.said == []
    assert heard.model.name == f"{url} tiny"
    tokenizer = Tokenizer(checkpoint)
    prompts = [(tokenizer.encode_prompt(each.problem.prompt).tolist(), each.seed) for each in requests]
    (expected,) = run_ranks(of_the_engine, 1, str(checkpoint), prompts)
    assert [each.tokens.tolist() for each in answers] == [tokens for tokens, _ in expected]
    for answer, (tokens, logprobs) in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer.logprobs, logprobs, atol=1e-5)
        assert answer.text == tokenizer.decode(np.array(tokens))
        assert answer.length == len(tokens)


@pytest.mark.parametrize("server", [{}, COMPLETIONS], ids=["chat", "completions"])
def test_the_same_seed_gives_the_same_answer(url: str, checkpoint: Path, server: dict[str, Any]) -> None:
    _, first = ask(url, checkpoint, some_requests(SAMPLES), **server)
    _, again = ask(url, checkpoint, list(reversed(some_requests(SAMPLES))), **server)
    assert [each.text for each in first] == [each.text for each in again]
    assert [each.tokens.tolist() for each in first] == [each.tokens.tolist() for each in again]
    assert len({each.text for each in first}) > SAMPLES // 2, "other seeds give other answers"


def test_a_chat_is_the_completion_of_its_rendered_messages(url: str, checkpoint: Path) -> None:
    """The server's template is the checkpoint's, as ours is: the same prompt, so the same tokens."""
    _, chats = ask(url, checkpoint, some_requests(SAMPLES, system="Be brief."))
    _, completions = ask(url, checkpoint, some_requests(SAMPLES, system="Be brief."), **COMPLETIONS)
    assert [each.tokens.tolist() for each in chats] == [each.tokens.tolist() for each in completions]
    assert all(len(each.logprobs) == each.length > 0 for each in chats)


@pytest.mark.parametrize("server", [{}, COMPLETIONS], ids=["chat", "completions"])
def test_a_prompt_beyond_the_context_is_a_gap(url: str, checkpoint: Path, server: dict[str, Any]) -> None:
    requests = some_requests(3)
    long = dataclasses.replace(requests[1].problem, prompt="x" * 500)
    requests[1] = dataclasses.replace(requests[1], problem=long)
    heard, answers = ask(url, checkpoint, requests, **server)
    assert [each.request for each in answers] == [requests[0], requests[2]]
    assert dict(heard.model.gaps) == {"refused for this prompt": 1}

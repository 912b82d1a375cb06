"""What happens before an engine starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.tiny import tiny_checkpoint

from prorl_mega.config.schema import RolloutConfig
from prorl_mega.errors import RolloutError
from prorl_mega.rollout.requests import read_output
from prorl_mega.rollout.startup import prepare_environment
from prorl_mega.types import FinishReason


def test_importing_the_package_does_not_import_vllm() -> None:
    code = "import sys, prorl_mega.rollout.engine; sys.exit('vllm' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_variables_of_the_user_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"VLLM_LOGGING_LEVEL": "DEBUG"})
    prepare_environment(RolloutConfig())
    assert os.environ["VLLM_LOGGING_LEVEL"] == "DEBUG"
    assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"


def test_unsupported_heads_are_named_before_anything_is_allocated(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path, "qwen2")  # heads of size 12
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from helpers.rollouts import start_rollout\n"
        "from prorl_mega.errors import ModelError\n"
        "try: start_rollout(Path(sys.argv[2]))\n"
        "except ModelError as error: print(error)\n"
    )
    tests = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code, str(tests), str(checkpoint)], capture_output=True, text=True)
    assert "attention heads of size 12" in done.stdout, done.stderr
    assert "32, 64" in done.stdout


def _output(tokens: list[int], logprobs: list[float], finish: str | None = "stop") -> SimpleNamespace:
    sampled = SimpleNamespace(token_ids=tokens, logprobs=SimpleNamespace(logprobs=logprobs), finish_reason=finish)
    return SimpleNamespace(request_id="4", outputs=[sampled])


def test_an_output_becomes_arrays() -> None:
    index, sampled = read_output(_output([5, 2], [-0.5, -1.0]), valid_vocab=10, version=3)
    assert (index, sampled.version) == (4, 3)
    assert sampled.tokens.tolist() == [5, 2]
    assert sampled.logprobs.tolist() == [-0.5, -1.0]
    assert sampled.finish is FinishReason.STOP
    assert (sampled.tokens.dtype, sampled.logprobs.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (_output([5, 2], [-0.5, float("nan")]), "token 1 of sample 4 has log-probability nan"),
        (_output([5, 2], [-0.5, float("-inf")]), "log-probability -inf"),
        (_output([5, 2], [-0.5]), "2 tokens and 1 log-probabilities"),
        (_output([], []), "0 tokens"),
        (_output([10], [-0.5]), "token 10"),
        (_output([5], [-0.5], "abort"), "'abort'"),
        (_output([5], [-0.5], None), "None"),
    ],
)
def test_outputs_that_must_not_be_trained_on(output: SimpleNamespace, message: str) -> None:
    with pytest.raises(RolloutError, match=message):
        read_output(output, valid_vocab=10, version=3)

"""`python -m prorl_mega.warmstart`: the directory that it writes, and the same one from two pipeline stages."""

from __future__ import annotations

from pathlib import Path
from random import Random

import torch
from helpers.programs import TASKS, run_program
from safetensors.torch import load_file
from torch import Tensor

from prorl_mega.config.schema import TaskConfig, TasksConfig, WarmstartConfig
from prorl_mega.errors import ExitCode
from prorl_mega.huggingface.config import describe
from prorl_mega.huggingface.tokenizer import Tokenizer
from prorl_mega.huggingface.weights import read_headers
from prorl_mega.tasks import Mixture
from prorl_mega.warmstart import with_label_noise, worked_example

STEPS = ("experiment=small_base", "steps=3")


def weights(directory: Path) -> dict[str, Tensor]:
    return load_file(directory / "model.safetensors")


def negative_log_likelihood(directory: Path) -> float:
    """Nats per token of worked solutions, by Hugging Face's model."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    problems = Mixture(TasksConfig(mixture={name: TaskConfig(**task) for name, task in TASKS.items()}), seed=1).draw(24)
    total, tokens = 0.0, 0
    for problem in problems:
        example = worked_example(problem, Tokenizer(str(directory)), WarmstartConfig(max_tokens=96))
        ids = torch.from_numpy(example.tokens).long()
        with torch.no_grad():
            logprobs = model(ids[None]).logits[0, :-1].log_softmax(-1).gather(-1, ids[1:, None])[:, 0]
        total -= float(logprobs[example.prompt_length - 1 :].sum())
        tokens += example.completion_length
    return total / tokens


def test_a_slip_is_one_other_character_of_the_same_kind_in_the_answer() -> None:
    solution = "3+9=12, So\n12 Apples"
    slips = {with_label_noise(solution, Random(seed)) for seed in range(200)}
    for slip in slips:
        ((place, before, after),) = [(i, a, b) for i, (a, b) in enumerate(zip(solution, slip, strict=True)) if a != b]
        assert place > solution.index("\n")
        assert (before.isdecimal(), before.isupper()) == (after.isdecimal(), after.isupper())
        assert before.isalnum()
        assert after.isascii()
    assert len(slips) > 50
    assert with_label_noise("3 apples\n=", Random(1)) == "3 apples\n="
    assert with_label_noise("7", Random(1)) != "7"


def test_one_process_and_two_stages_write_the_same_model(setup: Path) -> None:
    from transformers import AutoTokenizer

    for name, ranks, overrides in (("alone", 1, []), ("stages", 2, ["parallel.pipeline=2"])):
        done = run_program("prorl_mega.warmstart", setup, *STEPS, *overrides, f"output=warm/{name}", ranks=ranks)
        assert done.code == ExitCode.FINISHED, done.output
        assert "Traceback" not in done.output
        assert "warm start 3/3  loss" in done.output
    alone, stages = setup / "warm" / "alone", setup / "warm" / "stages"
    assert describe(alone) == describe(stages) == describe(setup / "model")
    read_headers(alone)
    assert sorted(path.name for path in (setup / "warm").iterdir()) == ["alone", "alone.log", "stages", "stages.log"]
    assert AutoTokenizer.from_pretrained(alone)("1+2=")["input_ids"] == Tokenizer(str(alone)).encode("1+2=").tolist()

    before, one, two = weights(setup / "model"), weights(alone), weights(stages)
    assert one.keys() == two.keys() == before.keys()
    moved = {name: float((one[name] - before[name]).abs().max()) for name in one}
    apart = {name: float((one[name] - two[name]).abs().max()) for name in one}
    assert min(moved.values()) >= 1e-3, moved  # three steps with a learning rate of 1e-3
    assert max(apart.values()) <= 1e-5, apart
    assert negative_log_likelihood(alone) < negative_log_likelihood(setup / "model") - 0.1


def test_an_existing_directory_is_not_overwritten(setup: Path) -> None:
    (setup / "thesis").mkdir()
    (setup / "thesis" / "chapter1.txt").write_text("years of work")
    done = run_program("prorl_mega.warmstart", setup, *STEPS, "output=thesis")
    assert done.code == ExitCode.CONFIG
    assert done.output == "error: thesis: exists and is not a checkpoint; name another directory or remove it\n"
    assert [path.name for path in (setup / "thesis").iterdir()] == ["chapter1.txt"]

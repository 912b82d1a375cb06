"""What cannot work stops the real command lines before anything is built, with one message and its own exit code."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.hostile_tasks import hostile_config
from helpers.programs import TASKS, TOKENIZER, Finished, small_setup

from prorl_mega import protocols
from prorl_mega.collect import Collector, Sampling, collect_informative
from prorl_mega.config.recipe import RecipeConfig, SelectionConfig
from prorl_mega.errors import ExitCode
from prorl_mega.huggingface.tokenizer import Tokenizer
from prorl_mega.recipe.curriculum import Curriculum
from prorl_mega.recipe.train_samples import assign_advantages, to_train_samples
from prorl_mega.tasks import Mixture
from prorl_mega.types import Completion, FinishReason, Group, ParallelLayout
from prorl_mega.verifiers.pool import VerifierPool

TRAIN, WARMSTART = "prorl_mega.train", "prorl_mega.warmstart"

# What takes seconds to import is imported once. Every command line then runs in a process of its own, from the parsing
# of its arguments to its exit code, as `python -m` would run it; only Python's tidying up at the end is left out.
COMMANDS = """
import json, os, runpy, sys
import prorl_mega.build, prorl_mega.evaluate

for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if child == 0:
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(request["environment"])
        sys.argv = ["program", *request["arguments"]]
        try:
            runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        except SystemExit as left:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(int(left.code or 0))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Commands:
    """Runs command lines in `setup`, one after the other."""

    def __init__(self, setup: Path) -> None:
        self.setup = setup
        self._server = subprocess.Popen(
            [sys.executable, "-c", COMMANDS],
            cwd=setup,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, module: str, arguments: Sequence[str], ranks: int = 1) -> Finished:
        """As rank 0 of `ranks`, which find out on their own, before they meet."""
        launch = {"RANK": 0, "WORLD_SIZE": ranks, "LOCAL_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 9}
        request = {
            "module": module,
            "log": str(self.setup / "log"),
            "environment": {name: str(value) for name, value in launch.items()} if ranks > 1 else {},
            "arguments": ["--config-dir", str(self.setup / "configs"), *arguments],
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        return Finished(code=code, output=(self.setup / "log").read_text())

    def refuses(
        self, module: str, arguments: Sequence[str], message: str, code: ExitCode = ExitCode.CONFIG, ranks: int = 1
    ) -> None:
        done = self(module, arguments, ranks)
        assert done.code == code, done.output
        _, is_said, said = f"\n{done.output}".partition("\nerror: ")
        assert is_said, done.output
        assert re.search(message, said), done.output
        assert "Traceback" not in done.output
        assert "building" not in done.output

    def close(self) -> None:
        self._server.communicate(timeout=60)


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    started = Commands(small_setup(tmp_path_factory.mktemp("bad_input")))
    yield started
    started.close()


@pytest.mark.parametrize(
    ("ranks", "overrides", "message"),
    [
        (1, ["model.path=/nowhere/model"], r"/nowhere/model: no such directory; model\.path must be"),
        (1, ["parallel.tensor=2"], r"parallel\.tensor=2 .* does not divide the 1 rank of this job"),
        (3, ["parallel.tensor=3"], r"parallel\.tensor=3 does not divide .*attention heads \(2\); these work: 1, 2"),
        (3, ["parallel.pipeline=3"], r"parallel\.pipeline=3 does not divide .* 2 layers; these work: 1, 2"),
        (3, ["rollout.tensor=3"], r"rollout\.tensor=3 does not divide the model's attention heads"),
        (4, ["rollout.tensor=3"], r"rollout\.tensor=3 does not divide the 4 ranks of this job; these work: 1, 2, 4"),
        (1, ["recipe.prompts_per_update=3"], r"recipe\.prompts_per_step=4 .*=3; prompts_per_update may be 1, 2, 4"),
        (32, ["cluster.nodes=4"], r"prompts_per_update=4 .* 32 data-parallel ranks; prompts_per_update of 8 or more"),
        (1, ["rollout.max_response_tokens=100"], r"48 .*=100 = 148 is more than the model's context \(128 positions\)"),
        (1, ["recipe.kl_cof=1"], r"recipe\.kl_cof: no such setting; did you mean recipe\.kl\.coef"),
        (1, ["recipe.kl.estimator=k4"], r"recipe\.kl\.estimator=k4: .*These work: k1, k2, k3"),
        (1, ["experiment=smal"], r"configs/experiment/smal\.yaml does not exist; did you mean small"),
    ],
)
def test_settings(commands: Commands, ranks: int, overrides: list[str], message: str) -> None:
    commands.refuses(TRAIN, ["experiment=small", *overrides], message, ranks=ranks)
    assert not (commands.setup / "runs").exists()


def changed_model(commands: Commands, name: str, **changes: Any) -> Path:
    """A copy of the model with other lines in its config.json."""
    model = commands.setup / name
    shutil.copytree(commands.setup / "model", model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | changes))
    return model


def test_key_value_heads(commands: Commands) -> None:
    model = changed_model(commands, "grouped", num_attention_heads=6)
    message = r"parallel\.tensor=3 does not divide the model's key/value heads \(2\), nor they it; these work: 1, 2"
    commands.refuses(TRAIN, ["experiment=small", f"model.path={model}", "parallel.tensor=3"], message, ranks=3)


def test_unknown_architecture(commands: Commands) -> None:
    model = changed_model(commands, "mamba", architectures=["MambaForCausalLM"])
    message = rf"{model}/config\.json: architectures=\['MambaForCausalLM'\] .*these work: Qwen2ForCausalLM, Qwen3"
    commands.refuses(TRAIN, ["experiment=small", f"model.path={model}"], message)


@pytest.mark.parametrize("keep", [0.0, 0.9])
def test_half_written_config(commands: Commands, keep: float) -> None:
    model = changed_model(commands, f"config{keep}")
    file = model / "config.json"
    file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])
    message = rf"{file}: not valid JSON .* half-written or damaged"
    commands.refuses(TRAIN, ["experiment=small", f"model.path={model}"], message)


@pytest.mark.parametrize("left", ["half of the header", "all but a byte", "a pickle"])
def test_half_written_weights(commands: Commands, left: str) -> None:
    model = changed_model(commands, left.replace(" ", "_"))
    file = model / "model.safetensors"
    (header,) = struct.unpack("<Q", file.read_bytes()[:8])
    size = file.stat().st_size
    sizes = {"half of the header": 8 + header // 2, "all but a byte": size - 1}
    if left in sizes:
        os.truncate(file, sizes[left])
        message = rf"{file}: (truncated or not a safetensors file|has {sizes[left]} bytes but its header promises)"
    else:
        file.rename(model / "pytorch_model.bin")
        message = rf"{model}/pytorch_model\.bin: pickled weights are refused .* convert the checkpoint to safetensors"
    commands.refuses(TRAIN, ["experiment=small", f"model.path={model}"], message)


GOOD = '{"prompt": "1+1=", "answer": "2", "solution": "2"}'


@pytest.mark.parametrize(
    ("module", "broken", "message"),
    [
        (TRAIN, '{"prompt": "1+1=", "answ', r"not JSON"),
        (TRAIN, '{"prompt": "1+1="}', r"field 'answer' is missing"),
        (
            WARMSTART,
            '{"prompt": "1", "answer": "1", "verifier": "maths"}',
            r"verifier must be math or exact, not 'maths'",
        ),
    ],
)
def test_broken_line_of_a_data_file(commands: Commands, module: str, broken: str, message: str) -> None:
    file = commands.setup / "data.jsonl"
    file.write_text("\n".join([GOOD, GOOD, broken, GOOD]) + "\n")
    arguments = data_file(commands, module, file)
    commands.refuses(module, arguments, rf"{file}:3: {message}", ExitCode.DATA)


@pytest.mark.parametrize("module", [TRAIN, WARMSTART])
def test_problems_of_a_file_that_do_not_fit(commands: Commands, module: str) -> None:
    """Said before the first step, not at the step that draws the problem."""
    file = commands.setup / "data.jsonl"
    long = json.dumps({"prompt": "+".join("1" * 60) + "=", "answer": "60", "solution": "60"})
    file.write_text("\n".join([GOOD] * 100 + [long] + [GOOD] * 100) + "\n")
    arguments = data_file(commands, module, file)
    if module == TRAIN:
        message = rf"{file}:101: the prompt of file/101 has 120 tokens and rollout\.max_prompt_tokens is 48;"
        commands.refuses(module, arguments, message, ExitCode.DATA)
    else:
        message = rf"{file}:101: the worked example of file/101 has 123 tokens and max_tokens is 96; raise max_tokens"
        commands.refuses(module, arguments, message, ExitCode.DATA)


def data_file(commands: Commands, module: str, file: Path) -> list[str]:
    entry = {"name": "math", "options": {"path": str(file), "answer": "line"}}
    (commands.setup / "configs" / "tasks" / "file.yaml").write_text(json.dumps({"mixture": {"file": entry}}))
    experiment = {TRAIN: ["experiment=small", "name=data"], WARMSTART: ["experiment=small_base", "output=data"]}
    return [*experiment[module], "tasks=file"]


def test_data_and_code_that_changed_since_the_checkpoint(commands: Commands) -> None:
    """Said before anything is built, to a run that would go on."""
    rows, code = commands.setup / "rows.jsonl", commands.setup / "code" / "my_rules.py"
    before = "\n".join(json.dumps({"prompt": f"{i}+1=", "answer": str(i + 1)}) for i in range(60))
    rows.write_text(before)
    code.parent.mkdir()
    code.write_text("")
    file = {"name": "math", "weight": 0, "options": {"path": str(rows), "answer": "line"}}
    tasks = {"mixture": TASKS | {"file": file}, "modules": [str(code)]}
    (commands.setup / "configs" / "tasks" / "changing.yaml").write_text(json.dumps(tasks))
    arguments = ["experiment=small", "name=changing", "tasks=changing"]
    first = commands(TRAIN, [*arguments, "schedule.steps=1"])
    assert first.code == 0, first.output
    rows.write_text(before[: before.rindex("\n")])
    message = r"rows\.jsonl has changed since the checkpoint was written \(60 problems then, 59 now\)"
    commands.refuses(TRAIN, [*arguments, "schedule.steps=2"], message, ExitCode.DATA)
    rows.write_text(before)
    code.write_text("RULE = 1\n")
    moved = rows.rename(commands.setup / "moved.jsonl")  # which is no reason to refuse
    arguments += ["schedule.steps=2", f"tasks.mixture.file.options.path={moved}"]
    commands.refuses(TRAIN, arguments, r"tasks\.modules: .*my_rules\.py changed since")
    assert "options.path" not in (commands.setup / "runs" / "changing" / "decisions.jsonl").read_text()


def test_places_to_write_to(commands: Commands, uninterrupted: tuple[Finished, Path], run_arguments: Any) -> None:
    """A run directory of another run, of a run that is going on, of a broken one; a file in the way."""
    model = f"model.path={uninterrupted[1].parents[1] / 'model'}"
    arguments = [*run_arguments, model, "name=taken"]
    run = commands.setup / "runs" / "taken"
    shutil.copytree(uninterrupted[1], run)
    commands.refuses(
        TRAIN, [*arguments, "resume=never"], r"resume=never, but runs/taken/checkpoints/step_000010 exists"
    )
    commands.refuses(
        TRAIN, [*arguments, "seed=5"], r"after step 10 with these settings:\n  seed: 1 before, 5 now; .*\nSet .* back"
    )
    stat = Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()
    holder = {"host": os.uname().nodename, "pid": os.getpid(), "started": int(stat[19]), "job": ""}
    (run / "LOCK").write_text(json.dumps(holder))
    commands.refuses(TRAIN, arguments, rf"runs/taken is in use by process {os.getpid()} on")
    (run / "LOCK").unlink()
    for checkpoint in (run / "checkpoints").glob("step_*"):
        os.truncate(checkpoint / "policy-tp00-pp00.safetensors", 100)
    commands.refuses(TRAIN, arguments, r"has checkpoints but none is intact:\n  step_000010: .*policy-tp00-pp00",
                     ExitCode.NO_VALID_CHECKPOINT)  # fmt: skip
    (commands.setup / "file").write_text("")
    commands.refuses(TRAIN, [*arguments, "root=file"], r"creating file/taken failed", ExitCode.STORAGE)
    warm = ["experiment=small_base", "output=thesis"]
    (commands.setup / "thesis").mkdir()
    commands.refuses(WARMSTART, warm, r"thesis: exists and is not a checkpoint; name another directory or remove it")


class Recited:
    """An engine whose answers are known in advance."""

    version = 0

    def __init__(self, answers: list[list[str]]) -> None:
        self._answers = answers

    def generate(self, prompts: list[np.ndarray], **settings: Any) -> Generator[protocols.Finished]:
        tokenizer = Tokenizer(TOKENIZER)
        texts = [text for group in self._answers[: len(prompts)] for text in group]
        yield list(enumerate(self._completion(tokenizer.encode(text)) for text in texts))

    def _completion(self, tokens: np.ndarray) -> Completion:
        zeros = np.zeros(len(tokens), dtype=np.float32)
        return Completion(tokens=tokens, logprobs=zeros, finish=FinishReason.STOP, version=0)


def test_a_verifier_that_crashes_or_hangs_teaches_nothing() -> None:
    """Infrastructure errors are retried and counted; they are no reward of 0, in no mean and in no advantage."""
    answers = [
        ["good", "raise", "sleep", "bad"],  # two verdicts, which differ
        ["segfault", "good", "exit", "kill"],  # one verdict: nothing to compare it with
        ["good", "abort", "good", "good"],  # the one without a verdict is not a wrong one
        ["bad", "good", "bad", "bad"],
    ]
    settings = hostile_config(workers=2, timeout_s=1.0, retries=1)
    with VerifierPool(settings) as verifiers:
        collector = Collector(
            rollout=Recited(answers),  # type: ignore[arg-type]
            verifiers=verifiers,
            tokenizer=Tokenizer(TOKENIZER),
            layout=ParallelLayout(world_size=1, rank=0, tensor_size=1, tensor_rank=0, pipeline_size=1, pipeline_rank=0,
                          data_size=1, data_rank=0),
            engine_size=1,
            seed=1,
        )  # fmt: skip
        recipe = RecipeConfig(
            prompts_per_step=4,
            samples_per_prompt=4,
            prompts_per_update=4,
            selection=SelectionConfig(max_sampling_rounds=1),
        )
        sampling = Sampling(samples=4, temperature=1.0, stream="step 0")
        problems = Curriculum(Mixture(settings, seed=1), recipe.curriculum)
        kept, sampled, metrics = collect_informative(collector, problems, recipe, sampling)
        counters = verifiers.counters
    broken = [text for group in answers for text in group if text not in ("good", "bad")]
    assert metrics["verifier/infra_errors"] == counters.infra_errors == counters.retries == len(broken) == 6
    assert counters.timeouts == 2
    assert metrics["reward/mean"] == metrics["pass/train"] == pytest.approx(6 / 10)
    assert metrics["groups/dropped/too_few_scored"] == metrics["groups/dropped/all_correct"] == 1
    assert (metrics["groups/kept"], metrics["groups/sampled"]) == (2, 4)
    assert len(sampled) == 4
    assert texts(kept) == [answers[0], answers[3]]

    sequences = to_train_samples(kept, recipe)
    assign_advantages(kept, sequences, recipe, kl_coef=0.0)
    assert [len(sequence.tokens) - sequence.prompt_length for sequence in sequences] == [4, 3, 3, 4, 3, 3]
    half = 0.5**0.5
    assert [sequence.advantage for sequence in sequences] == pytest.approx(
        [half, -half, -0.5, 1.5, -0.5, -0.5], abs=1e-4
    )


def texts(groups: list[Group]) -> list[list[str]]:
    return [[sample.text for sample in group.samples] for group in groups]

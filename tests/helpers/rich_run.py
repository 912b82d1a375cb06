"""A long run with everything that a page can show: many tasks, decisions with reasons, answers of steps, stores."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from helpers.stores import header, sample, write_store
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from prorl_mega.config.schema import ModelConfig, RunConfig, ScheduleConfig, TaskConfig, TasksConfig
from prorl_mega.evaluation.conditions import conditions
from prorl_mega.evaluation.pass_at_k import pass_at_k
from prorl_mega.run.decisions import SettingChange, append_decisions, go_on
from prorl_mega.run.evaluations import write_evaluation
from prorl_mega.run.jsonl import to_lines
from prorl_mega.run.sample_store import StoredProblem, StoredSample, StoredVerdict
from prorl_mega.run.settings import write_settings
from prorl_mega.types import Event

TASKS = ("boxnet", "chain_sum", "code", "family_relationships", "gcd", "graph_color", "math", "puzzle24")
SAMPLES, PROBLEMS = 16, 12  # per problem; problems per task
RESETS = (0.22, 0.41, 0.63, 0.84)  # shares of the run after which the reference was reset


def record_rich_run(directory: Path, steps: int, *, answers: int = 60) -> None:
    """Write a run of `steps` steps, and `model` with its tokenizer beside it; `answers`: steps that have kept some."""
    directory.mkdir(parents=True)
    model, tokenizer = str(directory.parent / "model"), _tokenizer(directory.parent / "model")
    config = RunConfig(
        name=directory.name,
        model=ModelConfig(path=model),
        schedule=ScheduleConfig(steps=steps),
        tasks=TasksConfig(mixture={task: TaskConfig(name=task) for task in TASKS}),
    )
    write_settings(directory / "config.yaml", config)
    dice = np.random.default_rng(0)
    rows = [{"step": 0, **_evaluated(0.0, dice)}]
    rows += [{"step": step, **_metrics(step, steps, dice)} for step in range(1, steps + 1)]
    (directory / "metrics.jsonl").write_text(to_lines(rows))
    _decide(directory / "decisions.jsonl", steps)
    (directory / "samples").mkdir()
    for step in sorted({max(1, round(steps * (each + 1) / answers)) for each in range(answers)}):
        path = directory / "samples" / f"step_{step:06d}.jsonl"
        path.write_text(to_lines([_kept(step, steps, number) for number in range(4)], readable=True))
    for label, step, ability in (("base", 0, 0.15), ("final", steps, 0.6)):
        _evaluate(directory / "evaluation", config, label, step, ability, tokenizer)


def resets(steps: int) -> list[int]:
    return [round(share * steps) for share in RESETS]


def _progress(step: int, steps: int) -> float:
    return 1 - math.exp(-2.6 * step / steps)


def _metrics(step: int, steps: int, dice: np.random.Generator) -> dict[str, float]:
    done, since = _progress(step, steps), step - max([0, *(each for each in resets(steps) if each < step)])
    long = step / steps > 0.63
    rewards = {
        f"reward/{task}": float(np.clip(0.12 + (0.25 + 0.06 * number) * done + dice.normal(0, 0.035), 0, 1))
        for number, task in enumerate(TASKS)
    }
    mean = float(np.mean(list(rewards.values())))
    metrics = {
        "reward/mean": mean,
        "pass/train": mean - 0.02 + dice.normal(0, 0.01),
        "policy/kl": 0.00025 * since * (1 + dice.normal(0, 0.03)) * 600 / steps,
        "policy/entropy": 0.42 + 0.5 * math.exp(-5 * step / steps) + dice.normal(0, 0.012),
        "policy/clipped_low": abs(dice.normal(0.002, 0.0006)),
        "policy/clipped_high": abs(dice.normal(0.006, 0.001)),
        "optimizer/grad_norm": float(dice.lognormal(-1.6, 0.25)),
        "reference/reset": float(step in resets(steps)),
        "length/mean": 2200 + 3100 * done + (900 if long else 0) + dice.normal(0, 140),
        "length/truncated": abs(0.03 + (0.05 if not long else 0.01) * done + dice.normal(0, 0.008)),
        "sampler/logprob_gap": float(dice.lognormal(-4.6, 0.15)),
        "sampler/logprob_gap_max": float(dice.lognormal(-1.2, 0.4)),
        "groups/dropped/all_solved": float(dice.poisson(3 + 40 * done)),
        "groups/dropped/none_solved": float(dice.poisson(45 - 25 * done)),
        "memory/resident_mib": 41000 + 20 * math.sqrt(step) + dice.normal(0, 40),
        "seconds/rollout": 61 + 30 * done + dice.normal(0, 3),
        "seconds/update": 38 + dice.normal(0, 1),
        "seconds/logprobs": 12 + dice.normal(0, 0.6),
        "seconds/sync": 3.2 + dice.normal(0, 0.2),
        "seconds/tokens_per_second": 31000 + 4000 * done + dice.normal(0, 900),
    }
    metrics["seconds/step"] = sum(metrics[f"seconds/{name}"] for name in ("rollout", "update", "logprobs", "sync"))
    return metrics | rewards | (_evaluated(done, dice) if step % max(1, steps // 48) == 0 else {})


def _evaluated(done: float, dice: np.random.Generator) -> dict[str, float]:
    found: dict[str, float] = {}
    for k, start, end in ((1, 0.16, 0.53), (16, 0.47, 0.72)):
        mean = start + (end - start) * done + dice.normal(0, 0.006)
        found |= {f"evaluation/pass@{k}": mean, f"evaluation/pass@{k}_low": mean - 0.035}
        found[f"evaluation/pass@{k}_high"] = mean + 0.035
        for number, task in enumerate(TASKS):
            found[f"evaluation/pass@{k}/{task}"] = float(np.clip(mean + 0.05 * (number - 3.5) * (0.4 + done), 0, 1))
    return found


def _decide(path: Path, steps: int) -> None:
    for number, step in enumerate(resets(steps)):
        best = 0.25 + 0.08 * number
        append_decisions(
            path,
            step - 3,
            (Event(trigger="plateau", action="wait", text="reference reset waits (min_distance): no better score"),),
        )
        append_decisions(
            path,
            step,
            (
                Event(
                    trigger="plateau",
                    action="reset",
                    numbers={"score": best - 0.01, "best": best},
                    limits={"patience": 8},
                    text=f"reference reset: evaluation/pass@1={best - 0.01:.3f} after 8 validations no better than "
                    f"{best:.3f}, patience=8",
                ),
            ),
        )
        if number == 2:
            append_decisions(
                path,
                step,
                (
                    Event(
                        trigger="stage",
                        action="next_stage",
                        text="stage 2 of 2 (long answers) begins: 4 resets are done",
                    ),
                ),
            )
    change = SettingChange(step=round(0.5 * steps), key="optimizer.learning_rate", before=2e-6, after=1e-6)
    rest = [json.loads(line) for line in path.read_text().splitlines() if json.loads(line)["step"] > change.step]
    go_on(path, change.step, [change])
    with path.open("a") as file:
        file.write(to_lines(rest))


def _kept(step: int, steps: int, number: int) -> dict[str, Any]:
    right = (step + number) % 3 > 0 if step > steps // 3 else (step + number) % 4 == 0
    a, b = 17 + step % 40, 23 + number
    text = f"<think>\nLet me add the numbers. {a} + {b} is {a + b}. I check it: {a + b} − {b} = {a}.\n</think>\n\n"
    return {
        "key": f"{TASKS[number]}/{step * 4 + number}", "task": TASKS[number],
        "prompt": f"What is {a} + {b}? Put the answer into \\boxed{{}}.",
        "completion": text * 3 + f"\\boxed{{{a + b if right else a + b + 1}}}",
        "reward": 1.0 if right else 0.0, "outcome": "scored", "tokens": 90, "truncated": False,
    }  # fmt: skip


def _solved(label: str, ability: float, number: int) -> int:
    """Of SAMPLES; some problems are solved by one of the policies only."""
    if number % 11 == 0:
        return 0 if label == "base" else 5
    if number % 29 == 3:
        return 2 if label == "base" else 0
    return min(SAMPLES, round(SAMPLES * ability * (number % 5) / 3))


def _evaluate(directory: Path, config: RunConfig, label: str, step: int, ability: float, tokenizer: Tokenizer) -> None:
    counts = [(task, number, _solved(label, ability, number)) for number, task in enumerate(TASKS * PROBLEMS)]
    metrics = {
        f"evaluation/pass@{k}": float(np.mean([pass_at_k(SAMPLES, solved, k) for *_, solved in counts]))
        for k in (1, 2, 4, 8, 16)
    }
    metrics |= {f"evaluation/pass@{k}{end}": metrics[f"evaluation/pass@{k}"] + away
                for k in (1, 16) for end, away in (("_low", -0.05), ("_high", 0.05))}  # fmt: skip
    write_evaluation(
        directory, label=label, step=step, metrics=metrics,
        settings=conditions(config, problems_per_task=PROBLEMS, max_tokens=8192),
        problems=[
            {"key": f"{task}/{number}", "task": task, "samples": SAMPLES, "solved": solved,
             "mean_reward": solved / SAMPLES, "prompt": _prompt(number), "completion": _text(number, 0, solved)}
            for task, number, solved in counts
        ],
    )  # fmt: skip
    problems = [StoredProblem(key=f"{task}/{number}", task=task, prompt=_prompt(number)) for task, number, _ in counts]
    places = [(number, each, solved) for _, number, solved in counts for each in range(SAMPLES)]
    verdicts = [
        StoredVerdict(
            problem=number, sample=each, reward=float(each < solved), answer=str(3 * number + (each >= solved))
        )
        for number, each, solved in places
    ]
    about = header(label, SAMPLES, step=step, provenance={"prorl_mega": "0.2", "commit": "0123456789ab"})
    write_store(directory / label, problems, [_stored(*place, tokenizer) for place in places], verdicts, about)


def _prompt(number: int) -> str:
    return f"A train has {number} waggons of three seats each. How many seats has it? Put the answer into \\boxed{{}}."


def _text(number: int, each: int, solved: int) -> str:
    right = 3 * number + (each >= solved)
    return f"Three seats for each of the {number} waggons, é, that is 3 · {number} = {right}.\n\\boxed{{{right}}}"


def _stored(number: int, each: int, solved: int, tokenizer: Tokenizer) -> StoredSample:
    text = _text(number, each, solved)
    ids = [*tokenizer.encode(text).ids, 0]
    dice = np.random.default_rng(1000 * number + each)
    logprobs = [round(float(-(value**3)), 4) for value in dice.exponential(0.6, len(ids))]
    return sample(number, each, text, tokens=ids, logprobs=logprobs, length=len(ids))


def _tokenizer(directory: Path) -> Tokenizer:
    """A tokenizer of bytes and what they often form; id 0 ends an answer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([_text(number, 0, 1) for number in range(40)], trainer)
    directory.mkdir(exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    return tokenizer

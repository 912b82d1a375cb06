"""Evaluations whose answers are made up, with the stores that they are summarised from: what a report says is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from helpers.stores import header, sample, write_store

from prorl_mega.evaluation.store_summary import summarise_store
from prorl_mega.run.evaluations import write_evaluation
from prorl_mega.run.sample_store import SampleStore, StoredProblem, StoredSample, StoredVerdict

WORKING = "We look for the total of both baskets, so we add them one by one: 17 + 25 = 42 apples in the end."


@dataclass(kw_only=True, frozen=True)
class Answer:
    """An answer of which the report must find out what is wrong with it, if anything."""

    text: str = f"{WORKING} <answer>42</answer>"
    reward: float | None = 1.0
    relaxed: float | None = None
    answer: str = "42"
    finish: str = "stop"
    length: int = 30
    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()


RIGHT = Answer()
WRONG = Answer(text=f"{WORKING} <answer>41</answer>", reward=0.0, answer="41")
OTHER_FORM = Answer(text=f"{WORKING} \\boxed{{42}}", reward=0.0, relaxed=1.0)
CUT_OFF = Answer(text=WORKING[:60], reward=0.0, answer="", finish="length", length=100)


def many(solved: int, right: Answer = RIGHT, wrong: Answer = WRONG, samples: int = 32) -> list[Answer]:
    """The answers to a problem: `solved` right ones, the rest wrong, and each WRONG one in another way."""
    rest = range(samples - solved)
    return [right] * solved + [replace(wrong, answer=str(43 + i)) if wrong.answer == "41" else wrong for i in rest]


def plant(
    directory: Path, label: str, tasks: Mapping[str, Sequence[Sequence[Answer]]], config: dict[str, Any] | None = None
) -> Path:
    """Write `evaluation/<label>/` and its JSON, whose path is returned, from the answers to each task's problems."""
    problems: list[StoredProblem] = []
    samples: list[StoredSample] = []
    verdicts: list[StoredVerdict] = []
    for task, of_task in tasks.items():
        for index, answers in enumerate(of_task):
            prompt = f"Basket {index} of {task}: there are 17 apples in one basket and 25 in another one, how many?"
            at = len(problems)
            for number, each in enumerate(answers):
                changes: dict[str, Any] = {"finish": each.finish, "length": each.length}
                if each.tokens:
                    changes |= {"tokens": list(each.tokens), "logprobs": list(each.logprobs)}
                samples.append(sample(at, number, each.text, **changes))
                verdicts.append(
                    StoredVerdict(
                        problem=at, sample=number, reward=each.reward, relaxed=each.relaxed, answer=each.answer
                    )
                )
            problems.append(StoredProblem(key=f"{task}/{index}", task=task, prompt=prompt))
    folder = directory / "evaluation"
    about = header(label, samples=max(len(each) for of_task in tasks.values() for each in of_task), config=config or {})
    store = SampleStore(write_store(folder / label, problems, samples, verdicts, about))
    metrics, records = summarise_store(store)
    write_evaluation(folder, label=label, step=0, settings=store.header.settings, metrics=metrics, problems=records)
    return folder / f"{label}.json"

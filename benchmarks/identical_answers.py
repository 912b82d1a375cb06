"""Honest answers that are taken for copies: `hack/identical` on steps that are drawn from the answers of evaluations.

    python benchmarks/identical_answers.py runs/demo/evaluation/base runs/demo/evaluation/final

Each step has 32 of the problems with up to 16 answers each. `repeated` is the plain share of right answers whose text
is that of an answer to another problem.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from prorl_mega.recipe.hack_signs import SHARE, hack_metrics
from prorl_mega.run.sample_store import SampleStore
from prorl_mega.types import Completion, FinishReason, Group, Problem, Sample, Verdict

STEPS, PROBLEMS, SAMPLES = 200, 32, 16


def read_groups(directory: Path) -> list[Group]:
    """The judged answers of an evaluation's store, by problem."""
    store = SampleStore(directory)
    samples: dict[int, list[Sample]] = defaultdict(list)
    for stored, verdict in store.judged():
        if verdict is None or verdict.reward is None:
            continue
        completion = Completion(
            tokens=np.array(stored.tokens or list(stored.text.encode()), np.int32),
            logprobs=np.zeros(0, np.float32),
            finish=FinishReason(stored.finish),
            version=0,
        )
        samples[stored.problem].append(Sample(completion=completion, verdict=Verdict(reward=verdict.reward)))
    problems = store.problems()
    return [
        Group(
            problem=Problem(key=problems[number].key, task=problems[number].task, prompt=problems[number].prompt),
            prompt_tokens=np.frombuffer(problems[number].prompt.encode(), np.uint8).astype(np.int32),
            samples=found[:SAMPLES],
        )
        for number, found in samples.items()
    ]


def repeated(groups: list[Group]) -> float:
    """The share of right answers whose text is that of an answer to another problem of their task."""
    owners: dict[tuple[str, bytes], set[str]] = defaultdict(set)
    right = [
        ((group.problem.task, sample.completion.tokens.tobytes()), group.problem.prompt)
        for group in groups
        for sample in group.samples
        if sample.verdict is not None and sample.verdict.reward >= 1
    ]
    for text, prompt in right:
        owners[text].add(prompt)
    return sum(len(owners[text]) > 1 for text, _ in right) / max(1, len(right))


def main() -> None:
    for directory in map(Path, sys.argv[1:]):
        groups, dice = read_groups(directory), np.random.default_rng(0)
        drawn = [dice.choice(len(groups), min(PROBLEMS, len(groups)), replace=False) for _ in range(STEPS)]
        steps = [[groups[number] for number in numbers] for numbers in drawn]
        shares = [hack_metrics(step)[SHARE["identical"]] for step in steps]
        print(
            f"{directory}: {len(groups)} problems, repeated {np.mean([repeated(step) for step in steps]):.1%}, "
            f"hack/identical {np.nanmean(shares):.2%}, at most {np.nanmax(shares):.2%}"
        )


if __name__ == "__main__":
    main()

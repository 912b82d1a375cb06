"""Signs that a policy earns its reward in another way than was meant, in the answers of one step.

A verifier that can be fooled is found by the policy sooner or later, and nothing in the reward says so. Two signs need
nothing but the answers and their verdicts:

- *unscorable*: the verifier found no answer in the form that was asked for. A share that rises means that the policy
  has drifted away from the form, or is rewarded without it.
- *identical*: an answer with full marks, word for word one to another problem. Two sums may have the same result, so a
  short answer counts only where it alone solves most of the many problems that its task had in the step; a worked
  answer, which names what its problem is about, counts wherever it comes back.

`hack_metrics` are numbers, the same on every rank, since all ranks hold all tokens. `suspects` are the answers behind
them. `alarms.py` judges the numbers over steps.
"""

from __future__ import annotations

import math
from collections import defaultdict

from prorl_mega.config.schedule import ALARMS
from prorl_mega.types import Group, Metrics, Outcome, Sample

UNSCORABLE, IDENTICAL, DISPUTED, REWARD_JUMP = ALARMS
SHARE = {sign: f"hack/{sign}" for sign in (UNSCORABLE, IDENTICAL, DISPUTED)}
"""The metrics of signs that are shares of answers."""
SECOND_OPINIONS = "hack/second_opinions"  # answers that a second verifier has judged in the step

FULL = 1 - 1e-6  # reward of a solved problem
WORKED = 32  # tokens from which an answer says more than a result
MANY = 8  # solved problems of a task, from which one answer to most of them is no accident
MOST = 0.75  # of them
SHOWN = 6  # answers per sign

Answer = tuple[Group, Sample]


def hack_metrics(groups: list[Group]) -> Metrics:
    """The shares of scored answers that are unscorable, and of answers with full marks that are identical; NaN where
    there is none."""
    scored = [sample for group in groups for sample in group.scored()]
    unscorable = [sample for sample in scored if _is_formless(sample)]
    solved = sum(map(is_solved, scored))
    return {
        SHARE[UNSCORABLE]: len(unscorable) / len(scored) if scored else math.nan,
        SHARE[IDENTICAL]: len(identical_answers(groups)) / solved if solved else math.nan,
    }


def suspects(groups: list[Group]) -> dict[str, list[Answer]]:
    """A few answers behind each sign that can be seen in them: of different problems, those that say most first."""
    formless = [(group, sample) for group in groups for sample in group.scored() if _is_formless(sample)]
    formless.sort(key=lambda each: -_reward(each[1]))  # rewarded without the form before all others
    solved = [(group, sample) for group in groups for sample in group.scored() if is_solved(sample)]
    return {
        UNSCORABLE: of_different_problems(formless),
        IDENTICAL: of_different_problems(identical_answers(groups)),
        REWARD_JUMP: of_different_problems(solved),
    }


def identical_answers(groups: list[Group]) -> list[Answer]:
    """The answers with full marks that are word for word answers to other problems of their task; those of the answer
    to the most problems first."""
    found: list[tuple[int, list[Answer]]] = []
    for by_tokens in _solutions(groups).values():
        problems = len({_question(group) for answers in by_tokens.values() for group, _ in answers})
        for answers in by_tokens.values():
            solves = len({_question(group) for group, _ in answers})
            is_worked = len(answers[0][1].completion.tokens) >= WORKED
            if (is_worked and solves > 1) or (problems >= MANY and solves > MOST * problems):
                found.append((solves, answers))
    return [answer for _, answers in sorted(found, key=lambda each: -each[0]) for answer in answers]


def of_different_problems(answers: list[Answer], most: int = SHOWN) -> list[Answer]:
    """The first answer to each problem, in turn with the tasks, up to `most`."""
    first: dict[bytes, Answer] = {}
    for group, sample in answers:
        first.setdefault(_question(group), (group, sample))
    turns: dict[str, int] = defaultdict(int)
    ranked = []
    for group, sample in first.values():
        ranked.append((turns[group.problem.task], (group, sample)))
        turns[group.problem.task] += 1
    return [answer for _, answer in sorted(ranked, key=lambda each: each[0])[:most]]


def is_solved(sample: Sample) -> bool:
    """Whether the verifier gave full marks."""
    return sample.verdict is not None and sample.verdict.outcome is Outcome.SCORED and _reward(sample) >= FULL


def _solutions(groups: list[Group]) -> dict[str, dict[bytes, list[Answer]]]:
    """Answers with full marks by task and by their tokens."""
    found: dict[str, dict[bytes, list[Answer]]] = defaultdict(lambda: defaultdict(list))
    for group in groups:
        for sample in group.scored():
            if is_solved(sample):
                found[group.problem.task][sample.completion.tokens.tobytes()].append((group, sample))
    return found


def _question(group: Group) -> bytes:
    """The tokens of the prompt, which tell problems apart: rows of a file may come twice under two keys."""
    return group.prompt_tokens.tobytes()


def _is_formless(sample: Sample) -> bool:
    return sample.verdict is not None and not sample.verdict.found


def _reward(sample: Sample) -> float:
    return 0.0 if sample.verdict is None else sample.verdict.reward

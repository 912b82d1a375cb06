"""The summary of an evaluation from the answers that it kept: the metrics of `summary.py`, and those below.

evaluation/avg@n              the mean share of solved samples, n the most samples of a problem: pass@1 from n samples
evaluation/maj@n              the share of problems whose most common answer is right (`majority.py`)
evaluation/relaxed_pass@k     pass@k if the form of an answer does not matter; not where no verifier has tried
evaluation/tokens             of all answers
evaluation/missing            samples that were asked for and are not there: the evaluation is not finished
evaluation/fewest_samples     verdicts of the problem that has the fewest, of those in the means
evaluation/<name>/<task>      all but the last two for one task

Answers are read line by line, in whatever order they ended. What stays in memory is the reward of each
and the answer that was extracted from it, equal ones once: measured, 50 bytes per answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from blake3 import blake3

from prorl_mega.evaluation.majority import majority
from prorl_mega.evaluation.problem_counts import SOLVED, ProblemCounts
from prorl_mega.evaluation.summary import mean, mean_pass, metrics_of, per_task, record_of, sizes
from prorl_mega.run.sample_store import Places, RawSample, SampleStore, StoredVerdict
from prorl_mega.run.samples import shortened
from prorl_mega.types import Metrics

Vote = Callable[[Sequence[str], Sequence[float]], float | None]
"""The outcome of a vote among the answers to one problem, given with their rewards; None if there is none."""

_LONGEST_ANSWER = 64  # characters; longer ones are compared by their hash


def summarise_store(store: SampleStore, vote: Vote = majority) -> tuple[Metrics, list[dict[str, Any]]]:
    """Metrics, and a record per problem in the order of the store (`evaluation/<label>.json`).

    The answers that `vote` gets are as the verifier extracted them ("": none), or the hash of a long one.
    """
    counts = count_answers(store, vote)
    asked = store.header.samples * len(counts)
    metrics = metrics_of(counts) | {f"evaluation/{name}": value for name, value in _summary(counts).items()}
    metrics |= {
        "evaluation/missing": float(max(asked - sum(each.answers for each in counts), 0)),
        "evaluation/fewest_samples": float(min((each.samples for each in counts if each.samples), default=0)),
    }
    return metrics | per_task(counts, _summary), [record_of(each) for each in counts]


def count_answers(store: SampleStore, vote: Vote = majority) -> list[ProblemCounts]:
    """The numbers of every problem that was asked for, in the order of the store. Answers to a problem that it does not
    name do not count, nor verdicts on answers that are not there."""
    tallies = [
        _Tally(ProblemCounts(key=each.key, task=each.task, prompt=shortened(each.prompt))) for each in store.problems()
    ]
    there = Places()
    first = [-1] * len(tallies)  # number of the sample that is shown
    for sample in store.samples_as(RawSample):
        if sample.problem >= len(tallies):
            continue
        there.add(sample.problem, sample.sample)
        counts = tallies[sample.problem].counts
        counts.answers += 1
        counts.tokens += sample.length
        counts.truncated += sample.is_truncated
        if not 0 <= first[sample.problem] < sample.sample:
            first[sample.problem] = sample.sample
            counts.completion = shortened(sample.text_only())
    for verdict in store.verdicts():
        if (verdict.problem, verdict.sample) in there and verdict.reward is not None:
            tallies[verdict.problem].add(verdict, verdict.reward)
    if (asked := store.header.asked) is not None:
        tallies = [tallies[number] for number in asked if number < len(tallies)]
    relaxing = {each.counts.task for each in tallies if each.is_relaxed}
    return [each.finished(each.counts.task in relaxing, vote) for each in tallies]


class _Tally:
    """The verdicts on one problem so far."""

    def __init__(self, counts: ProblemCounts) -> None:
        self.counts = counts
        self.is_relaxed = False  # whether a verifier has looked beyond the form of an answer
        self._relaxed = 0
        self._answers: list[str] = []  # of the verdicts, equal ones the same object
        self._known: dict[str, str] = {}

    def add(self, verdict: StoredVerdict, reward: float) -> None:
        self.counts.rewards.append(reward)
        self.is_relaxed |= verdict.relaxed is not None
        self._relaxed += max(reward, reward if verdict.relaxed is None else verdict.relaxed) >= SOLVED
        answer = verdict.answer
        if len(answer) > _LONGEST_ANSWER:
            answer = blake3(answer.encode(errors="surrogatepass")).hexdigest()[:32]
        self._answers.append(self._known.setdefault(answer, answer))

    def finished(self, is_relaxed: bool, vote: Vote) -> ProblemCounts:
        """The counts. `is_relaxed`: some answer to this task was looked at beyond its form, so that the rest of them
        need not have been."""
        if is_relaxed:
            self.counts.relaxed = self._relaxed
        if any(self._known):
            self.counts.majority = vote(self._answers, self.counts.rewards)
        return self.counts


def _summary(counts: Sequence[ProblemCounts]) -> Metrics:
    """The metrics that only a store has."""
    scored = [each for each in counts if each.samples]
    most = max((each.samples for each in counts), default=0)
    metrics: Metrics = {f"avg@{most}": mean_pass([(each.samples, each.solved) for each in scored], 1)}
    if votes := [each.majority for each in scored if each.majority is not None]:
        metrics[f"maj@{most}"] = mean(votes)
    if any(each.relaxed is not None for each in scored):  # of other tasks' problems the form made no difference
        relaxed = [(each.samples, each.solved if each.relaxed is None else each.relaxed) for each in scored]
        metrics |= {f"relaxed_pass@{k}": mean_pass(relaxed, k) for k in sizes(counts)}
    return metrics | {"tokens": float(sum(each.tokens for each in counts))}

"""Scored groups from problems: tokenise, sample and verify, exchange. Training and evaluation collect alike.

Every engine (one replica of the policy, `rollout.tensor` ranks) samples its share of the problems; the first rank of
the engine has them scored, each as soon as it ends, while the others are sampled; then all ranks hold all groups, in
the order the problems were drawn.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from prorl_mega import faults
from prorl_mega.config.schema import RecipeConfig
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.distributed.vote import StepwiseVote
from prorl_mega.errors import NoInformativeGroupsError
from prorl_mega.huggingface.tokenizer import Tokenizer
from prorl_mega.protocols import Finished, Rollout, Verifiers
from prorl_mega.recipe.curriculum import Curriculum
from prorl_mega.recipe.hack_signs import hack_metrics
from prorl_mega.recipe.selection import keep_informative
from prorl_mega.run.signals import Interrupted
from prorl_mega.run.timers import VERIFIER_PREFIX
from prorl_mega.seeds import sample_seed
from prorl_mega.share import Share, exchange_shares
from prorl_mega.types import FinishReason, Group, Metrics, Outcome, ParallelLayout, Problem, Sample, Scoring

WAIT_S = 0.5  # for verdicts, between two looks at whether to stop


@dataclass(kw_only=True, slots=True, frozen=True)
class Sampling:
    """Settings for sampling a batch of groups. `stream` separates the seeds of training steps and evaluations."""

    samples: int
    temperature: float
    top_p: float = 1.0
    max_tokens: int | None = None  # None: the engine's limit
    stream: str


@dataclass(kw_only=True, slots=True)
class Collector:
    """Samples and scores groups with all engines of the job."""

    rollout: Rollout
    verifiers: Verifiers
    tokenizer: Tokenizer
    layout: ParallelLayout
    engine_size: int  # ranks
    engine_ranks: Ranks = field(default_factory=Ranks.alone)  # those of this engine among themselves
    max_concurrent: int = 1  # sequences decoded at once by one engine
    seed: int
    is_stopping: Callable[[], bool] = lambda: False
    """Whether this rank has to stop soon, cheap enough to be asked several times a second."""
    scoring: list[Scoring] = field(default_factory=list, init=False)
    """The counts of scoring in the last `collect`, by engine; the same on every rank."""

    def collect(self, problems: list[Problem], sampling: Sampling, earlier: Sequence[Group] = ()) -> list[Group]:
        """One scored group per problem, in order, identical on every rank but for the texts (see `Sample`).

        A problem that is there twice, or in `earlier`, the groups of the same step so far, gets other answers.
        Raises Interrupted on every rank, and gives up what was sampled, when one of them has to stop.
        """
        engines, engine = self._engines(), self.layout.rank // self.engine_size
        seeds = self.seeds(problems, sampling, [group.problem.key for group in earlier])
        try:
            share = self._sample_and_score(problems[engine::engines], seeds[engine::engines], sampling)
        except Interrupted:
            share = Share(prompts=[], samples=[], scoring=Scoring(), is_complete=False)
        shares = exchange_shares(share)
        if not all(share.is_complete for share in shares):
            raise Interrupted
        self.scoring = [share.scoring for share in shares]
        groups = {
            position: Group(problem=problems[position], prompt_tokens=prompt, samples=samples)
            for first, share in enumerate(shares)
            for position, prompt, samples in zip(
                range(first, len(problems), engines), share.prompts, share.samples, strict=True
            )
        }
        return [groups[position] for position in range(len(problems))]

    def problems_at_once(self, samples: int) -> int:
        """The problems whose samples all engines together can decode at the same time; at least one for each."""
        return self._engines() * max(1, self.max_concurrent // samples)

    def _engines(self) -> int:
        return self.layout.world_size // self.engine_size

    def seeds(self, problems: list[Problem], sampling: Sampling, earlier: Iterable[str] = ()) -> list[list[int]]:
        """A seed for each sample of each problem; `earlier` are the keys of those that the same step has drawn before.

        Draw `n` of a problem, from 0, goes on where draw `n - 1` ended.
        """
        draws = Counter(earlier)
        seeds = []
        for key in (problem.key for problem in problems):
            first = draws[key] * sampling.samples
            draws[key] += 1
            indexes = range(first, first + sampling.samples)
            seeds.append([sample_seed(self.seed, sampling.stream, key, index) for index in indexes])
        return seeds

    def _sample_and_score(self, problems: list[Problem], seeds: list[list[int]], sampling: Sampling) -> Share | None:
        """This engine's share, on its first rank; its other ranks only drive it. Raises Interrupted."""
        prompts = [self.tokenizer.encode_prompt(problem.prompt, problem.system) for problem in problems]
        steps = self.rollout.generate(
            prompts,
            samples=sampling.samples,
            seeds=seeds,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
        )
        with closing(steps):
            if self.layout.rank % self.engine_size == 0:
                samples, scoring = self._score(self._until_stopped(steps), problems, sampling.samples)
                return Share(prompts=prompts, samples=samples, scoring=scoring)
            for _ in self._until_stopped(steps):
                pass
        return None

    def _until_stopped(self, steps: Iterator[Finished]) -> Iterator[Finished]:
        """`steps`, after one of which all ranks of the engine raise Interrupted if one of them has to stop."""
        vote = StepwiseVote(self.engine_ranks, self.is_stopping)
        for finished in steps:
            yield finished
            if finished:
                faults.reach("rollout/answers")
            if vote():
                raise Interrupted

    def _score(
        self, steps: Iterator[Finished], problems: list[Problem], count: int
    ) -> tuple[list[list[Sample]], Scoring]:
        """`count` samples of each problem, each judged as soon as it has ended, while the engine goes on."""
        ended: dict[int, Sample] = {}
        with self.verifiers.batch() as batch:
            for finished in steps:
                texts = self.tokenizer.decode_batch([completion.tokens for _, completion in finished])
                for (index, completion), text in zip(finished, texts, strict=True):
                    batch.add(problems[index // count], text)
                    ended[index] = Sample(completion=completion, text=text)
                batch.poll()
            while not batch.wait(WAIT_S):
                if self.is_stopping():
                    raise Interrupted
            verdicts = batch.verdicts()
        assert len(ended) == len(verdicts) == count * len(problems), "one verdict for each completion"
        for sample, verdict in zip(ended.values(), verdicts, strict=True):  # both in the order of `add`
            sample.verdict = verdict
        samples = [[ended[problem * count + i] for i in range(count)] for problem in range(len(problems))]
        return samples, batch.scoring


NextGroups = Callable[[RecipeConfig, Sampling], tuple[list[Group], list[Group], Metrics]]


def collect_informative(
    collector: Collector, problems: Curriculum, recipe: RecipeConfig, sampling: Sampling
) -> tuple[list[Group], list[Group], Metrics]:
    """Dynamic sampling: draw until `prompts_per_step` groups have verdicts that differ, within a bound of rounds.

    The first round draws `oversampling` times as many: one large batch takes an engine less time than the same groups
    in two rounds.

    Returns the groups to train on, all groups that were sampled, and metrics with the reasons for every group left out.
    Raises NoInformativeGroupsError when fewer than `min_groups_fraction` of the groups can be used.
    """
    wanted, selection = recipe.prompts_per_step, recipe.selection
    kept: list[Group] = []
    sampled: list[Group] = []
    dropped: Counter[str] = Counter()
    scoring: list[list[Scoring]] = []
    rounds = 0
    count = math.ceil(wanted * selection.oversampling) if selection.dynamic_sampling else wanted
    while len(kept) < wanted and rounds < (selection.max_sampling_rounds if selection.dynamic_sampling else 1):
        rounds += 1
        groups = collector.collect(problems.draw(count), sampling, sampled)
        sampled += groups
        scoring.append(collector.scoring)
        informative, reasons = keep_informative(groups, recipe)
        kept += informative
        dropped += reasons
        rate = len(kept) / len(sampled) if kept else 1.0
        count = min(wanted, math.ceil((wanted - len(kept)) / rate))
    refuse_too_few(kept, sampled, rounds, dropped, recipe)
    surplus = len(kept) - wanted
    if surplus > 0:
        dropped["surplus"] += surplus
    metrics = collection_metrics(sampled, min(len(kept), wanted), rounds, dropped, scoring)
    return kept[:wanted], sampled, metrics | problems.observe(sampled)


def refuse_too_few(
    kept: list[Group], sampled: list[Group], rounds: int, dropped: Counter[str], recipe: RecipeConfig
) -> None:
    """Raise NoInformativeGroupsError if `kept` is too little for a step; `dropped` counts the reasons of the others."""
    if len(kept) >= max(1, recipe.selection.min_groups_fraction * recipe.prompts_per_step):
        return
    counts = ", ".join(f"{reason}: {count}" for reason, count in sorted(dropped.items()))
    raise NoInformativeGroupsError(
        f"only {len(kept)} of {len(sampled)} groups could be trained on after {rounds} rounds ({counts}). "
        + (
            _unscored(sampled)
            or "The tasks are too easy or too hard for this policy: change tasks.mixture, raise "
            "recipe.selection.max_sampling_rounds, or lower recipe.selection.min_groups_fraction."
        )
    )


def collection_metrics(
    sampled: list[Group], kept: int, rounds: int, dropped: Counter[str], scoring: list[list[Scoring]]
) -> Metrics:
    """Metrics of what was sampled for a step, of which `kept` groups are trained on. `scoring` as `scoring_metrics` has
    it."""
    metrics = group_metrics(sampled) | hack_metrics(sampled) | scoring_metrics(scoring)
    metrics |= {"groups/sampled": float(len(sampled)), "groups/kept": float(kept), "groups/rounds": float(rounds)}
    return metrics | {f"groups/dropped/{reason}": float(count) for reason, count in sorted(dropped.items())}


def group_metrics(groups: list[Group]) -> Metrics:
    """Rewards, pass rate, lengths and infrastructure errors of everything that was sampled, filtered or not."""
    samples = [(group.problem.task, sample) for group in groups for sample in group.samples]
    scored = [(task, s.verdict.reward) for task, s in samples if s.verdict and s.verdict.outcome is Outcome.SCORED]
    rewards = np.array([reward for _, reward in scored], dtype=np.float64)
    lengths = np.array([len(sample.completion.tokens) for _, sample in samples], dtype=np.float64)
    metrics: Metrics = {
        "reward/mean": float(rewards.mean()) if len(rewards) else math.nan,
        "pass/train": float((rewards >= 1 - 1e-6).mean()) if len(rewards) else math.nan,
        "length/mean": float(lengths.mean()),
        "length/max": float(lengths.max()),
        "length/total": float(lengths.sum()),
        "length/truncated": float(np.mean([sample.completion.finish is FinishReason.LENGTH for _, sample in samples])),
        "verifier/infra_errors": float(len(samples) - len(scored)),
    }
    for task in sorted({task for task, _ in scored}):
        metrics[f"reward/{task}"] = float(np.mean([reward for name, reward in scored if name == task]))
    return metrics


def scoring_metrics(rounds: list[list[Scoring]]) -> Metrics:
    """Metrics of scoring; `rounds[r][e]` is of engine `e`. Engines work at the same time, rounds one after another."""
    engines = [Scoring() for _ in rounds[0]]
    for each in rounds:
        for engine, scoring in zip(engines, each, strict=True):
            engine += scoring
    answers = sum(engine.answers for engine in engines)
    busy = max(engine.busy_s for engine in engines)
    counts = {
        "verifier/retries": sum(engine.retries for engine in engines),
        "verifier/timeouts": sum(engine.timeouts for engine in engines),
        "verifier/crashes": sum(engine.crashes for engine in engines),
    }
    seconds = {
        "answers_per_second": answers / busy if busy else 0.0,
        "wait": sum(engine.waited_s for engine in engines) / max(answers, 1),
        "latency": sum(engine.latency_s for engine in engines) / max(answers, 1),
        "latency_max": max(engine.longest_s for engine in engines),
        "tail": max(engine.tail_s for engine in engines),
    }
    return {name: float(count) for name, count in counts.items()} | {
        VERIFIER_PREFIX + name: value for name, value in seconds.items()
    }


def _unscored(groups: list[Group]) -> str:
    """The most common failure of verifiers, if there were failures."""
    verdicts = [sample.verdict for group in groups for sample in group.samples if sample.verdict is not None]
    failed = [verdict.detail for verdict in verdicts if verdict.outcome is Outcome.INFRA_ERROR]
    if 2 * len(failed) < len(verdicts):
        return ""
    (reason, count), *_ = Counter(failed).most_common(1)
    return f"Verifiers failed for {len(failed)} of {len(verdicts)} answers, {count} times with: {reason}"

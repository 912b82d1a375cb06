"""The data types of the system. Data only: no torch, no I/O.

Shapes: `L` tokens of a whole sequence, `T` tokens of its completion (`L = prompt + T`), `G` samples of one group.
Log-probabilities are natural, of the distribution that was sampled from (temperature applied). Tokens are ids: text is
never tokenised a second time between the engine and the learner.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

import numpy as np


class FinishReason(StrEnum):
    """The reason why a completion ended."""

    STOP = "stop"  # the model emitted its end-of-sequence token
    LENGTH = "length"  # the response limit was reached; the answer is truncated


class Outcome(StrEnum):
    """The outcome of an attempt to score a completion."""

    SCORED = "scored"
    INFRA_ERROR = "infra_error"  # the verifier crashed or hung; says nothing about the answer


class Grading(StrEnum):
    """The question about an answer that a verifier is asked."""

    STRICT = "strict"  # the reward that training gives
    NAMED = "named"  # the same, and the answer that was found in a form that equal answers share
    RELAXED = "relaxed"  # the best reward of its other readings (`Task.readings`), had each been in the wanted form


@dataclass(kw_only=True, slots=True, frozen=True)
class Problem:
    """One verifiable question.

    `key` is unique and stable over restarts ("gsm/17"); `entry` is plain JSON data that the task's verifier needs
    (never shown to the model); `solution` is a worked solution for warm starts, where the task knows one, or only its
    beginning: then `solution_ends` is false, and no end is learned after it. `system` is the system turn before the
    prompt; without one, that of the settings (`model.chat.system`) stands.
    """

    key: str
    task: str
    prompt: str
    entry: dict[str, Any] = field(default_factory=dict)
    solution: str | None = None
    system: str = ""
    solution_ends: bool = True


@dataclass(kw_only=True, slots=True, frozen=True)
class Completion:
    """One sample of the engine for a prompt."""

    tokens: np.ndarray  # [T] int32, the end-of-sequence token included when it was emitted
    logprobs: np.ndarray  # [T] float32, the sampler's own
    finish: FinishReason
    version: int  # of the weights that sampled it; of its first token, if there were several
    versions: np.ndarray | None = None  # [T] int32, of each token; None: all are of `version`


@dataclass(kw_only=True, slots=True, frozen=True)
class Verdict:
    """A score in the range of its task, [0, 1] unless it declares another, or the reason why there is none."""

    reward: float
    outcome: Outcome = Outcome.SCORED
    detail: str = ""
    found: bool = True  # whether there was an answer in the form that was asked for, right or wrong
    answer: str = ""  # that was found, as `Grading.NAMED` asks for it; "" where the task has no such form


@dataclass(kw_only=True, slots=True)
class Scoring:
    """Counts and times of scoring answers in one pool of verifiers. Seconds are this machine's wall-clock time."""

    answers: int = 0  # with a verdict, infrastructure errors among them
    infra_errors: int = 0
    retries: int = 0
    timeouts: int = 0
    crashes: int = 0  # of verifier processes, or requests that a reward server did not answer
    started: int = 0  # verifier processes
    busy_s: float = 0.0  # at least one answer was waiting or being scored
    waited_s: float = 0.0  # sum over answers: from the end of the completion until a verifier took it
    latency_s: float = 0.0  # sum over answers: from the end of the completion to the verdict
    longest_s: float = 0.0  # of these
    tail_s: float = 0.0  # verdicts were waited for and nothing else was done

    def __iadd__(self, later: Scoring) -> Scoring:
        """Add the later counts of the same pool."""
        longest = max(self.longest_s, later.longest_s)
        for entry in fields(self):
            setattr(self, entry.name, getattr(self, entry.name) + getattr(later, entry.name))
        self.longest_s = longest
        return self

    def since(self, earlier: Scoring) -> Scoring:
        """The counts since those of the same pool were `earlier`; the longest is that of all."""
        counts = {entry.name: getattr(self, entry.name) - getattr(earlier, entry.name) for entry in fields(self)}
        return Scoring(**counts | {"longest_s": self.longest_s})


@dataclass(kw_only=True, slots=True)
class Sample:
    """A completion with its verdict; `verdict` is None until the completion has been scored.

    `text` is its tokens as text, for verifiers and for people: where it was scored and on rank 0, "" elsewhere.
    `reward` is the shaped one that it is trained with (`recipe/shaping.py`); None: the verdict's itself.
    """

    completion: Completion
    text: str = ""
    verdict: Verdict | None = None
    reward: float | None = None


@dataclass(kw_only=True, slots=True)
class Group:
    """All samples drawn for one problem at one step."""

    problem: Problem
    prompt_tokens: np.ndarray  # [P] int32
    samples: list[Sample]

    def scored(self) -> list[Sample]:
        """The samples that have a reward; infrastructure errors are left out."""
        return [
            sample for sample in self.samples if sample.verdict is not None and sample.verdict.outcome is Outcome.SCORED
        ]

    def rewards(self) -> list[float]:
        """Verdicts of the scored samples."""
        return [sample.verdict.reward for sample in self.scored() if sample.verdict is not None]

    def shaped_rewards(self) -> list[float]:
        """The rewards that the scored samples are trained with."""
        return [
            verdict if sample.reward is None else sample.reward
            for sample, verdict in zip(self.scored(), self.rewards(), strict=True)
        ]


@dataclass(kw_only=True, slots=True)
class TrainSample:
    """A prompt with one completion: the unit that the learner trains on.

    Per-token arrays cover the completion only (`[T]`). `old_logprobs` and `reference_logprobs` are the learner's and
    are None until `Learner.compute_log_probs` has filled them in.
    """

    tokens: np.ndarray  # [L] int32, prompt and completion
    prompt_length: int
    advantage: float | np.ndarray  # of every token, or [T] float64
    reward: float  # shaped
    rollout_logprobs: np.ndarray  # [T] float32
    version: int  # as in `Completion`, and so is `versions`
    key: str = ""  # of its problem
    versions: np.ndarray | None = None  # [T] int32
    old_logprobs: np.ndarray | None = None  # [T] float32
    reference_logprobs: np.ndarray | None = None  # [T] float32

    @property
    def completion_length(self) -> int:
        return len(self.tokens) - self.prompt_length

    def token_versions(self) -> np.ndarray:
        """The version of the weights that sampled each token, `[T]`."""
        return np.full(self.completion_length, self.version) if self.versions is None else self.versions


@dataclass(kw_only=True, slots=True, frozen=True)
class ExpertLayout:
    """The place of this process among those that share the experts of a pipeline stage.

    Its ranks are those of the stage, cut in another way: `tensor_size` ranks share each expert, `size` of these groups
    share the experts, and `data_size` replicas hold the same ones.
    """

    tensor_size: int
    tensor_rank: int
    size: int
    rank: int
    data_size: int
    data_rank: int

    def holds(self, expert: int, count: int) -> bool:
        """Whether expert number `expert` of `count` in a layer is here: groups hold consecutive ones, equally many."""
        return expert * self.size // count == self.rank


@dataclass(kw_only=True, slots=True, frozen=True)
class ParallelLayout:
    """The place of this process in the job. Data parallelism is the number of ranks divided by TP and PP.

    Ranks are in Megatron's order: tensor fastest, then data, then pipeline.
    """

    world_size: int
    rank: int
    tensor_size: int
    tensor_rank: int
    pipeline_size: int
    pipeline_rank: int
    data_size: int
    data_rank: int
    expert: ExpertLayout | None = None  # None: experts are cut as everything else

    @property
    def experts(self) -> ExpertLayout:
        """The cut of experts."""
        return self.expert or ExpertLayout(
            tensor_size=self.tensor_size, tensor_rank=self.tensor_rank, size=1, rank=0, data_size=self.data_size,
            data_rank=self.data_rank,
        )  # fmt: skip


@dataclass(kw_only=True, slots=True, frozen=True)
class StepHyperparams:
    """The controller's values for the learner in one step."""

    kl: float  # weight of the KL penalty in the loss
    entropy: float  # weight of the entropy bonus in the loss
    learning_rate: float


@dataclass(kw_only=True, slots=True, frozen=True)
class Event:
    """A finding or action of the controller, with the numbers that led to it. Plain JSON values."""

    trigger: str  # "plateau", "decline", "kl_bound", "every", "stage", "entropy_low", ...
    action: str  # "reset", "wait", "next_stage", "warn", "adjust", "stop"
    numbers: dict[str, float] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    text: str = ""  # the same for people


@dataclass(kw_only=True, slots=True, frozen=True)
class Decision:
    """The controller's decision after a step. `events` are the reasons, in order."""

    reset_reference: bool = False
    reset_optimizer: bool = False
    reset_to_best: bool = False  # policy and reference return to the policy that was kept last
    keep_best: bool = False  # this policy has validated best so far; kept before any reset
    next_stage: bool = False
    stop: bool = False
    metrics: Metrics = field(default_factory=dict)  # what was in force during the step
    events: tuple[Event, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """One line per event, for the console."""
        return tuple(event.text for event in self.events)


@dataclass(kw_only=True, slots=True, frozen=True)
class ParitySlice:
    """|log p(learner) − log p(sampler)| in nats over the tokens of some versions, or of some positions.

    `first` and `last` are the versions or positions that it covers. p50 and p99 are differences that occurred: the
    smallest that so many per cent of the tokens do not exceed. A slice without tokens has 0 everywhere.
    """

    first: int
    last: int
    tokens: int
    mean: float
    p50: float
    p99: float
    max: float
    counts: list[int]  # [edges + 1] tokens per bin of the report, those below the first edge first


@dataclass(kw_only=True, slots=True, frozen=True)
class ParityToken:
    """A sampled token with both log-probabilities; None stands for one that is not finite."""

    key: str  # of the problem
    position: int  # in the answer, from 0
    version: int  # of the weights that sampled it
    token: int
    text: str
    before: str  # the text of some tokens before it, those of the prompt included
    sampler: float | None
    learner: float | None
    difference: float | None


@dataclass(kw_only=True, slots=True, frozen=True)
class ParityReport:
    """The agreement of sampler and learner on the tokens of a step. Plain JSON values."""

    version: int  # of the learner's weights
    answers: int
    not_finite: int  # tokens with a log-probability that is not finite; they are in no slice
    edges: list[float]  # [edges] nats, ascending: the limits between the bins of `ParitySlice.counts`
    whole: ParitySlice
    by_version: list[ParitySlice]  # newest first
    by_position: list[ParitySlice]
    worst: list[ParityToken]  # not finite first, then by difference; the same token after the same text once


Metrics = dict[str, float]
"""Flat names with one slash ("policy/kl", "sampler/entropy"); values are global, identical on every rank."""

"""An evaluation as a sample store keeps it: header, problems, answers, verdicts; and back."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

from prorl_mega.config.schema import RunConfig
from prorl_mega.errors import DataError
from prorl_mega.evaluation.conditions import conditions
from prorl_mega.run.provenance import provenance
from prorl_mega.run.sample_store import StoredProblem, StoredSample, StoredVerdict, StoreHeader, write_store
from prorl_mega.run.settings import to_plain
from prorl_mega.seeds import sample_seed
from prorl_mega.types import FinishReason, Group, Outcome, Problem, Sample

_NOT_DECISIVE = {"evaluation.problems", "evaluation.samples", "model.path"}
STREAM = "evaluation"  # of the seeds: the same answers whoever asks, training or `python -m prorl_mega.evaluate`

DIGITS = 4  # of a log-probability: a float32 has seven, and people and pages need three


def store_header(config: RunConfig, *, policy: str, step: int, label: str, identity: str | None = None) -> StoreHeader:
    """The header of an evaluation of the policy with this checksum, after `step` updates; `identity` stands for it
    where a name is not the same at every start."""
    settings = conditions(config, problems_per_task=config.evaluation.final_problems_per_task, max_tokens=None)
    return StoreHeader(
        label=label,
        step=step,
        policy=policy,
        identity=_identity(policy if identity is None else identity, settings),
        seed=config.seed,
        samples=config.evaluation.samples,
        settings=settings,
        config=to_plain(config),
        provenance=provenance(),
    )


def keep_groups(directory: Path, header: StoreHeader, groups: list[Group]) -> None:
    """Write the store of an evaluation whose groups are all there. Raises StorageError."""
    write_store(
        directory,
        header,
        [stored_problem(group.problem, group.prompt_tokens.tolist()) for group in groups],
        _samples(groups, header.seed),
        (
            _verdict((number, index), sample)
            for number, group in enumerate(groups)
            for index, sample in enumerate(group.samples)
            if sample.verdict is not None
        ),
    )


def stored_problem(problem: Problem, prompt_tokens: Iterable[int] = ()) -> StoredProblem:
    """A problem with the tokens, [P], of its prompt, as it is read back. Raises DataError for an entry that is not
    JSON."""
    return StoredProblem(
        key=writable(problem.key),
        task=writable(problem.task),
        prompt=writable(problem.prompt),
        system=writable(problem.system),
        entry=_plain_entry(problem),
        prompt_tokens=[int(token) for token in prompt_tokens],
    )


def _plain_entry(problem: Problem) -> dict[str, Any]:
    try:
        text = writable(json.dumps(problem.entry, ensure_ascii=False))
        plain: dict[str, Any] = json.loads(text, parse_constant=lambda name: None)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(
            f"{problem.key}: the entry of this problem is not JSON, as its task promises: {error}"
        ) from None
    return plain


def to_problem(stored: StoredProblem) -> Problem:
    """The problem, for its verifier."""
    return Problem(key=stored.key, task=stored.task, prompt=stored.prompt, system=stored.system, entry=stored.entry)


def stored_sample(
    place: tuple[int, int],
    *,
    seed: int,
    text: str,
    finish: FinishReason,
    length: int,
    tokens: np.ndarray,
    logprobs: np.ndarray,
) -> StoredSample:
    """The answer at `place` (problem, sample); tokens [T] int32 and log-probabilities [T] float32, or [0] each."""
    return StoredSample(
        problem=place[0],
        sample=place[1],
        seed=seed,
        text=writable(text),
        finish=finish.value,
        length=length,
        tokens=tokens.tolist(),
        logprobs=np.round(logprobs.astype(np.float64), DIGITS).tolist(),
    )


def writable(text: str) -> str:
    """The text without the lone surrogates that a model's bytes may hold, which no JSON file can."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _samples(groups: list[Group], seed: int) -> Iterator[StoredSample]:
    for number, group in enumerate(groups):
        for index, sample in enumerate(group.samples):
            yield stored_sample(
                (number, index),
                seed=sample_seed(seed, STREAM, group.problem.key, index),
                text=sample.text,
                finish=sample.completion.finish,
                length=len(sample.completion.tokens),
                tokens=sample.completion.tokens,
                logprobs=sample.completion.logprobs,
            )


def _verdict(place: tuple[int, int], sample: Sample) -> StoredVerdict:
    verdict = sample.verdict
    assert verdict is not None
    is_known = verdict.outcome is Outcome.SCORED and math.isfinite(verdict.reward)
    return StoredVerdict(
        problem=place[0],
        sample=place[1],
        reward=verdict.reward if is_known else None,
        answer=writable(verdict.answer),
        detail=writable(verdict.detail),
    )


def _identity(policy: str, settings: dict[str, Any]) -> str:
    """A hash of what the answer to a problem and a seed depends on: the policy, and how it is asked and sampled."""
    decisive = {
        key: value
        for key, value in settings.items()
        if not key.startswith(("tasks.", "evaluation.server.")) and key not in _NOT_DECISIVE
    }
    return blake3(json.dumps([policy, decisive], sort_keys=True).encode()).hexdigest()[:16]

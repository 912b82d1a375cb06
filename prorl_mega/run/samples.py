"""A few answers per step for people to read, and those behind its alarms: `samples/step_000123.jsonl`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from prorl_mega.run.console import printable
from prorl_mega.run.jsonl import to_lines
from prorl_mega.run.storage import storage_errors, write_durably
from prorl_mega.types import FinishReason, Group, Sample

GROUPS = 4  # problems that are shown per step, at most one per task while there are more tasks than that
BEHIND = "behind"  # field of a row: the names of the alarms that it is evidence for
LONGEST = 4000  # characters of a prompt or completion


def sample_rows(groups: list[Group]) -> list[dict[str, Any]]:
    """The best and the worst answer of a few problems, spread over the tasks; JSON-able, bounded, printable."""
    return [sample_row(group, sample) for group in _spread(groups) for sample in _extremes(group.samples)]


def sample_row(group: Group, sample: Sample) -> dict[str, Any]:
    """One answer with its problem; JSON-able, bounded, printable."""
    return {
        "key": printable(group.problem.key),
        "task": group.problem.task,
        **({"system": shortened(group.problem.system)} if group.problem.system else {}),
        "prompt": shortened(group.problem.prompt),
        "completion": shortened(sample.text),
        "reward": None if sample.verdict is None else sample.verdict.reward,
        "outcome": None if sample.verdict is None else sample.verdict.outcome.value,
        "tokens": len(sample.completion.tokens),
        "truncated": sample.completion.finish is FinishReason.LENGTH,
    }


def with_evidence(rows: list[dict[str, Any]], evidence: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The rows of a step and those behind its alarms (`evidence`, by the alarm's name), which are marked and come
    first: `"behind": ["identical"]`. An answer that is among several of them has one row."""
    marked: list[dict[str, Any]] = []
    for name, found in evidence.items():
        for row in found:
            known = next((each for each in marked if each | {BEHIND: 0} == row | {BEHIND: 0}), None)
            if known is None:
                marked.append(row | {BEHIND: [name]})
            elif name not in known[BEHIND]:
                known[BEHIND].append(name)
    shown = [{name: value for name, value in row.items() if name != BEHIND} for row in marked]
    return marked + [row for row in rows if row not in shown]


def write_samples(directory: Path, step: int, rows: list[dict[str, Any]]) -> None:
    """Write the file of a step; none without rows. Rank 0 only."""
    if rows:
        with storage_errors(f"writing {directory}"):
            write_durably(directory / f"step_{step:06d}.jsonl", to_lines(rows, readable=True))


def remove_samples_after(directory: Path, step: int) -> None:
    """Delete the answers of steps that a resumed run still has to do."""
    for path in directory.glob("step_*.jsonl"):
        number = path.stem.removeprefix("step_")
        if number.isdecimal() and int(number) > step:
            path.unlink()


def shortened(text: str) -> str:
    """Printable and at most LONGEST characters, the middle left out."""
    text = printable(text)
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters …]\n{text[-half:]}"


def _spread(groups: list[Group]) -> list[Group]:
    """The first GROUPS problems in the order first of each task, second of each task, and so on."""
    turns: Counter[str] = Counter()
    ranked = []
    for group in groups:
        ranked.append((turns[group.problem.task], group))
        turns[group.problem.task] += 1
    return [group for _, group in sorted(ranked, key=lambda each: each[0])[:GROUPS]]


def _extremes(samples: list[Sample]) -> list[Sample]:
    scored = [sample for sample in samples if sample.verdict is not None]
    if not scored:
        return samples[:1]
    best = max(scored, key=lambda sample: sample.verdict.reward if sample.verdict else 0.0)
    worst = min(scored, key=lambda sample: sample.verdict.reward if sample.verdict else 0.0)
    return [best] if best.verdict == worst.verdict else [best, worst]

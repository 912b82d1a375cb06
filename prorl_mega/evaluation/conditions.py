"""The settings that an evaluation was made under, and the comparison of two evaluations' settings.

Two evaluations are compared as numbers only if they measured the same thing: another temperature or response limit
alone moves pass@k by more than training does. `conditions` is what `evaluation/<label>.json` keeps as "settings".
"""

from __future__ import annotations

import json
import re
from typing import Any

from prorl_mega.config.keys import flatten
from prorl_mega.config.schema import RunConfig
from prorl_mega.config.stages import compared_response, stage_settings
from prorl_mega.run.settings import to_plain

Conditions = dict[str, Any]
"""Dotted settings with their plain values; empty for an evaluation of version 0.1, which recorded none."""

PROBLEMS = "evaluation.problems"  # per task; the number that was asked for
LIMIT = "rollout.max_response_tokens"

_GROUPS = ("evaluation.", "model.", "rollout.max_prompt_tokens", "tasks.mixture.", "seed")
_NOT_MEASURING = re.compile(
    r"evaluation\.((final_)?problems_per_task|max_response_tokens|benchmarks|benchmark_directory)|model\.recompute"
    r"|tasks\.mixture\..*\.(weight|problems|options\.usual_rows)"
    r"|evaluation\.server\.(concurrency|timeout_s|retries|key_env|allow_http)"
)
"""Settings of these groups that change no answer and no verdict, or that are recorded otherwise."""
_COMPARABLE = re.compile(
    r"seed|model\.(path|weights)|evaluation\.(samples|problems|server\.(url|model|api))"
    r"|tasks\.mixture\..*\.options\.path"
)
"""Settings that may differ between evaluations that are compared: which policy, how many of the same problems and
samples, and where a file lies; problems are compared by their keys and pass@k is estimated without bias."""


def conditions(config: RunConfig, *, problems_per_task: int, max_tokens: int | None) -> Conditions:
    """The settings that decide the result, with the weights. `max_tokens` None: the limit of comparisons."""
    limit = compared_response(config, stage_settings(config)) if max_tokens is None else max_tokens
    found = {
        key: value
        for key, value in flatten(to_plain(config)).items()
        if key.startswith(_GROUPS) and not _NOT_MEASURING.fullmatch(key)
    }
    plain: Conditions = json.loads(json.dumps(found | {LIMIT: limit, PROBLEMS: problems_per_task}))
    return plain


def incomparable(before: Conditions, after: Conditions) -> list[str]:
    """The settings for which two results must not be compared: "evaluation.temperature: 0.6 and 1.0"."""
    return [line for key, line in _differences(before, after) if not _COMPARABLE.fullmatch(key)]


def remarks(before: Conditions, after: Conditions) -> list[str]:
    """Sentences for the reader of two results that can be compared: other counts, nothing recorded."""
    if not before or not after:
        return ["The settings of these evaluations were not recorded; whether they were the same is not known."]
    lines = [line for key, line in _differences(before, after) if key in (PROBLEMS, "evaluation.samples")]
    return [f"Compared on what both have: {'; '.join(lines)}."] if lines else []


def described(settings: Conditions) -> str:
    """The settings that people ask for first, in words; empty if none were recorded."""
    words = {
        "evaluation.temperature": "temperature {}",
        "evaluation.top_p": "top-p {}",
        "evaluation.samples": "{} samples per problem",
        LIMIT: "at most {} tokens",
    }
    return ", ".join(text.format(settings[key]) for key, text in words.items() if key in settings)


def _differences(before: Conditions, after: Conditions) -> list[tuple[str, str]]:
    """Keys with other values, each with both in words; none if one of the two recorded nothing."""
    if not before or not after:
        return []
    defaults = flatten(to_plain(RunConfig()))  # of settings that one of the two versions did not have yet
    found = []
    for key in {**before, **after}:
        first, second = (each.get(key, defaults.get(key, "(absent)")) for each in (before, after))
        if first != second:
            found.append((key, f"{key}: {first} and {second}"))
    return found

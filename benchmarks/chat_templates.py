"""Prompts token by token against transformers' `apply_chat_template`. `python benchmarks/chat_templates.py DIRECTORY`.

DIRECTORY has one folder per model with the files that its repository has beside the weights: tokenizer_config.json,
and chat_template.jinja, special_tokens_map.json, additional_chat_templates/ where it has them. A folder without
tokenizer.json gets one of bytes and of the control tokens that its template names. Every combination of prompt, system
turn and of what a template can be told about thinking is compared. A prompt that both refuse counts as equal, and so
does one whose system turn the template leaves out, which transformers does silently and we refuse.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from helpers.chat_models import byte_tokenizer

from prorl_mega.errors import ConfigError, ProRLError
from prorl_mega.huggingface.tokenizer import Tokenizer
from prorl_mega.huggingface.tokenizer_files import TokenizerFiles

PROMPTS = ("What is 1+1?", "  Lines,\n\n  white space and é → 東.  \n", "{{ 7 * 7 }} {% raw %} \\boxed{\\frac{1}{2}}")
SYSTEMS = (None, "", "You are terse.", " Reason\nin steps. ")
ARGUMENTS: tuple[dict[str, Any], ...] = ({}, {"enable_thinking": False}, {"reasoning_effort": "high"})
TODAY = "2025-02-03"
CONTROL = re.compile(r"<\|[\w ./-]{1,40}\|>|<｜[\w▁]{1,40}｜>|</?[a-z_]{1,30}>|\[/?[A-Z_]{1,30}\]")


class Today(datetime.datetime):
    """The clock that transformers reads, stopped."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Today:
        return cls.fromisoformat(TODAY)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    chat_template_utils.datetime = Today
    folders = sorted(path for path in parser.parse_args().directory.iterdir() if path.is_dir())
    results = {folder.name: compare(folder) for folder in folders}
    width = max(map(len, results))
    for name, (line, _) in results.items():
        print(f"{name:<{width}}  {line}")
    equal = sum(same for _, same in results.values())
    print(f"\n{equal} of {len(results)} token-equal")
    return 0 if equal == len(results) else 1


def compare(folder: Path) -> tuple[str, bool]:
    """A line of the table, and whether every prompt has equal tokens."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = shutil.copytree(folder, Path(scratch) / "model")
        if not (directory / "tokenizer.json").exists():
            files = TokenizerFiles(directory)
            byte_tokenizer(directory, {*CONTROL.findall(files.chat_template() or ""), *files.special_tokens.values()})
        theirs = PreTrainedTokenizerFast.from_pretrained(directory)
        counts = {"equal": 0, "refused by both": 0, "without their system turn (refused here)": 0, "different": 0}
        for arguments, system in itertools.product(ARGUMENTS, SYSTEMS):
            chat = {"arguments": arguments, "system": system, "today": TODAY}
            try:
                ours: Tokenizer | str = Tokenizer(directory, **chat)
            except ConfigError as error:
                if "does not read it" in str(error):
                    continue
                ours = str(error)
            for prompt in PROMPTS:
                counts[compared(ours, theirs, prompt, system, arguments)] += 1
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count), not counts["different"]


def compared(
    ours: Tokenizer | str, theirs: PreTrainedTokenizerFast, prompt: str, system: str | None, arguments: dict[str, Any]
) -> str:
    messages = [{"role": "user", "content": prompt}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    try:
        expected = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False, **arguments)
    except Exception as error:
        expected = str(error)
    try:
        found = ours if isinstance(ours, str) else ours.encode_prompt(prompt).tolist()
    except ProRLError as error:
        found = str(error)
    if isinstance(expected, str) and isinstance(found, str):
        return "refused by both"
    if found == expected:
        return "equal"
    if isinstance(found, str) and "leaves system turns out" in found:
        return "without their system turn (refused here)"
    shown = [each if isinstance(each, str) else theirs.decode(each) for each in (expected, found)]
    print(f"{theirs.name_or_path} {prompt!r} {system!r} {arguments}\n  {shown[0]!r}\n  {shown[1]!r}", file=sys.stderr)
    return "different"


if __name__ == "__main__":
    sys.exit(main())

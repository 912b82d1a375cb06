"""Multiple choice, however its options and its answer are written."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from prorl_mega.data.adapters.prompts import PROMPTS, asked
from prorl_mega.data.adapters.schema import Names, Schema, first, needed
from prorl_mega.data.canonical import Domain, Fields
from prorl_mega.data.rows import BadRowError

CHOICES: Names = (
    "choices", "options", "Options", "endings", "Incorrect Answer 1", "distractor1", "opa", "option_a", "A",
)  # fmt: skip
LABELS: Names = (
    "answer", "Answer", "correct", "answerKey", "expected_answer", "answer_letter", "correct_option", "correct_answer",
    "Correct Answer", "answer_idx", "answer_index", "label", "cop", "target", "reward_model.ground_truth",
)  # fmt: skip
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LABELLED = re.compile(r"\s*[(\[]?\s?([A-Z])\s?[)\].:]+\s*(\S.*)", re.DOTALL)
_INLINE = re.compile(r"(?:^|\s)[(\[]?([A-Z])[)\].:]+\s*")
_LETTER = re.compile(r"\s*[(\[]?\s?([A-Za-z])\s?[)\].:]*\s*")
_WRONG = (
    tuple(f"Incorrect Answer {number}" for number in range(1, 10)),
    tuple(f"incorrect_answer_{number}" for number in range(1, 10)),
    tuple(f"distractor{number}" for number in range(1, 10)),
)
_SPREAD = (tuple(f"op{letter}" for letter in "abcde"), tuple(f"option_{letter}" for letter in "abcde"), tuple("ABCDE"))
_OFFERS = {"choices", "options", "Options", "endings"}.union(*(names[:1] for names in (*_WRONG, *_SPREAD)))


def offered(fields: Fields) -> dict[str, str]:
    """The options of a row by their labels, in order; empty if it has none. The right one of GPQA comes first."""
    if _OFFERS.isdisjoint(fields):
        return {}
    for names in _WRONG:
        wrong = [fields[name] for name in names if first(fields, name) is not None]
        right = first(fields, "Correct Answer", "correct_answer")
        if len(wrong) > 1 and right is not None:
            return _lettered([right, *wrong])
    found = first(fields, "choices", "options", "Options", "endings")
    for names in _SPREAD if found is None else ():
        each = [fields[name] for name in names if first(fields, name) is not None]
        if len(each) > 1:
            return _lettered(each)
    return _listed(found)


def _listed(found: Any) -> dict[str, str]:
    if isinstance(found, str):  # "A) 1 B) 2"
        parts = _INLINE.split(found.strip())
        labels, texts = parts[1::2], parts[2::2]
        return _paired(labels, texts) if len(labels) > 1 and "".join(labels) in _LETTERS else {}
    if isinstance(found, dict) and isinstance(found.get("text"), list):  # ARC
        return _paired([str(label) for label in found.get("label") or _LETTERS], found["text"])
    if isinstance(found, dict):  # {"A": text}; columns of Parquet add what other rows have
        known = {label: text for label, text in found.items() if text is not None}
        return _paired(list(known), list(known.values()))
    if not isinstance(found, list) or len(found) < 2:
        return {}
    if all(isinstance(each, dict) for each in found):  # [{"A": text}, ...], [{"label": "A", "text": text}, ...]
        merged: Fields = {}
        for number, each in enumerate(found):
            text = first(each, "text", "content")
            merged |= {str(first(each, "label", "key") or _LETTERS[number]): text} if text is not None else each
        return _listed(merged)
    labelled = [_LABELLED.fullmatch(each) if isinstance(each, str) else None for each in found]
    letters = "".join(match[1] for match in labelled if match)
    if len(letters) == len(found) and letters == _LETTERS[: len(letters)]:
        return _paired(list(letters), [match[2] for match in labelled if match])
    return _lettered(found)


def _lettered(texts: list[Any]) -> dict[str, str]:
    return _paired(list(_LETTERS), texts)


def _paired(labels: list[str], texts: list[Any]) -> dict[str, str]:
    plain = (str(text).strip() if isinstance(text, str | int | float) else "" for text in texts)
    return dict(zip(labels, plain, strict=False))


def right(fields: Fields, options: dict[str, str]) -> str:
    """The label of the right option, which a row names by label, by text or by its place, counted from 0."""
    labels, texts = list(options), list(options.values())
    value = needed(fields, *LABELS)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and str(value) not in labels:
        if 0 <= value < len(labels):
            return labels[value]
    else:
        text = str(value).strip()
        match = _LETTER.fullmatch(text)
        for candidate in (text, match[1].upper() if match else ""):
            if candidate in labels:
                return candidate
        if texts.count(text) == 1:
            return labels[texts.index(text)]
        whole = _LABELLED.fullmatch(text)
        if whole and options.get(whole[1]) == whole[2].strip():
            return whole[1]
        if text.isdecimal() and int(text) < len(labels):
            return labels[int(text)]
    raise BadRowError(
        "wrong answer", f"the answer must be one of the choices {', '.join(labels)}, not {str(value)[:80]!r}"
    )


def _row(fields: Fields) -> Fields:
    """The right option and all of them; a prompt that lists them by letter has the letter as its answer."""
    row, options = asked(fields), offered(fields)
    row["prompt"] = row["prompt"].strip()
    if len(options) < 2:
        raise BadRowError("wrong choices", "has no choices, or only one")
    label = right(fields, options)
    solution = first(fields, "Explanation", "rationale", "solution", "cot_content", "exp")
    if _lists(row["prompt"], options):
        return {**row, "answer": label}
    row |= {"answer": options[label], "choices": list(options.values())}
    return {**row, "solution": solution} if isinstance(solution, str) else row


def _in_prompt(fields: Fields) -> Fields:
    """The same for judges of mathematics: the prompt lists the options, the answer is a letter.

    Options keep their order, but for those of sets that have the right one first: theirs depends on the texts alone.
    """
    row = _row(fields)
    texts = row.pop("choices", None)
    if texts is None:
        return row
    if first(fields, *(names[0] for names in _WRONG)) is not None:
        texts = sorted(texts, key=lambda text: hashlib.blake2b(f"{row['prompt']}\n{text}".encode()).digest())
    if len(set(texts)) < len(texts):
        raise BadRowError("wrong choices", "field 'choices' must be at least two different texts")
    row.pop("solution", None)  # it names the letter of another order, or the text
    listing = "\n".join(f"{letter}. {text}" for letter, text in zip(_LETTERS, texts, strict=False))
    return {**row, "prompt": f"{row['prompt']}\n\n{listing}", "answer": _LETTERS[texts.index(row["answer"])]}


def _lists(prompt: str, options: dict[str, str]) -> bool:
    """Whether a prompt shows every option with its label."""
    return all(
        re.search(rf"(?<![A-Za-z]){re.escape(label)}\s?[)\].:]+\**\s*{re.escape(text)}", prompt)
        for label, text in options.items()
    )


_SOURCE = "GPQA, MMLU, MMLU-Pro, AQuA, SAT, ARC, MedQA and others"
CHOICE = Schema("choices", Domain.stem, _SOURCE, (PROMPTS, CHOICES, LABELS), _row)
LETTERED = Schema("letters", Domain.math, _SOURCE, (PROMPTS, CHOICES, LABELS), _in_prompt)

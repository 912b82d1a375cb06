"""Common English words, for texts that are too short for statistics.

`english_words.txt` holds three thousand, written for this purpose: what lists, labels and short answers are made of.
Among them are names of places and people that English texts contain, and the parts of contractions (`don`, `ll`).
"""

from __future__ import annotations

import functools
from pathlib import Path

_LIST = Path(__file__).with_suffix(".txt")
_ENDINGS = (("ies", "y"), ("s", ""), ("es", ""), ("ed", ""), ("d", ""), ("ing", ""), ("ing", "e"), ("ly", ""))
MIN_STEM = 3  # letters before an ending: DOS is no plural of DO


@functools.lru_cache(maxsize=1 << 13)
def is_common(word: str) -> bool:
    """Whether the word (in lower case) is in the list, as it is or without one of the regular endings, or a letter."""
    known, letter = common(), len(word) == 1 and word.isascii()
    return (
        letter
        or word in known
        or any(
            len(stem := word.removesuffix(ending)) >= MIN_STEM and stem + last in known
            for ending, last in _ENDINGS
            if word.endswith(ending)
        )
    )


@functools.cache
def common() -> frozenset[str]:
    """The list, read once."""
    return frozenset(_LIST.read_text("ascii").split())

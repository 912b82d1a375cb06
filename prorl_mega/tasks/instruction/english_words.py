"""Common English words, for texts that are too short for statistics.

`english_words.txt` holds four thousand, written for this purpose: what lists, labels and short answers are made of.
Among them are names of places and people that English texts contain, and the parts of contractions (`don`, `ll`).
"""

from __future__ import annotations

import functools
from pathlib import Path

_LIST = Path(__file__).with_suffix(".txt")
_PLAIN = "s es ed d ing ly ment ments ion ions ation ations ness ful less able"  # behind the whole word
_ENDINGS = (
    *((each, "") for each in _PLAIN.split()),
    ("ing", "e"),
    ("ies", "y"),
    ("ied", "y"),
    ("ion", "e"),
    ("ation", "e"),
)
"""Regular endings, and what the word ends with without them."""
MIN_STEM = 3  # letters before an ending: DOS is no plural of DO


@functools.lru_cache(maxsize=1 << 13)
def is_common(word: str) -> bool:
    """Whether the word (in lower case) is in the list, as it is or without one of the regular endings, or a letter."""
    known, letter = common(), len(word) == 1 and word.isascii()
    stems = [word.removesuffix(ending) + last for ending, last in _ENDINGS if word.endswith(ending)]
    stems += [stem[:-1] for stem in stems if stem[-2:-1] == stem[-1:]]  # planning
    return letter or word in known or any(len(stem) >= MIN_STEM and stem in known for stem in stems)


@functools.cache
def common() -> frozenset[str]:
    """The list, read once."""
    return frozenset(_LIST.read_text("ascii").split())

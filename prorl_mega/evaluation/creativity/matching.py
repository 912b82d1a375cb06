"""The longest match with a corpus from every word of a text on: matching statistics, by search in a suffix array.

For position i of a text, length m(i) is the largest number of words from i on that stand together somewhere in the
corpus. A suffix that shares most words with the text from i on is a neighbour of the place at which the text would be
sorted in, so one binary search finds it; both of its bounds remember how many words they share with the text, and no
comparison starts before that (Manber and Myers). DJ Search's two pointers walk along the same lengths, because
m(i + 1) ≥ m(i) − 1; with all of them at hand, every L is answered by one pass (`uniqueness.py`).
"""

from __future__ import annotations

import numpy as np
from numba import njit

BORDER = 0  # between documents of a corpus; texts have no such word
UNKNOWN = -1  # a word that the corpus does not have, or an end of a text


@njit(nogil=True)
def match(
    ids: np.ndarray, suffixes: np.ndarray, firsts: np.ndarray, text: np.ndarray, begin: int, lengths: np.ndarray
) -> None:
    """Raise `lengths` [M] to the longest match from positions `begin` … `begin + M − 1` of `text` [T] on.

    ids [N]: words of the corpus, BORDER after each document. suffixes [S]: positions of its words, sorted by the words
    from there on. firsts [V + 2]: suffixes that begin with word w are firsts[w] … firsts[w + 1] − 1. All integers;
    UNKNOWN ends a match.
    """
    previous = 0  # length at the position before, in this corpus
    for start in range(begin, begin + len(lengths)):
        if text[start] <= BORDER:
            previous = 0
            continue
        end = start - 1 + previous
        if previous > 1 and (end == len(text) or text[end] == UNKNOWN):
            previous -= 1  # what follows ends every match, so a copied text takes time in proportion to its length
            lengths[start - begin] = max(lengths[start - begin], previous)
            continue
        previous = 0
        low, high = firsts[text[start]], firsts[text[start] + 1]
        shared_low, shared_high = 1, 1
        while low < high:
            middle = (low + high) // 2
            position = suffixes[middle]
            shared = min(shared_low, shared_high)
            most = min(len(text) - start, len(ids) - position)
            while shared < most and ids[position + shared] == text[start + shared]:
                shared += 1
            previous = max(previous, shared)
            if shared < most and ids[position + shared] < text[start + shared]:
                low, shared_low = middle + 1, shared
            else:
                high, shared_high = middle, shared
        lengths[start - begin] = max(lengths[start - begin], previous)


@njit(nogil=True)
def occurrences(ids: np.ndarray, suffixes: np.ndarray, firsts: np.ndarray, pattern: np.ndarray) -> tuple[int, int]:
    """The suffixes that begin with `pattern` [P ≥ 1] are number `first` to `last − 1`; (first, last)."""
    if pattern[0] <= BORDER:
        return 0, 0
    bounds = [0, 0]
    for side in range(2):  # first the suffixes before the pattern, then those up to its last occurrence
        low, high = firsts[pattern[0]], firsts[pattern[0] + 1]
        while low < high:
            middle = (low + high) // 2
            position = suffixes[middle]
            most = min(len(pattern), len(ids) - position)
            shared = 1
            while shared < most and ids[position + shared] == pattern[shared]:
                shared += 1
            whole = shared == len(pattern)
            before = not whole and (shared == most or ids[position + shared] < pattern[shared])
            if before or (whole and side == 1):
                low = middle + 1
            else:
                high = middle
        bounds[side] = low
    return bounds[0], bounds[1]

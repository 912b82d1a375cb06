"""The words by which texts are compared."""

from __future__ import annotations

import pytest

from prorl_mega.evaluation.creativity.words import CHARACTERS, placed_words, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The cat's well-known.", ["The", "cat's", "well-known", "."]),
        ("a\n\tb  c", ["a", "b", "c"]),
        ("x_1 = 3.14, 1,000!", ["x_1", "=", "3.14", ",", "1,000", "!"]),
        ("f(x)-1 ... end…", ["f", "(", "x", ")", "-", "1", "...", "end", "..."]),
        ("“Don’t” — naïve", ['"', "Don't", '"', "-", "naïve"]),
        ("nai\u0308ve ﬁne", ["naïve", "fine"]),
        ("日本語abc", ["日", "本", "語", "abc"]),
        ("zero\u200bwidth soft\u00adhyphen bell\x07\x1b[0m", ["zerowidth", "softhyphen", "bell", "[", "0m"]),
        ("lone \ud83d half", ["lone", "\ufffd", "half"]),
        ("a\x00b\x85c\u2028d", ["ab", "c", "d"]),
        ("", []),
        (" \n\t", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words
    placed = placed_words(text)
    assert placed.words == words
    assert [placed.text[start:end] for start, end in placed.spans] == words


def test_characters_are_words_where_words_are_few() -> None:
    placed = placed_words("Rdcba\nL, é", CHARACTERS)
    assert placed.words == words_of("Rdcba\nL, é", CHARACTERS) == [*"RdcbaL,é"]
    assert [placed.text[start:end] for start, end in placed.spans] == placed.words


def test_case_and_accents_count() -> None:
    assert words_of("Café") != words_of("café") != words_of("cafe")


@pytest.mark.parametrize("part", ["a-", "1.", "a'", "-", "1", "_'-", "\u0308", ".", "a1,"])
def test_long_texts_take_time_in_proportion(part: str) -> None:
    """A pattern that backtracks would not come to an end with these."""
    assert words_of(part * 200_000 + "!")[-1] == "!"

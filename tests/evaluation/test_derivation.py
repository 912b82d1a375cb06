"""Signs that a right answer was not derived, in texts that have them and in sound ones."""

from __future__ import annotations

import pytest

from prorl_mega.evaluation.answer_evidence import Votes
from prorl_mega.evaluation.derivation import SIGNS, signs_of
from prorl_mega.evaluation.derivation_evidence import is_like_guessing

START = "Let us see what we have here and what we are asked to find in the end."


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (f"{START} 12 + 30 = 42 so <answer>42</answer>", "42"),
        (f"{START} 12 + 30 = 42 and then 2 * 21 = 42. \\boxed{{42}}", "42"),
        (f"{START} 1,200 + 34 = 1,234 apples #### 1234", "1,234"),
        (f"{START} 10 / 4 = 2.5 and 10/3 = 3.33 and 2/3 = 0.67, 7 / 2 = 3 whole ones. <answer>3</answer>", "3"),
        (f"{START} The total is x = 42, half of it 42 / 2 = 21, but we want the total, 42. <answer>42</answer>", "42"),
        (f"{START} f(3) = 3 + 2 * 3 + 1 = 10 and 2^3 + 1 = 9 and 10 + x = 12 <answer>10</answer>", "Paris"),
        (f"{START} 5 - 7 = -2, 3.5 × 2 = 7, 8 ÷ 2 = 4, 1.5 + 1 = 2.5. <answer>2.5</answer>", "2.50"),
        (f"{START} so it is \\boxed{{42.0}} apples. <answer> 42 </answer>", "42"),
        (f"{START} 1/2 + 1/4 = 3/4 <answer>3/4</answer>", "3/4"),
        (f"{START} version 1.2.3 + 4 = 5 of 2024-01-02 = 3 <answer>b</answer>", "b"),
    ],
)
def test_sound_answers_have_none(text: str, answer: str) -> None:
    assert signs_of(text, answer, is_truncated=False) == {}


@pytest.mark.parametrize(
    ("text", "answer", "sign", "detail"),
    [
        ("<think> It is clear. </think> <answer>42</answer>", "42", "no working", "3 words"),
        ("42", "42", "no working", "0 words"),
        (f"{START} 12 + 30 = 42. <answer>43</answer>", "43", "other result", "last result 42, answer 43"),
        (f"{START} 3 * 4 = 12, and 12 / 5 = 2.4. \\boxed{{12/7}}", "12/7", "other result", "last result 2.4"),
        (f"{START} 17 + 26 = 42 <answer>42</answer>", "42", "false step", "17 + 26 = 42"),
        (f"{START} 3 × 4 = 13, no: 12 <answer>12</answer>", "12", "false step", "3 × 4 = 13"),
        (f"{START} it is \\boxed{{41}}, no: <answer>42</answer>", "42", "contradiction", "41 and 42"),
        (f"{START} 5 / 0 = 5 <answer>5</answer>", "5", "false step", "5 / 0 = 5"),
        (f"{START} " + "so we try it again and count one more " * 30 + "<answer>4</answer>", "4", "repetition", "%"),
    ],
)
def test_signs(text: str, answer: str, sign: str, detail: str) -> None:
    found = signs_of(text, answer, is_truncated=False)
    assert list(found) == [sign]
    assert detail in found[sign]


def test_a_text_that_was_cut_off() -> None:
    assert list(signs_of(f"{START} 42 it is", "42", is_truncated=True)) == ["cut off"]


@pytest.mark.parametrize(
    "text", ["= " * 100_000, "1" * 300_000, "1+" * 100_000 + "=", "\\boxed{" * 50_000, "1,111" * 60_000]
)
def test_hostile_texts_are_read_to_an_end(text: str) -> None:
    """A pattern that backtracks would not come to one."""
    found = signs_of(text, "1" * 5000, is_truncated=False)
    assert found.keys() <= set(SIGNS)
    assert "cut off" not in found


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        (Votes(samples=64, right=16, distinct=4, common=16), True),  # each of four a quarter
        (Votes(samples=64, right=33, distinct=2, common=31), True),  # a coin
        (Votes(samples=64, right=64, distinct=1, common=0), False),
        (Votes(samples=64, right=60, distinct=5, common=1), False),
        (Votes(samples=64, right=1, distinct=64, common=1), True),  # one of many that are all different
        (Votes(samples=1024, right=200, distinct=400, common=300), False),  # far above one in 400
        (Votes(samples=64, right=0, distinct=2, common=40), False),
    ],
)
def test_guessing(votes: Votes, expected: bool) -> None:
    assert is_like_guessing(votes) is expected

"""What counts as the answer, and that no text makes the search slow."""

import pytest

from prorl_mega.tasks import extract
from prorl_mega.tasks.extract import Form, answer

BOXES = [
    (r"so \boxed{4}", "4"),
    (r"\boxed{1} no, \boxed{2}", None),
    (r"\boxed{2}, so \boxed{2}", "2"),
    ("\\boxed{1} first.\n\nThen \\boxed{2}", "2"),
    (r"\boxed{2}. No wait, that is wrong", None),
    (r"\boxed{2}. Hmm, or maybe 3", None),
    (r"\boxed{2}. The answer is 3.", None),
    (r"\boxed{2}. The answer is $2$.", "2"),
    (r"\boxed{2}. The answer is therefore 2.", "2"),
    (r"\boxed{2}. The answer is consistent with all conditions of the problem.", "2"),
    (r"\boxed{2}. The answer is correct.", "2"),
    (r"\boxed{2}, so the solution: x = 2 works, and the result is even.", "2"),
    (r"\boxed{ice}. The answer is water.", None),
    ("Final Answer: The final answer is $\\boxed{2}$. I hope it is correct.", "2"),
    ("**Final Answer**\n\n\\[\n\\boxed{2}\n\\]", "2"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    (r"\boxed {7}", "7"),
    (r"\boxed{\{1,2\}}", r"\{1,2\}"),
    (r"\boxed{\boxed{5}}", r"\boxed{5}"),
    (r"\boxed{1 \boxed{2} 3}", r"1 \boxed{2} 3"),
    (r"\boxed{1 and \boxed{2}", "2"),
    (r"\fbox{3}", "3"),
    (r"\fbox{3} or \boxed{4}", None),
    (r"\\boxed{3}. \boxed{4}", "4"),
    (r"\\\boxed{3}", "3"),
    (r"-\boxed{3}", "-3"),
    (r"\boxed{3}^2", "3^2"),
    (r"$x = \boxed{3}$", "3"),
    (r"$x \ne \boxed{3}$", r"x \ne3"),
    (r"not \boxed{3}", None),
    (r"maybe \boxed{3}", None),
    (r"\boxed{3} or 4", None),
    (r"<THINKING>\boxed{3}</Thinking>\boxed{4}", "4"),
    (r"{ unclosed \boxed{3}", "3"),
    (r"} stray \boxed{3} }", "3"),
    (r"\boxed{1} then \boxed{2", None),
    (r"\boxed{1} then \boxed{\frac{2}{3}", None),
    (r"<think>\boxed{1}", None),
    (r"<think>a</think> \boxed{2} <think>\boxed{1}", "2"),
    (r"<think>\boxed{1}</think> \boxed{2}", "2"),
    (r"<think>\boxed{1}</think> two", None),
    (r"[THINK]\boxed{1}[/THINK]\boxed{2}", "2"),
    (r"[THINK]\boxed{1}", None),
    (r"<|begin_of_thought|>\boxed{1}<|end_of_thought|>\boxed{2}", "2"),
    (r"<|START_THINKING|>\boxed{1}<|END_THINKING|>\boxed{2}", "2"),
    (r"<seed:think>\boxed{1}</seed:think>\boxed{2}", "2"),
    (r"◁think▷\boxed{1}◁/think▷\boxed{2}", "2"),
    (r"<|channel>thought \boxed{1}<channel|>\boxed{2}", "2"),
    (r"<|channel|>analysis<|message|>\boxed{1}assistant<|channel|>final<|message|>\boxed{2}", "2"),
    (r"<|channel|>analysis<|message|>\boxed{1}", None),
    (r"</think>\boxed{1}[/THINK]\boxed{2} <think>\boxed{3}[THINK]\boxed{4}", "2"),
    (r"\boxed{}", None),
    (r"\boxed{" + "9" * 5000 + "}", None),
    ("", None),
    ("boxed{4}", None),
    ("\\boxed{4\u202e\x00\x1b[31m}", "4[31m"),
]


@pytest.mark.parametrize(("text", "expected"), BOXES)
def test_boxes(text: str, expected: str | None) -> None:
    assert answer(text, Form.boxed) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<answer> 4 </answer>", "4"),
        ("<answer>1</answer> <answer>2</answer>", "2"),
        ("<answer>1</answer> <answer>2", "1"),
        ("<answer>a <answer>b</answer>", "b"),
        ("</answer>4<answer>", None),
        ("<answer></answer>", None),
        ("<answer>line\nline</answer>", "line\nline"),
        ("4", None),
    ],
)
def test_tags(text: str, expected: str | None) -> None:
    assert answer(text, Form.tags) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7+5=12\n82", "82"),
        ("82\n\n \n", "82"),
        ("Answer: 82", "82"),
        ("The final answer is 82", "82"),
        ("answers", "answers"),
        ("  ", None),
        ("a b", "a b"),
        ("</think>", None),
    ],
)
def test_final_line(text: str, expected: str | None) -> None:
    assert answer(text, Form.line) == expected


@pytest.mark.parametrize("form", list(Form))
def test_marked_answers_are_found_again(form: Form) -> None:
    assert answer(extract.mark("1+1=2", "2", form), form) == "2"
    assert answer(extract.mark("", "a{b}c", form), form) == "a{b}c"


@pytest.mark.parametrize(
    "piece", ["\\", "{", "}", r"\boxed{", r"\boxed{}", "<answer>", "</answer>", "\n", "a", "\x00", " "]
)
@pytest.mark.parametrize("form", list(Form))
def test_a_megabyte_of_anything_ends(piece: str, form: Form) -> None:
    """A quadratic search would take hours here, and the runner's time limit would end it."""
    found = answer(piece * (1_000_000 // len(piece)), form)
    assert found is None or len(found) <= extract.MAX_ANSWER


def test_the_end_of_a_long_text_counts() -> None:
    assert answer("x" * 2_000_000 + r"\boxed{4}", Form.boxed) == "4"


def test_lone_surrogates_and_invisible_characters_are_removed() -> None:
    assert extract.clean("a\ud800b\u200bc\x07d\te\n") == "abcd\te\n"

"""The table of completions: what stands around the box decides as well as what it holds."""

from random import Random

import pytest
from helpers.answer_tables import Row, read_table, shown

from prorl_mega.tasks import create, extract
from prorl_mega.tasks.answers.chain import value
from prorl_mega.tasks.answers.choices import LETTERS
from prorl_mega.types import Problem

TABLE = read_table("completions.tsv")
PIECES = [
    *(
        r"\boxed{82}",
        r"\boxed{",
        r"\fbox{83}",
        "}",
        "{",
        "$",
        "$$",
        r"\(",
        r"\]",
        r"\\",
        "\n",
        "\n\n",
        "=",
        r"\ne ",
        "<",
    ),
    *(
        "not",
        "or",
        "maybe",
        " ",
        ".",
        ",",
        "?",
        "82",
        "x",
        r"\text{or }",
        r"\text{",
        "(",
        ")",
        "*",
        "**",
        "`",
        "é",
        "答",
    ),
    *("-", "^2", r"\approx", "either", "it could be", "<think>", "</think>", "~~", "!", "%", "\ud800"),
]


def accepted(row: Row) -> bool:
    """The verdict about a row: of `stem` if its reference has options or a tolerance, otherwise of `math`."""
    text = row.answer.replace("⏎", "\n")
    reference, *rest = row.reference.split(" :: ")
    entry: dict = {"answer": reference, "verifier": "math"}
    if len(rest) == 1:
        entry["tolerance"] = float(rest[0])
    elif rest:
        entry["options"] = rest
    task = create("stem" if rest else "math", "file", {"path": "unread.jsonl"})
    return task.score(Problem(key="file/1", task="file", prompt="?", entry=entry), text).reward == 1


def test_every_kind_has_both_signs() -> None:
    rules = {row.rule for row in TABLE if len([each for each in TABLE if each.rule == row.rule]) >= 20}
    assert len(rules) >= 6
    for rule in rules:
        assert min(sum(row.sign == sign for row in TABLE if row.rule == rule) for sign in "+-") >= 10, rule
    assert len({(row.reference, row.answer) for row in TABLE}) == len(TABLE)


def test_nothing_wrong_is_accepted() -> None:
    assert shown([row for row in TABLE if row.sign == "-" and accepted(row)]) == []


def test_what_is_right_is_accepted() -> None:
    assert shown([row for row in TABLE if row.sign == "+" and not accepted(row)]) == []


def test_what_is_right_and_refused_is_exactly_what_is_listed() -> None:
    assert shown([row for row in TABLE if row.sign == "~" and accepted(row)]) == []


def test_options_are_letters_of_the_table() -> None:
    assert all(row.reference.split(" :: ")[0] in LETTERS for row in TABLE if row.reference.count(" :: ") > 1)


@pytest.mark.parametrize(
    "text",
    ["a " * 500, "$" * 500, "\\" * 501, "{" * 500, "=" * 500, "-" * 500, "or " * 200, "1" * 500, r"\text{" * 100],
)
def test_any_surroundings_end(text: str) -> None:
    for whole in (text + r"\boxed{82}", r"\boxed{82}" + text, text + r"\boxed{82}" + text):
        assert all(len(each) < 2000 for each in extract.statement(whole * 16, extract.Form.boxed))


def test_no_surroundings_raise() -> None:
    random = Random(1)
    for _ in range(2000):
        text = "".join(random.choices(PIECES, k=random.randint(1, 40)))
        for form in extract.Form:
            extract.statement(text, form)
            extract.statement(text + r"\boxed{82}" + text, form)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("m+n = 256+37 = 293", "293"),
        (r"\text{area} = 5 \cdot 2 = 10", "10"),
        ("0.5 = 1/2", "1/2"),
        ("1 = 2", "1 = 2"),
        ("2x = 4", "2x = 4"),
        ("y = x + 1", "y = x + 1"),
        ("= 4", "= 4"),
        ("x == 4", "x == 4"),
        ("a = b", "a = b"),
        ("4", "4"),
    ],
)
def test_the_value_of_a_chain(answer: str, expected: str) -> None:
    assert value(answer) == expected

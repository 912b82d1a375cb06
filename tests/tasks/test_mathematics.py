"""The task that reads mathematics from files: what a row must be, and what a completion earns."""

import json
from pathlib import Path

import pytest

from prorl_mega.config.schema import TaskConfig, TasksConfig
from prorl_mega.errors import ConfigError, DataError
from prorl_mega.tasks import Mixture, Task, create
from prorl_mega.types import Problem

GOOD = {"prompt": "1+1?", "answer": "2"}


def task(path: Path, *rows: dict, **options: object) -> Task:
    path.write_text("\n".join(map(json.dumps, rows)))
    made = create("math", "file", {"path": str(path), **options})
    made.load()
    return made


def problem(reference: str, verifier: str = "math") -> Problem:
    return Problem(key="file/1", task="file", prompt="?", entry={"answer": reference, "verifier": verifier})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "x", "answer": "1", "verifier": "code"}, "verifier must be math or exact"),
        ({"prompt": "x", "answer": "$$"}, "the answer is empty"),
        ({"prompt": "x", "answer": " . "}, "the answer is empty"),
        ({"prompt": "x", "answer": r"\frac{1}{2"}, "braces that do not match"),
        ({"prompt": "x", "answer": "1" * 600}, "longer than 512 characters"),
        ({"prompt": "x"}, "'answer' is missing"),
        ({"prompt": "x", "answer": ""}, "'answer' must be text"),
        ({"prompt": "x", "answer": [1]}, "'answer' must be text"),
    ],
)
def test_a_row_that_nobody_could_solve_is_named(tmp_path: Path, row: dict, message: str) -> None:
    path = tmp_path / "data.jsonl"
    with pytest.raises(DataError, match=message) as caught:
        task(path, GOOD, row, GOOD)
    assert f"{path}:2: " in str(caught.value)


def test_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tasks\.mixture\.file\.options\.verifier: must be one of math, exact"):
        create("math", "file", {"path": str(tmp_path), "verifier": "code"})
    with pytest.raises(ConfigError, match=r"options\.second: must be one of none, plain"):
        create("math", "file", {"path": str(tmp_path), "second": "model"})
    with pytest.raises(ConfigError, match=r"options\.path: must be set"):
        create("math", "file", {})


def test_every_row_comes_once_per_pass_and_in_another_order(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i}", "answer": i} for i in range(50)]
    made = task(tmp_path / "data.jsonl", *rows, suffix="!")
    passes = [[made.problem(i, seed=3).prompt for i in range(start, start + 50)] for start in (0, 50)]
    assert [sorted(each) for each in passes] == [sorted(f"p{i}!" for i in range(50))] * 2
    assert passes[0] != passes[1]
    again = create("math", "file", {"path": str(tmp_path / "data.jsonl"), "suffix": "!"})
    assert made.problem(7, seed=3) == again.problem(7, seed=3)


def test_levels_are_a_filter(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i}", "answer": i, "level": f"Level {i % 3}"} for i in range(9)]
    made = task(tmp_path / "data.jsonl", *rows, {"prompt": "none", "answer": 1}, levels=["Level 1", "Level 2"])
    assert sorted(made.problem(i, seed=1).prompt for i in range(6)) == ["p1", "p2", "p4", "p5", "p7", "p8"]
    assert made.size() == 6
    with pytest.raises(DataError, match="has no problems"):
        task(tmp_path / "data.jsonl", *rows, levels=["Level 9"])


def test_both_verifiers_of_rows(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "answer": "1/2"}, {"prompt": "b", "answer": "1/2", "verifier": "exact"}]
    made = task(tmp_path / "data.jsonl", *rows)
    by_prompt = {each.prompt: each for each in (made.problem(i, 0) for i in range(2))}
    assert made.score(by_prompt["a"], r"\boxed{0.5}").reward == 1
    assert made.score(by_prompt["b"], r"\boxed{0.5}").reward == 0
    assert made.score(by_prompt["b"], r"\boxed{ 1/2 }").reward == 1
    assert made.score(by_prompt["b"], r"\boxed{1/2} or \boxed{2}").reward == 0


STATEMENTS = [
    ("4", r"So \boxed{4}", 1),
    ("4", r"So \boxed{4}.", 1),
    ("4", r"<think>\boxed{4}</think> I do not know.", 0),
    ("4", r"<think>So it is \boxed{4}", 0),
    ("4", r"\boxed{4", 0),
    ("4", r"\boxed{4} and so \boxed{", 0),
    ("4", r"\boxed{3}, no wait, \boxed{4}", 0),
    ("4", r"\boxed{4}. No wait, I give up.", 0),
    ("4", r"\boxed{4} or \boxed{5}", 0),
    ("4", r"\boxed{5} The final answer is 4", 0),
    ("4", r"\boxed{4} The final answer is 5.", 0),
    ("4", r"\boxed{4} The final answer is 4.", 1),
    ("4", r"\boxed{4} The final answer is $4$. I hope it is correct.", 1),
    ("4", "We find \\boxed{3} first.\n\nHence \\boxed{4}", 1),
    ("4", "We find \\boxed{4} first.\n\nHence \\boxed{3}", 0),
    ("4", r"\boxed{1}, \boxed{2}, \boxed{3}, \boxed{4}", 0),
    ("4", r"\boxed{1, 2, 3, 4}", 0),
    ("4", r"\boxed{1=2=3=4}", 0),
    ("1/2", r"\boxed{\frac{1}{2}}, that is \boxed{0.5}", 1),
    ("1,2", r"The roots are \boxed{1} and \boxed{2}.", 1),
    ("1,2", r"The roots are \boxed{1}, \boxed{2} and \boxed{3}.", 0),
    ("(1,2)", r"\boxed{1} and \boxed{2}", 0),
    ("4", r"Put the answer into \boxed{}: \boxed{4}", 1),
    ("4", r"\boxed{4} \boxed{}", 0),
    ("4", "The answer is 4.", 0),
]


@pytest.mark.parametrize(("reference", "text", "reward"), STATEMENTS)
def test_the_final_statement_counts_as_a_whole(reference: str, text: str, reward: float) -> None:
    made = create("math", "file", {"path": "unread.jsonl"})
    assert made.score(problem(reference), text).reward == reward


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        ("The final answer is 4.", 1),
        ("The answer is: $4$", 1),
        ("Answer: 4", 1),
        ("**Answer:** 4", 1),
        ("The answer is 4. no wait, I give up.", 0),
        ("The answer is 4. No wait, the answer is 5.", 0),
        ("The answer is 3. The answer is 4.", 1),
        ("The answer is 4 or 5.", 0),
        (r"\boxed{4}", 1),
        (r"The answer is 4. \boxed{5}", 0),
        ("4", 0),
        ("<think>The answer is 4.", 0),
    ],
)
def test_stated_answers(text: str, reward: float) -> None:
    made = create("math", "file", {"path": "unread.jsonl", "answer": "stated"})
    assert made.score(problem("4"), text).reward == reward


@pytest.mark.parametrize(
    "text",
    [
        "The answer is **73**.",
        "The answer is **73.**",
        "The answer is *73*.",
        "The answer is `73`",
        "The answer is: **$73$**",
        "The answer is **x = 73**.",
        "The **answer is 73**.",
        "**The answer is 73.**",
        "**Final answer: 73.**",
        "**Answer: 73**",
        "**Answer**: 73",
        "**Answer**: **73**",
        "*Answer: 73*",
        "__Answer: 73__",
        "Answer: _73_",
        "Answer: `73`.",
        "Answer:\n\n**73**",
        "Answer: ***73***",
        "### Answer: 73",
    ],
)
def test_a_stated_answer_may_be_bold_or_code(text: str) -> None:
    made = create("math", "file", {"path": "unread.jsonl", "answer": "stated"})
    assert made.score(problem("73"), text).reward == 1
    assert made.score(problem("74"), text).reward == 0


@pytest.mark.parametrize(
    "text",
    [
        "The answer is not **73**.",
        "The answer is **not 73**.",
        "The answer is **7**3.",
        "The answer is 7**3**.",
        "The answer is **73** or **74**.",
        "The answer is **73** or 74",
        "Answer: `73` `74`",
        "Answer: **7** **3**",
        "The answer is -**73**.",
        "The answer is **73**^2",
        "The answer is 2**73",
        "The answer is 73**2",
        "The answer is ~~73~~.",
        "The answer is `7`3`.",
    ],
)
def test_marks_of_bold_and_code_hide_nothing(text: str) -> None:
    made = create("math", "file", {"path": "unread.jsonl", "answer": "stated"})
    assert made.score(problem("73"), text).reward == 0


def test_a_second_verifier_adds_what_it_accepts_and_says_so() -> None:
    alone = create("math", "file", {"path": "unread.jsonl"})
    both = create("math", "file", {"path": "unread.jsonl", "second": "plain"})
    text = r"\boxed{\max_{x} f(x) = 3 \text{ if }x>0}"
    assert alone.score(problem(r"\max_x f(x) = 3 \text{ if } x > 0"), text).reward == 0
    verdict = both.score(problem(r"\max_{x} f(x) = 3\text{ if } x > 0"), text)
    assert verdict.reward == 1
    only_first = both.score(problem(r"2\sqrt{2}"), r"\boxed{\sqrt{8}}")
    assert only_first.reward == 1
    assert "first accepts" in only_first.detail
    assert both.score(problem("4"), r"\boxed{5}").reward == 0


def test_a_mixture_holds_the_task(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(GOOD))
    entries = {"file": TaskConfig(name="math", options={"path": str(path)})}
    assert Mixture(TasksConfig(mixture=entries), seed=1).draw(1)[0].key == "file/1"

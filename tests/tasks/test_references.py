"""References that no judge could compare answers with are broken rows; those that can be judged stay."""

import json
from pathlib import Path

import pytest

from prorl_mega.errors import DataError
from prorl_mega.tasks import Task, create
from prorl_mega.tasks.answers.equivalence import complaint, equivalent

SENTENCES = [
    "(-3t+4, -6t-6, 2, t) for all real t",
    "P(X=25)=0.45, P(X=30)=0.35, 0 otherwise",
    "No. This would lead to 0=1.",
    "local min. (1,1); local max. (-1,-1)",
    "x^2 if x>0, 0 otherwise",
    "y=2x+1, passes through (0,1)",
    r"x\text{ such that }x>3",
    r"\text{The function is increasing on }(0,1)",
    r"\sqrt{2}+\text{constant}",
    "converges to 1",
    "12 widgets",
    "x=3 for all n",
    "Yes, since 2x > x",
    "f(x) is even and periodic with period 2",
]
VALUES = ["P(X=25)=25\\%", "P(X=1)=0.2, P(X=2)=0.8", "f(x=2)=3"]
INDIFFERENT = [
    r"\lim_{n\to\infty} a_n = 0", r"\lim_{x\to 0} f(x) = 1", r"\int_0^1 f(x)dx = 2", r"\sum_{k=1}^{\infty} a_k = 3",
    r"\int f(x)dx = 7", r"\prod_{k=1}^n a_k = 5", r"\lim_{x\to\infty}\frac{5}{x}", "(2x+1)^0", r"(\frac{1}{2})_5",
    r"\lim_{n\to\infty}\frac{n+1}{n}",
]  # fmt: skip
NAMES = [r"x \approx 1.3098", r"\theta \approx 0.5", r"x_1 \approx 3", r"$n\approx 12$"]
JUDGED = [
    r"\sum_{k=1}^{n} k^7", r"\int_0^1 x^2 f(x)dx", r"\ln(2x)+C", "x_1=2, x_2=3", r"2,4,6,\ldots", r"\max(2,x)", 
    "f(3)+1", r"n\equiv 3\pmod 5", "0x+y", "5!!", r"\frac{d^2y}{dx^2}+4y=0", r"\lfloor\frac{n}{2}\rfloor",
    "82", "1/2", r"\frac{1}{3} \approx 0.333", r"x = 3", r"x_{max} = 3", r"v_{terminal} = 3", r"\sqrt{13}", "sqrt(2)",
    "5 apples", r"10\text{ square units}", r"3/(1000\pi) meters/second", r"\$5", "12 degrees", "360 \\text{ students}",
    r"\text{Infinitely many solutions}", r"\text{no solution}", "Tuesday", r"\text{July 4}", r"x=2 \text{ or } x=3",
    "x>0 and y<3", "abcd+1", r"-\frac{1}{2}\ln|x|+C", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\gcd(a,b)",
    r"\sum_{k=1}^{n} k", r"\{x : x>3\}", "P(A)=25\\%", "f(x)=2x+3", r"\arcsin x", "3:4", r"(2,\infty)\cup(-\infty,1)",
]  # fmt: skip


@pytest.mark.parametrize("reference", SENTENCES)
def test_a_sentence_with_mathematics_in_it_is_refused(reference: str) -> None:
    assert "is a sentence with mathematics in it" in (complaint(reference) or "")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        *((each, "gives values of a function") for each in VALUES),
        *((each, "write the number alone") for each in NAMES),
        *((each, "the answer is not told from") for each in INDIFFERENT),
    ],
)
def test_what_would_be_multiplied_out_is_refused(reference: str, message: str) -> None:
    assert message in (complaint(reference) or "")


@pytest.mark.parametrize(
    ("reference", "wrong"),
    [
        (r"x \approx 1.3098", "99"), (r"\sin(\pi^\circ) \approx 0.055", "1.055"),
        (r"3/(1000\pi) meters/second", r"3/(1030\pi)"), (r"3/(1000\pi)\text{ meters/second}", r"3/(1001\pi)"),
        ("(-3t+4, -6t-6, 2, t) for all real t", "-5t"), ("(-3t+4, -6t-6, 2, t) for all real t", "t"),
        (r"P(X=25)=25\%", "55"), ("P(X=25)=0.45, P(X=30)=0.35, 0 otherwise", "0"),
        ("No. This would lead to 0=1.", "1=1"), ("local min. (1,1); local max. (-1,-1)", "(-1,-1)"),
        (r"\int_0^1 f(x)dx = 2", r"\int_0^1 f(x)dx = 3"), (r"\lim_{n\to\infty} a_n = 0", r"\lim_{n\to\infty} a_n = 1"),
    ],
)  # fmt: skip
def test_a_row_with_a_reference_in_prose_is_broken_or_refuses_what_is_wrong(reference: str, wrong: str) -> None:
    assert complaint(reference) or not equivalent(reference, wrong)


def read(path: Path, domain: str, *answers: str, **options: object) -> Task:
    path.write_text("".join(json.dumps({"prompt": f"p{i}", "answer": each}) + "\n" for i, each in enumerate(answers)))
    task = create(domain, "file", {"path": str(path), **options})
    task.load()
    return task


@pytest.mark.parametrize("reference", JUDGED)
def test_what_can_be_judged_stays_and_accepts_itself(tmp_path: Path, reference: str) -> None:
    assert complaint(reference) is None
    task = read(tmp_path / "a.jsonl", "math", reference)
    problem = task.problem(0, 0)
    assert [task.score(problem, text).reward for text in task.own_answers(problem).values()] == [1.0]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("domain", "reference", "message"),
    [
        ("math", "x>3 for all real x", "is a sentence with"),
        ("math", "<think>5", "would not be accepted itself, in the form 'boxed'"),
        ("math", "5</think>6", "would not be accepted itself"),
        ("stem", "water</think> vapour", "would not be accepted itself"),
        ("stem", "x^2=4, P(X=1)=2", "gives values of a function"),
    ],
)
def test_rows_with_such_references_are_broken(tmp_path: Path, domain: str, reference: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    with pytest.raises(DataError, match=message) as refusal:
        read(path, domain, "3", reference)
    assert str(refusal.value).startswith(f"{path}:2: ")
    assert read(path, domain, "3", reference, skip=0.5).size() == 1


def test_the_form_of_the_answer_decides(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="in the form 'line'"):
        read(tmp_path / "a.jsonl", "stem", "sodium\nchloride", answer="line")
    assert read(tmp_path / "a.jsonl", "stem", "sodium\nchloride").size() == 1
    assert read(tmp_path / "a.jsonl", "math", "5!", answer="stated").size() == 1, "in a box it can be read"

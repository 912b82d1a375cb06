"""Files of named benchmarks in the columns that they are published with, with problems and answers of our own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.formats import box, fenced, text, verl
from helpers.published import ADD, HEAD, TWICE, functional, live, olympiad, pickled, stdin, write


@dataclass(kw_only=True, frozen=True)
class Case:
    """A row, what its prompt holds, and answers that earn everything, and less."""

    row: dict[str, Any]
    prompt: str
    right: list[str]
    wrong: list[str] = field(default_factory=lambda: [box("1234567"), "no box"])


@dataclass(kw_only=True, frozen=True)
class BenchmarkFile:
    name: str  # of the file, below the directory of benchmarks
    cases: list[Case]


def aime(number: int, problem: str, answer: str, *right: str) -> Case:
    row = {"id": number, "problem": problem, "solution": "Long.", "answer": answer, "url": "https://example.org",
           "year": "2024"}  # fmt: skip
    return Case(row=row, prompt=problem, right=list(right))


def prime(source: str, question: str, tests: dict[str, Any], right: str) -> Case:
    row = verl(
        source, [{"role": "system", "content": "Plan."}, {"role": "user", "content": question}], "code", text(tests)
    )
    return Case(row=row, prompt=question, right=[right], wrong=[fenced("print(0)"), "print(3)"])


def instruction(key: int, prompt: str, kinds: dict[str, dict[str, Any]], right: str, *wrong: str) -> Case:
    row = {"key": key, "prompt": prompt, "instruction_id_list": list(kinds),
           "kwargs": [dict.fromkeys(("num_words", "relation", "keywords", "num_sections")) | each
                      for each in kinds.values()]}  # fmt: skip
    return Case(row=row, prompt=prompt, right=[right], wrong=list(wrong))


SUMS = {"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}
LIKE_HUMAN_EVAL = (
    'from typing import List\n\n\ndef above(x: List[int], limit: int) -> List[int]:\n    """ Those above the limit.\n'
    '    >>> above([1, 5], 2)\n    [5]\n    """\n'
)
ABOVE = {
    "task_id": "HumanEval/900", "prompt": LIKE_HUMAN_EVAL, "entry_point": "above",
    "canonical_solution": "    return [each for each in x if each > limit]\n",
    "test": "def check(candidate):\n    assert candidate([1, 5], 2) == [5]\n    assert candidate([2, 3], 2) == [3]\n",
}  # fmt: skip
SUM_IT = {"question_content": "Sum it."}
GPQA = {
    "Pre-Revision Question": "old", "Question": "Which gas glows orange?", "Correct Answer": "neon\n",
    "Incorrect Answer 1": "argon", "Incorrect Answer 2": "helium", "Incorrect Answer 3": "xenon",
    "Explanation": "It does.", "Subdomain": "Chemistry", "Record ID": "rec7",
}  # fmt: skip

FILES: dict[str, BenchmarkFile] = {
    "aime24": BenchmarkFile(name="aime_2024.parquet", cases=[
        aime(60, "Find $m+n$.", "033", box("33"), box("033")), aime(61, "Find $pq$.", "204", box("204"))]),
    "aime25": BenchmarkFile(name="AIME-2025.jsonl", cases=[
        Case(row={"problem": "Find $t$.", "answer": "70", "id": "0"}, prompt="Find $t$.", right=[box("70")])]),
    "amc": BenchmarkFile(name="aimo-validation-amc.parquet", cases=[
        Case(row={"id": 0, "problem": "Find $v$.", "answer": 27.0, "url": ""}, prompt="Find $v$.",
             right=[box("27"), box("27.0")], wrong=[box("270")]),
        Case(row={"id": 1, "problem": "Find $w$.", "answer": 4.5, "url": ""}, prompt="Find $w$.",
             right=[box("\\frac92"), box("4.5")], wrong=[box("45")])]),
    "math500": BenchmarkFile(name="MATH-500/test.jsonl", cases=[
        Case(row={"problem": "Halve three.", "solution": "\\boxed{\\frac{3}{2}}", "answer": "\\frac{3}{2}",
                  "subject": "Algebra", "level": 2, "unique_id": "test/algebra/7.json"},
             prompt="Halve three.", right=[box("1.5"), box("\\dfrac{3}{2}")])]),
    "math": BenchmarkFile(name="hendrycks_math/algebra/test-00000-of-00001.parquet", cases=[
        Case(row={"problem": "Find an interval.", "level": "Level 1", "type": "Algebra",
                  "solution": "So $\\boxed{[0, \\infty)}$."}, prompt="Find an interval.",
             right=[box("[0,\\infty)")], wrong=[box("(0,\\infty)")])]),
    "minerva": BenchmarkFile(name="minerva_math.jsonl", cases=[
        Case(row={"question": "How bright, in erg per second?", "answer": "4.5e33"}, prompt="How bright",
             right=[box("4.5 \\times 10^{33}"), box("4.5e33 \\text{ erg/s}")], wrong=[box("4.5e32")]),
        Case(row={"question": "How fast?", "answer": "3 \\mathrm{~km/s}"}, prompt="How fast?",
             right=[box("3 \\mathrm{km/s}"), box("3000 m/s")], wrong=[box("3 m/s")]),
        Case(row={"question": "Solve the equation of motion.", "answer": "x_{0} \\cos (\\omega t)"}, prompt="Solve the",
             right=[box("x_0\\cos(\\omega t)")], wrong=[box("x_0\\sin(\\omega t)")])]),
    "olympiadbench": BenchmarkFile(name="OlympiadBench.parquet", cases=[
        Case(row=olympiad(1, question="Which squares are four?"), prompt="Which squares",
             right=[box("2, -2"), box("-2,2"), "\\boxed{-2} and \\boxed{2}"], wrong=[box("2")]),
        Case(row=olympiad(2, question="How many?", final_answer=["$\\frac{1}{2}$"], is_multiple_answer=False),
             prompt="How many?", right=[box("0.5")], wrong=[box("2")])]),
    "apps": BenchmarkFile(name="apps.jsonl", cases=[
        Case(row={"id": 1, "problem_id": 4000, "question": "Add two.", "solutions": text([ADD]),
                  "input_output": text(SUMS), "difficulty": "interview", "url": "", "starter_code": ""},
             prompt="Add two.", right=[fenced(ADD)], wrong=[fenced("print(3)"), fenced("while 1: pass")])]),
    "codecontests": BenchmarkFile(name="eurus2_validation.parquet", cases=[
        prime("codecontests", "Add the pair.", SUMS, fenced(ADD)),
        prime("codeforces", "Add the couple.", SUMS, fenced(ADD)),
        Case(row=verl("numina_olympiads", [{"role": "user", "content": "2+2?"}], "math", "4"), prompt="", right=[])]),
    "codeforces": BenchmarkFile(name="eurus2_validation.parquet", cases=[]),
    "taco": BenchmarkFile(name="taco/test.jsonl", cases=[
        Case(row={"question": "Double it.", "solutions": text([TWICE]), "starter_code": HEAD, "difficulty": "EASY",
                  "input_output": text({"fn_name": "twice", "inputs": [[2], [5]], "outputs": [[4], [10]]})},
             prompt=HEAD, right=[fenced(TWICE)], wrong=[fenced(f"{HEAD}\n        return 4")])]),
    "humaneval_plus": BenchmarkFile(name="humanevalplus.parquet", cases=[
        Case(row=ABOVE, prompt="def above(x: List[int], limit: int) -> List[int]:",
             right=[fenced(f"{LIKE_HUMAN_EVAL}{ABOVE['canonical_solution']}"),
                    fenced("def above(x, limit):\n    return [y for y in x if y > limit]")],
             wrong=[fenced("def above(x, limit):\n    return [5]")])]),
    "livecodebench": BenchmarkFile(name="livecodebench/test5.jsonl", cases=[
        Case(row=live("abc_b", [stdin("1 2\n", "3\n")], pickled(text([stdin("3 4\n", "7\n")]))) | SUM_IT,
             prompt="Sum it.", right=[fenced(ADD)], wrong=[fenced("input(); print(3)")]),
        Case(row=live("3001", [functional("2", "4")], text([functional("[1]", "[1, 1]")]), HEAD, func_name="twice"),
             prompt=HEAD, right=[fenced(TWICE)], wrong=[fenced(f"{HEAD}\n        return 4")])]),
    "gpqa_diamond": BenchmarkFile(name="gpqa_diamond.csv", cases=[
        Case(row=GPQA, prompt="Which gas glows orange?", right=[box("neon")], wrong=[box("argon"), "neon"])]),
    "ifeval": BenchmarkFile(name="IFEval.parquet", cases=[
        instruction(1000, "Write of rain, without commas, in capitals.",
                    {"punctuation:no_comma": {}, "change_case:english_capital": {}}, "IT RAINS.", "It rains."),
        instruction(1001, "Write fewer than five words.",
                    {"length_constraints:number_words": {"num_words": 5, "relation": "less than"}}, "Here it is.",
                    "Here are at least five words.")]),
}  # fmt: skip


def write_all(directory: Path) -> None:
    """The files of all benchmarks, each as it is usually called."""
    for each in FILES.values():
        if each.cases:
            path = directory / each.name
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, [case.row for case in each.cases])

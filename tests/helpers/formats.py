"""Rows in exactly the columns of sets as they lie in public repositories, with problems of our own.

`right` are answers that earn 1 for each row in order, `wrong` one that earns 0 for all of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from helpers.published import ADD, HEAD, TWICE, functional, live, pickled, stdin

Rows = list[dict[str, Any]]


@dataclass(kw_only=True, frozen=True)
class Format:
    task: str  # name of the task that reads it
    rows: Rows
    right: list[str]
    wrong: str = "\\boxed{1234567}"
    prompt: str = ""  # what the prompt of the first row holds
    kind: str = ".jsonl"


def box(text: str) -> str:
    return f"So \\boxed{{{text}}}"


def fenced(code: str) -> str:
    return f"```python\n{code}\n```"


def text(value: Any) -> str:
    return json.dumps(value)


def user(content: str) -> Rows:
    return [{"content": content, "role": "user"}]


def verl(source: str, prompt: Rows, ability: str, truth: Any, **more: Any) -> dict[str, Any]:
    return {"data_source": source, "prompt": prompt, "ability": ability,
            "reward_model": {"ground_truth": truth, "style": "rule"}, "extra_info": {"index": 0, "split": "test"},
            **more}  # fmt: skip


def olympiad_verl(truth: list[str]) -> dict[str, Any]:
    return verl("", user("Solve $x^2=4$. Let's think step by step."), "math", truth)


QUIZ = (
    "A very special island is inhabited only by knights and knaves. Knights always tell the truth, and knaves always "
    'lie. You meet 2 inhabitants: Ann, and Bob. Ann said, "Bob is a knave". Bob said, "Ann is a knave or Bob is a '
    'knight". So who is a knight and who is a knave?'
)
KNAVES = {
    "quiz": QUIZ, "names": ["Ann", "Bob"],
    "knight_knave": {"Knave": "Knave", "Knight": "Knight", "a_knave": "a knave", "a_knight": "a knight",
                     "knave": "knave", "knight": "knight"},
    "solution": [False, True], "solution_text": "Ann is a knave, and Bob is a knight.",
    "solution_text_format": "(1) Ann is a knave\n(2) Bob is a knight", "cot_head": "Let's think step by step.",
    "cot_repeat_steps": ["Assume Ann is a knight."], "cot_foot": "This leads to a feasible solution.",
    "statements": "(('lying', 1), ('or', ('lying', 0), ('telling-truth', 1)))", "index": 7,
}  # fmt: skip
ANN = "<answer>Bob is a knight, and Ann is a knave.</answer>"
NOT_ANN = "<answer>Dan is a knight, and Eve is a knave, and Bob is a knave.</answer>"

MATH: dict[str, Format] = {
    "gsm8k": Format(task="math", kind=".parquet", prompt="Two and two?", rows=[
        {"question": "Two and two?", "answer": "2+2=<<2+2=4>>4\n#### 4"},
        {"question": "Ten times 150?", "answer": "10*150=<<10*150=1500>>1500\n#### 1,500"},
    ], right=[box("4"), box("1500")]),
    "gsm8k as prompt": Format(
        task="math", rows=[{"prompt": "Two and two?", "answer": "2+2=4\n#### 4"}], right=[box("4")]),
    "deepscaler's own file": Format(task="math", kind=".json", rows=[
        {"answer": "\\frac{3}{2}", "difficulty": 2.5, "problem": "Halve $3$.", "type": "Algebra"},
        {"answer": 7, "difficulty": 1.0, "problem": "What is $3+4$?", "type": "Prealgebra"},
    ], right=[box("1.5"), box("7")]),
    "minerva of verl": Format(task="math", kind=".parquet", prompt="How far is it", rows=[
        verl("", user("How far is it, in parsecs?"), "math", ["1.6e3"]),
        verl("", user("Name the law."), "math", ["x^2+1"]),
    ], right=[box("1.6e3"), box("1+x^2")]),
    "olympiadbench of verl": Format(task="math", kind=".parquet", prompt="Solve", rows=[
        olympiad_verl(["$2$"]), olympiad_verl(["$2$", "$-2$"])], right=[box("2"), box("2, -2")]),
    "numbers of verl": Format(task="math", kind=".parquet", rows=[
        verl("amc", user("Find $v$."), "MATH", 142.0), verl("amc", user("Find $w$."), "MATH", 0.5)],
        right=[box("142"), box("\\frac{1}{2}")]),
    "aimo amc": Format(task="math", kind=".parquet", rows=[
        {"id": 0, "problem": "Find $v$.", "answer": 142.0, "url": "https://example.org"},
        {"id": 1, "problem": "Find $w$.", "answer": 36.0, "url": "https://example.org"}],
        right=[box("142"), box("36")]),
    "amc with numbers and texts": Format(task="math", rows=[
        {"problem": "Find $v$.", "answer": "7", "source": "amc12"}, {"problem": "Find $w$.", "answer": 27},
        {"problem": "Find $u$.", "answer": 4.5}, {"problem": "Find $t$.", "answer": -9.0},
    ], right=[box("7"), box("27"), box("4.5"), box("-9")]),
    "prompt and final_answer": Format(task="math", rows=[{"prompt": "1+1?", "final_answer": "2"}], right=[box("2")]),
    "open math reasoning": Format(task="math", rows=[
        {"expected_answer": "9", "problem_type": "has_answer_extracted", "problem_source": "aops", "pass_rate_72b_tir":
         "0.5", "generation_model": "x", "problem": "What is $3^2$?", "generated_solution": "It is \\boxed{9}",
         "inference_mode": "cot", "used_in_kaggle": True}], right=[box("9")]),
    "open math instruct": Format(task="math", rows=[
        {"problem": "What is $3^2$?", "generated_solution": "It is 9.", "expected_answer": "9",
         "problem_source": "augmented_math"}], right=[box("9")]),
    "math": Format(task="math", kind=".parquet", rows=[
        {"problem": "Halve $3$.", "level": "Level 1", "type": "Algebra", "solution": "It is $\\boxed{\\frac32}$."}],
        right=[box("3/2")]),
    "big math": Format(task="math", rows=[
        {"problem": "Halve $3$.", "answer": "1.5", "source": "orca_math", "domain": ["Mathematics -> Algebra"],
         "llama8b_solve_rate": 0.9}], right=[box("3/2")]),
    "dapo": Format(task="math", kind=".parquet", rows=[
        verl("math_dapo", user("Solve it. The last line is Answer: $Answer\n\nWhat is $6^2-2$?"), "MATH", "34",
             extra_info={"index": "9a9b6eb4"})], right=[box("34")]),
    "skywork or1": Format(task="math", kind=".parquet", rows=[
        verl("train-math-deepscaler", user("Halve $3$."), "math", '["\\\\frac{3}{2}"]',
             extra_info={"index": 0, "model_difficulty": {"x": 7}})], right=[box("1.5")]),
    "theoremqa": Format(task="math", rows=[
        {"Question": "Is 7 prime?", "Answer": "True", "Answer_type": "bool", "Picture": None},
        {"Question": "How many?", "Answer": "3.5", "Answer_type": "float", "Picture": None},
        {"Question": "Which pair?", "Answer": "[2, 3]", "Answer_type": "list of integer", "Picture": None},
        {"Question": "(a) 1 (b) 2", "Answer": "(b)", "Answer_type": "option", "Picture": None},
    ], right=[box("True"), box("3.5"), box("[2, 3]"), box("b")]),
    "svamp": Format(task="math", prompt="Ann has 8 pears.", rows=[
        {"ID": "chal-1", "Body": "Ann has 8 pears.", "Question": "She eats 3. How many are left?",
         "Equation": "( 8.0 - 3.0 )", "Answer": 5.0, "Type": "Subtraction"}], right=[box("5")]),
    "mawps": Format(task="math", rows=[{"input": "Two and two?", "target": 4.0}], right=[box("4")]),
    "rlvr": Format(task="math", rows=[
        {"messages": user("Two and two?"), "ground_truth": "4", "dataset": "gsm8k"}], right=[box("4")]),
    "multiarith": Format(task="math", rows=[{"question": "Two and two?", "final_ans": "4"}], right=[box("4")]),
    "college math": Format(task="math", rows=[
        {"data_source": "a.book", "question_number": "exercise.1.1", "question": "Two and two?", "answer": "4",
         "license": "CC", "data_topic": "algebra"}], right=[box("4")]),
    "metamath": Format(task="math", rows=[
        {"type": "GSM_AnsAug", "query": "Two and two?", "original_question": "2+2?",
         "response": "Two plus two makes four.\n#### 4\nThe answer is: 4"}], right=[box("4")]),
    "nemo gym's mathematics": Format(task="math", prompt="Use Python", rows=[
        {"question": "What is 2 + 2?", "expected_answer": "4", "responses_create_params": {"input": [
            {"role": "system", "content": "Put it in a box."}, {"role": "user", "content": "2 + 2? Use Python."}],
            "tools": []}}], right=[box("4")]),
    "messages in parts": Format(task="math", prompt="What is 2 + 2?", rows=[
        {"responses_create_params": {"input": [{"role": "developer", "content": "Be short."}, {
            "role": "user", "type": "message", "content": [{"type": "input_text", "text": "What is 2 + 2?"}]}]},
         "expected_answer": "4", "uuid": "a-b", "agent_ref": {"name": "simple_agent"}}], right=[box("4")]),
    "environment hub": Format(task="math", rows=[
        {"prompt": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "2+2?"}], "answer": "4",
         "task": "gsm8k", "info": {"level": "1"}, "example_id": 3}], right=[box("4")]),
    "synthetic 1": Format(task="math", rows=[
        {"problem_id": "vfm_0", "task_type": "verifiable_math", "in_source_id": None, "source": "x", "prompt": "2+2?",
         "gold_standard_solution": "It is 4.", "verification_info": text({"ground_truth": "4"}), "metadata": "{}"}],
        right=[box("4")]),
    "aqua as mathematics": Format(task="math", prompt="B. 22", rows=[
        {"question": "Twice 11?", "options": ["A)21", "B)22", "C)23"], "rationale": "Answer: B", "correct": "B"}],
        right=[box("B")], wrong=box("A")),
    "mmlu as mathematics": Format(task="math", kind=".parquet", prompt="C. 2", rows=[
        {"question": "Find the degree.", "subject": "abstract_algebra", "choices": ["0", "4", "2", "6"], "answer": 1}],
        right=[box("B")], wrong=box("C")),
}  # fmt: skip

STEM: dict[str, Format] = {
    "aqua": Format(task="stem", rows=[
        {"question": "Twice 11?", "options": ["A)21", "B)22", "C)23", "D)24", "E)25"], "rationale": "22\nAnswer: B",
         "correct": "B"}], right=[box("22")], wrong=box("21")),
    "sat": Format(task="stem", rows=[
        {"question": "Twice 11?", "options": "A) 21 B) 22 C) 23 D) 24", "Answer": "B", "id": "1"}],
        right=[box("22")], wrong=box("21")),
    "sat of agieval": Format(task="stem", rows=[
        {"passage": None, "question": "Twice 11?", "options": ["(A)21", "(B)22", "(C)23"], "label": "B", "answer": None,
         "other": {"solution": "22"}}], right=[box("22")], wrong=box("21")),
    "mmlu": Format(task="stem", kind=".parquet", rows=[
        {"question": "Find the degree.", "subject": "abstract_algebra", "choices": ["0", "4", "2", "6"], "answer": 1},
        {"question": "Which gas?", "subject": "chemistry", "choices": ["CO", "O2", "N2", "H2"], "answer": 0}],
        right=[box("4"), box("CO")], wrong=box("H2, 6")),
    "mmlu pro": Format(task="stem", kind=".parquet", rows=[
        {"question_id": 70, "question": "Which gas?", "options": ["CO", "O2", "N2", "H2", "He", "Ne"], "answer": "E",
         "answer_index": 4, "cot_content": "", "category": "chemistry", "src": "ori"}],
        right=[box("He")], wrong=box("Ne")),
    "gpqa": Format(task="stem", kind=".csv", rows=[
        {"Pre-Revision Question": "old", "Question": "Which gas?", "Correct Answer": "He", "Incorrect Answer 1": "O2",
         "Incorrect Answer 2": "N2", "Incorrect Answer 3": "H2", "Explanation": "Light.", "Subdomain": "Chemistry",
         "Record ID": "rec1"}], right=[box("He")], wrong=box("H2")),
    "gpqa as mathematics": Format(task="math", kind=".csv", prompt="B. He", rows=[
        {"Question": "Which gas?", "Correct Answer": "He", "Incorrect Answer 1": "O2", "Incorrect Answer 2": "N2",
         "Incorrect Answer 3": "H2", "Explanation": "Light."}], right=[box("B")], wrong=box("A")),
    "arc": Format(task="stem", kind=".parquet", rows=[
        {"id": "Mercury_1", "question": "Which gas?", "choices": {"text": ["He", "O2"], "label": ["A", "B"]},
         "answerKey": "A"},
        {"id": "Mercury_2", "question": "Which one?", "choices": {"text": ["Ne", "O2"], "label": ["1", "2"]},
         "answerKey": "2"}], right=[box("He"), box("O2")], wrong=box("Ar")),
    "scibench": Format(task="stem", prompt="Give the answer in $\\mathrm{~m}", rows=[
        {"answer_latex": " $3.4$", "answer_number": "3.4", "comment": " ", "problem_text": "How fast is it?",
         "problemid": "2.1", "solution": "Divide.", "source": "atkins", "unit": "$\\mathrm{~m} / \\mathrm{s}$"},
        {"answer_latex": "$-5$", "answer_number": "-5", "comment": " ", "problem_text": "Which number?",
         "problemid": "2.1", "source": "atkins", "unit": " "}], right=[box("3.41 m/s"), box("-5")]),
    "webinstruct": Format(task="stem", rows=[
        {"id": 4, "question": "How fast?", "answer": "3.0 m/s", "answer_type": "Float", "category": "Physics",
         "difficulty": "Primary School"}], right=[box("3.0 m/s")]),
    "medqa": Format(task="stem", rows=[
        {"question": "Which gas?", "answer": "He", "options": {"A": "O2", "B": "He", "C": "N2"}, "meta_info": "step1",
         "answer_idx": "B"}], right=[box("He")], wrong=box("O2")),
    "medmcqa": Format(task="stem", kind=".parquet", rows=[
        {"id": "a", "question": "Which gas?", "opa": "O2", "opb": "N2", "opc": "He", "opd": "H2", "cop": 2,
         "choice_type": "single", "exp": None, "subject_name": "x", "topic_name": None}],
        right=[box("He")], wrong=box("O2")),
    "sciq": Format(task="stem", rows=[
        {"question": "Which gas?", "distractor3": "oxygen", "distractor1": "neon", "distractor2": "argon",
         "correct_answer": "helium", "support": ""}], right=[box("helium")], wrong=box("neon")),
    "supergpqa": Format(task="stem", rows=[
        {"uuid": "x", "question": "Which gas?", "options": ["He", "O2", "N2"], "answer": "He", "answer_letter": "A",
         "discipline": "Science", "field": "Chemistry", "subfield": "Gases", "difficulty": "easy",
         "is_calculation": False}], right=[box("He")], wrong=box("O2")),
    "ceval": Format(task="stem", kind=".csv", rows=[
        {"id": 0, "question": "Which gas?", "A": "O2", "B": "He", "C": "N2", "D": "H2", "answer": "B",
         "explanation": ""}], right=[box("He")], wrong=box("O2")),
    "nemo gym's choices": Format(task="stem", prompt="A: He", rows=[
        {"responses_create_params": {"input": user("Which gas? Box one letter.\n\nA: He\nB: O2")}, "options": [
            {"A": "He"}, {"B": "O2"}], "expected_answer": "A", "grading_mode": "strict_single_letter_boxed",
         "uuid": "u"}], right=[box("A")], wrong=box("B")),
}  # fmt: skip

_NEAR = "import math\n\n\ndef halved(x: float) -> float:\n    return x / 2\n\n\n"
HELPED = f'{_NEAR}def double(x: float) -> float:\n    """ Undo halved.\n    """\n'
ASSERTS = ["assert twice(2) == 4", 'assert twice("a") == "aa"', "assert twice([1]) == [1, 1]"]
_LEET = "class Solution:\n    def twiceOf(self, x: int) -> int:\n        "

CODE: dict[str, Format] = {
    "humaneval": Format(task="code", kind=".parquet", rows=[
        {"task_id": "HumanEval/32", "prompt": HELPED, "canonical_solution": "    return x * 2\n",
         "test": "\n\nMETADATA = {}\n\n\ndef check(candidate):\n    for x in range(9):\n        assert "
                 "math.fabs(candidate(halved(x)) - x) < 1e-4\n", "entry_point": "double"}],
        right=[fenced(f"{HELPED}    return x * 2\n")]),
    "livecodebench v6": Format(task="code", rows=[
        live("abc_b", [stdin("1 2\n", "3\n")], pickled(text([stdin("3 4\n", "7\n")]))),
        live("3001", [functional("2", "4")], pickled(text([functional("[1]", "[1, 1]")])), HEAD, func_name="twice"),
    ], right=[fenced(ADD), fenced(TWICE)]),
    "mbpp": Format(task="code", prompt="assert twice(2) == 4", rows=[
        {"task_id": 11, "text": "Write a python function to double.", "code": "def twice(x):\r\n  return x * 2",
         "test_list": ASSERTS, "test_setup_code": "", "challenge_test_list": []},
        {"task_id": 12, "text": "Write a function to double a root.", "code": "def near(x):\n  return 2 * x",
         "test_list": ["assert math.isclose(near(Root(2).x), 4)"], "challenge_test_list": [],
         "test_setup_code": "class Root:\n  def __init__(self, x):\n    self.x = x"},
    ], right=[fenced("def twice(x): return x * 2"), fenced("def near(x): return x + x")]),
    "mbpp sanitized": Format(task="code", kind=".parquet", rows=[
        {"source_file": "a.json", "task_id": 2, "prompt": "Write a function to double.",
         "code": "def twice(x):\n  return x * 2", "test_imports": ["import math"], "test_list": ASSERTS}],
        right=[fenced("def twice(x): return x * 2")]),
    "leetcode": Format(task="code", prompt="def twiceOf", rows=[
        {"task_id": "twice-of", "question_id": 1, "difficulty": "Easy", "tags": ["Array"],
         "problem_description": "Double it.", "starter_code": f"{_LEET}", "estimated_date": "2026-01-01",
         "prompt": "import random\nfrom typing import *\n\nclass ListNode:\n    pass\n",
         "completion": f"{_LEET}return x * 2", "entry_point": "Solution().twiceOf",
         "test": "def check(candidate):\n    assert candidate(x = 2) == 4\n    assert candidate(x = 3) == 6\n\n",
         "input_output": [{"input": "x = 2", "output": "4"}], "query": "Double it.", "response": ""}],
        right=[fenced(f"{_LEET}return x * 2")]),
    "code contests of deepcoder": Format(task="code", kind=".parquet", rows=[
        {"problem": "Add two numbers.", "tests": text({"inputs": ["1 2\n"], "outputs": ["3\n"]})},
        {"problem": "Add both numbers.", "tests": text([{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}])},
    ], right=[fenced(ADD), fenced(ADD)]),
    "primeintellect of deepcoder": Format(task="code", kind=".parquet", rows=[
        {"problem": "Double.", "solutions": [fenced(TWICE)], "tests": text([
            {"fn_name": "twice", "input": [2], "output": 4, "type": "function_call"}])},
        {"problem": "Add two numbers.", "solutions": [fenced(ADD)], "tests": text([
            {"input": "1 2\n", "output": "3\n", "type": "stdin_stdout"}])}], right=[fenced(TWICE), fenced(ADD)]),
    "lcbv5 of deepcoder": Format(task="code", kind=".parquet", rows=[
        {"problem": "Double.", "starter_code": HEAD, "tests": text([functional("2", "4"), functional("[1]", "[1, 1]")]),
         "metadata": text({"func_name": "twice"})}], right=[fenced(TWICE)]),
    "leetcode of code-r1": Format(task="code", kind=".parquet", prompt="twiceOf", rows=[
        {"task_id": "twice-of", **verl("code", user("Double it: twiceOf(x)"), "code", text({
            "functional": "def check(candidate):\n    assert candidate(x=2) == 4\n\ncheck(Solution().twiceOf)\n"}))}],
        right=[fenced(f"{_LEET}return x * 2")], wrong=fenced(f"{_LEET}return x")),
    "kodcode": Format(task="code", prompt="`twice`", rows=[
        {"style": "instruct", "subset": "Prefill", "question_id": "Prefill_1_I", "question": "Double what you get.",
         "solution": "def twice(x):\n    return x * 2", "test_info": [{"function_name": "twice"}],
         "test": "from solution import twice\n\ndef test_two():\n    assert twice(2) == 4\n\n"
                 "def test_text():\n    assert twice('a') == 'aa'"}], right=[fenced("def twice(x): return x + x")],
        wrong=fenced("def twice(x): return 4")),
    "acecode": Format(task="code", kind=".parquet", rows=[
        {"id": "a_1", "source": "oss", "question": "Write a function twice that doubles.", "test_cases": ASSERTS,
         "inferences": [{"model_name": "x", "pass_rate": 0.1}], "context_messages": [user("x")]}],
        right=[fenced("def twice(x): return x * 2")]),
    "code of synthetic 1": Format(task="code", rows=[
        {"problem_id": "vcp_0", "task_type": "verifiable_code", "in_source_id": "1", "source": "apps",
         "prompt": "Add two numbers.", "gold_standard_solution": fenced(ADD), "metadata": "{}",
         "verification_info": text({"language": "python", "test_cases": [
             {"type": "stdin_stdout", "input": "1 2\n", "output": "3\n", "fn_name": None}]})}], right=[fenced(ADD)]),
    "nemo gym's programs": Format(task="code", rows=[
        {"responses_create_params": {"input": user("Add two numbers.")}, "hash_id": "h", "dataset": "taco",
         "source": "codeforces", "verifier_metadata": {"unit_tests": {
             "inputs": ["1 2\n"], "outputs": ["3\n"], "fn_name": None}}}], right=[fenced(ADD)]),
}  # fmt: skip

OTHERS: dict[str, Format] = {
    "nemo gym's instructions": Format(task="ifeval", rows=[
        {"id": 0, "instruction_id_list": ["punctuation:no_comma"], "prompt": "Write about rain. Use no commas.",
         "kwargs": [{"num_words": None}], "grading_mode": "binary", "responses_create_params": {
             "input": user("Write about rain. Use no commas.")}}], right=["It rains."], wrong="It rains, again."),
    "knights and knaves": Format(task="logic", prompt="knight/knave", rows=[KNAVES], right=[ANN], wrong=NOT_ANN),
    "knights and knaves of logic-rl": Format(task="logic", kind=".parquet", rows=[
        {**KNAVES, **verl("kk_logic", user(QUIZ), "logic", {"solution_text_format": "(1)", "statements": "()"})}],
        right=[ANN], wrong=NOT_ANN),
    "nemo gym's puzzles": Format(task="logic", prompt="Put it into tags", rows=[
        {"responses_create_params": {"input": [{"role": "user", "content": "What is 1 + 1? Put it into tags."}]},
         "question": "What is 1 + 1?", "answer": "2", "metadata": {"source_dataset": "basic_arithmetic",
         "source_index": 0, "difficulty": {}}}], right=["<answer>2</answer>"], wrong="<answer>3</answer>"),
}  # fmt: skip

FORMATS = MATH | STEM | CODE | OTHERS
UNKNOWN: dict[str, tuple[str, Rows, str]] = {
    "german": ("math", [{"frage": "Wie viel ist 1+1?", "antwort": "2"}, {"frage": "Und 2+2?", "antwort": "4"}], "2"),
    "nested": ("math", [{"meta": {"result": 3, "by": "ann"}, "item": {"body": "What is one plus two?", "n": 1}}], "3"),
    "deep and as text": ("stem", [{"row": text({"ask": {"stem": "How fast?"}, "res": "3 m/s"})}], "3 m/s"),
    "words": ("math", [{"source": "a", "essay": "How many legs has a dog?", "legs": 4},
                       {"source": "a", "essay": "How many legs has a bird?", "legs": 2}], "4"),
    "blanks": ("math", [{"The task": "What is 1+1?", "Its result": "2"}], "2"),
    "columns with numbers": ("math", [{"0": {"from": "human", "value": "What is 1+1?"},
                                       "1": {"from": "assistant", "ground_truth": {"value": "2"}}}], "2"),
    "turns": ("math", [{"chat": user("What is 1+1?"), "outcome": "2"}], "2"),
}  # fmt: skip
"""Columns that no schema knows: the task, the rows, and the right answer of the first."""

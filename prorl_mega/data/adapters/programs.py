"""Published sets of programming problems, their tests as tests of the `code` task."""

from __future__ import annotations

from typing import Any

from prorl_mega.data.adapters.program_tests import asserted, before, read_tests
from prorl_mega.data.adapters.prompts import PROMPTS, asked
from prorl_mega.data.adapters.schema import Names, Schema, chosen, columns, decoded, first, needed
from prorl_mega.data.adapters.stored_tests import stored_text
from prorl_mega.data.canonical import Domain, Fields
from prorl_mega.data.rows import BadRowError, OtherDomainError

TESTS: Names = (
    "tests", "input_output", "test_cases", "official_tests", "unit_tests", "verifier_metadata.unit_tests",
    "verification_info.test_cases", "reward_model.ground_truth", "test_list", "test", "ground_truth",
)  # fmt: skip
SOLUTIONS: Names = ("solution", "solutions", "canonical_solution", "completion", "code", "gold_standard_solution")
PYTHON_3 = 3  # CodeContests' number for it
_OBJECTS = ("ListNode", "TreeNode", "Node(", "list_node(", "tree_node(")


def _fenced(source: Any) -> str | None:
    if not isinstance(source, str) or not source.strip():
        return None
    return source if "```" in source else f"```python\n{source.strip()}\n```"


def _solved(row: Fields, fields: Fields) -> Fields:
    """The row with its solution, the first one if there are several."""
    solution = first(fields, *SOLUTIONS)
    if isinstance(solution, str) and solution.lstrip().startswith("["):
        solution = decoded(solution, "solutions")
    if isinstance(solution, list):
        solution = solution[0] if solution else None
    fenced = _fenced(solution)
    return {**row, "solution": fenced} if fenced else row


def _named(prompt: str, starter: Any, tests: list[Fields]) -> str:
    """The problem with the name that an answer must have, where that is tested."""
    if isinstance(starter, str) and starter.strip():
        return (
            prompt
            if starter.strip() in prompt
            else f"{prompt}\n\nStart from this code:\n```python\n{starter.strip()}\n```"
        )
    function = tests[0].get("function")
    if function is None or f"{function}(" in prompt or f"`{function}`" in prompt:
        return prompt
    return f"{prompt}\n\nWrite a function called `{function}`."


def _row(fields: Fields) -> Fields:
    """A problem and its tests, in any form."""
    ability = str(fields.get("ability") or "")
    row = asked(fields)
    name, found = chosen(fields, *TESTS)
    function = first(fields, "entry_point", "fn_name", "func_name", "metadata.func_name", "function")
    try:
        tests = read_tests(found, name.rpartition(".")[2], function=function)
    except BadRowError:
        if ability and not ability.lower().startswith("cod"):
            raise OtherDomainError(ability) from None
        raise
    row |= {"prompt": _named(row["prompt"], fields.get("starter_code"), tests), "tests": tests}
    if isinstance(language := first(fields, "language"), str) and language in ("python", "cpp"):
        row["language"] = language
    if (identifier := first(fields, "problem_id")) is not None:
        row["id"] = identifier
    return _solved(row, fields)


def _mbpp(fields: Fields) -> Fields:
    """Assertions; the first one is shown, because the text does not name the function."""
    setup = first(fields, "test_setup_code", "test_imports") or ""
    setup = "\n".join(setup) if isinstance(setup, list) else str(setup)
    tests = read_tests(needed(fields, "test_list"), "test_list", setup=setup)
    shown = str(fields["test_list"][0]).strip()
    row = asked(fields)
    prompt = f"{row['prompt']}\n\nThe program must pass tests such as:\n```python\n{shown}\n```"
    return _solved({**row, "prompt": prompt, "tests": tests}, fields)


def _human_eval(fields: Fields) -> Fields:
    """The prompt is the head of a function, with helpers before it; the test defines `check(candidate)`."""
    head, body, function = (
        str(needed(fields, "prompt")),
        first(fields, "canonical_solution"),
        needed(fields, "entry_point"),
    )
    test = asserted([str(needed(fields, "test"))], "test", function, before(head, str(function)))
    row = {
        **asked(fields, "prompt"),
        "prompt": f"Complete this function:\n```python\n{head.strip()}\n```",
        "tests": [test],
    }
    return _solved(row, {"solution": f"{head}{body}"} if body else {})


def _leet_code(fields: Fields) -> Fields:
    """LeetCodeDataset: a method of `Solution`; `prompt` is what every program begins with."""
    starter, test = first(fields, "starter_code"), str(needed(fields, "test"))
    if any(name in f"{starter}\n{test}" for name in _OBJECTS):
        raise BadRowError(
            "linked nodes", "its tests pass linked nodes, and programs exchange plain data with their tests"
        )
    function = str(needed(fields, "entry_point")).rpartition(".")[2].removesuffix("()")
    row = asked(fields, "problem_description", "query")
    tests = [asserted([test], "test", function, "")]
    return _solved({**row, "prompt": _named(row["prompt"], starter, tests), "tests": tests}, fields)


def _code_contests(fields: Fields) -> Fields:
    """Public, private and generated tests. Problems that read and write files are of another kind."""
    if first(fields, "input_file", "output_file") is not None:
        raise OtherDomainError("reads files")
    tests: list[Fields] = []
    for name in ("public_tests", "private_tests", "generated_tests"):
        pairs = fields.get(name) or {}
        if pairs.get("input") or pairs.get("output"):
            tests += read_tests(pairs, name)
    if not tests:
        raise BadRowError("no tests", "has no tests")
    solutions = fields.get("solutions") or {}
    written = zip(solutions.get("language") or [], solutions.get("solution") or [], strict=False)
    source = next((_fenced(source) for language, source in written if language == PYTHON_3), None)
    row = {**asked(fields, "description"), "tests": tests}
    if (name := first(fields, "name")) is not None:
        row["id"] = name
    return {**row, "solution": source} if source else row


def _live_code_bench(fields: Fields, *names: str) -> Fields:
    """The public tests and the private ones, or those of the fields `names`."""
    metadata = decoded(first(fields, "metadata") or "{}", "metadata")
    function = metadata.get("func_name") if isinstance(metadata, dict) else None
    tests: list[Fields] = []
    for name in names or ("public_test_cases", "private_test_cases"):
        found = first(fields, name)
        if isinstance(found, str) and not found.lstrip().startswith("["):
            found = stored_text(found)
        found = decoded(found, name) if found is not None else []
        tests += read_tests(found, name, function=function) if found else []
    if not tests:
        raise BadRowError("no tests", "has no tests")
    row = asked(fields, "question_content")
    return {**row, "prompt": _named(row["prompt"], fields.get("starter_code"), tests), "tests": tests}


def _public(fields: Fields) -> Fields:
    """The public tests, which are few and weaker than those of the leader board."""
    return _live_code_bench(fields, "public_test_cases")


_LITE = "livecodebench/code_generation_lite"

SPECIFIC = (
    Schema("code_contests", Domain.code, "deepmind/code_contests",
           columns("description public_tests|private_tests|generated_tests"), _code_contests),
    Schema("livecodebench", Domain.code, f"livecodebench/code_generation, {_LITE}",
           columns("question_content public_test_cases private_test_cases"), _live_code_bench),
    Schema("livecodebench_public", Domain.code, f"{_LITE}, public tests only",
           columns("question_content public_test_cases"), _public, by_name_only=True),
    Schema("leetcode", Domain.code, "newfacade/LeetCodeDataset",
           columns("problem_description|query entry_point test"), _leet_code),
    Schema("humanevalplus", Domain.code, "openai/openai_humaneval, evalplus/humanevalplus",
           columns("prompt entry_point test"), _human_eval),
    Schema("mbpp", Domain.code, "google-research-datasets/mbpp, evalplus/mbppplus",
           columns("text|prompt test_list"), _mbpp),
)  # fmt: skip
TESTED = Schema("tests", Domain.code, "APPS, TACO, DeepCoder, Eurus-2-RL and other sets of verl, NeMo Gym, and others",
                (PROMPTS, TESTS), _row)  # fmt: skip

"""Problems with a short answer, under any of the usual names of their columns."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from prorl_mega.data.adapters.choices import offered
from prorl_mega.data.adapters.prompts import PROMPTS, asked
from prorl_mega.data.adapters.schema import Names, Schema, columns, first, needed
from prorl_mega.data.canonical import Domain, Fields
from prorl_mega.data.rows import BadRowError, OtherDomainError

ANSWERS: Names = (
    "answer", "final_answer", "expected_answer", "Answer", "reference_answer", "correct_answer", "gold_answer",
    "extracted_answer", "ground_truth", "answer_number", "final_ans", "gold", "golden", "gt_answer", "target",
    "reward_model.ground_truth", "verification_info.ground_truth", "info.answer", "extra_info.answer",
)  # fmt: skip
SOLUTIONS: Names = (
    "solution", "Solution", "matched_solution", "extract_solution", "generated_solution", "gold_standard_solution",
    "rationale", "Explanation", "response",
)  # fmt: skip
SHORT = 100  # characters of a solution that can be an answer as a whole
_MARK = "####"
_STATED = re.compile(r"(?:^|\n|[.!?] )(?:the|The) (?:final )?answer is:?\s+(\S[^\n]*?)\.?\s*$")


def _row(fields: Fields) -> Fields:
    """A problem and its answer, or the final statement of its worked solution."""
    ability = str(fields.get("ability", ""))
    if ability.lower().startswith("cod"):
        raise OtherDomainError(ability)
    row = asked(fields)
    solution = _solution(fields)
    answer = first(fields, *ANSWERS)
    if answer is None:
        answer = stated(solution)
        if answer is None:
            raise BadRowError("no answer", "has no answer, and its solution no complete \\boxed{...}")
    elif offered(fields):
        raise BadRowError("multiple choice", "has choices, and its answer is none of them")
    elif isinstance(answer, str) and marked(answer) is not None:
        solution = worked(answer)
    row["answer"] = short(answer)
    if solution is not None:
        row["solution"] = solution
    return row


def _gsm8k(fields: Fields) -> Fields:
    """The answer follows "####" at the end of the worked solution."""
    text = str(needed(fields, "answer", "solution"))
    if marked(text) is None:
        raise BadRowError("no answer", "field 'answer' does not end with #### and a number")
    return {**asked(fields), "answer": short(text), "solution": worked(text)}


def _solution(fields: Fields) -> str | None:
    solution = first(fields, *SOLUTIONS)
    if isinstance(solution, list):
        solution = "\n".join(map(str, solution)) or None
    return solution if isinstance(solution, str) else None


def worked(text: str) -> str:
    """A solution that ends with "#### 5", with a box instead."""
    return f"{text.rpartition(_MARK)[0].strip()}\n\\boxed{{{marked(text)}}}"


def marked(text: str) -> str | None:
    """The rest of the line after the last "####"; None without one."""
    _, mark, rest = text.rpartition(_MARK)
    return rest.strip().partition("\n")[0].strip() or None if mark else None


def short(value: Any) -> Any:
    """An answer that stands in a list, after "####", in a box, or is written as a number; others as they are.

    Several answers are listed; of a solution with a box the box is the answer.
    """
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return str(int(value))
    if isinstance(value, str):
        text = value.strip()
        if text.startswith('["'):
            parsed = _listed(text)
            return value if parsed is None else short(parsed)
        if text.startswith("{") and '"inputs"' in text:
            raise OtherDomainError("tests of a program")
        if (rest := marked(text)) is not None:
            return rest.replace(",", "")
        return boxed(text) or value if "\n" in text or "\\boxed{" in text else value
    if isinstance(value, list) and value:
        each = [short(one) for one in value]
        if all(isinstance(one, str | int | float) for one in each):
            return each[0] if len(each) == 1 else ", ".join(map(str, each))
    return value


def _listed(text: str) -> list[Any] | None:
    """A list that is stored as JSON text, as in Skywork-OR1; None for other texts."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) and value else None


def stated(solution: Any) -> str | None:
    """The answer that a worked solution ends with: in a box, after "####", or after "The answer is"."""
    if not isinstance(solution, str):
        return None
    if (found := boxed(solution)) is not None:
        return found
    if (rest := marked(solution)) is not None:
        return rest
    match = _STATED.search(solution[-400:])
    return match[1] if match else None


def boxed(text: str) -> str | None:
    r"""The content of the last \boxed{...} or \fbox{...} in a text; None without a complete one."""
    start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    if start < 0:
        return None
    depth, begin = 0, text.index("{", start)
    for place in range(begin, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return text[begin + 1 : place].strip() or None
    return None


def _scp(fields: Fields) -> Fields:
    """SCP-116K has solutions and no answers.

    The answer is that of a column `answer` or `extracted_answer`, if one was added (the authors of ProRL did so with a
    model), or the box of the solution, or a solution of one short line; a row without any is broken. The solution is
    matched_solution in the first release and extract_solution in the second. Other columns are ignored.
    """
    solution = first(fields, "matched_solution", "extract_solution", "solution")
    answer = first(fields, "answer", "extracted_answer") or (boxed(solution) if isinstance(solution, str) else None)
    if answer is None and isinstance(solution, str) and len(solution) <= SHORT and "\n" not in solution.strip():
        answer = solution.strip()
    if answer is None:
        raise BadRowError("no short answer", "has a solution but no short answer: extract one into a column 'answer'")
    row = {"prompt": needed(fields, "problem"), "answer": answer}
    return {**row, "solution": solution} if solution is not None else row


def _scibench(fields: Fields) -> Fields:
    """Numbers in a unit that the prompt names; the authors accept answers that are off by 5 %."""
    row = asked(fields, "problem_text")
    answer = str(needed(fields, "answer_number")).strip().strip("$").replace("−", "-")
    unit = str(first(fields, "unit") or "").strip()
    row |= {"answer": answer, "tolerance": 0.05}
    row.pop("id", None)  # "problemid" repeats
    if unit:
        row |= {"unit": unit, "prompt": f"{row['prompt']}\n\nGive the answer in {unit}."}
    if isinstance(solution := first(fields, "solution"), str):
        row["solution"] = solution
    return row


_ANY = (PROMPTS, ANSWERS + SOLUTIONS)
_SOURCE = (
    "DeepScaleR, AIME, AMC, MATH, MATH-500, Minerva, OlympiadBench, TheoremQA, Big-Math, OpenMathReasoning, DAPO, "
    "Skywork-OR1 and other sets of verl, NeMo Gym, and others"
)
MARKED = Schema("gsm8k", Domain.math, "openai/gsm8k", columns("question answer"), _gsm8k, by_name_only=True)
SCIENCE = (
    Schema(
        "scp116k", Domain.stem, "EricLu/SCP-116K", columns("domain problem matched_solution|extract_solution"), _scp
    ),
    Schema("scibench", Domain.stem, "xw27/scibench", columns("problem_text answer_number unit"), _scibench),
)
ANSWERED = (
    Schema("answers", Domain.math, _SOURCE, _ANY, _row),
    Schema("short_answers", Domain.stem, _SOURCE, _ANY, _row),
)

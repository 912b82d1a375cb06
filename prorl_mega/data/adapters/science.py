"""Published sets of the sciences."""

from __future__ import annotations

from prorl_mega.data.adapters.schema import Schema, boxed, first, needed, with_known
from prorl_mega.data.canonical import Domain, Fields
from prorl_mega.data.rows import BadRowError

SHORT = 100  # characters of a solution that can be an answer as a whole


def _scp(fields: Fields) -> Fields:
    """SCP-116K has solutions and no answers.

    The answer is that of a column `answer` or `extracted_answer`, if one was added (the authors of ProRL did so with a
    model), or the box of the solution, or a solution of one short line; a row without any is broken. The solution is
    matched_solution in the first release and extract_solution in the second. Other columns are ignored.
    """
    solution = first(fields, "matched_solution", "extract_solution", "solution")
    answer = first(fields, "answer", "extracted_answer") or boxed(solution)
    if answer is None and isinstance(solution, str) and len(solution) <= SHORT and "\n" not in solution.strip():
        answer = solution.strip()
    if answer is None:
        raise BadRowError("no short answer", "has a solution but no short answer: extract one into a column 'answer'")
    return with_known(prompt=needed(fields, "problem"), answer=answer, solution=solution)


def _gpqa(fields: Fields) -> Fields:
    """Four choices; the task shuffles them."""
    texts = [needed(fields, "Correct Answer"), *(needed(fields, f"Incorrect Answer {i}") for i in (1, 2, 3))]
    choices = [str(text).strip() for text in texts]
    return with_known(
        prompt=str(needed(fields, "Question")).strip(),
        answer=choices[0],
        choices=choices,
        solution=first(fields, "Explanation"),
        id=first(fields, "Record ID"),
    )


SCHEMAS = (
    Schema("scp116k", Domain.stem, "EricLu/SCP-116K", "domain problem matched_solution * "
           "| domain problem extract_solution * | domain problem answer *", _scp),
    Schema("gpqa", Domain.stem, "Idavidrein/gpqa (gpqa_diamond.csv)",
           "Question Correct·Answer Incorrect·Answer·1 Incorrect·Answer·2 Incorrect·Answer·3 *", _gpqa),
)  # fmt: skip

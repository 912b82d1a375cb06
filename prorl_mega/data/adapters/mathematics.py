"""Published sets of mathematics: training sets, and those that are used for evaluation."""

from __future__ import annotations

from typing import Any

from prorl_mega.data.adapters.schema import Schema, boxed, eurus_model, first, message, needed, number_text, with_known
from prorl_mega.data.canonical import Domain, Fields
from prorl_mega.data.rows import BadRowError, OtherDomainError


def _row(fields: Fields) -> Fields:
    """Problem, answer and worked solution under any of their usual names; an answer may be the box of the solution."""
    solution = first(fields, "solution", "Solution")
    answer = first(fields, "answer", "Answer")
    answer = number_text(answer) if answer is not None else boxed(solution)
    if answer is None:
        raise BadRowError("no answer", "has no answer, and its solution no complete \\boxed{...}")
    return with_known(
        prompt=needed(fields, "problem", "question", "Problem"),
        answer=answer,
        solution=solution,
        id=first(fields, "unique_id", "id", "ID", "problem_idx", "idx"),
        level=first(fields, "level"),
    )


def _gsm8k(fields: Fields) -> Fields:
    """The answer follows "####" at the end of the worked solution."""
    solution = needed(fields, "answer")
    steps, mark, answer = str(solution).rpartition("####")
    if not mark or not answer.strip():
        raise BadRowError("no answer", "field 'answer' does not end with #### and a number")
    return {
        "prompt": needed(fields, "question"),
        "answer": answer.strip().replace(",", ""),
        "solution": f"{steps.strip()}\n\\boxed{{{answer.strip()}}}",
    }


def _eurus(fields: Fields) -> Fields:
    answer = needed(eurus_model(fields, "math"), "ground_truth")
    return {"prompt": message(fields["prompt"], "prompt"), "answer": answer}


def _olympiad(fields: Fields) -> Fields:
    """Text-only problems with a final answer; several answers are written as a list."""
    if fields.get("modality") == "Multimodal" or any(fields.get(f"image_{i}") is not None for i in range(1, 6)):
        raise OtherDomainError("needs an image")
    answers: Any = fields.get("final_answer")
    answers = [answers] if isinstance(answers, str) else answers
    if not isinstance(answers, list) or not answers or not all(isinstance(each, str) for each in answers):
        raise BadRowError("no answer", "field 'final_answer' is missing: it is a proof, or not a list of texts")
    context, question = first(fields, "context"), needed(fields, "question")
    solution = fields.get("solution")
    return with_known(
        prompt=f"{context}\n\n{question}" if isinstance(context, str) else question,
        answer=", ".join(answers),
        solution=first(
            {"solution": "\n".join(map(str, solution)) if isinstance(solution, list) else solution}, "solution"
        ),
        id=first(fields, "id"),
    )


SCHEMAS = (
    Schema("deepscaler", Domain.math, "agentica-org/DeepScaleR-Preview-Dataset", "problem answer solution", _row),
    Schema("eurus_math", Domain.math, "PRIME-RL/Eurus-2-RL-Data",
           "data_source prompt ability reward_model extra_info?", _eurus),
    Schema("aime", Domain.math,
           "HuggingFaceH4/aime_2024, AI-MO/aimo-validation-aime, Maxwell-Jia/AIME_2024, math-ai/aime24 and aime25, "
           "opencompass/AIME2025, MathArena/aime_2025",
           "id problem solution answer url year? | ID Problem Solution Answer | id problem solution url "
           "| id problem answer | question answer | problem_idx problem answer problem_type?", _row),
    Schema("amc", Domain.math, "AI-MO/aimo-validation-amc, math-ai/amc23",
           "id problem answer url | id question answer url", _row),
    Schema("math500", Domain.math, "HuggingFaceH4/MATH-500", "problem solution answer subject level unique_id", _row),
    Schema("minerva", Domain.math, "math-ai/minervamath, and the file of the Qwen2.5-Math evaluation",
           "question answer | problem solution type idx", _row),
    Schema("olympiadbench", Domain.math, "Hothan/OlympiadBench, and the file of the Qwen2.5-Math evaluation",
           "question final_answer is_multiple_answer answer_type *", _olympiad),
    Schema("gsm8k", Domain.math, "openai/gsm8k", "question answer", _gsm8k),
)  # fmt: skip

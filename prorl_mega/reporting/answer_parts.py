"""An answer of an evaluation as a part of a panel."""

from __future__ import annotations

from prorl_mega.huggingface.token_pieces import TokenPieces
from prorl_mega.reporting import kit
from prorl_mega.reporting.answer_budget import AnswerBudget
from prorl_mega.reporting.stored_answers import JudgedAnswer, is_right
from prorl_mega.run.sample_store import StoredVerdict

MOST_TOKENS = 1500  # of an answer whose tokens are coloured
ABOUT_COLOURS = "The warmer a token's colour, the less likely it was to the policy that wrote it."


def answer_part(who: str, judged: JudgedAnswer, texts: TokenPieces | None, budget: AnswerBudget) -> kit.Part | None:
    """The answer with its verdict, its tokens coloured where they are known; None when the budget is used up."""
    sample, verdict = judged
    pieces = None
    if texts and sample.tokens and len(sample.tokens) == len(sample.logprobs) and len(sample.tokens) <= MOST_TOKENS:
        pieces = texts.aligned(sample.tokens, sample.text)
    shown = budget.take(sample.text)
    if not shown:
        return None
    label = f"sample {sample.sample}, {sample.length} tokens{', cut off' if sample.is_truncated else ''}"
    label = f"{who}, {label}" if who else label
    says, tone = _verdict(verdict)
    if pieces is None:
        return kit.pre(shown, label, says, tone)
    budget.left -= 8 * len(pieces)  # characters of a length and of a log-probability
    return kit.tokens(pieces, sample.logprobs, label, says, tone)


def _verdict(verdict: StoredVerdict | None) -> tuple[str, str]:
    if verdict is None:
        return "not judged", ""
    if verdict.reward is None:
        return f"the verifier failed: {verdict.detail[:100]}", ""
    right = is_right(verdict)
    found = f", found {verdict.answer[:60]}" if verdict.answer else ""
    return f"{'right' if right else 'wrong'}, reward {verdict.reward:g}{found}", "good" if right else "bad"

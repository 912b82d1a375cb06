"""The library math-verify as a judge of its own, without the rules of this package: for second opinions."""

from __future__ import annotations

from prorl_mega.tasks import extract
from prorl_mega.tasks.answers import symbolic
from prorl_mega.tasks.math.mathematics import Math
from prorl_mega.types import Problem, Verdict


class MathVerify(Math):
    """Mathematics from data files, judged by math-verify alone. It makes no difference between kinds of rows."""

    def score(self, problem: Problem, answer: str) -> Verdict:
        found = extract.statement(answer, self.options.answer)
        if not found:
            return Verdict(reward=0.0, detail="no answer found", found=False)
        accepts = all(symbolic.alone(problem.entry["answer"], each) for each in found)
        return Verdict(reward=float(accepts), detail=found[0][:64])

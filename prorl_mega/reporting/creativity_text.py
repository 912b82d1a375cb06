"""The Creativity Index of evaluations as a table for a terminal, and what has to be said beside it."""

from __future__ import annotations

from prorl_mega.evaluation.creativity.comparison import CreativityGroup, MeanIndex, ScoredEvaluation

_COLUMNS = ("problems", "answers", "index", "difference", "equal lengths", "right", "wrong", "words", "quoted", "run")


def creativity_table(groups: list[CreativityGroup]) -> str:
    """A table per group of problems; intervals of 95 % behind the means."""
    lines = []
    for group in groups:
        cells: list[tuple[str, ...]] = [(group.name, *_COLUMNS)]
        for row in group.rows:
            cells.append(
                (
                    f"  {row.evaluation}",
                    str(row.problems),
                    str(row.index.answers),
                    _mean(row.index),
                    _interval(row.difference, "+.2f"),
                    _interval(row.index.at_equal_lengths, ".2f"),
                    _mean(row.right),
                    _mean(row.wrong),
                    f"{row.words:.0f}",
                    f"{row.quoted:.1%}",
                    f"{row.longest:.1f}",
                )
            )
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for first, *others in cells:
            padded = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
            lines.append("  ".join([first.ljust(widths[0]), *padded]).rstrip())
        if group.compared is not None and group.compared < 1:
            lines.append(
                f"  equal lengths: {group.compared:.0%} of the answers have a length that all evaluations have"
            )
        lines.append("")
    return "\n".join(lines) + "\n"


def creativity_remarks(evaluations: list[ScoredEvaluation], *, corpus_words: int, keep_prompt: bool) -> list[str]:
    """Sentences that a reader of the numbers needs."""
    said = [
        f"The corpus has {corpus_words:,} words. What it lacks counts as new: indices are comparable for one "
        "corpus, and larger for a smaller one. ProRL's 3.84 → 4.70 are against Dolma, which has three trillion tokens."
    ]
    said.append(
        "What answers quote from their prompts is counted like the rest."
        if keep_prompt
        else "Runs of 5 words or more that an answer has from its own prompt are left out of it."
    )
    for each in evaluations:
        empty = sum(score.left_out == "empty" for score in each.left_out)
        short = len(each.left_out) - empty
        if each.left_out:
            said.append(f"{each.label}: without an index are {empty} empty answers and {short} of fewer than 12 words.")
        if each.damaged:
            said.append(f"{each.label}: {each.damaged} damaged lines of its answers were left out.")
        if unjudged := int((~each.is_right & ~each.is_wrong).sum()):
            said.append(f"{each.label}: {unjudged} answers have no verdict; they are neither right nor wrong here.")
    return said


def _mean(value: MeanIndex) -> str:
    if value.mean is None or value.low is None or value.high is None:
        return "–"
    return _interval([value.mean, value.low, value.high], ".2f")


def _interval(value: list[float] | None, shape: str) -> str:
    return "–" if value is None else f"{value[0]:{shape}} [{value[1]:{shape}}, {value[2]:{shape}}]"

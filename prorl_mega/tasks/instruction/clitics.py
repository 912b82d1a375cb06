"""Words in capitals as IFEval's published checker counts them: in the tokens of NLTK's word tokenizer (3.9.1).

Those tokens part punctuation from words, `IT'S` into `IT` and `'S`, and `CANNOT` into `CAN` and `NOT`; `AND/OR`, `A-B`
and `U.S.` stay whole. Tokens without a letter do not count, so marks are replaced by blanks here.
`benchmarks/ifeval_agreement.py` compares with NLTK.
"""

from __future__ import annotations

import re

from prorl_mega.tasks.instruction import punkt

_OPENING = re.compile(r"^\"|(?<=[ (\[{<])(?:\"|'')")
_BEFORE_LETTER = re.compile(r"'(?![mtsdn])(?=\w\b)", re.IGNORECASE)
_FINAL_STOP = re.compile(r"(?<=[^.])\.(?=[\])}>\"' \u00bb\u201d\u2019]*+\s*\Z)")
_COLON = re.compile(r"[:,](\D|\Z)")  # a second one stays with what follows
_PARTED = (
    re.compile(r"[\u00ab\u201c\u2018\u201e`;@#$%&?!]|\.{2,}"),
    re.compile(r"(?<=[^'])' "),
    re.compile(r"[*\[\](){}<>\u00bb\u201d\u2019\"]|--|''"),
)
_CLITICS = (
    re.compile(r"(?<=[^' ])('[sS]|'[mM]|'[dD]|') "),
    re.compile(r"(?<=[^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) "),
)
_JOINED = [
    re.compile(rf"({first})({second}){end}", re.IGNORECASE)
    for first, second, end in (
        (r"\bcan", "not", r"\b"), (r"\bd", "'ye", r"\b"), (r"\bgim", "me", r"\b"), (r"\bgon", "na", r"\b"),
        (r"\bgot", "ta", r"\b"), (r"\blem", "me", r"\b"), (r"\bmore", "'n", r"\b"), (r"\bwan", "na", r"(?=\s)"),
        (r"(?<= )'t", "is", r"\b"), (r"(?<= )'t", "was", r"\b"),
    )
]  # fmt: skip


def capital_words(text: str) -> int:
    """The number of tokens in capitals, single letters among them."""
    return sum(token.isupper() for sentence in punkt.sentences(text) for token in _tokens(sentence))


def _tokens(sentence: str) -> list[str]:
    sentence = _FINAL_STOP.sub(" ", _BEFORE_LETTER.sub("' ", _OPENING.sub("`", sentence)))
    sentence = _COLON.sub(r" \1", sentence)
    for mark in _PARTED:
        sentence = mark.sub(" ", sentence)
    padded = " ".join(["", *sentence.split(), ""])
    for clitic in _CLITICS:
        padded = clitic.sub(r" \1 ", padded)
    for joined in _JOINED:
        padded = joined.sub(r" \1 \2 ", padded)
    return padded.split()

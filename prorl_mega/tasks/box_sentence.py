r"""The sentence around a box: "not \boxed{82}" denies it, "maybe \boxed{82}" doubts it, "\boxed{82} or 83" adds to it.

Only what governs the box counts: "the number of integers that are not prime is \boxed{82}" denies nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from prorl_mega.tasks.answers.approximation import near
from prorl_mega.tasks.answers.literal import MARKUP, number

WINDOW = 256  # characters that are read to each side

_END_BEFORE = re.compile(r"[.!?](?=\s)|\n\s*\n|\n\s*(?=[-*#•|]\s)")
_END_AFTER = re.compile(r"[.!?](?=\s|$)(?!\s{1,3}[Oo]r\s)|\n(?![ \t]*[a-z0-9$\\])")
_FENCES = re.compile(r"\\(?:[()\[\],;:! \\]|(?:begin|end)\{[a-zA-Z]+\*?\}|q?quad(?![A-Za-z]))|\$|[*`&]")
_FILLERS = frozenset(("a", "actually", "an", "answer", "as", "be", "been", "correct", "equal", "equals", "even",
                      "exactly", "final", "is", "it", "just", "my", "necessarily", "number", "our", "really", "result",
                      "right", "simply", "solution", "the", "this", "to", "value", "yet", ":", "="))  # fmt: skip
_NOT_THIS = re.compile(
    r"(?:\b(?:can)?not|n['’]t|\b(?:never|neither|nor|no longer|other than|except|except for|instead of|rather than|"
    r"anything but|far from|different from|exclud(?:es?|ed|ing)|rul(?:es?|ed|ing) out|reject(?:s|ed|ing)?|"
    r"wrong|incorrect|false)|"
    r"(?<!\bno )(?<!\bnot )\b(?:more|less|greater|smaller|larger|fewer|higher|lower|bigger) than|"
    r"~~|<(?:s|del|strike)>|<!--)$",
    re.IGNORECASE,
)
_CHANGED = re.compile(  # a calculation in words, of which the box is a part
    r"\b(?:minus|negative|twice|double|triple|half"
    r"|(?:root|square|cube|opposite|reciprocal|inverse|negative|double|triple|half|factorial|logarithm) of)$",
    re.IGNORECASE,
)
_NOT_SO = re.compile(  # in small letters
    r"\b(?:(?:not|[a-z]{2,5}n['’]t|never)\s+(?:\w+ly\s+)?(?:true|correct|right|the case|valid|so|possible)\s+"
    r"(?:that|to)\b|(?:false|wrong|incorrect|untrue|mistaken|impossible|unlikely|doubtful|mistake|error|lie)\s+"
    r"(?:that|to (?:say|think|claim|conclude|assume|answer|believe|write))\b"
    r"|(?:do|does|did|can|could|would|should)(?:\s+not|n['’]t)\s+"
    r"(?:think|believe|claim|say|agree|accept|answer|conclude|mean)\b"
    r"|(?<!\bno )(?<!\ba )(?<!\bwithout )doubt\b|(?:deny|denies|disagree|refuse to)\b"
    r"|\b(?:mistake|error)s? (?:is|are|gives?|yields?|leads? to|would (?:be|give|yield|lead to))\b"
    r"|\b(?:(?:one|you|some|many|people|students) (?:might|may|could|would)"
    r"|(?:i|we) (?:at )?(?:first|initially|originally))(?: \w+)?"
    r" (?:think|thought|say|said|guess|guessed|believe|believed|expect|expected)\b"
    r"(?!.*\b(?:then|now|finally|later|check\w*|correct\w*|really|actually)\b))"
)
_CUES = ("not", "n't", "n’t", "never", "false", "wrong", "correct", "true", "mist", "impossible", "unlikely", "doubt",
         "error", "lie", "den", "disagree", "refuse", "first", "initial", "original",
         "might", "may", "could", "would")  # fmt: skip
"""One of these is in every text that `_NOT_SO` matches; to look for them takes a fraction of the time."""
_CONSEQUENCE = re.compile(r"\b(?:so|thus|hence|therefore|consequently|but|instead)\b|;")
_PERHAPS_THIS = re.compile(
    r"\b(?:maybe|perhaps|possibly|my (?:\w+ )?guess|i(?:['’]d| would| will|['’]ll)? guess|(?:just|only) guessing"
    r"|random guess|(?:don['’]t|do not) know,?(?: so)?):?$|(?:^|\b(?:is|are|be|answers?:?)\s)\(?[A-J]\)?\sand$",
    re.IGNORECASE,
)
_MIGHT_BE = re.compile(r"\b(?:could|might|may)(?: \w+ly| also)? be(?: equal to)?$", re.IGNORECASE)
_SUBJECT = r"^[\W_]*(?:(?:which|that|this|it|and|but|though|the answer)\s+){0,3}"
_WRONG = re.compile(
    rf"{_SUBJECT}(?:(?:is|was|are|seems?|looks?|must be|would be|has been)\s+(?:to be\s+)?(?:\w+ly\s+)?(?:the |an? )?)?"
    r"(?:wrong|incorrect|off by|almost right|(?:(?!not )\w+ )?too (?:small|large|big|low|high|few|many)|"
    r"false|untrue|impossible|invalid|mistaken|rejected|excluded|ruled out|"
    r"(?:not|never) (?:right|correct|true|valid|possible|it|the (?:\w+ )?(?:answer|solution|result|value)))\b"
    rf"|{_SUBJECT}(?:is|was|does|do|did|can|could|will|would|should)(?:n['’]t|\s?not|\s+never)\s+(?:be\s+)?"
    r"(?:right|correct|true|valid|possible|it|work|fit|hold|satisfy|count|the (?:\w+ )?(?:answer|solution|result))\b"
    rf"|{_SUBJECT}(?:is|was|seems to (?:be|have been))\s+(?:just |only |merely |simply )?(?:my|our|the|an?)\s+(?:"
    r"(?:\w+ )?(?:guess|hunch)|(?:very )?(?:first|initial|early|earlier) (?:attempt|try|thought|idea|estimate)"
    r"|(?<=my )(?:first|initial|original|previous|earlier|old) (?:answer|result|estimate)"
    r"|(?<=our )(?:first|initial|original|previous|earlier|old) (?:answer|result|estimate))(?!\s+(?:of|in|that)\b)\b"
    r"|^[\W_]*(?:fails|no[,!]|no\W*$|nope|not\W*$)"
    rf"|{_SUBJECT}(?:still\s+|only\s+)?(?:(?:over|under|mis|double|double )-?count(?:s|ed)?\b"
    r"|is (?:a|the) (?:\w+ )?(?:trap|mistake|decoy)\b"
    r"|would (?:only )?(?:be|have been) (?:\w+ )?(?:correct|right|true|valid|answer|it) (?:if|had|only)\b"
    r"|(?:needs|has|must|should|still|now|then|ought)\s+(?:to\s+|still\s+|now\s+|then\s+|also\s+){0,3}"
    r"be\s+(?:halv|doubl|tripl|squar|multipli|divid|subtract)ed\b"
    r"|(?:we|i|one|you)\s+(?:now\s+|then\s+|still\s+|must\s+|have to\s+|need to\s+|should\s+){0,3}"
    r"(?:halve|double|triple|square|multiply|divide)\b)"
    r"|^[\W_]*(?:plus|minus|times(?=\s+[0-9])|divided by|squared|cubed|factorial|hundred|dozen|thousand|[mb]illion)\b",
    re.IGNORECASE,
)
_PERHAPS_OTHER = re.compile(
    r"\b(?:could|might|may)\s+(?:\w+\s+)?be\s+(?:$|\W{0,3}[0-9\\]|wrong|incorrect|off|something|another|different|more|"
    r"less|false|mistaken|higher|lower)|\b(?:maybe|perhaps|possibly|unless|unsure)\b|\botherwise\W*$"
    r"|(?:\bnot|n['’]t) (?:\w+ )?(?:sure|certain|convinced)\b"
    r"|^\W*(?:[A-Za-z]+\s+)?or (?:so|more|less|something|another|higher|lower)\b|^\W*(?:(?:and|,)\s+"
    r"(?:-?[0-9][0-9./]*|\(?[A-J]\)?)|(?:and|,)\s*\(\s?-?[0-9][-0-9./ ]*,[-0-9./, ]+\))\W*$",
    re.IGNORECASE,
)
_BEFORE_OR = re.compile(
    r"(?:^|\b(?:is|are|be|equals?|answer:?|options?|choices?)\s)(?:the\s)?(?P<other>(?:(?!boxed)[^\s=]){1,40}?),?\s(?:and/)?or$",
    re.IGNORECASE,
)
_OR = re.compile(
    r"[\s,;().!]*(?:(?P<unit>[A-Za-z]{1,12})\s+)?(?:and/)?or\b(?!\s+(?:in other words|else)\b)[\s,:]*"
    r"(?:(?:equivalently|simply|also|just|even|rather|as|option|choice|answer)[\s,:]+)*"
    r"(?P<about>(?:about|approximately|roughly|around|approx\.?|in decimal\w*|\\approx|[≈~])\s*)?(?P<other>\S.*)",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"[\s,;:]*\(\s?(?P<other>[^\s()]{1,40}) (?:if|when|counting|including)\b[^()0-9]*\)")
_OTHER_END = re.compile(r"[,.](?=\s|$)|;|\s\(|\s(?:if|when|for|depending|since|because|as|which|in|after|is|are|was)\b")
_WORDS, _LONG_WORD = re.compile(r"[A-Za-z][A-Za-z' -]*"), re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2}")


@dataclass(frozen=True, slots=True)
class Sentence:
    """The words before and after a box in its sentence, without fences, fonts and emphasis."""

    before: str
    governing: str  # `before` up to the words that govern the box: "it is not" of "it is not the answer"
    after: str
    asks: bool  # whether it is a question

    def denies(self) -> bool:
        """Whether the box is not the answer, by the words before it."""
        if _NOT_THIS.search(self.governing[-40:]) or _CHANGED.search(self.before[-20:]):
            return True
        small = self.before.lower()
        return any(cue in small for cue in _CUES) and bool(_NOT_SO.search(_CONSEQUENCE.split(small)[-1]))

    def doubts(self) -> bool:
        """Whether the words after the box deny it, or any leave open whether it is the answer."""
        if self.asks or _PERHAPS_THIS.search(self.governing[-40:]) or _MIGHT_BE.search(self.before[-40:]):
            return True
        if self.governing.endswith(" or") and re.search(r"\beither\s(?!.*boxed)", self.before, re.IGNORECASE):
            return True
        return bool(self.after and (_WRONG.match(self.after) or _PERHAPS_OTHER.search(self.after)))

    def others(self, content: str) -> list[str]:
        """The answers beside the content of the box, as in "82, or 83 if zero counts"."""
        found = []
        if self.governing.endswith(" or") and (match := _BEFORE_OR.search(self.governing)):
            other = without_fonts(match["other"])
            found += [other] if number(other) is not None or (in_words(content) and _WORDS.fullmatch(other)) else []
        match = _OR.match(self.after) if self.after else None
        if match is None and self.after and (aside := _ASIDE.match(self.after)):
            other = aside["other"]
            return found if number(other) is None or near(content, other) else [*found, other]
        if match is None:
            return found
        other = _OTHER_END.split(match["other"])[0].removesuffix(match["unit"] or "").strip()
        if match["about"] and number(content) is None and number(other) is None:
            return found
        if other.endswith(")") and other.count(")") > other.count("("):
            other = other.removesuffix(")")
        if not other or "boxed" in other or near(content, other) or ("=" in other and number(other) is None):
            return found
        if _LONG_WORD.search(other) and (match["unit"] or not in_words(content)):
            return found  # "82 or in other words"
        return [*found, other]


def sentence(text: str, opening: int, end: int) -> Sentence:
    """The sentence around the box `text[opening : end + 1]`."""
    before = _flat(_END_BEFORE.split(text[max(0, opening - WINDOW) : opening])[-1])
    after = _flat(_END_AFTER.split(_FENCES.sub(" ", text[end + 1 : end + 1 + WINDOW]), maxsplit=1)[0])
    question = text.find("?", end, end + WINDOW)
    asks = question > 0 and not re.search(r"[.!\n]", text[end + 1 : question])
    return Sentence(before=before, governing=_governing(before), after=after, asks=asks)


def in_words(content: str) -> bool:
    """Whether the content of a box is words, or a letter."""
    return _WORDS.fullmatch(without_fonts(content)) is not None


def without_fonts(content: str) -> str:
    """The content of a box without fonts and brackets."""
    return (MARKUP.sub(r"\1", content) if "\\" in content else content).strip(" $()")


def _governing(before: str) -> str:
    words = before.split(" ")
    while words and (words[-1].lower().rstrip(":") in _FILLERS or words[-1] in ("", ":") or words[-1].endswith("=")):
        last = words.pop()
        if last == "=" and words and len(words[-1]) < 9:  # x =
            words.pop()
    return " ".join(words)


def _flat(text: str) -> str:
    return " ".join(_FENCES.sub(" ", MARKUP.sub(r" \1 ", text) if "\\" in text else text).split())

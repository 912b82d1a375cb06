r"""Answers as tokens: spacing, sizes and Unicode signs become their plain LaTeX forms, words stay in one piece."""

from __future__ import annotations

import re
from fractions import Fraction

MAX_TOKENS = 400

Token = tuple[str, str]  # kind and text

FUNCTIONS = frozenset(("sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh",
                       "ln", "exp"))  # fmt: skip
_LETTER_NAMES = """alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau
upsilon phi chi psi omega"""
GREEK_LETTERS = dict(zip("αβγδεζηθικλμνξοπρστυφχψω", _LETTER_NAMES.split(), strict=True))
_CAPITALS = {each.upper(): name.capitalize() for each, name in GREEK_LETTERS.items() if each.upper() in "ΓΔΘΛΞΠΣΦΨΩ"}
_VARIANTS = ("varepsilon", "vartheta", "varphi", "ell", "hbar")
GREEK = frozenset((*GREEK_LETTERS.values(), *_CAPITALS.values(), *_VARIANTS)) - {"omicron"}
CONSTANTS = frozenset(("pi", "e", "i"))  # letters that are numbers
RELATIONS = {"=": "=", "<": "<", ">": ">", r"\le": "<=", r"\leq": "<=", r"\leqslant": "<=", r"\ge": ">=",
             r"\geq": ">=", r"\geqslant": ">=", r"\lt": "<", r"\gt": ">", r"\ne": "!=", r"\neq": "!="}  # fmt: skip
ENDS = frozenset((r"\cup", r"\cap", r"\in", r"\pm", r"\mp", r"\}", r"\|", r"\&", r"\%", r"\$", r"\rangle", r"\cdot",
                  r"\times", r"\div", r"\lor", r"\land", r"\setminus", r"\mid", r"\circ", r"\rvert", r"\to",
                  r"\approx", r"\over", r"\choose", r"\rfloor", r"\rceil", "\x05"))  # fmt: skip
"""Commands that cannot begin a factor."""
_WORDS = ("arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "sqrt", "sin", "cos", "tan", "cot", "sec", "csc",
          "exp", "log", "ln", "pi")  # fmt: skip
_UNICODE = {
    "−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": r"\div ", "π": r"\pi ", "√": r"\sqrt",
    "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "°": r"^\circ ", "∪": r"\cup ", "∩": r"\cap ",
    "∈": r"\in ", "±": r"\pm ", "∅": r"\emptyset ", "ℝ": r"\mathbb{R}", "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}",
    "¾": r"\frac{3}{4}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "¹": "^{1}", "²": "^{2}", "³": "^{3}", "⁴": "^{4}",
    "⁵": "^{5}", "⁶": "^{6}", "⁷": "^{7}", "⁸": "^{8}", "⁹": "^{9}", "⁰": "^{0}", "\xa0": " ",
    "⟨": r"\langle ", "⟩": r"\rangle ",
}  # fmt: skip
_UNICODE |= {each: rf"\{name} " for each, name in (GREEK_LETTERS | _CAPITALS).items() if name in GREEK}
_UNICODE_TABLE = str.maketrans(_UNICODE)
_SPACING = re.compile(
    r"\\[,!;: ]|\\(?:left|right|middle|[bB]igg?[lr]?)(?![a-z])\.?"
    r"|\\(?:displaystyle|textstyle|quad|qquad|limits)(?![a-z])|[~\s]"
)
_SET_SIGN = re.compile(r"(\\cup|\\cap|\\in)(?![a-z])")
_INTERVAL = re.compile(r"(?:\\left)?\s*([\[\]])([^\[\]]+[,;][^\[\]]+?)(?:\\right)?\s*([\[\]])")
_TEXT = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|operatorname|mbox|rm)\*?\s?\{([^{}]*)\}"
)
_TOKEN = re.compile(
    r"(?P<blank>\x01)|(?P<thousands>[0-9]{1,3}(?:\{?,\}?[0-9]{3}){1,20}(?:\.[0-9]+)?(?![0-9,]))"
    r"|(?P<repeating>[0-9]*\.[0-9]*\\overline\{[0-9]{1,12}\})|(?P<number>[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
    r"|(?P<text>\x02[^\x02\x03]*\x03)|(?P<command>\x05|\\(?:[A-Za-z]+|[{}|%$&]))"
    rf"|(?P<word>{'|'.join(_WORDS)})|(?P<sign><=|>=|!=|\*\*|[-+*/^_=<>(){{}}\[\]|,;!%:&'$])|(?P<letter>[A-Za-z])"
)
_BEGIN = re.compile(r"\\begin\{([pbBvV]?matrix|array|cases)\}(?:\{[lcr|]*\})?")
_ROW_END = re.compile(r"\\\\(?:\s?\[\s?[0-9.]{1,6}\s?(?:pt|em|ex|mm|cm)\])?")
_ARRAY = re.compile(
    r"(?:\\left\s?)?[(\[]\s*\\begin\{array\}\s?\{[lcr\s]*\}((?:(?!\\begin|\\end).)*)\\end\{array\}\s*(?:\\right\s?)?[)\]]",
    re.DOTALL,
)
_UPRIGHT = re.compile(r"\\(?:mathrm|operatorname|rm)\s?\{([ied])\}")  # letters that are constants, or differentials
_END = re.compile(r"\\end\{([pbBvV]?matrix|array|cases)\}")


class UnreadableError(ValueError):
    """The text is no formula, or one that can be read in two ways."""


def tidy(text: str) -> str:
    """The same formula with spacing commands, sizes and Unicode signs replaced by their plain forms."""
    text = text.translate(_UNICODE_TABLE)
    text = (
        re.sub(r"\\[dtc]frac(?![a-z])", r"\\frac", text).replace(r"\dbinom", r"\binom").replace(r"\tbinom", r"\binom")
    )
    text = re.sub(r"\\frac\s+([0-9])\s+([0-9])(?![0-9])", r"\\frac{\1}{\2}", text)
    text = re.sub(r"(\\frac|\\sqrt)(?=[0-9A-Za-z])", r"\1 ", text)
    return text.replace(r"\lbrace", r"\{").replace(r"\rbrace", r"\}").replace("**", "^").replace(r"^\prime", "'")


def _with_round_brackets(text: str) -> str:
    """Intervals whose open ends are brackets turned around, ]2, 5[, with round ones."""
    pieces = _SET_SIGN.split(text)
    for place, piece in enumerate(pieces):
        match = _INTERVAL.fullmatch(piece.strip())
        if match and (match[1] == "]" or match[3] == "["):
            pieces[place] = f"{'(' if match[1] == ']' else '['}{match[2]}{')' if match[3] == '[' else ']'}"
    return "".join(pieces)


def tokens(text: str) -> list[Token]:
    """The tokens of a formula. Raises UnreadableError for a character that no formula has."""
    if re.search("[\x00-\x08]", text):
        raise UnreadableError("control characters")
    text = _ROW_END.sub("\x05", text)  # the end of a matrix row, before "\\ " is taken for a blank
    text = _ARRAY.sub(r"\\begin{pmatrix}\1\\end{pmatrix}", _UPRIGHT.sub(r"\1 ", text))
    text = _TEXT.sub(lambda match: f"\x02{match[1].strip()}\x03", tidy(text))
    if "[" in text or "]" in text:
        text = _with_round_brackets(text)
    text = _BEGIN.sub(lambda match: "\\matrix" + match[1].replace("matrix", "") + " ", text)
    text = _END.sub(lambda match: "\\endmatrix" + match[1].replace("matrix", "") + " ", text)
    # Words are told from products of letters before blanks are dropped.
    text = re.sub(r"(?<![A-Za-z\\\x02])(and|or)(?![A-Za-z])", lambda match: f"\x02{match[1]}\x03", text)
    text = re.sub(r"(?<=[_^][0-9])[~\s]+|(?<=,)[~\s]+", "\x04", text)
    text = re.sub(r"([0-9.])(?:\\[,;: ]|[~\s])+(?=[0-9.])", "\\1\x01", text)
    text = re.sub(r"(\\[A-Za-z]+)\s+", "\\1\x04", text)
    pieces = []
    for part in re.split("(\x02[^\x02\x03]*\x03)", text):
        pieces.append(part if part.startswith("\x02") else _SPACING.sub("", part))
    text = "".join(pieces)
    found, place = [], 0
    while place < len(text):
        if text[place] == "\x04":  # ends a command's name, where a blank did
            place += 1
            continue
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup == "blank":
            raise UnreadableError(f"unexpected {text[place]!r}")
        found.append((str(match.lastgroup), match.group()))
        place = match.end()
        if len(found) > MAX_TOKENS:
            break
    return found


def repeating(token: str) -> Fraction:
    r"""A repeating decimal such as 0.1\overline{6} as a fraction."""
    whole, _, rest = token.partition(".")
    fixed, _, cycle = rest.partition(r"\overline{")
    cycle = cycle.rstrip("}")
    scale = 10 ** len(fixed)
    return (
        Fraction(int(whole or "0")) + (Fraction(int(fixed or "0")) + Fraction(int(cycle), 10 ** len(cycle) - 1)) / scale
    )


class Cursor:
    """A place among tokens."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.place = 0
        self.depth = 0
        self.bars = 0  # open |...|

    def peek(self) -> str:
        return self.tokens[self.place][1] if self.place < len(self.tokens) else ""

    def kind(self) -> str:
        return self.tokens[self.place][0] if self.place < len(self.tokens) else ""

    def take(self, wanted: str) -> bool:
        return bool(self.take_any(wanted))

    def take_any(self, *wanted: str) -> str:
        """The next token if it is one of these; empty otherwise."""
        token = self.peek()
        self.place += token in wanted
        return token if token in wanted else ""

    def need(self, wanted: str) -> None:
        if not self.take(wanted):
            raise UnreadableError(f"{wanted!r} is missing")

    def take_all(self, *wanted: str) -> bool:
        if [token for _, token in self.tokens[self.place : self.place + len(wanted)]] == list(wanted):
            self.place += len(wanted)
            return True
        return False

    def index(self) -> list[Token]:
        if not self.take("{"):
            self.place += 1
            return self.tokens[self.place - 1 : self.place]
        start = self.place
        while self.peek() not in ("}", "{", ""):
            self.place += 1
        self.need("}")
        return self.tokens[start : self.place - 1]

    def split_thousands(self, closings: tuple[str, ...]) -> None:
        """Split numbers at commas, which separate items between brackets: (1,234) is a pair."""
        place = self.place
        while place < len(self.tokens) and self.tokens[place][1] not in closings:
            kind, token = self.tokens[place]
            if kind == "thousands" and "{" not in token:
                split: list[Token] = []
                for part in token.split(","):
                    split += [("sign", ","), ("number", part)]
                self.tokens[place : place + 1] = split[1:]
            place += 1

"""The language of a text, deterministically, and "undecided" when it is not clear.

The script decides where it can: Greek letters are Greek, Thai letters are Thai, however short the text is. Among
languages that share a script, the n-gram profiles of langdetect decide. Its detector draws n-grams at random; here all
of them count, so there is no seed. A text that is too short, or for which the likeliest language does not
lead clearly, is in no language. Nor is one that mixes languages: the letters of other scripts must be few, and no
stretch of the text may be in another language.

No library decides instead: of the 59 rows of the answer table about languages, langdetect's own verdict depends on the
seed in 9; lingua 2.1 accepts 2 wrongly, lacks Kannada, Malayalam and Nepali, and takes 1.2 GiB with all models loaded.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from prorl_mega.tasks.instruction import english_words, prose

MIN_LETTERS = 12  # fewer letters are too few for statistics
LEAD = 8.0  # nats by which the likeliest language must lead the next one
DOUBT = 3.0  # nats by which another language may lead a text that may be English
FAMILIAR = 0.5  # share of the trigrams that must occur in the language at all
SMOOTHING = 5e-5  # probability of an n-gram that a profile does not have
FOREIGN = 0.1  # share of letters that may belong to another script: names, units, formulas
WINDOW = 40  # letters of a stretch that is judged on its own
FOREIGN_LEAD = 0.6  # nats per letter by which another language must lead there
MAX_LETTERS = 12_000  # of one text that are looked at
_UNSPACED = re.compile(f"[{prose.JOINED}]")

_LATIN = "af ca cs cy da de en es et fi fr hr hu id it lt lv nl no pl pt ro sk sl so sq sv sw tl tr vi"
SCRIPTS: dict[str, tuple[str, ...]] = {
    "LATIN": tuple(_LATIN.split()),
    "CYRILLIC": ("bg", "mk", "ru", "uk"),
    "ARABIC": ("ar", "fa", "ur"),
    "DEVANAGARI": ("hi", "mr", "ne"),
    "HAN": ("zh-cn", "zh-tw"),
    "GREEK": ("el",),
    "HEBREW": ("he",),
    "THAI": ("th",),
    "HANGUL": ("ko",),
    "KANA": ("ja",),
    "BENGALI": ("bn",),
    "GUJARATI": ("gu",),
    "GURMUKHI": ("pa",),
    "KANNADA": ("kn",),
    "MALAYALAM": ("ml",),
    "TAMIL": ("ta",),
    "TELUGU": ("te",),
}
"""Scripts and the languages that are written in them."""
CHINESE = "zh"  # either of the two
LANGUAGES = (*sorted(code for codes in SCRIPTS.values() for code in codes), CHINESE)
_SCRIPT_OF = {code: script for script, codes in SCRIPTS.items() for code in codes} | {CHINESE: "HAN"}
_NAMES = {"CJK": "HAN", "HIRAGANA": "KANA", "KATAKANA": "KANA", "KATAKANA-HIRAGANA": "KANA"}
_SMALL_WORDS = {
    "hi": "है हैं में के की का और था थे थी नहीं यह वह से पर भी एक तो ही ये वे कि",
    "mr": "आहे आहेत आणि होते होता होती नाही हे ते मी तो ती आम्ही खूप पण या व की मध्ये",
    "ne": "छ छन् थियो थिए हो र मा छैन हामी यो त्यो गर्न पनि भने छु लागि धेरै अनि",
}
"""Frequent words of the languages in Devanagari, for which the profiles know too few n-grams."""


def is_written_in(text: str, language: str) -> bool:
    """Whether the whole text is in `language`, one of `LANGUAGES`; False as well when that cannot be decided."""
    text = text[: 4 * MAX_LETTERS]
    if not _is_in_script(text, language) or _repeats_itself(text):
        return False
    if language == CHINESE or len(SCRIPTS[_SCRIPT_OF[language]]) == 1:
        return True
    words = _letters(text).split()
    if sum(map(str.isalpha, "".join(words))) < MIN_LETTERS:
        return False
    if _SCRIPT_OF[language] == "DEVANAGARI":
        return _by_small_words(words) == language
    sums = _sums(words, _word)
    return _leads(sums[-1], language) and not any(_is_foreign(part, language) for part in _stretches(sums))


def may_be_english(text: str) -> bool:
    """Whether nothing says that a text is not in English: not its script, nor trigrams that English does not have, nor
    another language that is clearly likelier, in all of it or in a stretch. Short texts and lists of names may be.

    A common English word says nothing for another language, whatever its trigrams are like: "1. MILK" is no Turkish.
    """
    text = text[: 4 * MAX_LETTERS]
    words = _letters(text).split()
    if not words or not _is_in_script(text, "en"):
        return False
    sums = _sums(words, _english_word)
    likelihood, familiar, _ = _read(sums[-1])
    mine, others = _places("en")
    likely = familiar[mine] and likelihood[others].max() - likelihood[mine] < DOUBT
    return bool(likely) and not any(_is_foreign(part, "en") for part in _stretches(sums))


def _repeats_itself(text: str) -> bool:
    """Whether the different words are fewer than the square root of all, which no text of a language has.

    Where words are not set apart, three characters each stand for words.
    """
    units = _letters(text).casefold().split()
    letters = "".join(units)
    if 2 * len(_UNSPACED.findall(letters)) > len(letters):
        units = [letters[at : at + 3] for at in range(max(1, len(letters) - 2))]
    return len(set(units)) ** 2 < len(units)


def _is_in_script(text: str, language: str) -> bool:
    counts, script = scripts(text), _SCRIPT_OF[language]
    written = counts[script] + (counts["HAN"] if language == "ja" and counts["KANA"] else 0)
    return written > 0 and written >= (1 - FOREIGN) * counts.total()


def _sums(words: list[str], evidence: Callable[[str], np.ndarray]) -> np.ndarray:
    """The evidence of all words before each place, `[words + 1, 2 * languages + 2]`."""
    each = np.array([evidence(word) for word in words])
    return np.concatenate([np.zeros_like(each[:1]), np.cumsum(each, axis=0)])


def scripts(text: str) -> Counter[str]:
    """Number of letters by script: "LATIN", "CYRILLIC", "HAN", ..."""
    counts: Counter[str] = Counter()
    for letter, count in Counter(filter(str.isalpha, text)).items():
        name = unicodedata.name(letter, "UNKNOWN").partition(" ")[0]
        counts[_NAMES.get(name, name)] += count
    return counts


def prepare() -> None:
    """Load the profiles (a third of a second) and the English words."""
    _profiles()
    english_words.common()


def _by_small_words(words: list[str]) -> str | None:
    """The language whose small words are at least two and twice as many as those of any other."""
    found = Counter(words)
    counts = {code: sum(found[word] for word in small.split()) for code, small in _SMALL_WORDS.items()}
    (first, most), (_, next_most), *_ = Counter(counts).most_common()
    return first if most >= 2 and most >= 2 * next_most else None


def _leads(evidence: np.ndarray, language: str) -> bool:
    """Whether the language is clearly more likely than the others of its script, in all of the text."""
    likelihood, familiar, _ = _read(evidence)
    mine, others = _places(language)
    known = familiar[mine] or _SCRIPT_OF[language] == "HAN"
    return bool(known and likelihood[mine] - likelihood[others].max() >= LEAD)


def _is_foreign(evidence: np.ndarray, language: str) -> bool:
    """Whether a stretch of a text is clearly in another language of the same script."""
    likelihood, familiar, letters = _read(evidence)
    mine, others = _places(language)
    best = others[int(likelihood[others].argmax())]
    return bool(likelihood[best] - likelihood[mine] >= FOREIGN_LEAD * letters and familiar[best])


def _read(evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The likelihood of each language, whether it has enough of the trigrams, and the number of letters."""
    likelihood, known, (trigrams, letters) = np.split(evidence, [evidence.size // 2 - 1, evidence.size - 2])
    return likelihood, known / max(1, trigrams) >= FAMILIAR, letters


def _stretches(sums: np.ndarray) -> Iterator[np.ndarray]:
    """Evidence of whole words with about `WINDOW` letters; each stretch begins in the middle of the one before.

    `sums` holds the evidence of all words before each place, `[words + 1, 2 * languages + 2]`.
    """
    letters = sums[:, -1]
    start, last = 0, len(letters) - 1
    while start < last:
        end = min(last, int(np.searchsorted(letters, letters[start] + WINDOW)))
        yield sums[end] - sums[start]
        if end == last:
            break
        start = max(start + 1, int(np.searchsorted(letters, letters[start] + WINDOW / 2)))


@functools.cache
def _places(language: str) -> tuple[int, list[int]]:
    """Column of the language among the profiles, and columns of the others of its script."""
    languages = _profiles()[1]
    others = [languages.index(code) for code in SCRIPTS[_SCRIPT_OF[language]] if code != language]
    return languages.index(language), others


def _letters(text: str) -> str:
    """Letters and single blanks, in lower case if the text is in capitals, which the statistics lack."""
    shown = "".join(each if each.isalpha() or unicodedata.combining(each) or _is_mark(each) else " " for each in text)
    shown = re.sub(r"\s+", " ", shown)[:MAX_LETTERS].strip()
    return shown.lower() if sum(map(str.isupper, shown)) > sum(map(str.islower, shown)) else shown


def _is_mark(character: str) -> bool:
    return character > "\u02ff" and unicodedata.category(character) == "Mc"  # vowels of Indian scripts


@functools.lru_cache(maxsize=1 << 13)
def _word(word: str) -> np.ndarray:
    """The evidence of a word, `[2 * languages + 2]`.

    The logarithm of its likelihood by language, the number of its trigrams that the language has, and the numbers of
    trigrams and letters.
    """
    from langdetect.utils.ngram import NGram

    rows, _, logarithms = _profiles()
    grams, ngram = [], NGram()  # one to three characters of the word with its blanks, as the profiles count them
    for character in f"{NGram.normalize_vi(word)} ":
        ngram.add_char(character)
        grams += [gram for n in (1, 2, 3) if (gram := ngram.get(n)) is not None]
    trigrams = [gram for gram in grams if len(gram) == 3]
    likelihood = logarithms[[rows[gram] for gram in grams if gram in rows]].sum(axis=0, dtype=np.float64)
    known = logarithms[[rows[gram] for gram in trigrams if gram in rows]] > np.float32(np.log(SMOOTHING)) + 1e-3
    return np.concatenate([likelihood, known.sum(axis=0), [len(trigrams), len(word)]])


def _english_word(word: str) -> np.ndarray:
    """The evidence of a word, in which no language is likelier and none has more trigrams than English if it is common
    in English.
    """
    found = _word(word)
    if not english_words.is_common(word.lower()):
        return found
    mine, size = _places("en")[0], found.size // 2 - 1
    found = found.copy()
    found[:size] = np.minimum(found[:size], found[mine])
    found[size + mine] = found[-2]
    return found


@functools.cache
def _profiles() -> tuple[dict[str, int], list[str], np.ndarray]:
    """Rows of the n-grams, the languages, and `[n-grams, languages]`: logarithms of the smoothed probabilities."""
    from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

    made = DetectorFactory()
    made.load_json_profile([path.read_text("utf-8") for path in sorted(Path(PROFILES_DIRECTORY).iterdir())])
    rows = {gram: row for row, gram in enumerate(made.word_lang_prob_map)}
    table = np.array(list(made.word_lang_prob_map.values()), dtype=np.float32)
    return rows, made.langlist, np.log(table + np.float32(SMOOTHING))

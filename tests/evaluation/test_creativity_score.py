"""The Creativity Index of answers and its means: examples by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import corpora
from helpers.stores import header, sample, write_store

from prorl_mega.evaluation.creativity.comparison import ALL, ScoredEvaluation, compare_creativity
from prorl_mega.evaluation.creativity.equal_lengths import Measured, at_equal_lengths
from prorl_mega.evaluation.creativity.excerpt import choose, excerpts, shown
from prorl_mega.evaluation.creativity.index import CorpusIndex
from prorl_mega.evaluation.creativity.score import CreativityScore, score_store, scoring_identity
from prorl_mega.evaluation.creativity.uniqueness import quoted
from prorl_mega.run.sample_store import SampleStore, StoredProblem, StoredVerdict

CORPUS = ["The quick brown fox jumps over the lazy dog .", "Pack my box with five dozen liquor jugs"]
NEW = "n1 n2 n3 n4 n5 n6 n7 n8 n9"


@pytest.fixture
def index(tmp_path: Path) -> CorpusIndex:
    return corpora.build(tmp_path / "index", CORPUS)


def store(directory: Path, texts: list[str], *, prompt: str = "", **about: object) -> SampleStore:
    problems = [StoredProblem(key=f"p{number}", task="t", prompt=prompt) for number in range(len(texts))]
    samples = [sample(number, 0, text) for number, text in enumerate(texts)]
    return SampleStore(write_store(directory, problems, samples, about=header(**about)))  # type: ignore[arg-type]


def scores(store: SampleStore, index: CorpusIndex, **options: object) -> list[CreativityScore]:
    return [each for part in score_store(store, index, label="x", **options) for each in part]  # type: ignore[arg-type]


def test_an_index_by_hand(tmp_path: Path, index: CorpusIndex) -> None:
    """Six words of the corpus and nine others: 6/15 are copied for L = 5 and 6, nothing from 7 on."""
    (score,) = scores(store(tmp_path / "x", [f"quick brown fox jumps over the {NEW}"]), index)
    assert score.uniqueness == pytest.approx([0.6, 0.6, 1, 1, 1, 1, 1, 1])
    assert (score.index, score.words, score.longest) == (pytest.approx(7.2), 15, 6)


def test_runs_that_overlap_and_layout(tmp_path: Path) -> None:
    """`a … g` and `e … k` overlap in `e f g`; together they cover eleven words, for L up to 7."""
    index = corpora.build(tmp_path / "index", ["a b c d e f g", "e f g h i j k"])
    (score,) = scores(store(tmp_path / "x", ["a b\nc  d\te f g h\n\ni j k new"]), index)
    assert score.uniqueness == [pytest.approx(1 / 12, abs=1e-5)] * 3 + [1] * 5


@pytest.mark.parametrize(
    ("text", "value"), [("The quick brown fox jumps over the lazy dog. " * 3, 0), (f"{NEW} {NEW}", 8)]
)
def test_the_ends_of_the_scale(tmp_path: Path, text: str, value: float) -> None:
    index = corpora.build(tmp_path / "index", [" ".join(CORPUS[:1] * 3)])
    (score,) = scores(store(tmp_path / "x", [text]), index)
    assert score.index == value


def test_what_the_prompt_has_is_no_copy(tmp_path: Path, index: CorpusIndex) -> None:
    answer = f"Pack my box with five {NEW} quick brown fox jumps over n10"
    kept = store(tmp_path / "x", [answer], prompt="Question: Pack my box with five dozen ?")
    (score,) = scores(kept, index)
    assert (score.words, score.quoted, score.own) == (20, 5, 15)
    assert score.uniqueness == pytest.approx([10 / 15] + [1] * 7, abs=1e-5)
    (score,) = scores(kept, index, keep_prompt=True)
    assert (score.words, score.quoted) == (20, 0)
    assert score.uniqueness == pytest.approx([0.5] + [1] * 7)


def test_no_match_goes_over_what_is_quoted() -> None:
    text, prompt = [*"abcdefghij"], [*"cdefg"]
    assert quoted(text, prompt).tolist() == [False] * 2 + [True] * 5 + [False] * 3
    assert not quoted(text, [*"cdef"]).any()
    assert not quoted([], prompt).any()


def test_what_is_left_out(tmp_path: Path, index: CorpusIndex) -> None:
    quote = "one two three four five six seven eight nine ten"
    texts = ["", " \n\x00", "n " * 11, "n " * 12, f"{quote} n n"]
    found = scores(store(tmp_path / "x", texts, prompt=quote), index)
    assert [each.left_out for each in found] == ["empty", "empty", "short", "", "short"]
    assert [each.index for each in found] == [None, None, None, 8, None]


def test_parts_and_what_is_done(tmp_path: Path, index: CorpusIndex) -> None:
    texts = [f"{' '.join(f'a{k}' for k in range(number))} quick brown fox jumps over the {NEW}" for number in range(9)]
    kept = store(tmp_path / "x", texts)
    whole = scores(kept, index)
    assert len(whole) == 9
    assert scores(kept, index, batch=20) == whole
    known = {(each.problem, each.sample): each for each in whole[:4]}
    again = scores(store(tmp_path / "y", ["other words", *texts[1:]]), index, known=known)
    assert sorted(each.problem for each in again if each is known.get((each.problem, 0))) == [1, 2, 3]
    assert sorted((each.problem, each.left_out) for each in again)[:2] == [(0, "short"), (1, "")]
    assert len(again) == 9


def test_scores_belong_to_an_evaluation_an_index_and_a_way_of_counting(tmp_path: Path, index: CorpusIndex) -> None:
    first, second = store(tmp_path / "x", [NEW]), store(tmp_path / "y", [NEW], identity="y")
    kinds = {scoring_identity(each, index, keep_prompt=keep) for each in (first, second) for keep in (False, True)}
    assert len(kinds) == 4


def test_equal_lengths_by_hand() -> None:
    """Short answers have 6 and 8, long ones 2 and 4; five of all nine are short, most of them in the second set."""
    first = Measured(np.arange(4), np.array([16, 40, 50, 60]), np.array([6.0, 2, 2, 2]))
    second = Measured(np.arange(5), np.array([16, 20, 24, 31, 63]), np.array([8.0, 8, 8, 8, 4]))
    found = at_equal_lengths([first, second])
    assert found is not None
    assert [each.mean for each in found.means] == pytest.approx([(5 * 6 + 4 * 2) / 9, (5 * 8 + 4 * 4) / 9])
    assert found.share == 1
    third = Measured(np.array([0, 0]), np.array([16, 1000]), np.array([5.0, 0]))
    found = at_equal_lengths([first, third])
    assert found is not None
    assert [each.mean for each in found.means] == [6, 5]
    assert found.share == pytest.approx(2 / 6)
    assert at_equal_lengths([first, Measured(np.array([0]), np.array([1000]), np.array([1.0]))]) is None


def row_of(problem: int, number: int, value: float, words: int = 20) -> CreativityScore:
    return CreativityScore(
        of="x",
        evaluation="x",
        problem=problem,
        sample=number,
        digest="",
        words=words,
        index=value,
        uniqueness=[value / 8] * 8,
    )


def evaluation(
    directory: Path, label: str, tasks: list[str], rows: list[CreativityScore], right: set[int]
) -> ScoredEvaluation:
    mixture = {"mixture": {"sums": {"name": "arithmetic"}, "gsm": {"name": "mathematics"}, "code": {"name": "program"}}}
    problems = [StoredProblem(key=f"p{number}", task=task, prompt="") for number, task in enumerate(tasks)]
    verdicts = [
        StoredVerdict(problem=each.problem, sample=each.sample, reward=float(each.sample in right)) for each in rows
    ]
    folder = write_store(directory / label, problems, [], verdicts, header(label, config={"tasks": mixture}))
    return ScoredEvaluation(label, SampleStore(folder), rows)


def test_means_are_over_problems_and_differences_over_common_ones(tmp_path: Path) -> None:
    tasks = ["sums", "gsm", "code"]
    before = [row_of(0, 0, 2), row_of(0, 1, 4), row_of(1, 0, 5), row_of(2, 0, 8)]
    after = [row_of(0, 0, 4), row_of(1, 0, 7)]
    left_out = CreativityScore(of="x", evaluation="x", problem=2, sample=1, digest="", words=3, left_out="short")
    groups = compare_creativity(
        [
            evaluation(tmp_path, "before", tasks, [*before, left_out], {0}),
            evaluation(tmp_path, "after", tasks, after, set()),
        ]
    )
    assert [(each.name, each.kind) for each in groups] == [
        (ALL, "all"), ("code", "domain"), ("math", "domain"), ("code", "task"), ("gsm", "task"), ("sums", "task"),
    ]  # fmt: skip
    first, second = groups[0].rows
    assert (first.index.answers, first.problems, first.index.mean) == (4, 3, pytest.approx((3 + 5 + 8) / 3))
    assert (first.right.mean, first.wrong.mean) == (pytest.approx(5), pytest.approx(4))
    assert (second.right.answers, second.right.mean, second.wrong.answers) == (0, None, 2)
    assert second.difference is not None
    assert second.difference[0] == pytest.approx(((4 - 3) + (7 - 5)) / 2)
    assert first.difference is None
    assert (first.left_out, second.left_out) == ({"short": 1}, {})
    math = groups[2].rows
    assert [each.index.mean for each in math] == [4, 5.5]
    code = groups[1].rows
    assert (code[1].index.answers, code[1].index.mean, code[1].difference, groups[1].compared) == (0, None, None, None)


def test_the_answers_that_are_shown(tmp_path: Path, index: CorpusIndex) -> None:
    texts = [f"{' '.join(CORPUS[0].split()[:size])} {NEW} m1 m2 m3" for size in (9, 5, 0)]
    kept = store(tmp_path / "x", texts)
    scored = ScoredEvaluation("x", kept, scores(kept, index))
    assert choose(scored) == {(0, 0): "lowest", (1, 0): "median", (2, 0): "highest"}
    lowest, median, highest = excerpts(scored, kept, index, keep_prompt=False)
    assert ["".join(piece.text for piece in each.pieces).strip() for each in (lowest, median, highest)] == [
        each.strip() for each in texts
    ]
    assert [(piece.text, piece.level, piece.run) for piece in median.pieces] == [
        ("The quick brown fox jumps", 1, 0), (" ", 0, -1), (f"{NEW} m1 m2 m3", 0, -1),
    ]  # fmt: skip
    (run,) = lowest.runs
    assert (run.words, run.times, run.places[0].file, run.places[0].line) == (9, 1, "0.txt", 1)
    assert not highest.runs


def test_a_word_shows_the_longest_run_that_it_is_in(tmp_path: Path) -> None:
    index = corpora.build(tmp_path / "index", ["a b c d e f g", "e f g h i j k l"])
    pieces, found, is_whole = shown("a b c d e f g h i j k l z", [], index)
    assert [run.words for run in found] == [7, 8]
    assert [(piece.text, piece.run) for piece in pieces if piece.text.strip()] == [
        ("a b c d", 0), ("e f g h i j k l", 1), ("z", -1),
    ]  # fmt: skip
    assert is_whole
    pieces, _, _ = shown("x y z u v w a b", ["x", "y", "z", "u", "v"], index)
    assert pieces[0] == ("x y z u v", 0, -1, True)

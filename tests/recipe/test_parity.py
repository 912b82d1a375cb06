"""The numbers of a parity report, its worst tokens, and that neither depends on the order of the sequences."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from helpers.groups import scored_group
from helpers.parity_reports import as_words, differing, report_on

from prorl_mega.recipe.parity import CONTEXT, EDGES, WORST, is_parity_due, parity_metrics, parity_report
from prorl_mega.recipe.train_samples import unjudged_samples
from prorl_mega.types import ParitySlice


def ranges(parts: list[ParitySlice]) -> list[tuple[int, int, int]]:
    return [(each.first, each.last, each.tokens) for each in parts]


def test_numbers_over_all_tokens() -> None:
    """100 differences of 1/256, 2/256, …: float32 has them and the sums of them exactly."""
    gaps = [(-1) ** number * (number + 1) / 256 for number in range(100)]
    report = report_on(differing("a", gaps[:30]), differing("b", gaps[30:]))
    whole = report.whole
    assert (whole.tokens, report.answers, report.version, report.not_finite) == (100, 2, 3, 0)
    assert whole.mean == sum(range(1, 101)) / 256 / 100
    assert (whole.p50, whole.p99, whole.max) == (50 / 256, 99 / 256, 100 / 256)
    assert sum(whole.counts) == 100


def test_bins_are_half_decades_with_their_lower_edge() -> None:
    assert len(EDGES) == 17
    assert (EDGES[0], EDGES[-1]) == (1e-7, 10.0)
    report = report_on(differing("a", [0.0, 0.0, 2.0, -0.25, 0.5, 12.0]))
    found = {index: count for index, count in enumerate(report.whole.counts) if count}
    names = {0: 2, EDGES.index(0.1) + 1: 1, EDGES.index(0.316) + 1: 1, EDGES.index(1.0) + 1: 1, 17: 1}
    assert found == names
    at_edge = report_on(differing("a", [1.0])).whole.counts
    assert at_edge[EDGES.index(1.0) + 1] == 1


def test_positions_are_in_octaves_and_versions_one_by_one() -> None:
    report = report_on(
        differing("a", [1.0] + [0.5] * 8),
        differing("b", [0.25], version=1),
        differing("c", [0.25] * 2, version=2),
    )
    assert ranges(report.by_position) == [(0, 0, 3), (1, 1, 2), (2, 3, 2), (4, 7, 4), (8, 15, 1)]
    assert report.by_position[0].mean == pytest.approx((1.0 + 0.25 + 0.25) / 3)
    assert ranges(report.by_version) == [(3, 3, 9), (2, 2, 2), (1, 1, 1)]
    assert (report.whole.first, report.whole.last) == (0, 8)
    metrics = parity_metrics(report)
    assert metrics["sampler/parity_max"] == metrics["sampler/parity_max/lag_0"] == 1.0
    assert (metrics["sampler/parity_mean/lag_1"], metrics["sampler/parity_p99/lag_2"]) == (0.25, 0.25)
    assert not any("lag" in name for name in parity_metrics(report_on(differing("a", [1.0]))))


def test_tokens_of_an_answer_that_weights_of_two_versions_sampled() -> None:
    answer = differing("a", [0.25, 0.5, 1.0], version=2)
    answer.versions = np.array([2, 3, 3], dtype=np.int32)
    report = report_on(answer)
    assert ranges(report.by_version) == [(3, 3, 2), (2, 2, 1)]
    assert [each.version for each in report.worst] == [3, 3, 2]


def test_the_worst_tokens_have_text_and_context() -> None:
    report = report_on(differing("a", [0.0] * 40), differing("b", [0.0, 0.0, -0.5, 0.25]))
    worst = report.worst
    assert len(worst) == WORST
    first, second = worst[:2]
    assert (first.key, first.position, first.token, first.version) == ("b", 2, 12, 3)
    assert (first.sampler, first.learner, first.difference) == (-2.0, -2.5, 0.5)
    assert (first.before, first.text) == ("0 1 10 11", " 12"), "a prompt of 0 and 1, then the answer"
    assert (second.position, second.difference) == (3, 0.25)
    far = report_on(differing("a", [0.0] * 39 + [1.0])).worst[0]
    assert len(far.before.split()) == CONTEXT


def test_the_same_token_after_the_same_text_is_named_once() -> None:
    same = [differing("a", [0.5, 0.25]) for _ in range(3)]
    report = report_on(*same, differing("b", [0.5]), differing("a", [0.5], version=2), differing("a", [0.75], first=50))
    named = [(each.key, each.version, each.token) for each in report.worst]
    assert named == [("a", 3, 50), ("a", 2, 10), ("a", 3, 10), ("b", 3, 10), ("a", 3, 11)]
    assert report.whole.tokens == 9, "all of them are counted"


def test_a_token_inside_of_a_character_has_some_text() -> None:
    pieces = {0: "a", 1: "\ufffd", 2: "b"}

    def decode(ids: np.ndarray) -> str:
        text = "".join(pieces[int(each)] for each in ids)
        return text.replace("a\ufffd", "\ufffd")  # what follows changes the text before

    report = parity_report([differing("k", [1.0], prompt=1, first=1)], 3, decode)
    assert (report.worst[0].before, report.worst[0].text) == ("a", "\ufffd")


def test_the_order_of_the_sequences_changes_no_bit() -> None:
    """Another split over data-parallel ranks is another order; ties of the worst tokens are broken by their place."""
    dice = np.random.default_rng(5)
    sequences = [differing(f"k/{n % 3}", dice.normal(0, 0.1, 7 + n).tolist(), version=n % 2) for n in range(6)]
    sequences += [differing("tie", [0.75] * 8, first=30), differing("tie", [0.75] * 8, first=20)]
    wanted = report_on(*sequences)
    assert [each.token for each in wanted.worst] == [*range(20, 28), 30, 31]
    for order in itertools.islice(itertools.permutations(sequences), 0, 40_000, 2_000):
        assert report_on(*order) == wanted


def test_what_is_not_finite_is_counted_and_comes_first() -> None:
    broken = differing("a", [0.5, 0.0, 0.0])
    assert broken.old_logprobs is not None
    broken.old_logprobs[1], broken.rollout_logprobs[2], broken.old_logprobs[2] = math.nan, -math.inf, -math.inf
    report = report_on(broken)
    assert (report.not_finite, report.whole.tokens, report.whole.max) == (2, 1, 0.5)
    assert [(each.position, each.difference) for each in report.worst] == [(1, None), (2, None), (0, 0.5)]
    assert (report.worst[0].sampler, report.worst[0].learner, report.worst[1].sampler) == (-2.0, None, None)
    metrics = parity_metrics(report)
    assert metrics["sampler/parity_not_finite"] == 2
    assert all(math.isfinite(value) for value in metrics.values())


def test_without_tokens_there_is_an_empty_report() -> None:
    report = report_on()
    assert (report.answers, report.whole.tokens, report.whole.mean, report.whole.max) == (0, 0, 0.0, 0.0)
    assert (report.by_version, report.by_position, report.worst) == ([], [], [])


def test_the_first_step_has_a_report_and_then_every_nth() -> None:
    assert [step for step in range(1, 13) if is_parity_due(step, 5)] == [1, 5, 10]
    assert [step for step in range(1, 13) if is_parity_due(step, 0)] == [1]


def test_samples_that_are_only_looked_at_need_no_verdict() -> None:
    group = scored_group([1.0, 0.0], key="k/1")
    group.samples[0].verdict = None
    sequences = unjudged_samples([group])
    assert [each.key for each in sequences] == ["k/1"] * len(group.samples)
    assert as_words(sequences[0].tokens).startswith(as_words(group.prompt_tokens))

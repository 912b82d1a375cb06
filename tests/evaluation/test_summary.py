import json
import math

import pytest
from helpers.groups import scored_group

from prorl_mega.evaluation.pass_at_k import pass_at_k
from prorl_mega.evaluation.solve_rate import posterior
from prorl_mega.evaluation.summary import powers_of_two, problem_records, summarise


def test_by_hand() -> None:
    metrics = summarise(
        [
            scored_group([1.0, 0.0, 1.0, 0.5], key="a/0", task="a", lengths=[2, 4, 6, 8], limit=8),
            scored_group([0.0, 0.0, 0.0, 0.0], key="a/1", task="a"),
            scored_group([1.0 - 1e-9, 1.0, 1.0, 1.0], key="b/0", task="b"),
        ]
    )
    assert metrics["evaluation/pass@1"] == pytest.approx((0.5 + 0 + 1) / 3)
    assert metrics["evaluation/pass@2"] == pytest.approx((pass_at_k(4, 2, 2) + 0 + 1) / 3)
    assert metrics["evaluation/pass@4"] == pytest.approx(2 / 3)
    assert metrics["evaluation/pass@1/a"] == 0.25
    assert metrics["evaluation/pass@4/b"] == 1.0
    assert metrics["evaluation/reward"] == pytest.approx((2.5 / 4 + 0 + 1) / 3)
    assert metrics["evaluation/length"] == pytest.approx((20 + 12 + 12) / 12)
    assert metrics["evaluation/truncated"] == pytest.approx(1 / 12)
    assert metrics["evaluation/truncated/a"] == pytest.approx(1 / 8)
    assert metrics["evaluation/problems"] == 3
    assert metrics["evaluation/infra_errors"] == 0
    assert metrics["evaluation/pass@1_low"] <= metrics["evaluation/pass@1"] <= metrics["evaluation/pass@1_high"]
    assert metrics["evaluation/pass@4_low"] <= metrics["evaluation/pass@4"] <= metrics["evaluation/pass@4_high"]
    assert all(isinstance(value, float) for value in metrics.values())


def test_infrastructure_errors_are_left_out_not_wrong() -> None:
    metrics = summarise([scored_group([1.0, None]), scored_group([None, None]), scored_group([1.0, 0.0])])
    assert metrics["evaluation/pass@1"] == 0.75
    assert metrics["evaluation/pass@2"] == 1.0  # of the one problem with two verdicts
    assert metrics["evaluation/reward"] == 0.75
    assert metrics["evaluation/problems"] == 2
    assert metrics["evaluation/infra_errors"] == 3


def test_without_any_verdict_everything_is_nan_but_there() -> None:
    metrics = summarise([scored_group([None, None])])
    assert math.isnan(metrics["evaluation/pass@1"])
    assert math.isnan(metrics["evaluation/pass@2"])
    assert math.isnan(metrics["evaluation/reward"])
    assert metrics["evaluation/problems"] == 0
    assert math.isnan(summarise([])["evaluation/reward"])


@pytest.mark.parametrize(
    ("samples", "expected"), [(0, []), (1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (16, [1, 2, 4, 8, 16])]
)
def test_sizes(samples: int, expected: list[int]) -> None:
    assert list(powers_of_two(samples)) == expected


def test_records_are_json() -> None:
    records = problem_records([scored_group([1.0, 0.5, None], key="a/0", task="a"), scored_group([None], key="b/0")])
    assert json.loads(json.dumps(records, allow_nan=False)) == records
    assert records[0] == {
        "key": "a/0",
        "task": "a",
        "samples": 2,
        "solved": 1,
        "mean_reward": 0.75,
        "posterior": list(posterior(2, 1)),
        "answers": 3,
        "tokens": 9,
        "truncated": 0,
        "prompt": "question a/0",
        "completion": "answer 0",
    }
    assert (records[1]["samples"], records[1]["mean_reward"]) == (0, None)

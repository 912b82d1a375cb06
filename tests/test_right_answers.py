"""Right answers of an evaluation as solutions to train on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.planted import RIGHT, WRONG, many, plant

from prorl_mega.errors import ConfigError, DataError
from prorl_mega.right_answers import RightAnswers


def test_right_answers_alone_are_drawn_each_once_in_a_pass(tmp_path: Path) -> None:
    cut = replace(RIGHT, finish="length")
    rows = {"sums": [many(3, RIGHT, WRONG), many(0, RIGHT, WRONG)], "maze": [[cut, *many(2, RIGHT, WRONG)[1:]]]}
    plant(tmp_path, "base", rows)
    answers = RightAnswers(tmp_path / "evaluation" / "base", seed=1)
    assert answers.describe() == "4 right answers to 2 problems: maze 1, sums 3"
    passes = [[each.key for each in answers.draw(4)] for _ in range(3)]
    assert all(sorted(each) == sorted(passes[0]) and len(set(each)) == 4 for each in passes)
    assert {each.solution for each in answers.draw(4)} == {RIGHT.text}
    again = RightAnswers(tmp_path / "evaluation" / "base", seed=1)
    assert [each.key for each in again.draw(12)] == [key for each in passes for key in each]
    other = RightAnswers(tmp_path / "evaluation" / "base", seed=2)
    assert [each.key for each in other.draw(12)] != [key for each in passes for key in each]


def test_nothing_to_train_on_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no folder with the answers of an evaluation"):
        RightAnswers(tmp_path, seed=1)
    plant(tmp_path, "base", {"sums": [many(0, RIGHT, WRONG)]})
    with pytest.raises(DataError, match="no answer is right"):
        RightAnswers(tmp_path / "evaluation" / "base", seed=1)

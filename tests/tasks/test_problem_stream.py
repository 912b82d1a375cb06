"""Repetitions within a step: as few as the rows of a file allow, none lost, and the same after a restart."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from helpers.groups import scored_group

from prorl_mega.config.recipe import CurriculumConfig
from prorl_mega.config.schema import TaskConfig, TasksConfig
from prorl_mega.recipe.curriculum import Curriculum
from prorl_mega.tasks import Mixture
from prorl_mega.tasks.held_out import is_held_out


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Twelve rows; `TRAINED` of them are trained on."""
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": f"row {number}", "answer": "1"}) for number in range(12)))
    return path


TRAINED = sum(not is_held_out(f"row {number}") for number in range(12))


def problems(path: Path) -> Curriculum:
    tasks = TasksConfig(mixture={"file": TaskConfig(name="math", options={"path": str(path)})})
    return Curriculum(Mixture(tasks, seed=1), CurriculumConfig())


def test_a_step_repeats_as_little_as_it_can(rows: Path) -> None:
    """Whatever is drawn in several rounds, and wherever in a pass over the rows the step begins."""
    source = problems(rows)
    whole: Counter[str] = Counter()
    for rounds in [(5,), (16,), (16, 3, 7), (1, 1, 1), (40,), (TRAINED,), (TRAINED, 1), (7, 7)] * 3:
        step: Counter[str] = Counter()
        for count in rounds:
            step.update(problem.key for problem in source.draw(count))
            assert len(step) == min(TRAINED, step.total())
            assert max(step.values()) == -(-step.total() // TRAINED)
        source.observe([scored_group([0.0, 1.0])])
        whole += step
        assert len(whole) == TRAINED or whole.total() < TRAINED
        assert max(whole.values()) - min(whole.values() if len(whole) == TRAINED else [0]) <= 2


def test_what_was_postponed_comes_first_and_is_kept_by_a_checkpoint(rows: Path) -> None:
    source = problems(rows)
    for _ in range(20):  # until a step ends with something postponed
        source.draw(TRAINED - 3)
        source.observe([])
        if postponed := source.state_dict().get("postponed"):
            break
    assert postponed
    state = json.loads(json.dumps(source.state_dict()))
    resumed = problems(rows)
    resumed.load_state_dict(state)
    drawn = source.draw(9)
    assert [problem.key for problem in resumed.draw(9)] == [problem.key for problem in drawn]
    alone = Mixture(TasksConfig(mixture={"file": TaskConfig(name="math", options={"path": str(rows)})}), seed=1)
    keys = {index: alone._tasks["file"].problem(index, 1).key for index in postponed["file"]}
    assert [problem.key for problem in drawn[: len(keys)]] == list(keys.values())


def test_a_draw_in_the_middle_of_a_step_goes_on_after_a_restart(rows: Path) -> None:
    source = problems(rows)
    first = source.draw(TRAINED - 2)
    resumed = problems(rows)
    resumed.load_state_dict(json.loads(json.dumps(source.state_dict())))
    rest = resumed.draw(2)
    assert len({problem.key for problem in first + rest}) == TRAINED
    assert source.draw(2) == rest


def test_without_a_repetition_the_order_is_that_of_version_0_1(rows: Path) -> None:
    """One pass after the other, each in its own order: what a step of one problem draws."""
    source = problems(rows)
    task = Mixture(TasksConfig(mixture={"file": TaskConfig(name="math", options={"path": str(rows)})}), 1)._tasks[
        "file"
    ]
    expected = [problem for index in range(60) if not is_held_out((problem := task.problem(index, 1)).prompt)]
    for problem in expected:
        assert source.draw(1) == [problem]
        source.observe([])

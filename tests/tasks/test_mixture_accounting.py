"""Exactly once: whatever a run does between two draws, every problem comes in its turn, none twice and none never."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers.groups import scored_group
from hypothesis import given, settings
from hypothesis import strategies as st

from prorl_mega.config.recipe import CurriculumConfig
from prorl_mega.config.schema import TaskConfig, TasksConfig
from prorl_mega.recipe.curriculum import Curriculum
from prorl_mega.tasks import Mixture
from prorl_mega.tasks.held_out import is_held_out
from prorl_mega.types import Group, Problem

SIZES = {"small": 24, "large": 70}  # rows of the files, about an eighth of them held out
ENTRIES = (*SIZES, "sums")
STEP = st.one_of(
    st.tuples(st.just("draw"), st.integers(0, 60)),
    st.tuples(st.just("restart"), st.none()),  # save, stop, start, restore
    st.tuples(st.just("undo"), st.integers(1, 30)),  # killed after drawing so many since the last save
    st.tuples(st.just("reweigh"), st.tuples(*[st.sampled_from([0.0, 0.5, 1.0, 3.0])] * 2, st.just(1.0))),
    st.tuples(st.just("evaluate"), st.integers(1, 3)),
    st.tuples(st.just("observe"), st.tuples(*[st.floats(0, 1)] * 3)),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    for entry, size in SIZES.items():
        rows = [{"prompt": f"{entry} {number}", "answer": "1"} for number in range(size)]
        (folder / f"{entry}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def start(folder: Path) -> Curriculum:
    mixture: dict[str, TaskConfig] = {
        entry: TaskConfig(name="math", options={"path": str(folder / f"{entry}.jsonl")}) for entry in SIZES
    }
    mixture["sums"] = TaskConfig(name="arithmetic", options={"style": "short", "max_digits": 3})
    config = CurriculumConfig(weigh_entries=True, min_groups=1)
    return Curriculum(Mixture(TasksConfig(mixture=mixture), seed=7), config)


def observed(rates: tuple[float, ...]) -> list[Group]:

    return [scored_group([rate], task=entry) for entry, rate in zip(ENTRIES, rates, strict=True)]


def restarted(folder: Path, problems: Curriculum, weights: dict[str, float]) -> Curriculum:
    state = json.loads(json.dumps(problems.state_dict()))
    fresh = start(folder)
    fresh.load_state_dict(state)
    fresh.set_weights(weights)  # settings are no part of the state
    return fresh


@settings(deadline=None, max_examples=60)
@given(st.lists(STEP, max_size=14))
def test_every_problem_in_its_turn(folder: Path, steps: list[tuple[str, Any]]) -> None:
    weights = dict.fromkeys(ENTRIES, 1.0)
    problems = start(folder)
    problems.set_weights(weights)
    drawn: list[Problem] = []
    begun = 0  # problems before this step
    for name, value in steps:
        if name == "draw":
            drawn += problems.draw(value)
            check_spread(drawn[begun:], 1)
        elif name == "restart":
            problems = restarted(folder, problems, weights)
        elif name == "undo":
            saved = restarted(folder, problems, weights)
            problems.draw(value)  # trained on, and lost with the process
            problems = saved
        elif name == "reweigh":
            weights = dict(zip(ENTRIES, value, strict=True))
            problems.set_weights(weights)
        elif name == "evaluate":
            problems.held_out(value)
        else:
            problems.observe(observed(value))
            begun = len(drawn)
    check_spread(drawn, 2)  # one pass after the other, and one more for a row that was postponed
    own = [problem.key for problem in drawn if problem.task == "sums"]
    alone = start(folder)
    alone.set_weights({**dict.fromkeys(SIZES, 0.0), "sums": 1.0})
    assert own == [problem.key for problem in alone.draw(len(own))], "a generator has one stream, without a gap"


def check_spread(drawn: list[Problem], most: int) -> None:
    """Every row of a file comes as often as all others, but for `most` times; held-out ones never."""
    counts = Counter(problem.key for problem in drawn)
    for entry, size in SIZES.items():
        trained = [number for number in range(size) if not is_held_out(f"{entry} {number}")]
        times = [counts[f"{entry}/{number + 1}"] for number in trained]
        assert sum(times) == sum(problem.task == entry for problem in drawn), "a held-out row was drawn"
        assert max(times) - min(times) <= most


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 8), st.lists(st.integers(0, 40), max_size=5))
def test_engines_share_a_draw_without_overlap(folder: Path, engines: int, counts: list[int]) -> None:
    """Every rank draws all problems and takes every n-th; together they have each exactly once."""
    ranks = [start(folder) for _ in range(engines)]
    for count in counts:
        draws = [rank.draw(count) for rank in ranks]
        assert all(draw == draws[0] for draw in draws)
        shares = [draw[engine::engines] for engine, draw in enumerate(draws)]
        joined: list[Problem | None] = [None] * count
        for engine, share in enumerate(shares):
            joined[engine::engines] = share
        assert joined == draws[0]
    assert all(rank.state_dict() == ranks[0].state_dict() for rank in ranks)

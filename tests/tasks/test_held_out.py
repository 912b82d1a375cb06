"""`split` of an entry: files that are evaluated whole, files that are trained on whole, and what is said of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prorl_mega.config.schema import EvaluationConfig, Split, TaskConfig, TasksConfig
from prorl_mega.errors import ConfigError, DataError
from prorl_mega.tasks import Mixture
from prorl_mega.tasks.held_out import is_held_out
from prorl_mega.tasks.mixture import describe

Make = Callable[..., TaskConfig]


@pytest.fixture
def file(tmp_path: Path) -> Make:
    """An entry that reads a file with these prompts."""

    def make(name: str, prompts: list[str], **settings: Any) -> TaskConfig:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("\n".join(json.dumps({"prompt": prompt, "answer": "1"}) for prompt in prompts))
        return TaskConfig(name="math", options={"path": str(path)}, **settings)

    return make


def numbered(word: str, count: int) -> list[str]:
    return [f"{word} {number}" for number in range(count)]


def mixture(**entries: TaskConfig) -> Mixture:
    made = Mixture(TasksConfig(mixture=entries), seed=1)
    made.check_files()
    return made


def of(entry: str, made: Mixture, per_task: int) -> list[str]:
    return [problem.prompt for problem in made.held_out(per_task) if problem.task == entry]


def test_a_validation_file_is_evaluated_whole_and_never_trained_on(file: Make) -> None:
    made = mixture(train=file("train", numbered("t", 50)), val=file("val", numbered("v", 30), split=Split.validation))
    assert sorted(of("val", made, 32)) == sorted(numbered("v", 30))
    assert {problem.task for problem in made.draw(300)} == {"train"}
    assert made.take_notes() == [
        f"tasks.mixture.train: {len(of('train', made, 32))} held-out problems for evaluation, not 32: one prompt in 8 "
        "is held out; split: validation evaluates all its rows"
    ]
    line = made.loaded(EvaluationConfig())[1]
    assert line.endswith("30 problems (plain); split validation: none is trained on; evaluated: all")


def test_a_validation_file_larger_than_the_settings_gives_always_the_same_rows(file: Make) -> None:
    entries = {"train": file("train", ["only"]), "val": file("val", numbered("v", 100), split=Split.validation)}
    made = mixture(**entries)
    few = of("val", made, 32)
    assert len(set(few)) == 32
    assert of("val", made, 64)[:32] == few
    assert of("val", Mixture(TasksConfig(mixture=entries), seed=2), 32) == few
    assert made.loaded(EvaluationConfig())[1].endswith(
        "evaluated: the same 32 in validations (evaluation.problems_per_task=32), the same 64 before and after "
        "training (evaluation.final_problems_per_task=64)"
    )


def test_weight_0_says_how_few_are_held_out(file: Make) -> None:
    made = mixture(train=file("train", numbered("t", 400)), val=file("val", numbered("v", 30), weight=0.0))
    count = len(of("val", made, 32))
    assert count == sum(map(is_held_out, numbered("v", 30))) < 30
    assert f"tasks.mixture.val: {count} held-out problems for evaluation, not 32" in made.take_notes()[-1]


@pytest.mark.parametrize("prompt", ["p", "q", *(f"q{number}" for number in range(20))])
def test_one_row_and_one_prompt_train_beside_a_validation_file(file: Make, prompt: str) -> None:
    """Whether the hash would hold it out or not."""
    val = file("val", numbered("v", 3), split=Split.validation)
    for prompts in ([prompt], [prompt] * 5):
        made = mixture(train=file("train", prompts), val=val)
        assert {problem.prompt for problem in made.draw(12)} == {prompt}
        assert [problem.task for problem in made.held_out(4)] == ["val"] * 3


def test_rows_of_a_validation_file_that_repeat_a_prompt_are_all_evaluated(file: Make) -> None:
    made = mixture(train=file("train", ["x"]), val=file("val", ["same"] * 4, split=Split.validation))
    problems = [problem for problem in made.held_out(32) if problem.task == "val"]
    assert len({problem.key for problem in problems}) == 4


def test_what_is_evaluated_is_not_trained_on_and_what_is_trained_on_whole_is_not_evaluated(file: Make) -> None:
    shared = numbered("s", 40)
    made = mixture(
        auto=file("auto", shared + numbered("a", 200)),
        whole=file("whole", shared[20:] + numbered("w", 40), split=Split.train),
        val=file("val", shared[:20], split=Split.validation),
    )
    trained = {problem.prompt for problem in made.draw(2000)}
    evaluated = {problem.prompt for problem in made.held_out(64)}
    assert not trained & evaluated
    assert set(shared[:20]) <= evaluated
    assert set(shared[20:]) | set(numbered("w", 40)) <= trained


def test_splits_that_cannot_be_are_refused(file: Make) -> None:
    for split in (Split.train, Split.validation):
        tasks = TasksConfig(mixture={"sums": TaskConfig(name="arithmetic", split=split)})
        with pytest.raises(ConfigError, match=rf"tasks\.mixture\.sums\.split={split.value} is for the rows of a file"):
            Mixture(tasks, seed=1)
    same = file("same", numbered("v", 5))
    val = TaskConfig(name="math", options=same.options, split=Split.validation)
    with pytest.raises(DataError, match=r"tasks\.mixture\.train: has no problem outside the held-out share"):
        mixture(train=same, val=val)


def test_the_plan_shows_the_split(file: Make) -> None:
    entries = {"train": file("train", ["only"]), "val": file("val", ["v"], split=Split.validation)}
    train, val = describe(TasksConfig(mixture=entries))
    assert train.startswith("100% train (math): ")
    assert val.startswith("validation: val (math): ")

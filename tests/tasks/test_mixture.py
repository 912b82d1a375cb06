"""The stream of problems: reproducible, resumable, in the given shares, and apart from the held-out set."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from prorl_mega.config.schema import TaskConfig, TasksConfig
from prorl_mega.errors import CheckpointError, ConfigError, DataError
from prorl_mega.tasks import Mixture, names
from prorl_mega.tasks.held_out import is_held_out


def config(**weights: float) -> TasksConfig:
    weights = weights or {"sums": 2.0, "words": 1.0}
    entries = {
        "sums": ("arithmetic", {"style": "short", "max_digits": 2}),
        "words": ("instruction", {"style": "short", "min_constraints": 2}),
        "tiny": ("arithmetic", {"style": "short", "max_digits": 1, "operations": ["+"]}),
    }
    return TasksConfig(
        mixture={e: TaskConfig(name=entries[e][0], weight=w, options=entries[e][1]) for e, w in weights.items()}
    )


def entry(name: str, options: dict[str, Any]) -> TasksConfig:
    return TasksConfig(mixture={"x": TaskConfig(name=name, options=options)})


def rg(**options: Any) -> TasksConfig:
    return entry("reasoning_gym", options)


def gcd(settings: dict[str, Any]) -> TasksConfig:
    return rg(dataset="gcd", config=settings)


def test_same_seed_same_stream_and_other_seed_another() -> None:
    first = Mixture(config(), seed=1).draw(100)
    assert first == Mixture(config(), seed=1).draw(100)
    assert first != Mixture(config(), seed=2).draw(100)
    assert len({problem.key for problem in first}) == 100


@pytest.mark.parametrize("cut", [0, 1, 37, 99])
def test_a_resumed_stream_goes_on_exactly(cut: int) -> None:
    whole = Mixture(config(), seed=5)
    expected = whole.draw(100)
    before = Mixture(config(), seed=5)
    head = before.draw(cut)
    after = Mixture(config(), seed=5)
    after.load_state_dict(before.state_dict())
    assert head + after.draw(100 - cut) == expected
    assert after.state_dict() == whole.state_dict()


def test_new_weights_change_the_shares_and_nothing_else() -> None:
    """Every entry goes on where it is: what is drawn of it, before and after, is the one stream that it has."""
    mixture = Mixture(config(), seed=5)
    drawn = mixture.draw(30)
    mixture.set_weights({"sums": 0.0, "words": 1.0})
    silent = mixture.draw(40)
    assert {problem.task for problem in silent} == {"words"}
    mixture.set_weights({"sums": 3.0, "words": 1.0})
    after = mixture.draw(120)
    shares = Counter(problem.task for problem in after)
    assert shares["sums"] == pytest.approx(90, abs=3)
    for name in ("sums", "words"):
        own = [problem.key for problem in drawn + silent + after if problem.task == name]
        alone = Mixture(config(**{name: 1.0}), seed=5).draw(len(own))
        assert own == [problem.key for problem in alone]


def test_new_weights_survive_a_resume_when_they_are_set_again() -> None:
    whole = Mixture(config(), seed=5)
    whole.draw(10)
    whole.set_weights({"sums": 0.0, "words": 1.0})
    whole.draw(3)
    resumed = Mixture(config(), seed=5)
    resumed.load_state_dict(whole.state_dict())
    resumed.set_weights({"sums": 0.0, "words": 1.0})
    assert resumed.draw(20) == whole.draw(20)


def test_the_state_is_cursors_only() -> None:
    mixture = Mixture(config(), seed=1)
    mixture.draw(30)
    state = mixture.state_dict()
    assert state["drawn"] == 30
    assert set(state) == {"drawn", "cursors"}
    assert set(state["cursors"]) == {"sums", "words"}


@pytest.mark.parametrize(
    "state", [{}, {"drawn": 1}, {"drawn": "1", "cursors": {}}, {"drawn": 1, "cursors": {"sums": -1}}]
)
def test_a_broken_state_is_refused(state: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError):
        Mixture(config(), seed=1).load_state_dict(state)


def test_shares_follow_the_weights_closely() -> None:
    mixture = Mixture(config(sums=3.0, words=1.0, tiny=0.0), seed=1)
    for _ in range(10):
        counts = Counter(problem.task for problem in mixture.draw(40))
        assert abs(counts["sums"] - 30) <= 2
        assert counts["tiny"] == 0


def test_held_out_prompts_are_never_drawn() -> None:
    mixture = Mixture(config(sums=1.0, words=1.0, tiny=1.0), seed=1)
    held_out = {problem.prompt for problem in mixture.held_out(64)}
    everything = {problem.prompt for problem in mixture.draw(3000)}
    assert held_out
    assert not held_out & everything
    assert all(map(is_held_out, held_out))
    assert not any(map(is_held_out, everything))


def test_the_held_out_set_is_fixed_distinct_and_a_prefix_of_a_larger_one() -> None:
    mixture = Mixture(config(), seed=1)
    small, large = mixture.held_out(8), mixture.held_out(32)
    other = Mixture(config(), seed=2)
    other.draw(10)
    assert other.held_out(32) == large
    for entry in ("sums", "words"):
        of_entry = [problem for problem in large if problem.task == entry]
        assert len({problem.prompt for problem in of_entry}) == 32
        assert [problem for problem in small if problem.task == entry] == of_entry[:8]
    assert mixture.held_out(8) == small


def test_evaluation_does_not_move_the_stream() -> None:
    quiet, busy = Mixture(config(), seed=1), Mixture(config(), seed=1)
    busy.held_out(16)
    assert quiet.draw(20) == busy.draw(20)


def test_a_small_space_gives_what_it_has() -> None:
    held_out = Mixture(config(tiny=1.0), seed=1).held_out(64)
    assert 1 <= len(held_out) < 64


def test_a_file_too_small_to_split_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text('{"prompt": "p", "answer": "1"}')
    mixture = Mixture(TasksConfig(mixture={"one": TaskConfig(name="math", options={"path": str(path)})}), seed=1)
    with pytest.raises(DataError, match=r"tasks\.mixture\.one"):
        mixture.check_files()
    unlucky = mixture.draw if is_held_out("p") else mixture.held_out
    with pytest.raises(DataError, match=r"tasks\.mixture\.one.*split: validation"):
        unlucky(1)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (entry("arithmetic", {"digits": 3}), r"x\.options\.digits.*Valid: .*max_digits"),
        (entry("arithmetic", {"max_digits": "3"}), r"max_digits: must be of type int"),
        (entry("arithmetic", {"max_digits": True}), r"max_digits: must be of type int"),
        (entry("arithmetic", {"operations": ["/"]}), r"operations\[0\]: must be one of"),
        (entry("arithmetic", {"min_digits": 5}), r"x\.options\.min_digits: must be at most max_digits=3, not 5"),
        (entry("arithmetic", {"max_digits": 19}), r"type int, at least 1 and at most 18, not 19"),
        (entry("instruction", {"kinds": ["wrods"]}), r"kinds: unknown wrods"),
        (rg(dataset="gdc"), r"dataset: reasoning-gym has no 'gdc'"),
        (gcd({"a": 1}), r"config\.a: no such setting"),
        (gcd({"seed": 1}), r"config\.seed"),
        (gcd({"min_numbers": 0}), r"gcd refuses"),
        (rg(dataset="sudoku", style="short"), r"style: there is no short"),
        (rg(dataset="list_functions"), r"at every call"),
    ],
)  # fmt: skip
def test_wrong_settings_are_named(tasks: TasksConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Mixture(tasks, seed=1)


def test_hash_dependent_data_sets_need_a_fixed_hash_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = TasksConfig(mixture={"x": TaskConfig(name="reasoning_gym", options={"dataset": "ransom_note"})})
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    with pytest.raises(ConfigError, match="PYTHONHASHSEED=0"):
        Mixture(tasks, seed=1)
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    Mixture(tasks, seed=1)


def test_importing_the_tasks_is_light() -> None:
    """No torch anywhere; reasoning-gym and math-verify only when they are used."""
    code = (
        "import sys, prorl_mega.tasks, prorl_mega.verifiers.worker\n"
        "heavy = {'torch', 'transformers', 'megatron', 'vllm', 'reasoning_gym', 'math_verify', 'sympy'}\n"
        "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_all_tasks_are_registered() -> None:
    assert {"arithmetic", "instruction", "math", "reasoning_gym"} <= set(names())

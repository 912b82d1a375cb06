"""Tasks of the user's own: a file or a module, loaded by settings or on the command line."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prorl_mega.config.schema import TaskConfig, TasksConfig
from prorl_mega.errors import ConfigError
from prorl_mega.tasks import Mixture, create, extension, names, registry
from prorl_mega.tasks.__main__ import main
from prorl_mega.verifiers.pool import VerifierPool

EXAMPLE = Path(__file__).parents[2] / "examples" / "my_task.py"


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a loaded file leaves behind is taken back: the path, the module, the registered task."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(registry, "_TASKS", dict(registry._TASKS))
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        if not name.startswith("prorl_mega"):
            del sys.modules[name]


def written(folder: Path, name: str, text: str, mode: int = 0o644) -> str:
    path = folder / name
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_file_is_loaded_here_and_in_the_workers() -> None:
    config = TasksConfig(
        mixture={"times": TaskConfig(name="clock", options={"max_minutes": 30})}, modules=[str(EXAMPLE)], workers=1
    )
    problems = Mixture(config, seed=1).draw(4)
    with VerifierPool(config) as pool:
        verdicts = pool.score([(problem, problem.solution or "") for problem in problems])
        assert [verdict.reward for verdict in verdicts] == [1.0] * 4
        assert pool.score([(problems[0], "<answer>25:99</answer>")])[0].reward == 0.0


def test_options_may_be_a_dataclass() -> None:
    """Its types are checked as those of a Struct are; its `__post_init__` does the rest."""
    extension.load([str(EXAMPLE)], "tasks.modules")
    for options, message in (
        ({"max_minutes": 0}, r"max_minutes: must be from 1 to 1439, not 0"),
        ({"max_minutes": "9"}, r"max_minutes: must be of type int, not '9'"),
        ({"minutes": 9}, r"minutes: no such option.*max_minutes"),
    ):
        with pytest.raises(ConfigError, match=rf"tasks\.mixture\.x\.options\.{message}"):
            create("clock", "x", options)
    assert create("clock", "x", {"days": True}).options.days


def test_a_file_is_loaded_once(tmp_path: Path) -> None:
    path = written(tmp_path, "loaded_once.py", "import prorl_mega.tasks\n")
    assert extension.load([path], "x") == extension.load([path, path], "x")[:1]


def test_a_file_that_changed_ends_a_resume(tmp_path: Path) -> None:
    path = written(tmp_path, "rewarding.py", "")
    config = TasksConfig(
        mixture={"sums": TaskConfig(name="arithmetic")}, modules=[path, "prorl_mega.tasks.logic.puzzle"]
    )
    state = Mixture(config, seed=1).state_dict()
    Mixture(config, seed=1).load_state_dict(state)
    written(tmp_path, "rewarding.py", "# another reward\n")
    with pytest.raises(ConfigError, match=r"tasks\.modules: .*rewarding\.py changed since the checkpoint"):
        Mixture(config, seed=1).load_state_dict(state)
    del state["modules"]
    Mixture(config, seed=1).load_state_dict(state)  # from before files were compared


def test_a_file_that_was_moved_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "moved_rules.py", "")
    mixture = {"sums": TaskConfig(name="arithmetic")}
    state = Mixture(TasksConfig(mixture=mixture, modules=[path]), seed=1).state_dict()
    monkeypatch.chdir(tmp_path)
    Mixture(TasksConfig(mixture=mixture, modules=["./moved_rules.py"]), seed=1).load_state_dict(state)
    with pytest.raises(ConfigError, match="is not named any more"):
        Mixture(TasksConfig(mixture=mixture), seed=1).load_state_dict(state)


def test_a_module_is_loaded_by_its_name() -> None:
    assert extension.load(["prorl_mega.tasks.math.arithmetic"], "x")[0].__name__ == "prorl_mega.tasks.math.arithmetic"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("broken_syntax.py", "def (", "broken_syntax cannot be imported: SyntaxError"),
        ("broken_import.py", "\n\nimport no_such_module_at_all\n", r"ModuleNotFoundError.*broken_import.py:3"),
        ("broken_run.py", "x = 1\nx / 0\n", r"ZeroDivisionError.*broken_run.py:2"),
        ("json.py", "x = 1\n", "another module called 'json'"),
        ("antigravity.py", "x = 1\n", "another module called 'antigravity'"),
        ("my-task.py", "x = 1\n", "letters, digits and underscores"),
    ],
)
def test_files_that_cannot_be_loaded(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        extension.load([written(tmp_path, name, text)], "tasks.modules")
    assert str(caught.value).startswith("tasks.modules: ")


def test_code_that_everybody_may_change_is_not_run(tmp_path: Path) -> None:
    path = written(tmp_path, "open_to_all.py", "raise SystemExit('it ran')\n", mode=0o666)
    with pytest.raises(ConfigError, match="everybody may change it"):
        extension.load([path], "tasks.modules")
    with pytest.raises(ConfigError, match="no such file"):
        extension.load(["/nowhere/at_all.py"], "tasks.modules")


def test_nothing_beside_a_file_takes_the_place_of_another_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "pyclbr", raising=False)
    written(tmp_path, "pyclbr.py", "")
    extension.load([written(tmp_path, "beside.py", "import pyclbr\nfound = pyclbr.__file__\n")], "x")
    assert str(tmp_path) not in sys.modules["beside"].found


def test_a_task_file_on_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["list", "--module", str(EXAMPLE)]) == 0
    assert "clock" in capsys.readouterr().out
    assert main(["show", str(EXAMPLE), "days=true", "--count", "1"]) == 0
    assert "What time is it" in capsys.readouterr().out
    assert main(["try", str(EXAMPLE), "--answer", "<answer>noon</answer>"]) == 0
    assert "reward 0 no time found" in capsys.readouterr().out
    assert main(["check", str(EXAMPLE), "--count", "3"]) == 0
    assert capsys.readouterr().out.count("kept") == 5
    assert "clock" in names()
    assert main(["show", written(tmp_path, "no_task.py", "x = 1\n")]) == 20
    assert "has no task" in capsys.readouterr().err


BROKEN = '''
from dataclasses import dataclass

from prorl_mega.tasks import Task, register
from prorl_mega.types import Problem, Verdict


@dataclass
class Options:
    pass


@register("lenient")
class Lenient(Task):
    """Says yes to everything."""

    options_type = Options

    def problem(self, index, seed):
        return Problem(key=self.key(index, seed), task=self.entry, prompt="7?", entry={}, solution="7")

    def score(self, problem, answer):
        return Verdict(reward=1.0)
'''


def test_check_finds_a_broken_task_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["check", written(tmp_path, "lenient_task.py", BROKEN), "--count", "2"]) == 20
    shown = capsys.readouterr()
    assert "BROKEN   empty and wrong answers score 0 (8 looked at)" in shown.out
    assert "and 3 more" in shown.out
    assert "2 of 5 promises are broken" in shown.err

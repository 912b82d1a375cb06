"""The settings of a run that is evaluated, also while it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.settings import compose_settings, model_directory, run_config

from prorl_mega.config.schema import EvaluateConfig
from prorl_mega.errors import ConfigError
from prorl_mega.run.recorded import with_recorded
from prorl_mega.run.settings import write_settings


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = tmp_path / "runs" / "mine"
    directory.mkdir(parents=True)
    write_settings(directory / "config.yaml", run_config(model_directory(tmp_path / "model"), "seed=3"))
    return directory


def recorded(*overrides: str) -> EvaluateConfig:
    settings = compose_settings(*overrides, schema=EvaluateConfig)
    found: EvaluateConfig = with_recorded(settings, overrides)  # type: ignore[assignment]
    return found


def test_a_checkpoint_that_is_being_written_or_deleted_is_not_used(run: Path) -> None:
    for name in ("step_000009", "step_000010", "step_000011.tmp", "step_000008.deleted", "step_99"):
        (run / "checkpoints" / name / "model").mkdir(parents=True)
    assert recorded(f"run={run}").model.path == str(run / "checkpoints" / "step_000010" / "model")


def test_a_run_is_named_by_where_one_stands(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "evaluation").mkdir()
    for place, path in ((run, "."), (run / "evaluation", ".."), (run.parent, "mine/"), (run.parent.parent, "mine")):
        monkeypatch.chdir(place)
        found = recorded(f"run={path}")
        assert (found.name, Path(found.root).resolve(), found.seed) == ("mine", run.parent.resolve(), 3)


def test_what_a_command_line_changes(run: Path) -> None:
    found = recorded(
        f"run={run}", "evaluation=boundary", "evaluation.temperature=0.3", "seed=5", "name=other", "root=x"
    )
    assert (found.name, found.root, found.seed) == ("other", "x", 5)
    assert (found.evaluation.samples, found.evaluation.temperature) == (256, 0.3)
    assert found.tasks == recorded(f"run={run}").tasks


@pytest.mark.parametrize("label", ["base", "final"])
def test_the_labels_of_training_are_its_own(run: Path, label: str) -> None:
    with pytest.raises(ConfigError, match=f"label={label}: training keeps its own results"):
        recorded(f"run={run}", f"label={label}")

"""How benchmarks get from a command line into the settings, and the paper's protocol with them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers.programs import TOKENIZER
from helpers.settings import compose_settings, model_directory

from prorl_mega.config.command_line import spelled_out, with_paper_protocol
from prorl_mega.config.compose import to_config, to_objects, to_tasks
from prorl_mega.config.schema import EvaluateConfig, RunConfig
from prorl_mega.config.stages import compared_response, longest_response, stage_settings
from prorl_mega.config.validate import validate
from prorl_mega.errors import ConfigError, ExitCode
from prorl_mega.evaluation.conditions import conditions, incomparable
from prorl_mega.plan import main as plan
from prorl_mega.tasks.benchmarks import benchmarks_alone, completed, with_benchmarks


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return model_directory(tmp_path / "model")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "benchmarks"
    directory.mkdir()
    (directory / "aime24.jsonl").write_text(json.dumps({"problem": "Find it.", "answer": "033"}) + "\n")
    return directory


def settings(model: Path, *arguments: str) -> RunConfig:
    base = ["experiment=prorl_v1_1p5b", "model=random", f"model.path={model}"]
    return to_objects(compose_settings(*base, *spelled_out(list(arguments))), RunConfig)


def test_the_short_form_is_the_setting(model: Path) -> None:
    names = "aime24,amc=data/my file's.jsonl,graph_color:num_vertices=5/8,gym/acre"
    assert settings(model, f"benchmarks={names}").evaluation.benchmarks == names.split(",")
    assert settings(model, "benchmarks=[aime24,aime25]").evaluation.benchmarks == ["aime24", "aime25"]
    assert settings(model, "evaluation.benchmarks=[aime24]").evaluation.benchmarks == ["aime24"]
    for odd in ("a\\b", "a\\", "it's", "\\'", "a b=c:d"):
        assert settings(model, f"benchmarks={odd},x").evaluation.benchmarks == [odd, "x"]
    others = ["seed=1", "--benchmarks", "name=benchmarks=x"]
    assert spelled_out(others) == others


def test_an_evaluation_of_benchmarks_has_the_papers_protocol_unless_told_otherwise(model: Path) -> None:
    config = settings(model, *with_paper_protocol(["benchmarks=aime24"]))
    evaluation = config.evaluation
    assert (evaluation.samples, evaluation.temperature, evaluation.top_p) == (16, 0.6, 0.95)
    assert compared_response(config, stage_settings(config)) == 32768
    assert evaluation.final_problems_per_task >= 5000, "all rows of every benchmark"
    assert config.rollout.max_prompt_tokens == 4096
    given = ["evaluation.benchmarks=[aime24]", "evaluation=boundary", "rollout.max_prompt_tokens=99"]
    assert with_paper_protocol(given) == [*given, "evaluation.final_problems_per_task=1000000"]
    assert settings(model, *with_paper_protocol(given)).evaluation.samples == 256
    assert with_paper_protocol(["experiment=demo", "name=x"]) == ["experiment=demo", "name=x"]


@pytest.mark.parametrize("experiment", ["prorl_v1_1p5b", "prorl_v2_1p5b", "brorl_1p5b", "demo", None])
def test_benchmarks_of_the_policy_of_any_experiment_can_be_evaluated(model: Path, experiment: str | None) -> None:
    arguments = [
        f"model.path={model}",
        "model.weights=random",
        "evaluation.server.url=http://127.0.0.1:1",
        "name=x",
        "benchmarks=gym/acre",
    ]
    arguments += [f"experiment={experiment}"] if experiment else []
    composed = compose_settings(*spelled_out(with_paper_protocol(arguments)), schema=EvaluateConfig)
    config = to_config(composed, EvaluateConfig, 1, benchmarks_alone)
    assert list(config.tasks.mixture) == ["gym_acre"]
    assert (
        longest_response(config, stage_settings(config)) == compared_response(config, stage_settings(config)) == 32768
    )


def test_the_longer_answers_of_evaluations_are_no_matter_of_training(model: Path) -> None:
    config = settings(model, "evaluation=paper")
    stages = stage_settings(config)
    assert config.rollout.max_response_tokens == 8192
    assert longest_response(config, stages) == 32768, "the engine"
    validate(config, 32)
    shorter = settings(model, "evaluation.max_response_tokens=100")
    assert compared_response(shorter, stages) == 100
    assert longest_response(shorter, stages) == 16384, "its last stage"
    with pytest.raises(ConfigError, match=r"evaluation\.max_response_tokens=200000 = 201024 is more than the model's"):
        validate(settings(model, "evaluation.max_response_tokens=200000"), 32)


def test_benchmarks_join_the_tasks_of_training_and_of_a_reward_server(model: Path, directory: Path) -> None:
    arguments = ["benchmarks=aime24", f"evaluation.benchmark_directory={directory}"]
    composed = compose_settings(
        "experiment=prorl_v1_1p5b", "model=random", f"model.path={model}", *spelled_out(arguments)
    )
    config = to_config(composed, RunConfig, 32, with_benchmarks)
    assert config.tasks.mixture["aime24"].options["path"] == f"{directory}/aime24.jsonl"
    assert len(config.tasks.mixture) == 21
    assert to_tasks(composed, completed) == config.tasks
    alone = benchmarks_alone(config)
    assert list(alone.tasks.mixture) == ["aime24"]
    assert compared_response(alone, stage_settings(alone)) == 16384, "the longest of its stages"


def test_results_are_compared_whatever_else_was_evaluated_or_trained_on(model: Path, directory: Path) -> None:
    one = settings(model, "benchmarks=aime24", f"evaluation.benchmark_directory={directory}")
    longer = "evaluation.max_response_tokens=9"
    other = settings(model, "tasks=prorl", f"benchmarks=aime24={directory}/aime24.jsonl", longer)
    first, second = (conditions(benchmarks_alone(each), problems_per_task=9, max_tokens=64) for each in (one, other))
    assert first["tasks.mixture.aime24.name"] == "math"
    assert incomparable(first, second) == []
    shorter = conditions(benchmarks_alone(other), problems_per_task=9, max_tokens=None)
    assert incomparable(first, shorter) == ["rollout.max_response_tokens: 64 and 9"]


def test_a_missing_file_is_said_before_anything_starts(model: Path, tmp_path: Path) -> None:
    composed = compose_settings(
        "experiment=prorl_v1_1p5b", f"model.path={model}", "evaluation.benchmarks=[aime24]",
        f"evaluation.benchmark_directory={tmp_path}/none",
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"evaluation\.benchmarks: aime24: no file\. Looked for .*/none/\{aime24"):
        to_config(composed, RunConfig, 32, with_benchmarks)


def test_the_plan_shows_them(directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = shutil.copytree(TOKENIZER, tmp_path / "tiny")
    arguments = ["experiment=demo", "model=random", f"model.path={model}", "benchmarks=aime24,graph_color_ladder"]
    code = plan(compose_settings(*spelled_out(arguments), f"evaluation.benchmark_directory={directory}"))
    shown = capsys.readouterr().out
    assert code is ExitCode.FINISHED
    assert f"validation: aime24 (math): {directory}/aime24.jsonl (1 file, 0.0 MiB, read as answers)" in shown
    assert "0% reasoning_gym for evaluation alone: generated by 7 entries" in shown

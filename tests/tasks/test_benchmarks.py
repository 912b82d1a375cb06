"""Benchmarks by name: files as they are published become problems, and the real verifiers judge answers to them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.benchmark_files import FILES, GPQA, Case, write_all
from helpers.published import write
from helpers.sandboxes import tier_here

from prorl_mega.config.schema import EvaluationConfig, Split, TaskConfig, TasksConfig
from prorl_mega.config.validate import name_problems
from prorl_mega.errors import ConfigError, DataError
from prorl_mega.sandbox.isolation import IsolationTier
from prorl_mega.tasks import Mixture, create
from prorl_mega.tasks.__main__ import main as tasks_program
from prorl_mega.tasks.benchmarks import (
    PUBLISHED,
    benchmark_lines,
    benchmark_scores,
    completed,
    describe,
    domain_of,
    expand,
    headline_of,
)
from prorl_mega.tasks.benchmarks.expansion import LONGEST_LABEL, benchmarks_label
from prorl_mega.tasks.benchmarks.listing import print_if_asked
from prorl_mega.types import Problem
from prorl_mega.verifiers.pool import VerifierPool

ALL = 10**6
no_sandbox = all(tier_here(tier)[0] is None for tier in list(IsolationTier)[:2])
NAMES = [name for name in FILES if not (no_sandbox and PUBLISHED[name].task == "code")]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("benchmarks")
    write_all(directory)
    return directory


@pytest.fixture(scope="module")
def tasks(directory: Path) -> TasksConfig:
    return TasksConfig(mixture=expand(NAMES, directory), workers=1)


@pytest.fixture(scope="module")
def problems(tasks: TasksConfig) -> list[Problem]:
    return Mixture(tasks, seed=1).held_out(ALL)


def cases(name: str) -> Iterator[Case]:
    every = [case for each in FILES.values() for case in each.cases]
    if PUBLISHED[name].source_name and FILES[name].name.startswith("eurus2"):
        yield from (case for case in every if case.row.get("data_source") == name)
    else:
        yield from FILES[name].cases


def test_every_row_of_every_benchmark_is_a_problem_and_none_is_trained_on(
    tasks: TasksConfig, problems: list[Problem]
) -> None:
    assert set(FILES) == set(PUBLISHED), "a benchmark without a file in this test"
    counts = {name: sum(problem.task == name for problem in problems) for name in NAMES}
    assert counts == {name: len(list(cases(name))) for name in NAMES}
    assert all(entry.weight == 0 and entry.split is Split.validation for entry in tasks.mixture.values())


def test_right_answers_earn_everything_and_wrong_ones_less(tasks: TasksConfig, problems: list[Problem]) -> None:
    judged = []
    for name in NAMES:
        of_name = [problem for problem in problems if problem.task == name]
        for case in cases(name):
            (problem,) = (each for each in of_name if case.prompt in each.prompt)
            judged += [(problem, answer, True) for answer in case.right]
            judged += [(problem, answer, False) for answer in case.wrong]
    with VerifierPool(tasks) as pool:
        verdicts = pool.score([(problem, answer) for problem, answer, _ in judged])
    odd = [
        (problem.task, answer, verdict)
        for (problem, answer, is_right), verdict in zip(judged, verdicts, strict=True)
        if (verdict.reward == 1) is not is_right
    ]
    assert not odd
    binary = {
        verdict.reward for (problem, *_), verdict in zip(judged, verdicts, strict=True) if problem.task != "ifeval"
    }
    assert binary == {0, 1}, "mathematics, code and STEM are strictly binary"
    partly = [verdict.reward for (each, _, good), verdict in zip(judged, verdicts, strict=True)
              if each.task == "ifeval" and not good]  # fmt: skip
    assert partly == [0.5, 0.0], "the share of the instructions that were followed"


def test_prompts_ask_for_the_form_that_is_judged(problems: list[Problem]) -> None:
    for problem in problems:
        domain = domain_of(problem.task)
        if domain in ("math", "stem"):
            assert problem.prompt.endswith("Let's think step by step and output the final answer within \\boxed{}.")
        elif domain == "code":
            assert problem.prompt.endswith("fenced code block.")
            assert not problem.system, "PRIME's system turn names actions of another recipe"
        else:
            assert problem.prompt in [case.prompt for case in FILES["ifeval"].cases]


def test_choices_are_shuffled_the_same_way_in_every_run(directory: Path, tmp_path: Path) -> None:
    def order(path: Path, seed: int) -> list[list[str]]:
        entries = expand([f"gpqa_diamond={path}"], Path("nowhere"))
        prompts = [each.prompt for each in Mixture(TasksConfig(mixture=entries), seed).held_out(ALL)]
        return sorted(re.findall(r"[A-D]\. (\w+)", prompt) for prompt in prompts)

    rows = [GPQA | {"Record ID": f"rec{number}", "Question": f"Which gas, case {number}?"} for number in range(24)]
    write(tmp_path / "gpqa.csv", rows)
    first = order(tmp_path / "gpqa.csv", 1)
    assert first == order(tmp_path / "gpqa.csv", 2), "the seed of a run must not change the benchmark"
    assert len({tuple(each) for each in first}) > 8, "the right answer must not have a place of its own"
    assert {each.index("neon") for each in first} == {0, 1, 2, 3}


def test_files_are_found_by_their_usual_names_and_by_a_path(directory: Path, tmp_path: Path) -> None:
    entries = expand(["aime24", "math500", "math", "taco"], directory)
    paths = {name: entry.options["path"] for name, entry in entries.items()}
    assert paths["aime24"] == str(directory / "aime_2024.parquet")
    assert paths["math500"] == str(directory / "MATH-500")
    assert Path(paths["math"]).parts[-1] == "hendrycks_math"
    elsewhere = tmp_path / "mine.jsonl"
    elsewhere.write_text(json.dumps(FILES["aime25"].cases[0].row))
    assert expand([f"aime25={elsewhere}"], directory)["aime25"].options["path"] == str(elsewhere)
    (tmp_path / "aime25" / "data").mkdir(parents=True)
    for split in ("train", "test"):
        (tmp_path / "aime25" / "data" / f"{split}-00000.jsonl").write_text(json.dumps(FILES["aime25"].cases[0].row))
    found = expand(["aime25"], tmp_path)
    assert found["aime25"].options["path"].endswith("/**/test*.jsonl"), "the test split of a folder with both"
    assert len(Mixture(TasksConfig(mixture=found), 1).held_out(ALL)) == 1


def test_the_mixed_file_of_prime_is_read_by_source(directory: Path, tmp_path: Path) -> None:
    entries = expand(["codecontests", "codeforces"], directory)
    assert [entry.options["only"] for entry in entries.values()] == [
        {"data_source": "codecontests"}, {"data_source": "codeforces"}
    ]  # fmt: skip
    file = directory / "eurus2_validation.parquet"
    assert expand([f"codeforces={file}"], tmp_path)["codeforces"].options["only"] == {"data_source": "codeforces"}
    lacking = create("code", "taco", dict(expand([f"taco={file}"], tmp_path)["taco"].options))
    with pytest.raises(DataError, match="has no problems with data_source=taco"):
        lacking.load()


def test_unknown_and_missing_names_are_all_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        expand(["aime42", "math500", "acree", "gsm8k=/x.jsonl", "amc=/nowhere.jsonl", "aime24="], tmp_path / "none")
    message = str(raised.value)
    assert message.startswith("evaluation.benchmarks: 6 mistakes:\n")
    assert "'aime42' (did you mean 'aime2" in message
    assert "'acree' (did you mean 'acre'?)" in message
    looked = f"{tmp_path / 'none'}/{{math500,math_500}}{{/,.jsonl,.json,.csv,.parquet,.arrow,.zip"
    assert looked in message
    assert "HuggingFaceH4/MATH-500" in message
    assert "math500=PATH" in message
    assert "is no directory" in message
    assert "no benchmark is called 'gsm8k'" in message
    assert "amc: /nowhere.jsonl: no such file" in message
    assert "aime24=: names no file" in message


def test_several_candidates_are_ambiguous(tmp_path: Path) -> None:
    for name in ("aime24.jsonl", "AIME_2024.parquet"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=r"AIME_2024\.parquet, .*aime24\.jsonl could all be it; say which: aime24="):
        expand(["aime24"], tmp_path)
    (tmp_path / "amc").mkdir()
    with pytest.raises(ConfigError, match=r"amc: .*has no \.jsonl, \.json, .* files; name the right one: amc=PATH"):
        expand(["amc"], tmp_path)


def test_a_benchmark_is_one_entry_however_often_it_is_named(directory: Path) -> None:
    once = expand(["aime24"], directory)
    assert expand(["aime24", "aime24", "aime24=" + once["aime24"].options["path"]], directory) == once
    other = directory / "AIME-2025.jsonl"
    with pytest.raises(ConfigError, match=r"aime24: is named twice, with .*aime_2024\.parquet and .*AIME-2025\.jsonl"):
        expand(["aime24", f"aime24={other}"], directory)
    with pytest.raises(ConfigError, match=r"aime24: reads .*AIME-2025\.jsonl, which is aime25"):
        expand(["aime25", f"aime24={other}"], directory)


def test_results_on_other_benchmarks_have_another_label() -> None:
    assert benchmarks_label("policy", []) == "policy"
    assert benchmarks_label("step_000010", ["math500", "aime24=there/a.jsonl"]) == "step_000010_aime24-math500"
    assert benchmarks_label("policy", ["aime24", "math500", "aime24"]) == "policy_aime24-math500"
    ladder = benchmarks_label("policy", ["graph_color:num_vertices=5/20"])
    assert ladder == "policy_graph_color.num_vertices.5.20"
    long = [f"gym.{name}" for name in ("acre", "boxnet", "game_of_life", "game_of_life_halting", "graph_color", "maze")]
    labels = {benchmarks_label("policy", long[:count]) for count in range(1, 7)}
    assert len(labels) == 6
    assert not any(name_problems(each, "label") for each in [*labels, ladder])
    assert max(map(len, labels)) <= LONGEST_LABEL


def test_another_number_of_rows_is_said(tmp_path: Path) -> None:
    def notes(rows: int) -> str:
        write(tmp_path / "aime24.jsonl", [{"problem": f"Find {n}.", "answer": str(n)} for n in range(rows)])
        mixture = Mixture(TasksConfig(mixture=expand(["aime24"], tmp_path)), 1)
        return "\n".join(mixture.loaded(EvaluationConfig()))

    assert "WARNING: 29 rows, where the published file has 30" in notes(29)
    assert "WARNING" not in notes(30)


def test_benchmarks_are_added_to_what_is_trained_on_and_never_drawn(directory: Path) -> None:
    sums = TaskConfig(name="arithmetic")
    evaluation = EvaluationConfig(benchmarks=["aime24", "gym/acre"], benchmark_directory=str(directory))
    tasks = completed(TasksConfig(mixture={"sums": sums}), evaluation)
    assert list(tasks.mixture) == ["sums", "aime24", "gym_acre"]
    assert tasks.training_weights() == {"sums": 1, "aime24": 0, "gym_acre": 0}
    mixture = Mixture(tasks, 1)
    assert {problem.task for problem in mixture.draw(50)} == {"sums"}
    assert [problem.task for problem in mixture.held_out(2)] == ["sums"] * 2 + ["aime24"] * 2 + ["gym_acre"] * 2
    assert completed(tasks, EvaluationConfig()) is tasks
    with pytest.raises(ConfigError, match=r"tasks\.mixture has an entry called 'aime24' of its own; rename it"):
        completed(TasksConfig(mixture={"aime24": sums}), evaluation)


def test_the_table_says_what_is_there(directory: Path, tmp_path: Path) -> None:
    lines = {line.split()[0]: line for line in describe(directory).splitlines() if line}
    assert "aime_2024.parquet" in lines["aime24"]
    assert "pass@1" in lines["aime24"]
    assert " 30 " in lines["aime24"]
    assert " reward " in lines["ifeval"]
    (tmp_path / "amc").mkdir()
    lines = {line.split()[0]: line for line in describe(tmp_path).splitlines() if line}
    assert " no " in lines["aime24"]
    assert " unclear " in lines["amc"]


def test_the_table_is_printed_by_both_programs(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tasks_program(["benchmarks", "--directory", str(directory)]) == 0
    with pytest.raises(SystemExit) as left:
        print_if_asked(["--benchmarks", f"evaluation.benchmark_directory={directory}"])
    assert left.value.code == 0
    assert capsys.readouterr().out == 2 * f"{describe(directory)}\n"
    print_if_asked(["benchmarks=aime24"])


@pytest.mark.parametrize(
    ("entry", "task", "domain", "headline"),
    [
        ("minerva", "stem", "math", "pass@1"),
        ("minerva", "code", "code", "pass@1"),
        ("gym_acre", "reasoning_gym", "logic", "reward"),
        ("mathematics", "math", "math", "pass@1"),
        ("sums", "arithmetic", "math", "pass@1"),
        ("mine", "instruction", "instruction", "reward"),
        ("rows", "logic", "logic", "reward"),
        ("mine", "a task of my own", "other", "reward"),
    ],
)
def test_the_domain_of_any_entry(entry: str, task: str, domain: str, headline: str) -> None:
    config = TaskConfig(name=task)
    assert (domain_of(entry, config), str(headline_of(entry, config))) == (domain, headline)


def test_scores_are_headline_numbers_by_domain() -> None:
    entries = {"aime24": "math", "gym_acre": "reasoning_gym", "amc": "math", "ifeval": "ifeval", "gone": "math"}
    metrics = {f"evaluation/pass@1/{name}": value for name, value in
               {"aime24": 0.5, "amc": 0.25, "gym_acre": 0.9, "ifeval": 0.8}.items()}  # fmt: skip
    metrics |= {"evaluation/reward/aime24": 0.7, "evaluation/reward/gym_acre": 0.1, "evaluation/reward/ifeval": 0.4}
    mixture = {name: TaskConfig(name=task) for name, task in entries.items()}
    assert benchmark_lines(benchmark_scores(metrics, mixture)) == [
        "math         aime24    pass@1   50.00",
        "math         amc       pass@1   25.00",
        "math         average   pass@1   37.50",
        "logic        gym_acre  reward   10.00",
        "instruction  ifeval    reward   40.00",
    ]
    metrics["evaluation/pass@1/amc"] = math.nan
    assert benchmark_lines(benchmark_scores(metrics, mixture))[2].endswith("nan"), "no average of a part"
    assert benchmark_lines([]) == []


def test_the_domain_of_a_name_alone() -> None:
    names = ["aime24", "gpqa_diamond", "ifeval", "livecodebench", "gym_acre", "arithmetic", "unheard"]
    assert [domain_of(name) for name in names] == ["math", "stem", "instruction", "code", "logic", "math", "other"]

"""Puzzles of reasoning-gym as benchmarks: names, sets and ladders whose problems really get harder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from prorl_mega.config.schema import Split, TaskConfig, TasksConfig
from prorl_mega.errors import ConfigError
from prorl_mega.tasks import Mixture, create
from prorl_mega.tasks.benchmarks import expand
from prorl_mega.tasks.benchmarks.expansion import set_members
from prorl_mega.tasks.logic import gym, gym_rules

NOWHERE = Path("nowhere")


def prompts(entries: dict[str, TaskConfig], count: int = 4) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {entry: [] for entry in entries}
    for problem in Mixture(TasksConfig(mixture=entries), 1).held_out(count):
        found[problem.task].append(problem.prompt)
    return found


def test_the_ladder_of_the_paper_has_graphs_of_its_sizes() -> None:
    rungs = expand(["graph_color_ladder"], NOWHERE)
    for (entry, texts), nodes in zip(prompts(rungs).items(), (5, 8, 10, 13, 15, 18, 20), strict=True):
        assert entry == f"gym_graph_color_num_vertices_{nodes}"
        for text in texts:
            listed = re.search(r"Vertices: \[(.*)\]", text)
            assert listed is not None
            assert len(listed[1].split(",")) == nodes


def test_levels_and_settings_change_the_problems() -> None:
    by_level = prompts(expand(["chain_sum:level=0-1"], NOWHERE))
    assert list(by_level) == ["gym_chain_sum_level_0", "gym_chain_sum_level_1"]
    longest = {entry: max(map(len, texts)) for entry, texts in by_level.items()}
    assert longest["gym_chain_sum_level_0"] < longest["gym_chain_sum_level_1"]
    short, long = prompts(expand(["chain_sum:digits=1/6:terms=2"], NOWHERE)).values()
    assert all(re.search(r"\b\d [-+] \d =", text) for text in short)
    assert all(re.search(r"\b\d{6} [-+] \d{6} =", text) for text in long)


def test_a_right_answer_at_the_hardest_rung_is_accepted_and_a_wrong_one_is_not() -> None:
    entries = expand(["chain_sum:terms=5"], NOWHERE)
    (entry,) = entries
    task = create("reasoning_gym", entry, entries[entry].options)
    task.load()
    problem = task.problem(3, 7)
    assert problem.solution is not None
    assert task.score(problem, problem.solution).reward == 1
    assert task.score(problem, "<answer>999999999</answer>").reward < 0.9


def test_names_mean_the_same_with_and_without_the_prefix() -> None:
    assert expand(["acre"], NOWHERE) == expand(["gym/acre", "acre"], NOWHERE)
    (config,) = expand(["acre"], NOWHERE).values()
    assert (config.weight, config.split, config.problems) == (0, Split.auto, 100)
    assert config.options["credit"] == "all", "the score of reasoning-gym, as in the paper"


def test_the_number_of_problems_of_an_entry_is_a_bound_of_its_own() -> None:
    entries = {"few": TaskConfig(name="arithmetic", problems=3), "many": TaskConfig(name="arithmetic")}
    entries["few"].options["max_digits"] = 5
    mixture = Mixture(TasksConfig(mixture=entries), 1)
    for wanted, expected in [(2, (2, 2)), (8, (3, 8)), (1, (1, 1))]:
        tasks = [problem.task for problem in mixture.held_out(wanted)]
        assert (tasks.count("few"), tasks.count("many")) == expected


def test_the_set_of_puzzles_keeps_those_of_another_distribution_apart() -> None:
    logic, other = set_members("logic"), set_members("out_of_distribution")
    assert logic is not None
    assert other is not None
    assert len(logic) > 90
    assert not {*logic} & {*other}
    assert len(other) == 3
    names = {member.removeprefix("gym/") for member in logic}
    assert not names & {*gym_rules.HASH_DEPENDENT}, "they need PYTHONHASHSEED"
    assert names < {*gym.datasets()}
    paper = set_members("paper")
    assert paper is not None
    assert {"aime24", "ifeval", "gpqa_diamond", "livecodebench", *logic, *other} < {*paper}
    assert set_members("aime24") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("graph_color:vertices=5", r"no parameter 'vertices' \(did you mean 'num_vertices'\?\). It has num_vertices, "),
        ("graph_color:num_vertices=five", r"min_num_vertices must be of type int, as 10, not 'five'"),
        ("graph_color:num_vertices=2.5", "must be of type int"),
        ("graph_color:edge_probability=true", "must be of type float"),
        ("chain_sum:terms=-3", r"chain_sum refuses \{.*min_terms"),
        ("graph_color:level=99", r"level: must be below \d+, the number of levels of graph_color"),
        ("acre:level=1", "acre has no parameter 'level'"),
        ("graph_color:num_vertices", "'num_vertices' is no parameter=value"),
        ("graph_color:num_vertices=", "is no parameter=value"),
        ("graph_color:num_vertices=5/5", "must have different values"),
        ("graph_color:num_vertices=9-5", "9-5 must go up"),
        ("graph_color:num_vertices=1-999999", "must go up, by less than 64"),
        ("graph_color:num_vertices=5/8:num_colors=3/4", "num_vertices and num_colors have several values"),
        ("graph_color:num_colors=3:num_colors=4", "a parameter is there twice"),
        ("graph_colour:num_vertices=5", r"no benchmark is called 'graph_colour' \(did you mean 'graph_color'"),
        ("composite", "no benchmark is called 'composite'"),
        ("gym/", "no benchmark is called 'gym/'"),
        ("", "no benchmark is called ''"),
    ],
)
def test_what_a_data_set_does_not_have_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        expand([text], NOWHERE)

"""Rival explanations that were planted in the answers are named, and where none was planted none is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.planted import CUT_OFF, OTHER_FORM, RIGHT, WORKING, WRONG, Answer, many, plant

from prorl_mega.boundary import main

Explanations = dict[str, dict[str, Any]]


def explained(directory: Path, *arguments: str) -> Explanations:
    """The explanations of base → final in `directory`, by name."""
    paths = [str(directory / "evaluation" / f"{label}.json") for label in ("base", "final")]
    assert main([*paths, "--k", "16", "--output", str(directory / "out"), *arguments]) == 0
    plain = json.loads((directory / "out" / "boundary.json").read_text())
    return {each["name"]: each for each in plain["explanations"]}


def write(directory: Path, base: list[list[Answer]], final: list[list[Answer]]) -> None:
    plant(directory, "base", {"sums": base})
    plant(directory, "final", {"sums": final})


BEFORE = [many(0), many(0), many(0), many(4), many(16), many(32)]
AFTER = [many(20), many(25), many(1), many(16), many(30), many(32)]


def training(directory: Path, prompt: str) -> Path:
    path = directory / "train.jsonl"
    path.write_text(json.dumps({"prompt": prompt, "answer": "42"}) + "\n")
    return path


OTHER_PROMPT = (
    "A farmer has a field of barley that is nine rods long: name the area of the part that lies in the shade."
)


def test_nothing_planted_nothing_named(tmp_path: Path) -> None:
    write(
        tmp_path,
        *(
            [
                [replace(each, relaxed=0.0) if each.reward == 0 else each for each in of_problem]
                for of_problem in of_model
            ]
            for of_model in (BEFORE, AFTER)
        ),
    )
    found = explained(tmp_path, "--training", str(training(tmp_path, OTHER_PROMPT)))
    assert {name: each["found"] for name, each in found.items()} == dict.fromkeys(
        ["settings", "format", "truncation", "tokens", "contamination", "derivation"], False
    ), found


def test_a_shifted_format(tmp_path: Path) -> None:
    """The base answers as well as the trained model, in another form that earns nothing."""
    before = [[OTHER_FORM if each is RIGHT else each for each in of_problem] for of_problem in AFTER]
    write(tmp_path, before, AFTER)
    found = explained(tmp_path)
    assert {name: each["found"] for name, each in found.items() if each["found"]} == {"format": True}
    numbers = found["format"]["numbers"]
    assert numbers["gain of pass@16"] > 0.5
    assert numbers["gain of pass@16, form relaxed"] == 0
    assert (numbers["gained problems"], numbers["of these solved by the base in another form"]) == (6, 6)
    assert "base solved 6 of 6 gained problems in another form" in found["format"]["text"]


def test_half_of_the_gain_is_form(tmp_path: Path) -> None:
    before = [many(0, wrong=OTHER_FORM)] * 3 + [many(0)] * 3
    write(tmp_path, before, [many(32)] * 6)
    found = explained(tmp_path)["format"]
    assert found["found"] is True
    assert "gain of pass@1 +1.000 as scored and +0.500 in any form" in found["text"]


def test_a_truncation(tmp_path: Path) -> None:
    """The base is right whenever it comes to an end, on problems that it hardly ever ends."""
    long = [many(31 - number % 2, wrong=CUT_OFF)[::-1] for number in range(2)]
    never = [[CUT_OFF] * 28 + [WRONG] * 4] * 4
    write(tmp_path, [*never, *long], [many(20)] * 4 + [many(32)] * 2)
    found = explained(tmp_path)["truncation"]
    assert found["found"] is True
    numbers = found["numbers"]
    assert numbers["base: answers cut off"] == pytest.approx((4 * 28 + 1 + 2) / (6 * 32))
    assert numbers["base: unsolved answers cut off"] == pytest.approx((4 * 28 + 3) / (4 * 32 + 3))
    assert numbers["problems with answers that were not cut off"] == 6


def test_truncation_alone_makes_the_gain(tmp_path: Path) -> None:
    """Both are cut off nearly as often; the base where it would have been right."""
    cut = replace(CUT_OFF, length=30)
    write(tmp_path, [[cut] * 31 + [RIGHT], *[many(0)] * 40], [many(32), *[many(0, wrong=WRONG)] * 40])
    found = explained(tmp_path, "--k", "1")["truncation"]
    assert found["found"] is True, found["text"]
    assert found["numbers"]["base: pass@1 of these answers"] == found["numbers"]["final: pass@1 of these answers"]


def test_more_tokens(tmp_path: Path) -> None:
    """The trained model solves what it solves with four times the tokens, which would buy the base as much."""
    long = replace(RIGHT, length=120), replace(WRONG, length=120)
    write(tmp_path, [many(4)] * 4, [many(12, *long)] * 4)
    found = explained(tmp_path, "--k", "4")["tokens"]
    assert found["found"] is True
    numbers = found["numbers"]
    assert numbers["base: tokens per sample"] == 30
    assert numbers["tokens per problem"] == 120
    assert numbers["final: pass with these"] == pytest.approx(12 / 32)  # one sample
    budgets = json.loads((tmp_path / "out" / "boundary.json").read_text())["budgets"]
    assert budgets["budgets"] == [30, 60, 120]
    assert budgets["passes"]["base"][0]["mean"] == 4 / 32
    assert [each["mean"] for each in budgets["passes"]["final"]] == pytest.approx([3 / 32, 6 / 32, 12 / 32])
    assert numbers["base: pass with these"] == pytest.approx(1 - (28 * 27 * 26 * 25) / (32 * 31 * 30 * 29))


def test_a_contamination(tmp_path: Path) -> None:
    write(tmp_path, BEFORE, AFTER)
    prompt = "Basket 0 of sums: there are 17 apples in one basket and 25 in another one, how many?"
    found = explained(tmp_path, "--training", str(training(tmp_path, prompt)))["contamination"]
    assert found["found"] is True
    assert found["numbers"] == {"training prompts": 1, "gained problems": 3, "of these in training": 3}


LOOP = " ".join(["and then we count the apples in the basket once more"] * 20)


@pytest.mark.parametrize(
    ("right", "sign"),
    [
        (Answer(text="<answer>42</answer>"), "no working"),
        (Answer(text=f"{WORKING} <answer>43</answer>", answer="43"), "other result"),
        (
            Answer(text="There are two baskets, and so we find for both: 17 + 26 = 42. <answer>42</answer>"),
            "false step",
        ),
        (Answer(text=f"{WORKING} {LOOP} <answer>42</answer>"), "repetition"),
        (Answer(text=f"{WORKING} <answer>42</answer> and", finish="length"), "cut off"),
    ],
)
def test_right_answers_that_were_not_derived(tmp_path: Path, right: Answer, sign: str) -> None:
    after = [[right if each is RIGHT else each for each in of_problem] for of_problem in AFTER[:3]] + AFTER[3:]
    write(tmp_path, BEFORE, after)
    found = explained(tmp_path)["derivation"]
    assert found["found"] is True
    shares = {name.rpartition(", ")[2]: share for name, share in found["numbers"].items() if "gained problems," in name}
    assert [name for name, share in shares.items() if share] == [sign, "any"]
    assert f"more often there: {sign} 100% against 0%" in found["text"]
    assert found["examples"][0].startswith(f"sums/0, sample 0: {sign} (")


def test_guessing_among_few_choices(tmp_path: Path) -> None:
    """Four choices, each a quarter of the answers: a gained problem that says nothing."""
    choices = [RIGHT, *(replace(WRONG, answer=str(each)) for each in (41, 40, 39))]
    write(tmp_path, [many(0)] * 3, [choices * 8, choices * 8, many(32)])
    found = explained(tmp_path)["derivation"]
    assert found["found"] is True
    assert "guessing would explain 2 of 3 gained problems" in found["text"]
    assert found["examples"] == [
        f"sums/{i}: 8 right, 8 times '41', 4 different answers: chance 25%" for i in range(2)
    ]  # fmt: skip


def test_a_store_that_contradicts_its_file_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, BEFORE, AFTER)
    path = tmp_path / "evaluation" / "final.json"
    content = json.loads(path.read_text())
    content["problems"][0]["solved"] = 7
    path.write_text(json.dumps(content))
    lines = (tmp_path / "evaluation" / "final" / "samples" / "0.jsonl").open("a")
    with lines:
        lines.write("{broken\n")
    assert main([str(tmp_path / "evaluation" / label) for label in ("base", "final")]) == 0
    said = capsys.readouterr().out
    assert "final: the answers that were kept add up to other counts than its file for 1 problems (sums/0)" in said
    assert "final: 1 lines of its answers cannot be read" in said

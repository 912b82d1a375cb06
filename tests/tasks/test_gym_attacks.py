"""reasoning-gym under attack: what is not, as a whole, one answer of a generator's form earns nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.gym_attacks import PROBLEMS, overpaid, refused

from prorl_mega.tasks import create
from prorl_mega.tasks.logic import gym
from prorl_mega.tasks.logic.gym_forms import FORMS, read, readings
from prorl_mega.tasks.logic.gym_rules import Credit, reference

TESTS = Path(__file__).parents[1]
READ: dict[str, Any] = yaml.safe_load((TESTS / "tasks" / "tables" / "logic_forms.yaml").read_text())
TABLE: dict[str, Any] = yaml.safe_load((TESTS / "tasks" / "tables" / "logic.yaml").read_text())
GENERATORS, CASE_MATTERS = TABLE["generators"].split(), TABLE["case_matters"].split()

RIGHT_AFTER_ALL = {
    ("boxnet", "joined"): "a plan in which half of the actions cannot be done: they cost their share",
    ("countdown", "reversed"): "the terms of a sum",
    ("intermediate_integration", "inside"): "a constant is added, or its sign changed",
    ("intermediate_integration", "prefixed"): "a constant is added",
    ("intermediate_integration", "reversed"): "the terms of a sum",
    ("jugs", "joined"): "every move has an effect, and the last one solves it",
    ("n_queens", "reversed"): "another solution",
    ("polynomial_equations", "doubled"): "one root too many: a half",
    ("polynomial_equations", "negated"): "-0.0",
    ("prime_factorization", "reversed"): "the factors of a product",
    ("propositional_logic", "prompt"): "a part of a premise that follows from all",
    ("puzzle24", "reversed"): "the terms of a sum",
    ("quantum_lock", "joined"): "all buttons are pressed, and the lock opens later than it could: a half",
    ("quantum_lock", "reversed"): "another way",
    ("rush_hour", "reversed"): "another way",
    ("shortest_path", "reversed"): "another way",
    ("simple_integration", "inside"): "the sign of the constant changed",
    ("simple_integration", "reversed"): "the terms of a sum",
}
"""Generator and kind of attack that can make a right answer; why."""


@pytest.fixture(scope="module")
def rows() -> list[list[Any]]:
    """What `helpers/gym_attacks.py` prints: in a process of its own, because some generators need a hash seed."""
    result = subprocess.run(
        [sys.executable, str(TESTS / "helpers" / "gym_attacks.py")],
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        stdout=subprocess.PIPE,
        check=True,
        timeout=900,
    )
    return list(json.loads(result.stdout.decode().strip().splitlines()[-1]))


def test_every_generator_has_a_form_and_is_attacked(rows: list[list[Any]]) -> None:
    assert set(FORMS) == set(GENERATORS) == {row[0] for row in rows}
    assert len({(row[0], row[1]) for row in rows}) == PROBLEMS * len(GENERATORS)
    assert len(rows) > 300 * len(GENERATORS)


def test_no_attack_earns_more_than_an_honest_wrong_answer(rows: list[list[Any]]) -> None:
    found = [row for row in overpaid(rows) if (row[0], row[2]) not in RIGHT_AFTER_ALL]
    assert found == []
    assert {row[0] for row in overpaid(rows)} <= {name for name, _ in RIGHT_AFTER_ALL}


def test_no_answer_is_run_as_code(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    result = subprocess.run(
        [sys.executable, str(TESTS / "helpers" / "gym_code.py"), str(canary)],
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        stdout=subprocess.PIPE,
        check=True,
        timeout=600,
    )
    found, count = json.loads(result.stdout.decode().strip().splitlines()[-1])
    assert found == []
    assert count >= 15 * len(GENERATORS)
    assert not canary.exists()


def test_right_answers_in_other_marks_earn_everything(rows: list[list[Any]]) -> None:
    found = [row for row in refused(rows) if not (row[2].endswith("case") and row[0] in CASE_MATTERS)]
    assert found == []


@pytest.mark.parametrize("name", READ)
def test_forms(name: str) -> None:
    right = READ[name]["right"]
    wanted = read(name, right, right)
    for text in READ[name]["read"]:
        answer = read(name, text, right)
        assert answer is not None, text
        assert _content(name, answer) == _content(name, wanted or ""), text
    for text in READ[name]["other"]:
        answer = read(name, text, right)
        assert answer is not None, text
        assert answer != wanted, text
    for text in READ[name]["none"]:
        assert read(name, text, right) is None, text
    assert len(READ[name]["none"]) >= 6


def _content(name: str, answer: str) -> Any:
    """What a scorer that reads more loosely than its form is written makes of an answer."""
    if name in ("cryptarithm", "polynomial_equations", "advanced_geometry"):
        return answer.replace(" ", "").strip("()")
    if name == "complex_arithmetic":
        return complex(answer.replace(" ", "").strip("()").lower().replace("i", "j"))
    if name in ("graph_color", "jugs"):
        return json.loads(answer)
    if name == "knights_knaves":
        return sorted(answer.lower().split(", and "))
    return answer.split() if name == "sentence_reordering" else answer


def test_marks_are_taken_off_from_outside_in_and_one_period() -> None:
    assert list(readings(" **`5.`**. ")) == ["**`5.`**.", "**`5.`**", "`5.`", "5."]
    assert list(readings("`a` `b`")) == ["`a` `b`"]
    assert list(readings("$a$ and $b$")) == ["$a$ and $b$"]
    assert list(readings("a...")) == ["a...", "a.."]
    assert len(list(readings("`" * 4000))) < 9
    assert len(list(readings("$" * 4000))) < 9


def judged(name: str, item: dict[str, Any], scorer: Any, answer: str, credit: Credit = Credit.progress) -> float:
    return gym.judge(name, scorer, item, answer, credit).reward


@pytest.fixture(scope="module")
def posed() -> Any:
    def made(name: str, **config: Any) -> tuple[dict[str, Any], Any]:
        task = create("reasoning_gym", name, {"dataset": name, "config": config})
        assert isinstance(task, gym.ReasoningGym)
        return task._item(0, 3), task._block(0, 3, 0)

    return made


JUGS = {"jug_capacities": [3, 5, 8], "target": 2}


@pytest.mark.parametrize(
    ("moves", "worth"),
    [
        (["fill B", "pour B->A"], 1.0),
        (["fill C", "pour C->B", "pour B->A"], 1.0),
        (["fill B", "fill B", "pour B->A"], 0.0),
        (["empty A", "fill B", "pour B->A"], 0.0),
        (["fill B", "pour B->A", "empty A"], 0.0),
        (["fill B", "pour B->A", "fill B", "empty A", "pour B->A"], 0.0),
        (["pour A->B", "fill B", "pour B->A"], 0.0),
        (["fill B"], 0.0),
        (["fill D"], 0.0),
    ],
)
def test_every_move_of_jugs_has_an_effect_and_the_last_one_solves(moves: list[str], worth: float, posed: Any) -> None:
    item = {"question": "", "answer": json.dumps(["fill B", "pour B->A"]), "metadata": {"puzzle": JUGS}}
    assert judged("jugs", item, posed("jugs")[1], json.dumps(moves)) == worth


SOKOBAN = "+ + + + + +\n+ - - - - +\n+ * @ - X +\n+ - - - - +\n+ + + + + +"


@pytest.mark.parametrize(
    ("moves", "worth"),
    [("RR", 1.0), ("rr", 1.0), ("UDRR", 1.0), ("R, R", 1.0), ("LRR", 0.0), ("RRL", 0.0), ("RRU", 0.0), ("RRRR", 0.0),
     ("R", 0.0), ("RRRRRR", 0.0), ("UUDRR", 0.0)],
)  # fmt: skip
def test_every_move_of_sokoban_has_an_effect_and_the_last_one_solves(moves: str, worth: float, posed: Any) -> None:
    item = {"question": "", "answer": "RR", "metadata": {"gamestr": SOKOBAN}}
    assert judged("sokoban", item, posed("sokoban", max_w=7, max_h=7, max_boxes=4)[1], moves) == worth


@pytest.mark.parametrize(
    ("answer", "worth"),
    [
        ("R", 0.0),  # reasoning-gym takes no single letter
        ("(P \u2227 R)", 1.0),
        ("(Q \u2227 R)", 1.0),
        ("(R \u2227 R)", 1.0),
        ("\u00ac\u00acR", 1.0),
        ("(R \u2228 S)", 0.0),
        ("(S \u2228 R)", 0.0),
        ("(S \u2192 R)", 0.0),
        ("(\u00acS \u2192 R)", 0.0),
        ("\u00ac(\u00acR \u2227 S)", 0.0),
        ("((S \u2228 R) \u2227 R)", 0.0),
        ("(P \u2194 (S \u2228 R))", 0.0),
        ("((S \u2228 R) \u2228 (\u00acS \u2227 P))", 0.0),
        ("(\u00acR \u2192 S)", 0.0),
        ("P", 0.0),
        ("\u00acR", 0.0),
    ],
)
def test_no_part_of_a_disjunction_follows_by_itself(answer: str, worth: float, posed: Any) -> None:
    premises = ["P", "(P \u2192 Q)", "(Q \u2192 R)"]
    data = {"premises": premises, "variables": ["P", "Q", "R", "S"], "example_answer": "(P \u2227 R)"}
    item = {"question": "", "answer": None, "metadata": data}
    scorer = posed("propositional_logic")[1]
    assert judged("propositional_logic", item, scorer, answer) == worth
    data["example_answer"] = "(R \u2228 S)"
    assert judged("propositional_logic", item, scorer, "(R \u2228 S)") == 1.0


def test_actions_that_no_agent_can_do_cost_their_share(posed: Any) -> None:
    cells = {"0.5_0.5": ["box_red"], "0.5_1.5": ["target_red"]}
    item = {"question": "", "answer": None, "metadata": {"initial_state": cells}}
    push = {"Agent[0.5, 0.5]": "move(box_red, square[0.5, 1.5])"}
    match, idle = {"Agent[0.5, 1.5]": "move(box_red, target_red)"}, {"Agent[0.5, 1.5]": "move(box_blue, target_blue)"}
    scorer = posed("boxnet")[1]
    for plan, worth in (([push, match], 1.0), ([idle, push, match], 2 / 3), ([push], 0.0), ([match, push], 0.0)):
        assert judged("boxnet", item, scorer, json.dumps(plan)) == pytest.approx(worth)


def test_integrals_have_no_other_letters_than_their_variable_and_a_constant(posed: Any) -> None:
    item, scorer = posed("simple_integration")
    right, name = item["answer"], item["metadata"]["variable"]
    other = "y" if name.lower() != "y" else "z"
    for text in (right, right.replace("C", "K"), right.replace("C", "C1"), right.replace("C", "7"), f"-C + {right}"):
        assert judged("simple_integration", item, scorer, text) == 1.0, text
    for text in (
        f"{right} + {other}",
        f"{right}/{other}",
        f"{right} + {other}**2",
        f"{right} or {right}",
        f"2*({right})",
    ):
        assert judged("simple_integration", item, scorer, text) == 0.0, text


def test_all_published_credit_is_no_way_round_the_forms(posed: Any) -> None:
    """Texts of another form earn the published partial scores where those are asked for, and never everything."""
    for name in ("kakurasu", "survo", "knights_knaves"):
        item, scorer = posed(name)
        right = reference(name, item)
        assert judged(name, item, scorer, f"not {right}", Credit.all) == 0.0
        assert judged(name, item, scorer, right or "", Credit.all) == 1.0

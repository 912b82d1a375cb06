"""All generators of reasoning-gym at once: the contract, and rewards of right, wrong and nearly right answers, as JSON.

Run as a program, with PYTHONHASHSEED=0: some generators depend on it, and a test process has no fixed one.
"""

import copy
import json
import re
from collections import deque
from dataclasses import asdict
from typing import Any

from prorl_mega.config.schema import TaskConfig, TasksConfig
from prorl_mega.tasks import create
from prorl_mega.tasks.logic import gym
from prorl_mega.verifiers import contract
from prorl_mega.verifiers.pool import VerifierPool

SETTINGS: dict[str, dict[str, Any]] = {
    "rush_hour": {"min_moves": 1, "max_moves": 3},  # a search finds a solution at once
    "sokoban": {"max_w": 7, "max_h": 7, "max_boxes": 4},  # the generator searches for one
}


def main() -> None:
    entries = {
        name: TaskConfig(name="reasoning_gym", options={"dataset": name, "config": SETTINGS.get(name, {})})
        for name in gym.datasets()
    }
    config = TasksConfig(mixture=entries, workers=1, timeout_s=5.0, retries=0)
    with VerifierPool(config) as pool:
        checks = contract.check(config, pool, problems=1)
        rows = [row for name, entry in entries.items() for row in judged(name, entry, pool)]
    print()  # generators write to standard output as well
    print(json.dumps({"checks": {name: [asdict(c) for c in each] for name, each in checks.items()}, "rows": rows}))


def judged(name: str, entry: TaskConfig, pool: VerifierPool) -> list[list[Any]]:
    """[generator, form, answer, reward, outcome] for every form of answer to its first problem."""
    task = create(entry.name, name, entry.options)
    assert isinstance(task, gym.ReasoningGym)
    problem, next_problem = task.problem(0, contract.SEED), task.problem(1, contract.SEED)
    right = _answer(problem.solution) if problem.solution else _solve(name, task._item(0, contract.SEED))
    other = _answer(next_problem.solution) if next_problem.solution else "another"
    texts = forms(right, other)
    verdicts = pool.score([(problem, f"<answer>{text}</answer>") for text in texts.values()])
    return [
        [name, form, text, verdict.reward, verdict.outcome.value]
        for (form, text), verdict in zip(texts.items(), verdicts, strict=True)
    ]


def forms(right: str, other: str) -> dict[str, str]:
    """Answers by what was done to the right one."""
    digit = max((place for place, each in enumerate(right) if each in "0123456789"), default=-1)
    letter = max((place for place, each in enumerate(right) if each.isalpha()), default=-1)
    place = digit if digit >= 0 else letter
    changed = str((int(right[place]) + 1) % 10) if place == digit >= 0 else ("Q" if right[place] != "Q" else "Z")
    return {
        "gold": right,
        "empty": "",
        "wrong": "I do not know",
        "altered": right[:place] + changed + right[place + 1 :] if place >= 0 else right[1:],
        "cut": right[: len(right) // 2],
        "padded": f"It is {right} or so",
        "doubled": f"{right} {right}",
        "other": other,
    }


def _answer(solution: str) -> str:
    return re.findall(r"<answer>(.*?)</answer>", solution, re.DOTALL)[-1]


def _solve(name: str, item: dict[str, Any]) -> str:
    return {"boxnet": _boxnet, "rush_hour": _rush_hour}[name](item)


def _boxnet(item: dict[str, Any]) -> str:
    """One agent moves one box at a time, row by row, then column by column."""
    cells, steps = copy.deepcopy(item["metadata"]["initial_state"]), []
    for square, things in cells.items():
        for box in [each for each in things if each.startswith("box_")]:
            goal = next(at for at, there in cells.items() if f"target_{box[4:]}" in there)
            at, end = ([float(part) for part in where.split("_")] for where in (square, goal))
            while at != end:
                axis = 0 if at[0] != end[0] else 1
                new = list(at)
                new[axis] += 1 if end[axis] > at[axis] else -1
                steps.append({f"Agent{at}": f"move({box}, square{new})"})
                at = new
            steps.append({f"Agent{at}": f"move({box}, target_{box[4:]})"})
            cells[goal].remove(f"target_{box[4:]}")
    return json.dumps(steps)


def _rush_hour(item: dict[str, Any]) -> str:
    """Breadth first, one square at a time."""
    from reasoning_gym.games.rush_hour import Board

    start = Board(item["metadata"]["board_config"])
    queue, seen = deque([(start, "")]), {str(start)}
    while queue:
        board, moves = queue.popleft()
        if board.solved:
            return moves.strip()
        for piece in range(len(board._pieces)):
            for sign in "+-":
                after, move = copy.deepcopy(board), f"{chr(ord('A') + piece)}{sign}1"
                after.perform_moves(move)
                if str(after) not in seen:
                    seen.add(str(after))
                    queue.append((after, f"{moves} {move}"))
    raise AssertionError("no solution")


if __name__ == "__main__":
    main()

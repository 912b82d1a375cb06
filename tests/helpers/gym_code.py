"""Code as an answer to every generator of reasoning-gym, scored in a process that nothing confines.

python gym_code.py CANARY: code that is run makes that file, or does what `DEEDS` names. Prints a JSON list of
[generator, text, deed or reward] for all that was run or was taken for right, and the number of answers behind it.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from helpers.gym_answers import SETTINGS
from helpers.hostile_answers import CANARY, CODE

from prorl_mega.tasks import create
from prorl_mega.tasks.logic import gym

DEEDS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "pty.spawn")
SEED = 5


def main(canary: str) -> None:
    deeds: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in DEEDS or (event == "open" and arguments[0] == canary):
            deeds.append(event)

    found: list[tuple[str, str, Any]] = []
    count = 0
    tasks = [
        create("reasoning_gym", name, {"dataset": name, "config": SETTINGS.get(name, {})}) for name in gym.datasets()
    ]
    posed = [(task.entry, task, task.problem(0, SEED)) for task in tasks]
    for _, task, problem in posed:  # once before: what scorers import on the way is no deed of an answer
        task.score(problem, "<answer>1</answer>")
    sys.addaudithook(hook)
    for name, task, problem in posed:
        for text in (each.replace(CANARY, canary) for each in CODE):
            reward = task.score(problem, f"<answer>{text}</answer>").reward
            count += 1
            if deeds or reward >= 1 or os.path.exists(canary):
                found.append((name, text, deeds[:3] or reward))
                deeds.clear()
    print()  # generators write to standard output as well
    print(json.dumps([found, count]))


if __name__ == "__main__":
    main(sys.argv[1])

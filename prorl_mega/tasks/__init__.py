"""Verifiable problems. Importing the package registers its tasks; none of them imports torch."""

from prorl_mega.tasks import stem
from prorl_mega.tasks.code import program
from prorl_mega.tasks.instruction import generated_instructions, ifeval
from prorl_mega.tasks.logic import gym, puzzle
from prorl_mega.tasks.math import arithmetic, mathematics
from prorl_mega.tasks.mixture import Mixture
from prorl_mega.tasks.registry import Task, create, names, register

TASK_MODULES = (arithmetic, generated_instructions, gym, ifeval, mathematics, program, puzzle, stem)
"""Each module registers its tasks when it is imported."""

__all__ = ["TASK_MODULES", "Mixture", "Task", "create", "names", "register"]

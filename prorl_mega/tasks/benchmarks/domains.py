"""The domain and the headline number of the entries of a mixture, for reports that count by domain as papers do."""

from __future__ import annotations

from prorl_mega.config.schema import TaskConfig
from prorl_mega.data.canonical import Domain
from prorl_mega.tasks.benchmarks.benchmark import HEADLINES, Headline
from prorl_mega.tasks.benchmarks.published import PUBLISHED
from prorl_mega.tasks.registry import names, task_class

OTHER = "other"


def domain_of(entry: str, config: TaskConfig | None = None) -> str:
    """`math`, `code`, `stem`, `instruction` or `logic`; `other` for a task that declares no domain.

    A benchmark is told by the name of its entry, everything else by the task in `config`, or, without it, by `entry`
    as the name of a task.
    """
    if entry in PUBLISHED and (config is None or config.name == PUBLISHED[entry].task):
        return PUBLISHED[entry].domain.value
    name = config.name if config is not None else "reasoning_gym" if entry.startswith("gym_") else entry
    domain = task_class(name, "name").domain if name in names() else None
    return domain.value if domain is not None else OTHER


def headline_of(entry: str, config: TaskConfig | None = None) -> Headline:
    """The metric that is an entry's result; a task without a domain is reported by its mean reward."""
    domain = domain_of(entry, config)
    return Headline.reward if domain == OTHER else HEADLINES[Domain(domain)]

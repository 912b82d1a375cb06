"""Puzzles of reasoning-gym: its data sets, difficulty levels and (continuous) scores, with loopholes closed.

Several of its scorers `eval` what the model wrote. They are called in worker processes only, on text that has been
stripped, bounded, refused when it has characters that no answer needs (`gym_rules.py`) or reaches for Python's
internals; the worker itself is confined (`worker.py`).

A problem carries no answer key but the data set's coordinates: the worker makes the item again and compares
fingerprints. So every Python type inside an item survives, and a scorer never gets the reference of another problem.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import Annotated, Any

from msgspec import Meta, Struct

from prorl_mega.data.canonical import Domain
from prorl_mega.errors import ConfigError, DataError
from prorl_mega.tasks import extract, relaxed
from prorl_mega.tasks.answers import canonical
from prorl_mega.tasks.logic.gym_forms import read
from prorl_mega.tasks.logic.gym_rules import (
    ENDLESS_LEVELS,
    EXCLUDED,
    HASH_DEPENDENT,
    PROGRESS,
    Credit,
    acceptable,
    allowed,
    reference,
    reward,
)
from prorl_mega.tasks.logic.short_prompts import SHORT_PROMPTS
from prorl_mega.tasks.registry import Style, Task, digest, nearest, parse_options, register
from prorl_mega.types import Outcome, Problem, Verdict

BLOCK = 512  # problems per data set object; some data sets prepare a pool of this size
CACHED_BLOCKS, CACHED_ITEMS = 4, 128
ATTEMPTS = 1024  # seeds for one problem; one in ten works for propositional_logic

_INTERNALS = re.compile(
    r"__|\blambda\b|\b(?:eval|exec|compile|open|input|globals|locals|vars|getattr|setattr|breakpoint|exit|quit)\s{0,8}\("
)
_TOWER = re.compile(
    r"(?:\*\*|\^)[\s(+-]{0,16}(?:\d{4}|\d{1,3}[\s)]{0,16}(?:\*\*|\^))|\de\+?\d{4}|<<|\d{400}|!!!|\bfactorial\b",
    re.IGNORECASE,
)


class ReasoningGymOptions(Struct, kw_only=True):
    """`config` holds the data set's own settings (`python -m prorl_mega.tasks show reasoning_gym dataset=NAME`).

    A level sets what the data set's curriculum varies, and `config` overrides it.
    """

    dataset: str = ""
    level: Annotated[int, Meta(ge=-1)] = -1  # level of the data set's curriculum, from 0; -1: its default settings
    config: dict[str, Any] = {}
    credit: Credit = Credit.progress  # the reward of partial solutions
    style: Style = Style.full
    answer: extract.Form = extract.Form.tags

    def __post_init__(self) -> None:
        if not self.dataset:
            raise ValueError(f"dataset: must name one of {', '.join(datasets())}")
        if self.dataset in EXCLUDED:
            raise ValueError(f"dataset: {self.dataset!r} cannot be used: it {EXCLUDED[self.dataset]}")
        if self.style is Style.short and self.dataset not in SHORT_PROMPTS:
            raise ValueError(
                f"style: there is no short wording of {self.dataset!r}. There is one of: {', '.join(SHORT_PROMPTS)}"
            )
        for key in ("seed", "size"):
            if key in self.config:
                raise ValueError(f"config.{key}: is chosen by the mixture")


@register("reasoning_gym")
class ReasoningGym(Task):
    """One data set of reasoning-gym."""

    domain = Domain.logic
    options_type = ReasoningGymOptions
    options: ReasoningGymOptions

    def __init__(self, entry: str, options: ReasoningGymOptions) -> None:
        super().__init__(entry, options)
        self._settings: dict[str, Any] | None = None
        # The last few items and blocks are kept, because many samples answer the same problem.
        self._item = lru_cache(CACHED_ITEMS)(self._generate)
        self._block = lru_cache(CACHED_BLOCKS)(self._make_block)

    def load(self) -> None:
        self._settings = self.check_settings()
        self._check_reproducible()
        self.problem(0, 0)

    def warm_up(self) -> None:
        self._item(0, 0)

    def describe(self) -> str:
        name = self.options.dataset
        defaults = "\n".join(f"  {key} = {_default(item)}" for key, item in _settings(datasets()[name]).items())
        partial = f"partial credit: {PROGRESS.get(name, 'none, unless options.credit is all')}"
        return (
            f"settings of {name} (options.config) and their defaults:\n{defaults}\n"
            f"levels of its curriculum (options.level): {levels(name)}\n{partial}"
        )

    def problem(self, index: int, seed: int) -> Problem:
        item = self._item(index, seed)
        answer = reference(self.options.dataset, item)
        if self.options.style is Style.short:
            short = SHORT_PROMPTS[self.options.dataset]
            prompt, steps = short.prompt(item), short.steps(item)
            answer = None if answer is None else short.shorten(answer)
        else:
            prompt, steps = f"{item['question'].rstrip()}\n\n{extract.request(self.options.answer)}", ""
        return Problem(
            key=self.key(index, seed),
            task=self.entry,
            prompt=prompt,
            entry={"index": index, "seed": seed, "fingerprint": _fingerprint(item)},
            solution=self._solution(steps, answer),
        )

    def score(self, problem: Problem, answer: str) -> Verdict:
        item = self._item(problem.entry["index"], problem.entry["seed"])
        if _fingerprint(item) != problem.entry["fingerprint"]:
            return Verdict(reward=0.0, outcome=Outcome.INFRA_ERROR, detail="the worker made another problem")
        found = extract.answer(answer, self.options.answer)
        if found is None:
            return Verdict(reward=0.0, detail="no answer found", found=False)
        scorer = self._block(problem.entry["index"] // BLOCK, problem.entry["seed"], 0)
        return judge(self.options.dataset, scorer, item, found, self.options.credit)

    def canonical(self, problem: Problem, answer: str) -> str:
        item = self._item(problem.entry["index"], problem.entry["seed"])
        return named(self.options.dataset, item, extract.answer(answer, self.options.answer))

    def readings(self, problem: Problem, answer: str) -> list[str]:
        return other_readings(answer, self.options.answer)

    def _solution(self, steps: str, answer: str | None) -> str | None:
        """The worked solution; None if reasoning-gym knows no right answer or the chosen form cannot express it."""
        if not answer:
            return None
        text = extract.mark(steps, answer, self.options.answer)
        return text if extract.answer(text, self.options.answer) == answer.strip() else None

    def _generate(self, index: int, seed: int) -> dict[str, Any]:
        """Item `index` of the endless stream `seed`.

        Some generators fail on some seeds (a maze without a floor), or make problems that must not be posed. Then the
        next seed of a fixed sequence is taken.
        """
        reason = "no problem was fit to be posed"
        for attempt in range(ATTEMPTS):
            try:
                block = self._block(index // BLOCK, seed, attempt)
                with contextlib.redirect_stdout(io.StringIO()):  # the compiler of `bf` prints a dot per problem
                    item: dict[str, Any] = block[index % BLOCK]
                if acceptable(item, self.options.dataset, block):
                    return item
            except MemoryError:
                raise
            except Exception as error:  # generators divide by zero, miss keys, ...: then this seed makes no problem
                reason = f"{type(error).__name__}: {error}"
        raise DataError(
            f"tasks.mixture.{self.entry}: reasoning-gym could not make a {self.options.dataset} problem in {ATTEMPTS} "
            f"attempts with {self.options.config}; make the settings less tight ({reason})"
        )

    def _make_block(self, number: int, seed: int, attempt: int) -> Any:
        """The data set object that holds problems [number * BLOCK, (number + 1) * BLOCK) of the stream."""
        from reasoning_gym import create_dataset

        if self._settings is None:
            self._settings = self.check_settings()
        origin = digest(f"{self.entry}\n{seed}\n{number}\n{attempt}") >> 32  # numpy generators want 32 bits
        return create_dataset(self.options.dataset, **self._settings, seed=origin, size=BLOCK)

    def check_settings(self) -> dict[str, Any]:
        """Level and `options.config` as settings of the data set, with its enums. Raises ConfigError."""
        name, where = self.options.dataset, f"tasks.mixture.{self.entry}.options"
        config_type = datasets().get(name)
        if config_type is None:
            close = nearest(name, list(datasets()))
            raise ConfigError(f"{where}.dataset: reasoning-gym has no {name!r}{close}. {', '.join(datasets())}")
        known = _settings(config_type)
        chosen = self._settings_of_level(f"{where}.level")
        for key, value in self.options.config.items():
            if key not in known:
                raise ConfigError(f"{where}.config.{key}: no such setting of {name}. {', '.join(known)}")
            chosen[key] = _like(known[key].default, value)
        try:
            config = config_type(**chosen, seed=0, size=BLOCK)
            if hasattr(config, "validate"):
                config.validate()
        except (AssertionError, TypeError, ValueError) as error:
            asked = "config" if self.options.level < 0 else f"level={self.options.level}"
            raise ConfigError(f"{where}.{asked}: {name} refuses {chosen}: {error}") from None
        return chosen

    def _settings_of_level(self, where: str) -> dict[str, Any]:
        """The curriculum's settings at `options.level`; attributes with fewer levels stay at their last."""
        level, name = self.options.level, self.options.dataset
        if level < 0:
            return {}
        count = levels(name)
        if level >= count:
            raise ConfigError(f"{where}: must be below {count}, the number of levels of {name}, not {level}")
        if level in ENDLESS_LEVELS.get(name, ()):
            raise ConfigError(f"{where}: {name} takes minutes for a problem of level {level}; choose another level")
        from reasoning_gym.factory import create_curriculum

        curriculum = create_curriculum(name)
        for attribute in curriculum.attributes.values():
            curriculum.set_attr_level(attribute.name, min(level, len(attribute.levels) - 1))
        config = curriculum.generate_configuration({"seed": 0, "size": BLOCK})
        return {key: getattr(config, key) for key in _settings(type(config))}

    def _check_reproducible(self) -> None:
        name = self.options.dataset
        if name in HASH_DEPENDENT and not os.environ.get("PYTHONHASHSEED", "random").isdigit():
            raise ConfigError(
                f"tasks.mixture.{self.entry}.options.dataset: {name} problems depend on Python's hash seed: start with "
                "PYTHONHASHSEED=0 on every rank, or choose another data set"
            )


def judge(dataset: str, scorer: Any, item: dict[str, Any], found: str, credit: Credit) -> Verdict:
    """The verdict on an extracted answer; `scorer` is a data set object of reasoning-gym. Call it in a worker only."""
    right = reference(dataset, item) or ""
    answer = read(dataset, found, right)
    if answer is None and credit is not Credit.all:
        return Verdict(reward=0.0, detail="refused: not the form of an answer to this puzzle", found=False)
    found = found if answer is None else answer
    if not allowed(dataset, found) or (_INTERNALS.search(found) and not _INTERNALS.search(right)):
        return Verdict(reward=0.0, detail="refused: looks like a program")
    if _TOWER.search(found) and not _TOWER.search(right):
        return Verdict(reward=0.0, detail="refused: a computation without end")
    try:
        raw = scorer.score_answer(answer=found, entry=item)
        value = reward(dataset, raw, found, item, scorer, credit)
        if answer is None and value == 1:
            return Verdict(reward=0.0, detail="refused: a solution in a text of another form", found=False)
        return Verdict(reward=value, detail=found[:64])
    except MemoryError:
        raise
    except Exception as error:  # several scorers raise for what they cannot read: then it is no answer
        return Verdict(reward=0.0, detail=f"unreadable: {type(error).__name__}")


def named(dataset: str, item: dict[str, Any], found: str | None) -> str:
    """An extracted answer as the scorer reads it, which equal answers share as far as their writing goes."""
    if found is None:
        return ""
    return canonical.textual(read(dataset, found, reference(dataset, item) or "") or found)


def other_readings(answer: str, form: extract.Form) -> list[str]:
    """The readings of a text in which no answer, or none of the form of an answer to its puzzle, was found."""
    found = extract.answer(answer, form)
    if found is not None and extract.all_in_form([found], form):
        return relaxed.within(found, form, relaxed.Sought.puzzle)
    return relaxed.short_answers(answer, form, relaxed.Sought.puzzle)


def datasets() -> dict[str, type]:
    """Settings class of every reasoning-gym data set that can be used. Imports reasoning-gym (two seconds)."""
    import reasoning_gym  # noqa: F401 (fills the table)
    from reasoning_gym.factory import DATASETS

    return {name: config_type for name, (_, config_type) in sorted(DATASETS.items()) if name not in EXCLUDED}


def check_options(entry: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigError for options of an entry that its data set refuses; no problem is made."""
    ReasoningGym(entry, parse_options(ReasoningGymOptions, options, f"tasks.mixture.{entry}.options")).check_settings()


def settings(dataset: str) -> dict[str, Any]:
    """The settings of a data set (`options.config`) with their defaults."""
    return {key: _default(item) for key, item in _settings(datasets()[dataset]).items()}


def levels(dataset: str) -> int:
    """Number of levels of the data set's curriculum; 0 where it has none."""
    from reasoning_gym.factory import create_curriculum, has_curriculum

    if not has_curriculum(dataset):
        return 0
    return max(len(attribute.levels) for attribute in create_curriculum(dataset).attributes.values())


def _settings(config_type: type) -> dict[str, dataclasses.Field[Any]]:
    """The settings of a data set; `seed` and `size` belong to the mixture."""
    return {item.name: item for item in dataclasses.fields(config_type) if item.name not in ("seed", "size")}


def _default(item: dataclasses.Field[Any]) -> Any:
    return item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default


def _like(default: Any, value: Any) -> Any:
    """A plain value, converted to the type of the setting's default."""
    if isinstance(default, Enum) and not isinstance(value, Enum):
        return type(default)(value)
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    return value


def _fingerprint(item: dict[str, Any]) -> str:
    return f"{digest(item['question'] + chr(0) + str(item['answer'])):016x}"

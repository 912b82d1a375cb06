"""Puzzles of reasoning-gym: any of its data sets, with its own difficulty settings and its own (continuous) scores.

Several of its scorers `eval` what the model wrote. They are called in worker processes only, on text that has been
stripped, bounded and refused when it reaches for Python's internals; the worker itself is confined (`worker.py`).

A problem carries no answer key but the data set's coordinates: the worker makes the item again and compares
fingerprints. So every Python type inside an item survives, and a scorer never gets somebody else's reference.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from prorl_mega.errors import ConfigError, DataError
from prorl_mega.tasks import extract
from prorl_mega.tasks.brief import BRIEFS
from prorl_mega.tasks.registry import Style, Task, digest, register
from prorl_mega.types import Outcome, Problem, Verdict

BLOCK = 512  # problems per data set object; some data sets prepare a pool of this size
CACHED_BLOCKS, CACHED_ITEMS = 4, 128
ATTEMPTS = 64  # seeds for one problem
HASH_DEPENDENT = ("isomorphic_strings", "knight_swap", "polynomial_multiplication", "ransom_note", "word_ladder")
"""Their problems depend on the hash seed of the interpreter (reasoning-gym 0.1.25 iterates over sets)."""
IRREPRODUCIBLE = ("list_functions",)
"""Its problems differ from call to call (it uses the global random state)."""

_INTERNALS = re.compile(
    r"__|\blambda\b|\b(?:eval|exec|compile|open|input|globals|locals|vars|getattr|setattr|breakpoint|exit|quit)\s{0,8}\("
)
_TOWER = re.compile(
    r"(?:\*\*|\^)[\s(+-]{0,16}(?:\d{4}|\d{1,3}[\s)]{0,16}(?:\*\*|\^))|\de\+?\d{4}|<<|\d{400}|!!!|\bfactorial\b",
    re.IGNORECASE,
)


@dataclass(kw_only=True, slots=True)
class ReasoningGymOptions:
    """`config` holds the data set's own settings (`python -m prorl_mega.tasks show reasoning_gym dataset=NAME`)."""

    dataset: str
    config: dict[str, Any] = field(default_factory=dict)
    style: Style = Style.full
    answer: extract.Form = extract.Form.tags

    def __post_init__(self) -> None:
        if self.style is Style.short and self.dataset not in BRIEFS:
            raise ValueError(
                f"style: there is no short wording of {self.dataset!r}. There is one of: {', '.join(BRIEFS)}"
            )
        for key in ("seed", "size"):
            if key in self.config:
                raise ValueError(f"config.{key}: is chosen by the mixture")


@register("reasoning_gym")
class ReasoningGym(Task):
    """One data set of reasoning-gym."""

    options_type = ReasoningGymOptions
    options: ReasoningGymOptions

    def __init__(self, entry: str, options: ReasoningGymOptions) -> None:
        super().__init__(entry, options)
        self._settings: dict[str, Any] | None = None
        self._blocks: OrderedDict[int, Any] = OrderedDict()
        self._items: OrderedDict[tuple[int, int], dict[str, Any]] = OrderedDict()

    def load(self) -> None:
        self._settings = self._checked_settings()
        self._check_reproducible()
        self.problem(0, 0)

    def warm_up(self) -> None:
        self._item(0, 0)

    def describe(self) -> str:
        settings = dataclasses.fields(_datasets()[self.options.dataset])
        lines = [f"  {item.name} = {item.default}" for item in settings if item.name not in ("seed", "size")]
        return f"settings of {self.options.dataset} (options.config) and their defaults:\n" + "\n".join(lines)

    def problem(self, index: int, seed: int) -> Problem:
        item = self._item(index, seed)
        reference = item["answer"] if isinstance(item["answer"], str) else None
        if self.options.style is Style.short:
            brief = BRIEFS[self.options.dataset]
            prompt, steps = brief.prompt(item), brief.steps(item)
            reference = None if reference is None else brief.shorten(reference)
        else:
            prompt, steps = f"{item['question'].rstrip()}\n\n{extract.request(self.options.answer)}", ""
        return Problem(
            key=self.key(index, seed),
            task=self.entry,
            prompt=prompt,
            entry={"index": index, "seed": seed, "fingerprint": _fingerprint(item)},
            solution=self._solution(steps, reference),
        )

    def score(self, problem: Problem, answer: str) -> Verdict:
        item = self._item(problem.entry["index"], problem.entry["seed"])
        if _fingerprint(item) != problem.entry["fingerprint"]:
            return Verdict(reward=0.0, outcome=Outcome.INFRA_ERROR, detail="the worker made another problem")
        found = extract.answer(answer, self.options.answer)
        if found is None:
            return Verdict(reward=0.0, detail="no answer found")
        reference = item["answer"] if isinstance(item["answer"], str) else ""
        if _INTERNALS.search(found) and not _INTERNALS.search(reference):
            return Verdict(reward=0.0, detail="refused: looks like a program")
        if _TOWER.search(found) and not _TOWER.search(reference):
            return Verdict(reward=0.0, detail="refused: a computation without end")
        if self.options.style is Style.short:
            found = BRIEFS[self.options.dataset].expand(found)
        block = self._block(problem.entry["index"] // BLOCK, problem.entry["seed"], attempt=0)
        try:
            return Verdict(reward=block.score_answer(answer=found, entry=item), detail=found[:64])
        except MemoryError:
            raise
        except Exception as error:  # several scorers raise for what they cannot read: then it is no answer
            return Verdict(reward=0.0, detail=f"unreadable: {type(error).__name__}")

    def _solution(self, steps: str, reference: str | None) -> str | None:
        """None when reasoning-gym has no reference, or one that the chosen form cannot express."""
        if not reference:
            return None
        text = extract.mark(steps, reference, self.options.answer)
        return text if extract.answer(text, self.options.answer) == reference.strip() else None

    def _item(self, index: int, seed: int) -> dict[str, Any]:
        """Item `index` of the endless stream `seed`; the last few are kept, as many samples answer the same problem."""
        at = (index, seed)
        if at not in self._items:
            self._items[at] = self._generate(index, seed)
            if len(self._items) > CACHED_ITEMS:
                self._items.popitem(last=False)
        return self._items[at]

    def _generate(self, index: int, seed: int) -> dict[str, Any]:
        """Some generators fail on some seeds (a maze without a floor): then the next of a fixed sequence is taken."""
        for attempt in range(ATTEMPTS):
            try:
                return self._block(index // BLOCK, seed, attempt)[index % BLOCK]
            except (RuntimeError, ValueError, IndexError, AssertionError) as error:
                reason = f"{type(error).__name__}: {error}"
        raise DataError(
            f"tasks.mixture.{self.entry}: reasoning-gym could not make a {self.options.dataset} problem in {ATTEMPTS} "
            f"attempts with {self.options.config}; make the settings less tight ({reason})"
        )

    def _block(self, number: int, seed: int, attempt: int) -> Any:
        """The data set object that holds problems [number * BLOCK, (number + 1) * BLOCK) of the stream."""
        origin = digest(f"{self.entry}\n{seed}\n{number}\n{attempt}") >> 32  # numpy generators want 32 bits
        if origin not in self._blocks:
            from reasoning_gym import create_dataset

            if self._settings is None:
                self._settings = self._checked_settings()
            self._blocks[origin] = create_dataset(self.options.dataset, **self._settings, seed=origin, size=BLOCK)
            if len(self._blocks) > CACHED_BLOCKS:
                self._blocks.popitem(last=False)
        return self._blocks[origin]

    def _checked_settings(self) -> dict[str, Any]:
        """`options.config` with plain values turned into the data set's enums. Raises ConfigError."""
        where = f"tasks.mixture.{self.entry}.options"
        config_type = _datasets().get(self.options.dataset)
        if config_type is None:
            raise ConfigError(
                f"{where}.dataset: reasoning-gym has no {self.options.dataset!r}. {', '.join(_datasets())}"
            )
        known = {item.name: item for item in dataclasses.fields(config_type) if item.name not in ("seed", "size")}
        settings = {}
        for key, value in self.options.config.items():
            if key not in known:
                raise ConfigError(
                    f"{where}.config.{key}: no such setting of {self.options.dataset}. {', '.join(known)}"
                )
            settings[key] = _like(known[key].default, value)
        try:
            config = config_type(**settings, seed=0, size=BLOCK)
            if hasattr(config, "validate"):
                config.validate()
        except (AssertionError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{where}.config: {self.options.dataset} refuses {self.options.config}: {error}"
            ) from None
        return settings

    def _check_reproducible(self) -> None:
        name, where = self.options.dataset, f"tasks.mixture.{self.entry}.options.dataset"
        if name in IRREPRODUCIBLE:
            raise ConfigError(
                f"{where}: reasoning-gym makes other {name} problems at every call; choose another data set"
            )
        if name in HASH_DEPENDENT and not os.environ.get("PYTHONHASHSEED", "random").isdigit():
            raise ConfigError(
                f"{where}: {name} problems depend on Python's hash seed: start with PYTHONHASHSEED=0 on every rank, "
                "or choose another data set"
            )


def _datasets() -> dict[str, type]:
    """Settings class of every reasoning-gym data set that stands alone. Imports reasoning-gym (two seconds)."""
    import reasoning_gym  # noqa: F401 (fills the table)
    from reasoning_gym.factory import DATASETS

    return {name: config_type for name, (_, config_type) in sorted(DATASETS.items()) if name != "composite"}


def _like(default: Any, value: Any) -> Any:
    """A plain value as the kind of thing that the setting's default is."""
    if isinstance(default, Enum) and not isinstance(value, Enum):
        return type(default)(value)
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    return value


def _fingerprint(item: dict[str, Any]) -> str:
    return f"{digest(item['question'] + chr(0) + str(item['answer'])):016x}"

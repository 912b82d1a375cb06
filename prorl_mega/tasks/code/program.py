"""Problems whose answer is a program, judged by running it on tests in a sandbox.

A row: {"prompt": "...", "tests": [...]} and optionally id, language (python or cpp) and solution. A test is
{"input": text, "output": text} for a program that reads standard input, {"function": name, "arguments": [...],
"expected": value} for one call, or {"function": name, "code": "assert name(2) == 4"} for assertions, also with a
`check(candidate)` as in HumanEval. A function that works in place and returns nothing answers with its first argument.
"""

from __future__ import annotations

import sys
import time
from enum import Enum
from typing import Annotated, Any

from msgspec import Meta

from prorl_mega.data.canonical import Domain
from prorl_mega.errors import ConfigError
from prorl_mega.sandbox.client import SandboxClient
from prorl_mega.sandbox.isolation import IsolationTier
from prorl_mega.sandbox.job import Ending, Limits, compilation, script
from prorl_mega.sandbox.packages import prove, provide
from prorl_mega.sandbox.pool import Sandbox, find
from prorl_mega.tasks.code import cases
from prorl_mega.tasks.code.blocks import last_block
from prorl_mega.tasks.code.cpp import compiler, unit
from prorl_mega.tasks.code.loose_programs import programs
from prorl_mega.tasks.registry import register
from prorl_mega.tasks.row_task import RowOptions, RowTask, Share
from prorl_mega.types import Outcome, Problem, Verdict

IDLE = 4  # wall-clock time that one answer may take, in units of `total_s`
COMPILING = Limits(cpu_s=20.0, wall_s=40.0, memory=2 << 30, output=32 << 20, scratch=128 << 20, threads=64)
SHOUT = (
    "\n!!! allow_unconfined is set and this machine has no sandbox: programs that a model wrote run WITH YOUR RIGHTS.\n"
    "!!! They can read and delete your files, use the network and outlive the run. Limits on time and memory are all\n"
    "!!! that is left. Never do this on a machine that holds anything of value.\n"
)


Seconds = Annotated[float, Meta(gt=0)]


class Language(Enum):
    python = "python"
    cpp = "cpp"  # needs a compiler, and bubblewrap


class ScoringRule(Enum):
    """The reward for the share of tests that a program passes."""

    all = "all"  # 1 when all are passed, else 0; stops at the first failure
    fraction = "fraction"


class CodeOptions(RowOptions, kw_only=True):
    language: Language = Language.python  # for rows that do not name their own
    scoring: ScoringRule = ScoringRule.all
    max_tests: Annotated[int, Meta(ge=1)] = 64  # the tests of a problem beyond these are not run
    time_s: Seconds = 4.0  # processor time of one test
    total_s: Seconds = 8.0  # processor time of all tests of one answer
    memory_mb: Annotated[int, Meta(ge=64, le=1 << 16)] = 1024
    tolerance: Share = 1e-6  # relative to the number that is expected, where it has a decimal point
    suffix: str = "\n\nWrite the whole program in one fenced code block."
    packages: tuple[str, ...] = ()  # that programs may import beyond the standard library, as installed here: [numpy]
    allow_unconfined: bool = False  # run programs without a sandbox where none can be had; dangerous

    def __post_init__(self) -> None:
        if self.time_s > self.total_s:
            raise ValueError(f"time_s: must be at most total_s={self.total_s}, not {self.time_s}")


@register("code")
class Code(RowTask):
    """Programs in Python or C++, judged by tests in a sandbox; rows of files, shuffled for every pass."""

    domain = Domain.code
    scored_fields = ("tests", "language")
    options_type = CodeOptions
    options: CodeOptions

    def __init__(self, entry: str, options: CodeOptions) -> None:
        super().__init__(entry, options)
        self._runner: cases.Runner | None = None

    def check(self, fields: dict[str, Any]) -> dict[str, Any]:
        language = fields.get("language", self.options.language.value)
        languages = [each.value for each in Language]
        if language not in languages:
            raise ValueError(f"language must be {' or '.join(languages)}, not {language!r}")
        for number, test in enumerate(fields["tests"], start=1):
            try:
                cases.check(test)
            except ValueError as error:
                raise ValueError(f"test {number}: {error}") from None
            if language == Language.cpp.value and "function" in test:
                raise ValueError(f"test {number}: a C++ program can only be tested by input and output")
        return {**fields, "language": language, "tests": fields["tests"][: self.options.max_tests]}

    def load(self) -> None:
        self.check_machine()
        super().load()
        if any(fields["language"] == Language.cpp.value for fields in self.rows()):
            self._need_cpp()

    def check_machine(self) -> None:
        spec = find(allow_unconfined=self.options.allow_unconfined)
        if spec.tier is IsolationTier.UNCONFINED:
            sys.stderr.write(SHOUT)
        if self.options.packages:
            try:
                prove(provide(spec, self.options.packages), self.options.packages)
            except ConfigError as error:
                raise ConfigError(f"tasks.mixture.{self.entry}.options.{error}") from None
        if self.options.language is Language.cpp:
            self._need_cpp()

    def _need_cpp(self) -> None:
        tier = find(allow_unconfined=self.options.allow_unconfined).tier
        if tier is not IsolationTier.BUBBLEWRAP:
            raise ConfigError(f"tasks.mixture.{self.entry}: C++ needs bubblewrap; this machine has {tier}")
        compiler()

    def describe(self) -> str:
        return SHOUT if self.options.allow_unconfined else ""

    def start(self) -> None:
        options = self.options
        self._runner = SandboxClient(
            lambda: self.progress(), allow_unconfined=options.allow_unconfined, packages=options.packages
        )

    def warm_up(self) -> None:
        if self._runner is not None:
            self._runner.run([script("", "", Limits())])  # comes back when the sandbox is ready

    def readings(self, problem: Problem, answer: str) -> list[str]:
        return programs(answer, Language(problem.entry["language"]).value)

    def score(self, problem: Problem, answer: str) -> Verdict:
        language = Language(problem.entry["language"])
        source = last_block(answer, language.value)
        if source is None:
            return Verdict(reward=0.0, detail="no code block found", found=False)
        if self._runner is None:
            spec = find(allow_unconfined=self.options.allow_unconfined)
            self._runner = Sandbox(provide(spec, self.options.packages))
        began = time.monotonic()
        built: str | bytes = source
        if language is Language.cpp:
            (compiled,) = self._runner.run([compilation(compiler(), unit(source), COMPILING)])
            self.progress()
            if compiled.ending is Ending.INFRA_ERROR:
                return _infra_error(compiled.detail)
            if compiled.ending is not Ending.FINISHED:
                return Verdict(reward=0.0, detail=f"compile_error {compiled.detail}"[:200])
            built = compiled.result
        return self._judge(problem.entry["tests"], built, began)

    def _judge(self, tests: list[dict[str, Any]], built: str | bytes, began: float) -> Verdict:
        options = self.options
        passed, used, complaint = 0, 0.0, ""
        assert self._runner is not None
        for number, test in enumerate(tests):
            left = options.total_s - used
            if left <= 0 or time.monotonic() - began > IDLE * options.total_s:
                complaint = complaint or f"test {number + 1}: {options.total_s:g} s for all tests"
                break
            seconds = min(options.time_s, left)
            limits = Limits(cpu_s=seconds, wall_s=seconds + 1.0, memory=options.memory_mb << 20)
            verdict = cases.judge(test, built, self._runner, limits, options.tolerance)
            self.progress()
            if verdict.ending is Ending.INFRA_ERROR:
                return _infra_error(verdict.detail)
            passed, used = passed + verdict.passed, used + verdict.cpu_s
            if verdict.ending is Ending.TIME_LIMIT:
                used += max(0.0, seconds - verdict.cpu_s)
            if not verdict.passed:
                kind = "" if verdict.ending is Ending.FINISHED else f"{verdict.ending} "
                complaint = complaint or f"test {number + 1}: {kind}{verdict.detail}"
                if options.scoring is ScoringRule.all:
                    break
        share = passed / len(tests)
        reward = share if options.scoring is ScoringRule.fraction else float(passed == len(tests))
        return Verdict(reward=reward, detail=f"{passed}/{len(tests)} {complaint}".strip()[:200])


def _infra_error(detail: str) -> Verdict:
    return Verdict(reward=0.0, outcome=Outcome.INFRA_ERROR, detail=detail[:200])

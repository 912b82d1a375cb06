"""A task of your own is one file: settings, problems, a score. Copy this one and change it.

    python -m prorl_mega.tasks check examples/my_task.py                          # does it keep the promises of a task?
    python -m prorl_mega.tasks show examples/my_task.py days=true                 # what do its problems look like?
    python -m prorl_mega.tasks try examples/my_task.py --answer '<answer>09:30</answer>'

To train on it, put this into a file under configs/tasks/ and choose that with tasks=<file>:

    modules: [examples/my_task.py]
    mixture:
      clock: {name: clock, options: {max_minutes: 600}}
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from prorl_mega.tasks import Task, extract, register, relaxed
from prorl_mega.types import Problem, Verdict

DAY = 24 * 60  # minutes


@dataclass(kw_only=True, slots=True)
class ClockOptions:
    """Whatever makes problems easier or harder. Wrong options are reported by name when a run starts."""

    max_minutes: int = 180
    days: bool = False  # whether it may get later than midnight

    def __post_init__(self) -> None:
        if not 1 <= self.max_minutes < DAY:
            raise ValueError(f"max_minutes: must be from 1 to {DAY - 1}, not {self.max_minutes}")


@register("clock")
class Clock(Task):
    """What time is it some minutes after another time?"""

    options_type = ClockOptions
    options: ClockOptions

    def problem(self, index: int, seed: int) -> Problem:
        """Made from (options, index, seed) alone: a run that is resumed must see the same problems again."""
        random = self.generator(index, seed)
        later = random.randint(1, self.options.max_minutes)
        now = random.randrange(DAY if self.options.days else DAY - later)
        answer = clock(now + later)
        return Problem(
            key=self.key(index, seed),
            task=self.entry,
            prompt=f"It is {clock(now)}. What time is it {later} minutes later? {extract.request(extract.Form.tags)}",
            entry={"answer": answer},  # plain data: it travels to the process that scores
            solution=extract.mark(f"{later // 60} hours and {later % 60} minutes later.", answer, extract.Form.tags),
        )

    def score(self, problem: Problem, answer: str) -> Verdict:
        """From 0 to 1. `answer` is anything that a model may write, and must not make this raise or hang."""
        found = extract.answer(answer, extract.Form.tags)  # after the thinking; None if there is none
        time = re.fullmatch(r"(\d{1,2}):(\d{2})", found or "", re.ASCII)
        if time is None:
            return Verdict(reward=0.0, detail="no time found", found=False)
        shown = f"{int(time[1]):02}:{time[2]}"
        return Verdict(reward=float(shown == problem.entry["answer"]), detail=shown)

    def readings(self, problem: Problem, answer: str) -> list[str]:
        """For evaluations alone, and as you like: the text as it would have been with a form that the model missed."""
        return relaxed.short_answers(answer, extract.Form.tags, relaxed.Sought.puzzle)

    def canonical(self, problem: Problem, answer: str) -> str:
        """For evaluations alone, and as you like: the answer in a form that equal answers share, for majority votes."""
        return extract.answer(answer, extract.Form.tags) or ""


def clock(minutes: int) -> str:
    return f"{minutes // 60 % 24:02}:{minutes % 60:02}"

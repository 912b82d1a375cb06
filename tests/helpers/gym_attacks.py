"""Answers to problems of all reasoning-gym generators that an attacker or an honest writer makes of the right one.

Run as a program, with PYTHONHASHSEED=0, it prints as JSON what each text earns; names of generators may follow. With
`--print` it lists, by generator, the attacks that earn more than an honest wrong answer and the right forms refused.
"""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

from helpers.gym_answers import SETTINGS, _solve

from prorl_mega.tasks import create
from prorl_mega.tasks.logic import gym
from prorl_mega.tasks.logic.gym_rules import reference

PROBLEMS, SEED, LOOKED_THROUGH = 3, 12, 24

AROUND = {
    "negated": [
        "not {r}", "It is not {r}", "It is false that {r}", "{r} is false", "never {r}", "No, {r}", "anything but {r}",
        "{r}, not", "not ({r})", "\u00ac{r}", "!{r}", "~{r}", "-{r}", "\\ne {r}", "\u2260 {r}",
    ],
    "hedged": [
        "If I am right, then {r}", "If {w}, then {r}", "{r} or {w}", "{w} or {r}", "either {r} or {w}",
        "{r} unless {w}", "maybe {r}", "perhaps {r}", "{r}?", "about {r}", "{r} and {w}", "{w} and {r}",
        "{r} but not {w}", "{r}|{w}",
    ],
    "doubled": [
        "{r}, {w}", "{w}, {r}", "{r}\n{w}", "{w}\n{r}", "{r} {w}", "{w} {r}", "{r}; {w}", "{w}; {r}", "{r}/{w}",
        "{w}/{r}", "{r} = {w}", "{w} = {r}", "{r}\n\n{w}", "{w}\n\n{r}", "{r} -> {w}", "{r} {r}", "{r}\n{r}",
        "{r}, {r}", "{r}{r}", "{r}.{w}", "$${w}$$ {r}", "`{w}` `{r}`", "**{w}** **{r}**", "${r}$ ${w}$",
    ],
    "prefixed": [
        "zzz {r}", "zzz\n{r}", "zzz{r}", "zzz: {r}", "zzz, {r}", "1 {r}", "0\n{r}", "<b>{r}", "({r}", "[{r}", "# {r}",
        "- {r}", "_ {r}", ". {r}", "/{r}", "={r}", "[] {r}",
    ],
    "suffixed": [
        "{r} zzz", "{r}\nzzz", "{r}zzz", "{r}, zzz", "{r}: zzz", "{r} 1", "{r}\n0", "{r})", "{r}]", "{r} (wrong)",
        "{r} not", "{r} -", "{r}..", "{r}/", "{r}=", "{r}#zzz", "{r}%%", "{r} []", "{r}'zzz'", "{r}\n\nzzz zzz",
    ],
}  # fmt: skip
"""Templates of malformed answers around a right one `{r}` and a wrong one `{w}`."""

FORMS = {
    "period": "{r}.",
    "spaces": "  {r} \n",
    "code": "`{r}`",
    "block": "```\n{r}\n```",
    "named block": "```text\n{r}\n```",
    "bold": "**{r}**",
    "bold, period": "**{r}**.",
    "period, bold": "**{r}.**",
    "dollars": "${r}$",
    "brackets": "\\({r}\\)",
}
"""Other writings of a right answer."""


def attacks(right: str, wrong: str, question: str) -> Iterator[tuple[str, str]]:
    """Kind and text of answers that are malformed or wrong, unless by chance they are right."""
    for kind, templates in AROUND.items():
        for template in templates:
            yield kind, template.replace("{r}", right).replace("{w}", wrong)
    yield from (("joined", text) for text in (*_joined(right, wrong), *_joined(wrong, right), *_joined(right, right)))
    yield from _inside(right)
    words, lines = right.split(" "), right.split("\n")
    yield from (("reversed", text) for text in (right[::-1], " ".join(words[::-1]), "\n".join(lines[::-1])))
    yield "other", wrong
    yield from (("prompt", text) for text in prompted(question))


def _joined(first: str, second: str) -> Iterator[str]:
    """Two answers as one of the same form, where both are lists, sums, sentences or moves."""
    for opening, closing in ("[]", "{}", "()"):
        if first[:1] == second[:1] == opening and first[-1:] == second[-1:] == closing:
            yield f"{first[:-1]}, {second[1:]}"
            yield f"{opening}{first}, {second}{closing}"
    for mark in (" \u2192 ", ",", ", ", ", and ", " and ", " \u00d7 ", " + ", " \u2228 ", "", " ", "\n"):
        if mark.strip() in first + second:
            yield first.removesuffix(".") + mark + second


def _inside(right: str) -> Iterator[tuple[str, str]]:
    """Junk between the parts of the right answer, and on each of its lines."""
    for junk in ("zzz", "not", "-", "zzz\nzzz"):
        for gap in sorted({right.find(" "), right.rfind(" "), right.find("\n"), right.rfind(",")} - {-1}):
            yield "inside", f"{right[:gap]} {junk} {right[gap:]}"
    for line in ("not {}", "zzz {}", "-{}", "{} zzz", "> {}", "1. {}"):
        yield "inside", "\n".join(line.format(each) for each in right.split("\n"))


def prompted(question: str) -> Iterator[str]:
    """Answers made of the prompt: all of it, its lines, paragraphs, quoted parts, numbers and words."""
    yield question[-4000:]
    yield from [line.strip() for line in question.split("\n") if line.strip()][-15:]
    yield from [part.strip() for part in question.split("\n\n") if part.strip()][-8:]
    yield from re.findall(r"[\"'`(\[]([^\"'`()\[\]\n]{1,200})[\"'`)\]]", question)[-15:]
    yield from question.rpartition(": ")[::2]
    for pattern in (r"-?\d+(?:\.\d+)?", r"[A-Za-z]+"):
        found = re.findall(pattern, question)
        yield from (" ".join(found)[-4000:], ", ".join(dict.fromkeys(found))[-4000:], "\n".join(found)[-4000:])


def honest_wrong(right: str, wrong: str) -> Iterator[str]:
    """Wrong answers of the right form: a last digit or letter changed, two parts exchanged, another problem's."""
    for pattern, change in ((r"\d(?!.*\d)", "{}"), (r"[a-zA-Z](?!.*[a-zA-Z])", "{}")):
        found = re.search(pattern, right, re.DOTALL)
        if found:
            old = found.group()
            new = str((int(old) + 1) % 10) if old.isdigit() else ("q" if old.lower() != "q" else "z")
            yield right[: found.start()] + change.format(new) + right[found.end() :]
    yield re.sub(r"(\w)(\w)(?!.*\w\w)", r"\2\1", right, flags=re.DOTALL)
    for mark in (", ", " ", "\n", ","):
        parts = right.split(mark)
        if len(parts) > 1:
            yield mark.join([*parts[:-2], parts[-1], parts[-2]])
    yield wrong


def right_forms(right: str) -> Iterator[tuple[str, str]]:
    for form, template in FORMS.items():
        yield form, template.replace("{r}", right)
    yield "upper case", right.upper()
    yield "lower case", right.lower()


def right_answer(name: str, task: gym.ReasoningGym, index: int) -> str:
    item = task._item(index, SEED)
    return reference(name, item) or _solve(name, item)


def texts(name: str, task: gym.ReasoningGym, index: int) -> list[tuple[str, str]]:
    """Kind and text of every answer to one problem; each text once, and none that is the right one."""
    right = right_answer(name, task, index)
    others = (right_answer(name, task, each) for each in range(LOOKED_THROUGH) if each != index)
    wrong = next((other for other in others if plain(other) != plain(right)), None) or next(honest_wrong(right, "zzz"))
    question = task._item(index, SEED)["question"]
    made = [("right", right), *(("honest", text) for text in honest_wrong(right, wrong))]
    made += [("form: " + form, text) for form, text in right_forms(right)]
    found = {text: kind for kind, text in reversed(made + list(attacks(right, wrong, question)))}
    return [(kind, text) for text, kind in found.items() if kind == "right" or kind.startswith("form") or
            not same(text, right)]  # fmt: skip


def same(text: str, right: str) -> bool:
    """Whether a text is the right answer, or a number that equals it: then it is no attack."""
    try:
        return plain(text) == plain(right) or float(text) == float(right)
    except ValueError:
        return False


def plain(text: str) -> str:
    """A text without case, blanks and the marks of code, formulas and ends."""
    return re.sub(r"[\s`*$\u00b0]|\\[()]|\.$", "", text).lower()


def judged(name: str) -> list[list[Any]]:
    """[generator, problem, kind, text, reward] of the answers to its first problems."""
    task = create("reasoning_gym", name, {"dataset": name, "config": SETTINGS.get(name, {})})
    assert isinstance(task, gym.ReasoningGym)
    rows = []
    for index in range(PROBLEMS):
        problem = task.problem(index, SEED)
        for kind, text in texts(name, task, index):
            rows.append([name, index, kind, text, task.score(problem, f"<answer>{text}</answer>").reward])
    return rows


def overpaid(rows: list[list[Any]]) -> list[list[Any]]:
    """The attacks that earn more than the best honest wrong answer; malformed ones may earn nothing."""
    best: dict[str, float] = {}
    for name, _, kind, _, reward in rows:
        if kind == "honest":
            best[name] = max(best.get(name, 0.0), reward if reward < 1 else 0.0)
    bar = {"joined", "reversed", "other", "prompt"}
    kinds = {*AROUND, "joined", "inside", *bar}
    return [row for row in rows if row[2] in kinds and row[4] > (best.get(row[0], 0.0) if row[2] in bar else 0.0)]


def refused(rows: list[list[Any]]) -> list[list[Any]]:
    return [row for row in rows if (row[2] == "right" or row[2].startswith("form")) and row[4] < 1]


if __name__ == "__main__":
    names = [each for each in sys.argv[1:] if not each.startswith("-")] or list(gym.datasets())
    result = [row for name in names for row in judged(name)]
    print()  # generators write to standard output as well
    if "--print" in sys.argv:
        for title, found in (("paid", overpaid(result)), ("refused", refused(result))):
            for name, index, kind, text, reward in found:
                print(f"{title} {name} {index} {kind} {reward:.2f} {text!r:.150}")
        print(len(result), "texts", len(overpaid(result)), "overpaid", len(refused(result)), "refused")
    else:
        print(json.dumps(result))

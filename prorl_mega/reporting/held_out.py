"""Base and trained policy on held-out problems: rates by task, curves of pass@k, problems gained and lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from prorl_mega.evaluation import conditions
from prorl_mega.evaluation.comparison import Comparison, compare
from prorl_mega.evaluation.pass_at_k import mean_pass_at_k
from prorl_mega.evaluation.summary import powers_of_two
from prorl_mega.huggingface.token_pieces import TokenPieces
from prorl_mega.reporting import kit
from prorl_mega.reporting.answer_budget import AnswerBudget
from prorl_mega.reporting.answer_parts import ABOUT_COLOURS, answer_part
from prorl_mega.reporting.descriptions import LineChart, Series
from prorl_mega.reporting.history import History
from prorl_mega.reporting.stored_answers import JudgedAnswer, few_answers
from prorl_mega.run.evaluations import BASE, FINAL

MOST_LISTED = 100  # problems of a list; the first of them with several answers
MOST_OPENED = 12
CHARACTERS, LONGEST = 1_500_000, 3000


class HeldOutProblem(NamedTuple):
    """A held-out problem in a list of the page, and how often the two policies solved it."""

    id: str  # of its panel
    key: str
    task: str
    base: str  # "0 of 16"
    trained: str


class HeldOutResults(NamedTuple):
    """`rows`, `gained` and `lost`, unless `obstacles`, settings that differ between the two, forbid them."""

    rows: list[Comparison]
    obstacles: list[str]
    remarks: list[str]
    settings: str = ""  # of both, in words
    gained: tuple[HeldOutProblem, ...] = ()
    lost: tuple[HeldOutProblem, ...] = ()

    @classmethod
    def of(cls, history: History) -> Self:
        before, after = history.evaluations.get(BASE), history.evaluations.get(FINAL)
        if before is None or after is None:
            return cls([], [], [])
        settings = before["settings"], after["settings"]
        if obstacles := conditions.incomparable(*settings):
            return cls([], obstacles, [])
        pairs = list(_pairs(before["problems"], after["problems"]))
        gained = [(base, trained) for base, trained in pairs if trained["solved"] and not base["solved"]]
        lost = [(base, trained) for base, trained in pairs if base["solved"] and not trained["solved"]]
        return cls(
            rows=compare(before["problems"], after["problems"]),
            obstacles=[],
            remarks=conditions.remarks(*settings),
            settings=conditions.described(settings[1]),
            gained=tuple(_changed("gained", gained)),
            lost=tuple(_changed("lost", lost)),
        )


def pass_curves(history: History, held_out: HeldOutResults) -> LineChart | None:
    """pass@k over k of the base and of the trained policy."""
    if not held_out.rows:
        return None
    ks = list(powers_of_two(_most_samples(history)))
    if len(ks) < 2:
        return None

    def series(who: str, label: str) -> Series:
        counts = [(each["samples"], each["solved"]) for each in history.evaluations[label]["problems"]]
        estimates = [mean_pass_at_k([each for each in counts if each[0] >= k], k) for k in ks]
        low, high = [each.low for each in estimates], [each.high for each in estimates]
        return Series(label=who, values=[each.mean for each in estimates], low=low, high=high, exact=True)

    return LineChart(
        title="pass@k", about="Held-out problems solved in at least one of k samples, 95 % intervals", unit="share",
        x=ks, x_label="k", group="k", logarithmic_x=True, bounds=(0.0, 1.0),
        series=[series("trained", FINAL), series("base", BASE)],
    )  # fmt: skip


def compared_problems(history: History, keys: Sequence[str]) -> tuple[HeldOutProblem, ...]:
    """The problems of these keys, if both policies have answered them."""
    if BASE not in history.evaluations or FINAL not in history.evaluations:
        return ()
    pairs = _pairs(history.evaluations[BASE]["problems"], history.evaluations[FINAL]["problems"])
    by_key = {base["key"]: (base, trained) for base, trained in pairs}
    return tuple(_problem(f"compared-{number}", *by_key[key]) for number, key in enumerate(keys) if key in by_key)


def problem_panels(history: History, *lists: Sequence[HeldOutProblem]) -> tuple[dict[str, Any], str]:
    """Panels of the problems of lists, by id; and a sentence for people about the colours of tokens."""
    listed = [each for of in lists for each in of]
    if not listed:
        return {}, ""
    opened = {each.key for of in lists for each in of[:MOST_OPENED]}
    stored = {label: few_answers(history.directory / "evaluation" / label, opened) for label in (BASE, FINAL)}
    texts = TokenPieces.known(history.settings.get("model.path"))
    budget = AnswerBudget(CHARACTERS, LONGEST)
    records = {label: {each["key"]: each for each in history.evaluations[label]["problems"]} for label in (BASE, FINAL)}
    panels = {}
    for place, each in enumerate(listed):
        parts = [kit.text(f"{each.task} · base {each.base}, trained {each.trained}", "soft")]
        parts.append(kit.pre(budget.take(str(records[BASE][each.key].get("prompt", ""))), "problem"))
        for label, who in ((FINAL, "trained"), (BASE, "base")):
            answers = stored[label].get(each.key, [])
            parts += [part for one in answers if (part := answer_part(who, one, texts, budget))]
            if not answers and (text := budget.take(str(records[label][each.key].get("completion", "")))):
                parts.append(kit.pre(text, f"{who}, its first answer"))
        ends = {"before": listed[place - 1].id if place else "", "after": ""}
        ends["after"] = listed[place + 1].id if place + 1 < len(listed) else ""
        panels[each.id] = kit.panel(each.key, parts, **ends)
    return panels, _about_colours(stored, texts)


def _about_colours(stored: dict[str, dict[str, list[JudgedAnswer]]], texts: TokenPieces | None) -> str:
    if not any(stored.values()):
        return "The evaluations kept one answer per problem, without log-probabilities."
    if texts is None:
        return "Tokens have no colours: the tokenizer of model.path cannot be read from here."
    return ABOUT_COLOURS


def _most_samples(history: History) -> int:
    """Samples per problem that both policies have."""
    return min(max(each["samples"] for each in history.evaluations[label]["problems"]) for label in (BASE, FINAL))


def _pairs(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    trained = {each["key"]: each for each in after}
    found = [(each, trained[each["key"]]) for each in before if each["key"] in trained]
    return [pair for pair in found if all(each["samples"] for each in pair)]


def _problem(id_: str, base: dict[str, Any], trained: dict[str, Any]) -> HeldOutProblem:
    before, after = (f"{each['solved']} of {each['samples']}" for each in (base, trained))
    return HeldOutProblem(id=id_, key=base["key"], task=base["task"], base=before, trained=after)


def _changed(kind: str, pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[HeldOutProblem]:
    """The most certain first."""

    def share(pair: tuple[dict[str, Any], dict[str, Any]]) -> float:
        return max(float(each["solved"]) / each["samples"] for each in pair)

    ranked = sorted(pairs, key=share, reverse=True)[:MOST_LISTED]
    return [_problem(f"{kind}-{number}", *pair) for number, pair in enumerate(ranked)]

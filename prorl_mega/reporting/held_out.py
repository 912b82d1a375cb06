"""Base and trained policy on held-out problems: rates by task, curves of pass@k, problems gained and lost."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

from prorl_mega.evaluation import conditions
from prorl_mega.evaluation.comparison import Comparison, compare
from prorl_mega.evaluation.pass_at_k import mean_pass_at_k
from prorl_mega.evaluation.summary import powers_of_two
from prorl_mega.reporting import kit
from prorl_mega.reporting.answer_budget import AnswerBudget
from prorl_mega.reporting.descriptions import LineChart, Series
from prorl_mega.reporting.history import History
from prorl_mega.reporting.stored_answers import JudgedAnswer, few_answers, is_right
from prorl_mega.reporting.token_texts import TokenTexts
from prorl_mega.run.evaluations import BASE, FINAL
from prorl_mega.run.sample_store import StoredVerdict

MOST_LISTED = 100  # problems of a list; the first of them with several answers
MOST_OPENED = 12
CHARACTERS, LONGEST, MOST_TOKENS = 1_500_000, 3000, 1500


class ChangedProblem(NamedTuple):
    """A held-out problem that one of the two policies solved in some of its samples and the other in none."""

    id: str  # of its panel
    key: str
    task: str
    base: str  # "0 of 16"
    trained: str
    share: float  # of samples solved by the policy that solved it


class HeldOutResults(NamedTuple):
    """`rows`, `gained` and `lost`, unless `obstacles`, settings that differ between the two, forbid them."""

    rows: list[Comparison]
    obstacles: list[str]
    remarks: list[str]
    settings: str = ""  # of both, in words
    gained: tuple[ChangedProblem, ...] = ()
    lost: tuple[ChangedProblem, ...] = ()

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


def problem_panels(history: History, held_out: HeldOutResults) -> tuple[dict[str, Any], str]:
    """Panels of the problems of the lists, by id; and a sentence for people about the colours of tokens."""
    listed = [*held_out.gained, *held_out.lost]
    if not listed:
        return {}, ""
    opened = {each.key for each in (*held_out.gained[:MOST_OPENED], *held_out.lost[:MOST_OPENED])}
    stored = {label: few_answers(history.directory / "evaluation" / label, opened) for label in (BASE, FINAL)}
    texts = TokenTexts(str(history.settings.get("model.path", "")))
    budget = AnswerBudget(CHARACTERS, LONGEST)
    records = {label: {each["key"]: each for each in history.evaluations[label]["problems"]} for label in (BASE, FINAL)}
    panels = {}
    for place, each in enumerate(listed):
        parts = [kit.text(f"{each.task} · base {each.base}, trained {each.trained}", "soft")]
        parts.append(kit.pre(budget.take(str(records[BASE][each.key].get("prompt", ""))), "problem"))
        for label, who in ((FINAL, "trained"), (BASE, "base")):
            answers = stored[label].get(each.key, [])
            parts += [part for one in answers if (part := _answer(who, one, texts, budget))]
            if not answers and (text := budget.take(str(records[label][each.key].get("completion", "")))):
                parts.append(kit.pre(text, f"{who}, its first answer"))
        ends = {"before": listed[place - 1].id if place else "", "after": ""}
        ends["after"] = listed[place + 1].id if place + 1 < len(listed) else ""
        panels[each.id] = kit.panel(each.key, parts, **ends)
    return panels, _about_colours(stored, texts)


def _answer(who: str, judged: JudgedAnswer, texts: TokenTexts, budget: AnswerBudget) -> kit.Part | None:
    sample, verdict = judged
    pieces = None
    if sample.tokens and len(sample.tokens) == len(sample.logprobs) and len(sample.tokens) <= MOST_TOKENS:
        pieces = texts.pieces(sample.tokens, sample.text)
    shown = budget.take(sample.text)
    if not shown:
        return None
    label = f"{who}, sample {sample.sample + 1}, {sample.length} tokens{', cut off' if sample.is_truncated else ''}"
    says, tone = _verdict(verdict)
    if pieces is None:
        return kit.pre(shown, label, says, tone)
    budget.left -= 8 * len(pieces)  # characters of a length and of a log-probability
    return kit.tokens(pieces, sample.logprobs, label, says, tone)


def _verdict(verdict: StoredVerdict | None) -> tuple[str, str]:
    if verdict is None:
        return "not judged", ""
    if verdict.reward is None:
        return f"the verifier failed: {verdict.detail[:100]}", ""
    right = is_right(verdict)
    found = f", found {verdict.answer[:60]}" if verdict.answer else ""
    return f"{'right' if right else 'wrong'}, reward {verdict.reward:g}{found}", "good" if right else "bad"


def _about_colours(stored: dict[str, dict[str, list[JudgedAnswer]]], texts: TokenTexts) -> str:
    if not any(stored.values()):
        return "The evaluations kept one answer per problem, without log-probabilities."
    if not texts.is_known:
        return "Tokens have no colours: the tokenizer of model.path cannot be read from here."
    return "The warmer a token's colour, the less likely it was to the policy that wrote it."


def _most_samples(history: History) -> int:
    """Samples per problem that both policies have."""
    return min(max(each["samples"] for each in history.evaluations[label]["problems"]) for label in (BASE, FINAL))


def _pairs(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    trained = {each["key"]: each for each in after}
    found = [(each, trained[each["key"]]) for each in before if each["key"] in trained]
    return [pair for pair in found if all(each["samples"] for each in pair)]


def _changed(kind: str, pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[ChangedProblem]:
    """The most certain first."""

    def share(pair: tuple[dict[str, Any], dict[str, Any]]) -> float:
        return max(float(each["solved"]) / each["samples"] for each in pair)

    return [
        ChangedProblem(
            id=f"{kind}-{number}",
            key=base["key"],
            task=base["task"],
            base=f"{base['solved']} of {base['samples']}",
            trained=f"{trained['solved']} of {trained['samples']}",
            share=share((base, trained)),
        )
        for number, (base, trained) in enumerate(sorted(pairs, key=share, reverse=True)[:MOST_LISTED])
    ]

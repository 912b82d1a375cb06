"""The page of one evaluation: scores, curves over k and τ, the rate of every problem, and answers to open."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import numpy as np

from prorl_mega.evaluation.comparison import ALL_TASKS, Record
from prorl_mega.evaluation.conditions import described
from prorl_mega.evaluation.pass_at_k import mean_pass_at_k
from prorl_mega.evaluation.solve_rate import posterior
from prorl_mega.evaluation.sources import Evaluated
from prorl_mega.evaluation.summary import powers_of_two
from prorl_mega.huggingface.token_pieces import TokenPieces
from prorl_mega.reporting import kit
from prorl_mega.reporting.answer_budget import AnswerBudget
from prorl_mega.reporting.answer_parts import ABOUT_COLOURS, answer_part
from prorl_mega.reporting.descriptions import Dot, LineChart, ScatterChart, Series
from prorl_mega.reporting.facts import Fact
from prorl_mega.reporting.stored_answers import few_answers
from prorl_mega.run.sample_store import SampleStore, StoreHeader

MOST_TASKS = 40  # with curves of their own
MOST_OPENED = 60  # problems whose panels have answers from the store
CHARACTERS, LONGEST = 2_500_000, 6000
_TAUS = np.arange(1, 101)  # hundredths


class ScoreRow(NamedTuple):
    """The scores of a task, in words."""

    task: str
    problems: int
    cells: tuple[str, ...]


def evaluation_page(name: str, evaluated: Evaluated) -> str:
    """The HTML of an evaluation, with its answers where they were kept."""
    content, store = evaluated.content, evaluated.store
    header = store.header if store else None
    records = sorted(content["problems"], key=_interest)
    tasks = sorted({str(each["task"]) for each in records})
    charts: dict[str, Any] = {"pass": _curve(ALL_TASKS, records).plain(), "cover": _cover(records).plain()}
    if records:
        charts["rates"] = _rates(records).plain()
    charted = tasks[:MOST_TASKS] if len(tasks) > 1 else []
    for number, task in enumerate(charted):
        charts[f"pass-{number}"] = _curve(task, [each for each in records if each["task"] == task]).plain()
    titles, rows = _scores(content["metrics"], tasks, records)
    body = kit.environment().get_template("evaluation.html.jinja").render(
        name=name, label=content["label"], step=content["step"], about=described(content["settings"]),
        facts=_facts(content["metrics"], records), charted=[f"pass-{number}" for number in range(len(charted))],
        titles=titles, rows=rows, problems=list(enumerate(records)), more_tasks=len(tasks) - len(charted),
        origin=_origin(header), policy=header.policy if header else "", colours=ABOUT_COLOURS if store else "",
    )  # fmt: skip
    panels = _panels(records, store)
    return kit.page(f"Evaluation {name}", body, {"charts": charts, "panels": panels})


def _interest(record: Record) -> tuple[int, float, str]:
    """Problems that are solved now and then come first, then those never solved, then those always solved."""
    samples, solved = record["samples"], record["solved"]
    if not samples:
        return 3, 0.0, record["key"]
    rate = solved / samples
    return (0, rate, record["key"]) if 0 < rate < 1 else (1 + int(rate), 0.0, record["key"])


def _curve(title: str, records: list[Record]) -> LineChart:
    counts = [(each["samples"], each["solved"]) for each in records if each["samples"]]
    relaxed = [
        (each["samples"], each["relaxed"] if "relaxed" in each else each["solved"])
        for each in records
        if each["samples"]
    ]
    ks = list(powers_of_two(max((samples for samples, _ in counts), default=0)))
    series = []
    for name, of_name in (("pass@k", counts), ("in any form", relaxed)):
        if not of_name or (name != "pass@k" and relaxed == counts):  # the form made no difference
            continue
        found = [[each for each in of_name if each[0] >= k] for k in ks]
        estimates = [mean_pass_at_k(each, k) if each else None for each, k in zip(found, ks, strict=True)]
        values, low, high = (
            [math.nan if each is None else getattr(each, end) for each in estimates] for end in ("mean", "low", "high")
        )
        is_sure = len(of_name) > 1  # a bootstrap over one problem has no width
        series.append(
            Series(label=name, values=values, low=low if is_sure else None, high=high if is_sure else None, exact=True)
        )
    return LineChart(
        title=title, about=f"Problems solved in at least one of k samples; {len(counts)} problems", unit="share",
        x=ks, x_label="k =", group="k", logarithmic_x=True, bounds=(0.0, 1.0), series=series,
    )  # fmt: skip


def _cover(records: list[Record]) -> LineChart:
    counts = np.array([(each["samples"], each["solved"]) for each in records if each["samples"]] or [(1, 0)])
    reached = 100 * counts[:, 1, None] >= counts[:, 0, None] * _TAUS
    return LineChart(
        title="Cover@τ", about="Problems solved in at least the share τ of their samples", unit="share of problems",
        x=_TAUS / 100, x_label="τ =", group="tau", bounds=(0.0, 1.0),
        series=[Series(label="Cover@τ", values=reached.mean(axis=0), exact=True)],
    )  # fmt: skip


def _rates(records: list[Record]) -> ScatterChart:
    """The posterior of the solve rate of every problem, problems by rising rate, in groups by task."""
    groups: dict[str, list[Dot]] = {}
    known = [(index, each) for index, each in enumerate(records) if each["samples"]]
    for place, (index, each) in enumerate(sorted(known, key=lambda one: one[1]["solved"] / one[1]["samples"])):
        rate = posterior(each["samples"], each["solved"])
        dot = Dot(
            x=place + 1, y=rate.mean, low=rate.low, high=rate.high, label=str(each["key"]),
            note=f"{each['solved']} of {each['samples']}", opens=f"problem-{index}",
        )  # fmt: skip
        groups.setdefault(str(each["task"]), []).append(dot)
    return ScatterChart(
        title="Solve rate of every problem", about="Posterior mean and 95 % interval from a uniform prior",
        x_label="problems, by rate", y_label="rate", groups=dict(groups), y_bounds=(0.0, 1.0),
    )  # fmt: skip


def _scores(
    metrics: dict[str, float | None], tasks: list[str], records: list[Record]
) -> tuple[list[str], list[ScoreRow]]:
    """The titles of the columns, and a row for all tasks and for each."""
    sizes = sorted(int(match[1]) for name in metrics if (match := re.fullmatch(r"evaluation/pass@(\d+)", name)))
    ends = list(dict.fromkeys((*sizes[:1], *sizes[-1:])))
    most = sizes[-1] if sizes else 1
    columns = {f"pass@{k}": f"pass@{k}" for k in ends} | {f"maj@{most}": f"maj@{most}"}
    columns |= {f"relaxed_pass@{k}": f"pass@{k}, any form" for k in ends[:1]}
    columns |= {"reward": "reward", "length": "tokens", "truncated": "truncated"}
    shown = {name: title for name, title in columns.items() if f"evaluation/{name}" in metrics}
    rows = [
        ScoreRow(
            task=task or ALL_TASKS,
            problems=sum(not task or each["task"] == task for each in records),
            cells=tuple(_cell(metrics, f"evaluation/{name}", task) for name in shown),
        )
        for task in ["", *(tasks if len(tasks) > 1 else [])]
    ]
    return list(shown.values()), rows


def _cell(metrics: dict[str, float | None], name: str, task: str) -> str:
    value = metrics.get(f"{name}/{task}" if task else name)
    if value is None:
        return "–"
    text = f"{value:.1f}" if name.endswith("length") else f"{value:.3f}"
    low, high = (metrics.get(f"{name}_{end}") for end in ("low", "high"))
    return text if task or low is None or high is None else f"{text} [{low:.3f}, {high:.3f}]"


def _facts(metrics: dict[str, float | None], records: list[Record]) -> list[Fact]:
    solved = [each["solved"] / each["samples"] for each in records if each["samples"]]
    facts = [
        Fact("problems", str(len(records)), f"{sum(each['samples'] for each in records):,} judged answers"),
        Fact("never solved", str(sum(rate == 0 for rate in solved)), "in all their samples"),
        Fact("always solved", str(sum(rate == 1 for rate in solved)), "in all their samples"),
    ]
    if (tokens := metrics.get("evaluation/tokens")) is not None:
        facts.append(Fact("tokens", f"{tokens:,.0f}", "of all answers"))
    for name, label, note in (
        ("truncated", "truncated", "share of answers that reached the limit"),
        ("infra_errors", "without a verdict", "their verifier failed"),
        ("missing", "missing", "answers that were asked for"),
    ):
        value = metrics.get(f"evaluation/{name}")
        if value:
            facts.append(Fact(label, f"{value:.3f}" if name == "truncated" else f"{value:,.0f}", note, "bad"))
    return facts


def _origin(header: StoreHeader | None) -> list[tuple[str, str]]:
    if header is None:
        return []
    rows = [("policy", header.policy), ("seed", str(header.seed)), ("samples", str(header.samples))]
    return [*rows, *((str(name), str(value)[:2000]) for name, value in list(header.provenance.items())[:40])]


def _panels(records: list[Record], store: SampleStore | None) -> dict[str, Any]:
    budget = AnswerBudget(CHARACTERS, LONGEST)
    model = store.header.config.get("model") if store else None
    texts = TokenPieces.known(model.get("path") if isinstance(model, dict) else None)
    opened = [str(each["key"]) for each in records[:MOST_OPENED]]
    answers = few_answers(store.directory, opened) if store else {}
    panels = {}
    for index, each in enumerate(records):
        parts = [kit.text(_about(each), "soft")]
        if prompt := budget.take(str(each.get("prompt", ""))):
            parts.append(kit.pre(prompt, "problem"))
        judged = answers.get(str(each["key"]), [])
        parts += [part for one in judged if (part := answer_part("", one, texts, budget))]
        if not judged and (text := budget.take(str(each.get("completion", "")))):
            parts.append(kit.pre(text, "its first answer"))
        ends = {"before": f"problem-{index - 1}" if index else ""}
        ends["after"] = f"problem-{index + 1}" if index + 1 < len(records) else ""
        panels[f"problem-{index}"] = kit.panel(str(each["key"]), parts, **ends)
    return panels


def _about(record: Record) -> str:
    if not record["samples"]:
        return f"{record['task']} · no verdict"
    rate = posterior(record["samples"], record["solved"])
    said = (
        f"{record['task']} · solved {record['solved']} of {record['samples']}, rate {rate.low:.3f} to {rate.high:.3f}"
    )
    if "relaxed" in record and record["relaxed"] != record["solved"]:
        said += f", in any form {record['relaxed']}"
    if record.get("majority") is not None:
        said += f", the most common answer is {'right' if record['majority'] >= 0.5 else 'wrong'}"
    return said

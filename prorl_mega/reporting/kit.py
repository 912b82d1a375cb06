"""The kit that every page is built with: one file, no network, charts by uPlot, light and dark, phone and desk.

A page has a body (HTML, best from a template of its own that imports the macros of `kit.html.jinja`) and data:

    data = {"charts": {"reward": LineChart(…).plain()}, "panels": {"step-20": panel("Step 20", [text("…")])},
            "opens": {"step": "step-"}}
    html = page("Run demo", environment().from_string(
        '{% import "kit.html.jinja" as kit %}{{ kit.chart("reward") }}').render(), data)

- `charts`: by name, from `descriptions.py`. The element `kit.chart(name)` is filled with that chart. Charts of one
  group (`step`) share cursor, zoom and smoothing; `kit.bar(sections)` has slider and theme button, once per page.
- `panels`: by id, what opens at the side: `panel(title, parts)`, parts being `text`, `heading`, `pre`, `tokens`,
  `table` and `opens` of this file. They are drawn when they are opened, so answers cost bytes and no time. The address
  `report.html#step-20` opens one. A click on an element with `data-opens="ID"`, on a dot or on a mark with
  `opens="ID"` opens the panel, or scrolls to the element of that id. `data-jump="step:140"` moves the cursors there.
- `opens`: by group, the prefix of ids: a click at step 20 opens `step-20`. The numbers of that step are added to it.
- `notes`: by group, a sentence for points that have no panel of their own.
- `marks`: by group, marks that all its charts have.
- For a page that follows a run: `prorl.update(name, chart)` in the browser replaces a chart and keeps its zoom;
  `page(…, live=True, scripts=[…])` lets the page's own script ask the server it came from.

All texts are untrusted: they travel as JSON, where `<` and `>` are escaped, and are shown as text nodes. A page has a
Content-Security-Policy that runs the scripts of this file and nothing else, and loads nothing from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import ChainableUndefined, Environment, PackageLoader
from markupsafe import Markup, escape

from prorl_mega.run.console import printable

SCRIPTS = ("uplot.js", "page.js", "charts.js", "scatter.js", "start.js")
STYLES = ("uplot.css", "page.css")
Part = dict[str, Any]
"""A piece of a panel."""


def page(title: str, body: str, data: Mapping[str, Any], *, live: bool = False, scripts: Sequence[str] = ()) -> str:
    """A whole page. `body`: HTML whose values are escaped already; `data`: JSON-able; `scripts`: more JavaScript, ours.

    `live`: the page may ask the server it came from.
    """
    script = "\n".join([*(_asset(name) for name in SCRIPTS), *scripts])
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        f"form-action 'none'; connect-src {chr(39) + ('self' if live else 'none') + chr(39)}"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(printable(title))}</title>\n<style>{''.join(_asset(name) for name in STYLES)}</style></head>\n"
        f'<body>{body}\n<script type="application/json" id="data">{embedded(data)}</script>\n'
        f"<script>{script}</script></body></html>\n"
    )


def embedded(data: Any) -> str:
    """JSON that can stand in a `<script>`: no tag, no comment, no line separator that ends it; texts are printable."""
    text = json.dumps(_harmless(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def environment() -> Environment:
    """Templates of `reporting`; values are escaped and made printable."""
    return Environment(
        loader=PackageLoader("prorl_mega.reporting", package_path=""),
        autoescape=True,
        finalize=lambda value: value if hasattr(value, "__html__") else Markup(escape(printable(str(value)))),
        undefined=ChainableUndefined,
    )


def panel(title: str, parts: Sequence[Part], *, before: str = "", after: str = "") -> dict[str, Any]:
    """A panel that opens at the side; `before` and `after` are ids of panels that its arrows lead to."""
    plain: dict[str, Any] = {"title": title, "parts": list(parts)}
    return plain | {name: id_ for name, id_ in (("before", before), ("after", after)) if id_}


def text(content: str, tone: str = "") -> Part:
    """A paragraph; `tone`: "soft", "good", "bad" or ""."""
    return {"kind": "text", "text": content, "tone": tone}


def heading(content: str) -> Part:
    return {"kind": "heading", "text": content}


def pre(content: str, label: str = "", verdict: str = "", tone: str = "") -> Part:
    """A text as it stands, with a caption; `verdict` in the colour of `tone`, "good" or "bad"."""
    return {"kind": "pre", "text": content, "label": label, "verdict": verdict, "tone": tone}


def tokens(
    pieces: Sequence[str], logprobs: Sequence[float], label: str = "", verdict: str = "", tone: str = ""
) -> Part:
    """An answer whose tokens, `[T]` texts that add up to it, are coloured by their log-probabilities, `[T]`."""
    shown = [printable(each) for each in pieces]
    return {
        "kind": "tokens", "text": "".join(shown), "lengths": [len(each) for each in shown],
        "logprobs": [round(each, 2) if math.isfinite(each) else None for each in logprobs],
        "label": label, "verdict": verdict, "tone": tone,
    }  # fmt: skip


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Part:
    return {"kind": "table", "head": list(head), "rows": [list(row) for row in rows]}


def opens(id_: str, content: str) -> Part:
    """A button that opens another panel."""
    return {"kind": "opens", "opens": id_, "text": content}


def _asset(name: str) -> str:
    return (files("prorl_mega.reporting") / "assets" / name).read_text(encoding="utf-8")


def _harmless(value: Any) -> Any:
    """The same value with printable texts."""
    if isinstance(value, str):
        return value if value.isascii() and value.isprintable() else printable(value)
    if isinstance(value, Mapping):
        return {printable(str(key)): _harmless(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_harmless(each) for each in value]
    return value

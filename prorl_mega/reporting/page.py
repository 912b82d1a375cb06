"""The frame of the report: one HTML file that needs nothing else, on a phone as on a desk, by day and by night."""

from __future__ import annotations

from html import escape

STYLE = """
:root { color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #16191d; --soft: #5c6670; --rule: #e3e7ec; --grid: #eceff3;
  --good: #0b7a53; --bad: #b3261e;
  --c0: #2563eb; --c1: #d9570f; --c2: #0f8f74; --c3: #8b3fd1; --c4: #b98900; --c5: #d02670; --c6: #5b6b80;
  --c7: #5f9411 }
@media (prefers-color-scheme: dark) { :root {
  --page: #101317; --card: #181c21; --ink: #e8ebef; --soft: #98a3af; --rule: #2a3037; --grid: #242a31;
  --good: #4cc38a; --bad: #ff8a80;
  --c0: #6ea0ff; --c1: #ff9450; --c2: #3fc7a8; --c3: #c08bff; --c4: #e3b740; --c5: #ff78ae; --c6: #9fb0c6;
  --c7: #a3d14d } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  -webkit-text-size-adjust: 100% }
main { max-width: 1320px; margin: 0 auto; padding: 40px 20px 64px }
h1 { font-size: 30px; line-height: 1.2; letter-spacing: -.02em; margin: 0 0 6px; overflow-wrap: anywhere }
h2 { font-size: 20px; letter-spacing: -.01em; margin: 44px 0 14px }
h3 { font-size: 15px; margin: 0 0 2px }
p { margin: 0 }
.soft { color: var(--soft) }
.facts { display: grid; gap: 12px; margin-top: 24px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 190px), 1fr)) }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 12px; padding: 16px 18px; min-width: 0 }
.grid .card { display: flex; flex-direction: column } .grid .chart { margin-top: auto }
.fact .label { font-size: 13px; color: var(--soft) }
.fact .value { font-size: 21px; font-weight: 650; letter-spacing: -.02em; white-space: nowrap;
  font-variant-numeric: tabular-nums }
.fact .note { font-size: 13px; color: var(--soft); font-variant-numeric: tabular-nums }
.good { color: var(--good) } .bad { color: var(--bad) }
.grid { display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 390px), 1fr)) }
.card .about { font-size: 13px; color: var(--soft); margin-bottom: 8px }
.chart { position: relative }
.chart svg { display: block; width: 100%; height: auto; touch-action: pan-y; overflow: visible }
.chart text { font-size: 12.5px; fill: var(--soft); font-variant-numeric: tabular-nums }
line.grid { stroke: var(--grid); stroke-width: 1 }
line.axis { stroke: var(--soft); stroke-width: 1; opacity: .5 }
line.reset { stroke: var(--ink); stroke-width: 1.2; stroke-dasharray: 3 4; opacity: .55 }
line.cross { stroke: var(--soft); stroke-width: 1; visibility: hidden }
path.line { fill: none; stroke: currentColor; stroke-width: 2.2; stroke-linejoin: round; stroke-linecap: round }
path.raw { fill: none; stroke: currentColor; stroke-width: 1; opacity: .28; stroke-linejoin: round }
path.area { fill: currentColor; stroke: var(--card); stroke-width: .4; opacity: .88 }
circle.dot { fill: currentColor; stroke: var(--card); stroke-width: 1.2 }
.c0 { color: var(--c0) } .c1 { color: var(--c1) } .c2 { color: var(--c2) } .c3 { color: var(--c3) }
.c4 { color: var(--c4) } .c5 { color: var(--c5) } .c6 { color: var(--c6) } .c7 { color: var(--c7) }
ul.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 14px; margin: 0 0 6px; padding: 0;
  font-size: 13px }
ul.legend li::before { content: ""; display: inline-block; width: 10px; height: 10px; border-radius: 3px;
  background: currentColor; margin-right: 6px }
ul.legend li.resets { color: var(--soft) }
ul.legend li.resets::before { background: none; border-radius: 0; width: 0; height: 12px; border-left: 2px dashed;
  vertical-align: -2px; margin-right: 8px }
.tip { position: absolute; top: 0; display: none; pointer-events: none; background: var(--card); color: var(--ink);
  border: 1px solid var(--rule); border-radius: 8px; padding: 6px 10px; font-size: 12.5px; white-space: nowrap;
  z-index: 2; box-shadow: 0 4px 14px rgb(0 0 0 / .16); font-variant-numeric: tabular-nums }
.tip b { font-weight: 650 } .tip i { font-style: normal; font-weight: 650 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14.5px }
th, td { text-align: right; padding: 9px 10px; border-bottom: 1px solid var(--rule); white-space: nowrap }
th { font-weight: 600; color: var(--soft); font-size: 13px }
th:first-child, td:first-child { text-align: left; padding-left: 0 }
tr:last-child td { border-bottom: 0 }
tr.all td { font-weight: 650 }
td small { color: var(--soft); font-size: 12.5px; font-weight: 400; margin-left: 5px }
td svg { display: block; width: 190px; height: 22px }
.track { stroke: var(--rule); stroke-width: 1 } .span { stroke: currentColor; stroke-width: 5; opacity: .25 }
.pairs { display: grid; gap: 14px }
.pair { display: grid; gap: 14px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr));
  margin-top: 10px }
pre { margin: 6px 0 0; padding: 10px 12px; background: var(--page); border-radius: 8px; white-space: pre-wrap;
  overflow-wrap: anywhere; max-height: 22em; overflow: auto;
  font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace }
.badge { font-size: 12.5px; border: 1px solid var(--rule); border-radius: 99px; padding: 1px 9px; color: var(--soft) }
details summary { cursor: pointer; font-weight: 600 }
footer { margin-top: 40px; font-size: 13px; color: var(--soft) }
@media (max-width: 520px) { main { padding: 24px 12px 48px } h1 { font-size: 25px } .card { padding: 14px 12px }
  .chart text { font-size: 14px } .facts { grid-template-columns: 1fr 1fr } .fact .value { font-size: 17px } }
"""

SCRIPT = """
for (const chart of document.querySelectorAll('.chart[data-chart]')) {
  const numbers = JSON.parse(chart.dataset.chart), svg = chart.querySelector('svg');
  const cross = chart.querySelector('.cross'), tip = chart.querySelector('.tip');
  const hide = () => { tip.style.display = 'none'; cross.style.visibility = 'hidden' };
  svg.addEventListener('pointermove', event => {
    const box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width;
    const wanted = (event.clientX - box.left) / scale;
    let best = 0;
    numbers.pixels.forEach((x, i) => { if (Math.abs(x - wanted) < Math.abs(numbers.pixels[best] - wanted)) best = i });
    const x = numbers.pixels[best];
    cross.setAttribute('x1', x); cross.setAttribute('x2', x); cross.style.visibility = 'visible';
    tip.replaceChildren();
    const head = document.createElement('b'); head.textContent = 'step ' + numbers.steps[best]; tip.append(head);
    numbers.lines.forEach((line, i) => {
      if (line.values[best] === '\\u2013') return;
      const row = document.createElement('div'), value = document.createElement('i');
      value.className = 'c' + i % 8; value.textContent = line.values[best];
      row.append(line.label + '  ', value); tip.append(row);
    });
    tip.style.display = 'block';
    const at = x * scale, room = chart.clientWidth - tip.offsetWidth;
    const left = at > chart.clientWidth / 2 ? at - tip.offsetWidth - 12 : at + 12;
    tip.style.left = Math.max(0, Math.min(room, left)) + 'px';
    tip.style.top = (svg.offsetTop + 8) + 'px';
  });
  svg.addEventListener('pointerleave', hide);
}
"""


def page(title: str, body: str) -> str:
    """The whole document. `title` is escaped here; `body` must be HTML already."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main>{body}</main><script>{SCRIPT}</script></body></html>\n"
    )


def fact(label: str, value: str, note: str = "", tone: str = "") -> str:
    """One number of the summary at the top; `tone` is "good", "bad" or ""."""
    return (
        f'<div class="card fact"><div class="label">{escape(label)}</div>'
        f'<div class="value {tone}">{escape(value)}</div><div class="note">{escape(note)}</div></div>'
    )


def card(heading: str, about: str, content: str) -> str:
    """A chart with its heading; nothing when the chart is empty."""
    if not content:
        return ""
    return f'<div class="card"><h3>{escape(heading)}</h3><p class="about">{escape(about)}</p>{content}</div>'


def section(heading: str, content: str) -> str:
    return f"<section><h2>{escape(heading)}</h2>{content}</section>" if content else ""

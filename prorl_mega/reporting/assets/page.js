/* What every page has: its data, numbers for people, light and dark, and the panel that opens what a point stands for.
   Texts are untrusted: they reach the page as text nodes, never as HTML. */
'use strict';
const prorl = (() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const root = document.documentElement;

  /** An element with a class, attributes and children (nodes or text). */
  function make(tag, name = '', attributes = {}, ...children) {
    const element = document.createElement(tag);
    if (name) element.className = name;
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  /** A number with four significant digits; "–" where there is none. */
  function shown(value) {
    if (value === null || value === undefined || !Number.isFinite(value)) return '–';
    const size = Math.abs(value);
    if (value === 0) return '0';
    if (size >= 1e6 || size < 1e-3) return value.toExponential(3).replace(/\.?0+e/, 'e').replace('e+', 'e');
    return size >= 1e4 ? String(Math.round(value)) : String(Number(value.toPrecision(4)));
  }

  // Light and dark: the system's wish until a reader has another

  const system = matchMedia('(prefers-color-scheme: dark)');
  const listeners = [];
  let wish = null;
  try { wish = localStorage.getItem('prorl-theme') } catch { /* a file may not have any storage */ }
  if (wish !== 'light' && wish !== 'dark') wish = null;

  function colour(name) { return getComputedStyle(root).getPropertyValue(name).trim() }

  /** A colour with so much of the card's in it. */
  function calmed(name, share) {
    const parts = each => [1, 3, 5].map(at => parseInt(colour(each).slice(at, at + 2), 16));
    const [ours, card] = [parts(name), parts('--card')];
    return `rgb(${ours.map((each, i) => Math.round(each * (1 - share) + card[i] * share)).join(' ')})`;
  }

  function paint() {
    root.dataset.theme = wish ?? (system.matches ? 'dark' : 'light');
    listeners.forEach(each => each());
  }

  function toggleTheme() {
    wish = root.dataset.theme === 'dark' ? 'light' : 'dark';
    try { localStorage.setItem('prorl-theme', wish) } catch { /* then only this time */ }
    paint();
  }
  system.addEventListener('change', paint);
  paint();

  // Panels

  const said = make('div', 'unseen', { 'aria-live': 'polite' });
  const heading = make('h2'), inside = make('div', 'inside');
  const back = make('button', 'button', { type: 'button', 'aria-label': 'before' }, '←');
  const on = make('button', 'button', { type: 'button', 'aria-label': 'after' }, '→');
  const close = make('button', 'button', { type: 'button', 'aria-label': 'close' }, '✕');
  const panel = make('dialog', 'panel', { 'aria-label': 'details', tabindex: '-1' },
    make('header', '', {}, heading, back, on, close), inside);
  const makers = [];  // functions of an id that give a panel where the page's data has none
  let returnTo = null, current = null;

  /** Colour class of a token by its log-probability, from certain ("") to very unlikely. */
  function surprise(logprob) {
    return logprob > -0.1 ? '' : logprob > -0.7 ? 'p1' : logprob > -1.6 ? 'p2' : logprob > -3 ? 'p3' : logprob > -5 ? 'p4' : 'p5';
  }

  function tokens(part) {
    const box = make('pre', 'tokens'), letters = Array.from(part.text);
    let at = 0;
    part.lengths.forEach((length, index) => {
      const text = letters.slice(at, at + length).join(''), logprob = part.logprobs[index];
      at += length;
      const style = logprob === null || logprob === undefined ? '' : surprise(logprob);
      if (!style) { box.append(text); return }
      box.append(make('span', style, { title: `log-prob ${logprob.toFixed(2)}, p ${Math.exp(logprob).toFixed(3)}` }, text));
    });
    box.append(letters.slice(at).join(''));
    return box;
  }

  const parts = {
    text: part => make('p', part.tone ?? '', {}, part.text),
    heading: part => make('h3', '', {}, part.text),
    pre: part => make('div', '', {}, caption(part), make('pre', '', { tabindex: '0' }, part.text)),
    tokens: part => make('div', '', {}, caption(part), tokens(part)),
    opens: part => opener(part.opens, part.text),
    table: part => make('div', 'scroll', {}, make('table', '', {},
      make('tr', '', {}, ...part.head.map(each => make('th', '', {}, each))),
      ...part.rows.map(row => make('tr', '', {}, ...row.map(each => make('td', '', {}, each)))))),
  };

  function caption(part) {
    const row = make('div', 'caption');
    if (part.label) row.append(make('span', 'badge', {}, part.label));
    if (part.verdict) row.append(make('span', `badge ${part.tone ?? ''}`, {}, part.verdict));
    return row;
  }

  function opener(id, text) { return make('button', 'button', { type: 'button', 'data-opens': id }, text) }

  function found(id) {
    const kept = Object.hasOwn(data.panels ?? {}, id) ? data.panels[id] : null;
    const made = makers.map(each => each(id)).filter(Boolean);
    if (!kept && !made.length) return null;
    const all = [...(kept ? [kept] : []), ...made];
    return { title: all[0].title, parts: all.flatMap(each => each.parts), before: all.find(each => each.before)?.before,
      after: all.find(each => each.after)?.after };
  }

  /** Open the panel of an id, or scroll to the element that has it. False when there is neither. */
  function open(id) {
    const content = found(id);
    if (!content) {
      const element = document.getElementById(id);
      if (!element) return false;
      if (element.tagName === 'DETAILS') element.open = true;
      element.scrollIntoView({ block: 'start' });
      return true;
    }
    if (!panel.open) returnTo = document.activeElement;
    current = id;
    heading.textContent = content.title;
    const nodes = content.parts.filter(part => Object.hasOwn(parts, part.kind)).map(part => parts[part.kind](part));
    inside.replaceChildren(...nodes);
    for (const [button, target] of [[back, content.before], [on, content.after]]) {
      button.hidden = !target;
      button.dataset.opens = target ?? '';
    }
    if (!panel.open) panel.show();
    panel.scrollTop = 0;
    panel.focus({ preventScroll: true });
    history.replaceState(null, '', `#${encodeURIComponent(id)}`);
    return true;
  }

  function shut() {
    if (!panel.open) return;
    panel.close();
    current = null;
    history.replaceState(null, '', location.pathname + location.search);
    returnTo?.focus?.({ preventScroll: true });
  }
  close.addEventListener('click', shut);
  addEventListener('keydown', event => {
    if (event.key === 'Escape') shut();
    const next = event.target === panel ? { ArrowLeft: back, ArrowRight: on }[event.key] : null;
    if (next && !next.hidden) { event.preventDefault(); open(next.dataset.opens) }
  });
  addEventListener('click', event => {
    const button = event.target.closest?.('[data-opens]');
    if (button?.dataset.opens) open(button.dataset.opens);
  });
  document.body.append(said, panel);

  /** Say it to those who do not see the page. */
  function say(text) { said.textContent = text }

  return { data, make, shown, colour, calmed, toggleTheme, onPaint: each => listeners.push(each), open, shut, say, makers,
    panelOf: () => current, charts: new Map(), kinds: {} };
})();

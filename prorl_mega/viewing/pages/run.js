/* A run while it goes on: facts, charts that grow, decisions, evaluations, answers of any step, settings. */
'use strict';
if (location.pathname.startsWith('/run/')) (() => {
  const { make, live, shown } = prorl, { put, share, fixed, view } = live;
  const key = location.pathname.split('/')[2], parts = {}, hashes = {};
  let points = '';
  prorl.data.opens = { step: 'step-' };

  const title = make('h1'), about = make('p', 'soft'), state = make('span', 'state'), why = make('span', 'soft');
  const words = make('p', 'line', {}, state, ' ', why);
  const facts = make('div', 'facts'), grid = make('div', 'grid'), tools = make('div', 'tools');
  const none = make('p', 'soft', { hidden: '' }, 'No step has been finished yet. The curves appear with the first one.');
  const SECTIONS = { training: 'Training', decisions: 'Decisions', evaluations: 'Held-out problems', answers: 'Answers', settings: 'Settings' };
  const nav = make('nav', '', { 'aria-label': 'sections' });
  const section = Object.fromEntries(Object.entries(SECTIONS).map(([id, name]) => {
    const link = make('a', '', { href: `#${id}` }, name), box = make('div'), whole = make('section', '', { id }, make('h2', '', {}, name), box);
    nav.append(link);
    return [id, { box, show: isShown => { link.hidden = whole.hidden = !isShown }, whole }];
  }));
  section.training.box.append(none, grid);
  const more = make('details', 'card more', { hidden: '' }), moreTitle = make('summary'), names = make('div', 'chips');
  const moreSearch = make('input', 'search', { type: 'search', placeholder: 'filter', 'aria-label': 'filter metrics' });
  more.append(moreTitle, moreSearch, names);
  section.training.box.append(more);
  view.append(live.head(make('a', 'up', { href: '/' }, '← all runs'), title, about, words), facts,
    make('div', 'bar', {}, nav, tools), ...Object.values(section).map(each => each.whole));
  for (const each of ['decisions', 'evaluations', 'answers', 'settings']) section[each].show(false);

  // Facts

  const progress = live.progress(), factOf = {};
  function fact(name, value, note = '', tone = '') {
    const known = factOf[name] ??= (() => {
      const each = { value: make('div', 'value'), note: make('div', 'note') };
      each.card = make('div', 'card fact', {}, make('div', 'label', {}, name), each.value, each.note);
      facts.append(each.card);
      return each;
    })();
    put(known.value, value);
    put(known.note, note);
    known.value.className = `value ${tone}`;
    known.card.hidden = value === '–';
  }

  function showRun(run) {
    document.title = `${run.name} · ProRL`;
    put(title, run.name);
    put(about, [run.folder, run.model && `model ${run.model}`, run.seed === null ? '' : `seed ${run.seed}`].filter(Boolean).join(' · '));
    live.showState(state, run);
    put(why, run.why);
    if (!progress.box.isConnected) facts.append(make('div', 'card fact', {}, make('div', 'label', {}, 'step'), progress.box));
    progress.box.classList.add('value');
    progress.show(run);
    const before = run.held_out_at_start, has = run.held_out !== null && before !== null;
    fact('held-out pass@1', run.held_out === null ? '–' : has ? `${(100 * before).toFixed(1)} → ${share(run.held_out)}` : share(run.held_out),
      has ? `${run.held_out >= before ? '+' : ''}${(100 * (run.held_out - before)).toFixed(1)} points` : '', has ? (run.held_out > before ? 'good' : run.held_out < before ? 'bad' : '') : '');
    fact('reward', fixed(3)(run.reward), run.pass === null ? '' : `${share(run.pass)} right in training`);
    fact('entropy', fixed(3)(run.entropy), 'nats per token');
    fact('KL to the reference', shown(run.kl), run.resets === null ? 'nats per token' : `nats per token · ${run.resets} resets`);
    fact('time per step', run.seconds === null ? '–' : `${shown(Number(run.seconds.toPrecision(3)))} s`, `last step ${live.ago(run.written)}`);
  }

  // Charts

  const charts = new Map();
  let order = [];  // titles, as the server sends them
  function showCharts({ have, from, charts: sent }) {
    points = have;
    const whole = sent.map((chart, i) => from[i] > 0 ? live.joined(charts.get(order[i]).chart, chart, from[i]) : chart);
    order = whole.map(chart => chart.title);
    live.showAll(grid, charts, whole);
    none.hidden = charts.size > 0;
    live.showTools(tools);
  }

  // Any other metric

  const MOST = 24, also = new URLSearchParams(location.search).getAll('also').slice(0, MOST);
  function showMetrics(metrics) {
    more.hidden = !metrics.length;
    put(moreTitle, `Charts of other metrics (${metrics.length})`);
    more.open ||= also.length > 0;
    names.replaceChildren(...metrics.map(name => {
      const button = make('button', 'chip', { type: 'button', 'aria-pressed': String(also.includes(name)) }, name);
      button.addEventListener('click', () => {
        if (also.includes(name)) also.splice(also.indexOf(name), 1); else if (also.length < MOST) also.push(name);
        button.setAttribute('aria-pressed', String(also.includes(name)));
        const query = new URLSearchParams(also.map(each => ['also', each]));
        history.replaceState(null, '', location.pathname + (also.length ? `?${query}` : '') + location.hash);
        askNow();
      });
      return button;
    }));
    filterMetrics();
  }
  function filterMetrics() { for (const each of names.children) each.hidden = !each.textContent.toLowerCase().includes(moreSearch.value.toLowerCase()) }
  moreSearch.addEventListener('input', filterMetrics);

  // Decisions, evaluations, settings

  function showDecisions(decisions) {
    prorl.data.marks = { step: decisions.map(({ step, text, kind, alarm }) => ({ x: step, text, kind, opens: alarm || `step-${step}` })) };
    for (const drawn of charts.values()) drawn.plot?.redraw(false);
    section.decisions.show(decisions.length);
    const list = make('div', 'list');
    for (const each of [...decisions].reverse()) {
      const opens = each.alarm ? { 'data-opens': each.alarm } : {};
      list.append(make('button', each.kind === 'minor' && !each.alarm ? '' : 'main', { type: 'button', 'data-jump': `step:${each.step}`, ...opens }, make('span', 'when', {}, `step ${each.step}`),
        make('span', '', {}, each.text || each.action), ...(each.alarm ? [make('span', 'badge push', {}, 'answers →')] : []),
        make('span', `badge ${each.alarm ? '' : 'push'} ${each.action === 'stop' || each.alarm ? 'bad' : ''}`, {}, each.action)));
    }
    section.decisions.box.replaceChildren(make('div', 'card', {}, list));
  }

  function showEvaluations(evaluations) {
    section.evaluations.show(evaluations.length);
    const tasks = new Map();
    for (const evaluation of evaluations) for (const row of evaluation.rows) tasks.set(row.task, (tasks.get(row.task) ?? new Map()).set(evaluation.label, row));
    const head = make('tr', '', {}, make('th', '', {}, 'task'), make('th', '', {}, 'problems'));
    for (const { label, step } of evaluations) head.append(make('th', '', {}, `${label}, step ${step}`));
    const rows = [...tasks].map(([task, byLabel]) => {
      const line = make('tr', task === 'all tasks' ? 'all' : '', {}, make('td', '', {}, task), make('td', '', {}, String([...byLabel.values()][0].problems)));
      for (const { label } of evaluations) {
        const row = byLabel.get(label);
        line.append(row ? make('td', '', {}, share(row.pass), make('small', '', {}, row.samples > 1 ? `pass@${row.samples} ${share(row.solved)}` : '')) : make('td', '', {}, '–'));
      }
      return line;
    });
    section.evaluations.box.replaceChildren(make('div', 'card scroll', {}, make('table', '', {}, make('thead', '', {}, head), make('tbody', '', {}, ...rows))),
      make('p', 'soft small', {}, 'Share of right answers over all samples (pass@1), and of problems with at least one.'));
  }

  async function showSettings() {
    const answer = await fetch(`/api/settings/${key}`);
    if (!answer.ok) return;
    const { fault, values } = await answer.json(), entries = Object.entries(values);
    section.settings.show(fault || entries.length);
    const search = make('input', 'search', { type: 'search', placeholder: 'filter', 'aria-label': 'filter settings' });
    const rows = entries.map(([name, value]) => make('tr', '', {}, make('td', '', {}, name), make('td', 'text', {}, value)));
    search.addEventListener('input', () => rows.forEach((row, i) => { row.hidden = !entries[i].join(' ').toLowerCase().includes(search.value.toLowerCase()) }));
    const table = make('div', 'scroll tall', {}, make('table', 'settings', {}, make('tbody', '', {}, ...rows)));
    section.settings.box.replaceChildren(fault ? make('p', 'bad', {}, fault)
      : make('details', 'card', {}, make('summary', '', {}, `${entries.length} settings`), search, table));
  }

  // Answers: those of a step are asked for when somebody opens it

  const answersOf = new Map(), row = make('div', 'answers');
  function part(each) {
    const words = [each.reward === null ? 'not scored' : `reward ${shown(each.reward)}`, each.outcome, each.truncated ? 'truncated' : '', each.tokens === null ? '' : `${each.tokens} tokens`];
    return { text: each.completion, label: words.filter(Boolean).join(' · '), tone: each.reward === null ? '' : each.reward > .5 ? 'good' : 'bad' };
  }
  function panelParts(rows) {
    const out = [];
    let problem = null;
    for (const each of rows) {
      if (`${each.task}/${each.key}` !== problem) {
        problem = `${each.task}/${each.key}`;
        out.push({ kind: 'heading', text: `${each.task} · ${each.key}` });
        if (each.system) out.push({ kind: 'pre', label: 'system', text: each.system });
        out.push({ kind: 'pre', label: 'prompt', text: each.prompt });
      }
      const { text, label, tone } = part(each);
      const alarms = each.behind.length ? `, behind the alarm ${each.behind.join(', ')}` : '';
      out.push({ kind: 'pre', label: `answer${alarms}`, verdict: label, tone, text });
    }
    return out;
  }
  function alarmPanel(step, alarm, found) {
    const rows = String(found.step) === step ? found.rows.filter(each => each.behind.includes(alarm)) : [];
    const why = (parts.decisions ?? []).filter(each => each.alarm === `alarm-${step}-${alarm}`).map(each => ({ kind: 'text', text: each.text }));
    return { title: `alarm ${alarm}, step ${step}`, parts: [...why,
      ...(rows.length ? panelParts(rows) : [{ kind: 'text', text: 'No answers behind it were kept.', tone: 'soft' }]),
      { kind: 'opens', opens: `step-${step}`, text: `step ${step}` }] };
  }
  prorl.makers.push(id => {
    const [, one, of, alarm] = /^(?:step-([0-9]{1,10})|alarm-([0-9]{1,10})-([a-z_]{1,40}))$/.exec(id) ?? [], step = one ?? of;
    if (!step) return null;
    const found = answersOf.get(step);
    if (!found) {
      fetch(`/api/answers/${key}?step=${step}`).then(answer => answer.ok ? answer.json() : { rows: [] }).then(content => {
        answersOf.set(step, content);
        if (prorl.panelOf() === id) prorl.open(id);
      }).catch(() => {});
      return { title: `step ${step}`, parts: [{ kind: 'text', text: 'Reading the answers …', tone: 'soft' }] };
    }
    if (alarm) return alarmPanel(step, alarm, found);
    if (!found.rows.length) return { title: `step ${step}`, parts: [{ kind: 'text', text: 'No answers were kept of this step.', tone: 'soft' }] };
    const other = String(found.step) === step ? [] : [{ kind: 'text', text: `Answers of step ${found.step}, the last one before that kept some:`, tone: 'soft' }];
    return { title: `step ${step}`, parts: [...other, ...panelParts(found.rows)], before: found.before === null ? null : `step-${found.before}`, after: found.after === null ? null : `step-${found.after}` };
  });

  async function showAnswers(known) {
    answersOf.clear();  // a run that has gone on from an earlier step writes other ones
    section.answers.show(known.count);
    if (!known.count) return;
    const answer = await fetch(`/api/answers/${key}?step=${known.last}`);
    if (!answer.ok) return;
    const found = await answer.json(), pairs = [];
    for (const each of found.rows.slice(0, 4)) {
      const { text, label, tone } = part(each);
      pairs.push(make('div', 'card', {}, make('h3', '', {}, `${each.task} · ${each.key}`), make('pre', 'short', { tabindex: '0' }, each.prompt),
        make('div', 'caption', {}, make('span', `badge ${tone}`, {}, label)), make('pre', 'short', { tabindex: '0' }, text)));
    }
    row.replaceChildren(...pairs);
    const older = make('button', 'button', { type: 'button', 'data-opens': `step-${known.last}` }, `all of step ${known.last}`);
    const first = make('button', 'button', { type: 'button', 'data-opens': `step-${known.first}` }, `step ${known.first}, the first`);
    section.answers.box.replaceChildren(row, make('p', 'soft small', {}, `${known.count} steps have some; click a step in a chart for its own. `, older, ' ', first));
  }

  const show = { run: showRun, decisions: showDecisions, evaluations: showEvaluations, answers: showAnswers, metrics: showMetrics, settings: showSettings };
  const wanted = () => also.map(each => `&also=${encodeURIComponent(each)}`).join('');
  const askNow = live.follow(() => `/api/run/${key}?have=${Object.values(hashes).join()}&points=${points}${wanted()}`, content => {
    for (const [name, { hash, content: part }] of Object.entries(content.parts)) {
      hashes[name] = hash;
      parts[name] = part;
      Promise.resolve(show[name](part)).catch(() => { delete hashes[name] });  // then it is sent again
    }
    showCharts(content.charts);
  });
  setInterval(() => { if (!document.hidden && parts.run) showRun(parts.run) }, 20_000);
})();

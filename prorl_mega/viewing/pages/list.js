/* The list of all runs: sorted, filtered, and chosen from to be compared. Rows are kept, and only what changes is set. */
'use strict';
if (location.pathname === '/') (() => {
  const { make, live, shown } = prorl, { put, share, fixed, ago, view } = live;
  const MOST = 8, STATES = ['running', 'finished', 'stopped', 'crashed', 'idle'];
  const path = run => `${run.folder}/${run.name} ${run.key}`.toLowerCase();
  const COLUMNS = [
    { id: 'name', name: 'run', value: path, isText: true },
    { id: 'status', name: 'state', value: run => STATES.indexOf(run.state), isText: true },
    { id: 'steps', name: 'step', value: run => run.step },
    { id: 'reward', name: 'reward', value: run => run.reward },
    { id: 'pass', name: 'pass', value: run => run.pass, text: run => share(run.pass), about: 'share of right answers in training, last step' },
    { id: 'held', name: 'held-out', value: run => run.held_out, about: 'held-out pass@1: before training, and at its last evaluation' },
    { id: 'entropy', name: 'entropy', value: run => run.entropy, text: run => fixed(3)(run.entropy), about: 'nats per token' },
    { id: 'kl', name: 'KL', value: run => run.kl, text: run => shown(run.kl), about: 'to the reference policy, nats per token' },
    { id: 'seconds', name: 's/step', value: run => run.seconds, text: run => shown(run.seconds && Number(run.seconds.toPrecision(3))), about: 'seconds of the last step' },
    { id: 'written', name: 'last step', value: run => run.written, text: run => ago(run.written) },
  ];
  const asked = new URLSearchParams(location.search);
  let sort = COLUMNS.some(each => each.id === asked.get('sort')) ? asked.get('sort') : 'status';  // rows that change places while one reads are no list
  let isRising = asked.has('sort') ? asked.get('order') === 'rising' : true;
  let words = asked.get('q') ?? '';
  let hidden = new Set((asked.get('without') ?? '').split(',').filter(each => STATES.includes(each)));
  const chosen = new Set((asked.get('chosen') ?? '').split(',').filter(each => /^[0-9a-f]{16}$/.test(each)).slice(0, MOST));
  let content = { runs: [], roots: [] };
  const rows = new Map();

  const roots = make('p', 'soft'), count = make('span', 'soft');
  const search = make('input', 'search', { type: 'search', placeholder: 'filter by name, folder, model', 'aria-label': 'filter', value: words });
  const chips = make('div', 'chips', { role: 'group', 'aria-label': 'states' });
  const headings = make('tr'), body = make('tbody'), empty = make('p', 'soft empty');
  const table = make('table', 'runs', {}, make('thead', '', {}, headings), body);
  const compare = make('a', 'button strong'), clear = make('button', 'button', { type: 'button' }, 'choose none');
  const tray = make('div', 'tray', { hidden: '' }, compare, clear);
  view.append(live.head(make('h1', '', {}, 'Runs'), roots), make('div', 'filters', {}, search, chips, count),
    make('div', 'card list-card scroll', {}, table), empty, tray);

  headings.append(make('th', 'choose', {}, make('span', 'unseen', {}, 'compare')));
  for (const column of COLUMNS) {
    const button = make('button', '', { type: 'button' }, column.name);
    const cell = make('th', column.id, column.about ? { title: column.about } : {}, button);
    column.heading = cell;
    button.addEventListener('click', () => {
      isRising = sort === column.id ? !isRising : Boolean(column.isText);
      sort = column.id;
      draw();
    });
    headings.append(cell);
  }
  search.addEventListener('input', () => { words = search.value; draw() });
  clear.addEventListener('click', () => { chosen.clear(); draw() });

  const chipOf = new Map(STATES.map(name => {
    const number = make('b'), button = make('button', `chip ${name}`, { type: 'button' }, name, ' ', number);
    button.addEventListener('click', () => { hidden.has(name) ? hidden.delete(name) : hidden.add(name); draw() });
    chips.append(button);
    return [name, { button, number }];
  }));

  class Row {
    constructor(run) {
      this.box = make('input', '', { type: 'checkbox' });
      this.box.addEventListener('change', () => { this.box.checked ? chosen.add(run.key) : chosen.delete(run.key); draw() });
      this.link = make('a', 'name', { href: `/run/${run.key}` });
      this.folder = make('span', 'folder');
      this.about = make('small', 'about');
      this.state = live.state(run);
      this.why = make('small', 'why');
      this.progress = live.progress();
      this.reward = make('span', 'number');
      this.curve = live.curve();
      this.before = make('small');
      this.after = make('span', 'number');
      this.texts = new Map();
      this.element = make('tr', '', {}, make('td', 'choose', {}, make('label', '', {}, this.box)));
      for (const column of COLUMNS) this.element.append(make('td', column.id, { 'data-name': column.name }, ...this.cell(column)));
    }

    cell(column) {
      switch (column.id) {
        case 'name': return [make('div', 'title', {}, this.folder, this.link), this.about];
        case 'status': return [this.state, this.why];
        case 'steps': return [this.progress.box];
        case 'reward': return [this.curve.box, this.reward];
        case 'held': return [this.before, this.after];
        default: this.texts.set(column, make('span', 'number')); return [this.texts.get(column)];
      }
    }

    show(run) {
      put(this.folder, run.folder ? `${run.folder}/` : '');
      put(this.link, run.name);
      put(this.about, [run.model, run.seed === null ? '' : `seed ${run.seed}`].filter(Boolean).join(' · '));
      this.box.checked = chosen.has(run.key);
      this.box.disabled = chosen.size >= MOST && !this.box.checked;
      this.box.setAttribute('aria-label', `compare ${run.name}`);
      live.showState(this.state, run);
      put(this.why, run.state === 'crashed' || run.state === 'stopped' ? run.why : '');
      this.progress.show(run);
      put(this.reward, fixed(3)(run.reward));
      const curve = run.curve.join();
      if (curve !== this.shownCurve) { this.shownCurve = curve; this.curve.show(run.curve) }
      const has = run.held_out !== null, before = run.held_out_at_start;
      put(this.before, has && before !== null ? `${(100 * before).toFixed(1)} → ` : '');
      put(this.after, share(run.held_out));
      this.after.className = `number ${has && before !== null && run.held_out !== before ? (run.held_out > before ? 'good' : 'bad') : ''}`;
      for (const [column, element] of this.texts) put(element, column.text(run));
      this.element.classList.toggle('chosen', this.box.checked);
    }
  }

  function isShown(run) {
    const text = `${run.folder}/${run.name} ${run.model} seed ${run.seed}`.toLowerCase();
    return !hidden.has(run.state) && words.toLowerCase().split(/\s+/).every(each => text.includes(each));
  }

  function order(runs) {
    const column = COLUMNS.find(each => each.id === sort), sign = isRising ? 1 : -1;
    const compared = (a, b) => {
      const [x, y] = [column.value(a), column.value(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * (x < y ? -1 : x > y ? 1 : 0) || (path(a) < path(b) ? -1 : 1);
    };
    return [...runs].sort(compared);
  }

  function draw() {
    const known = new Set(content.runs.map(run => run.key));
    for (const [key, row] of rows) if (!known.has(key)) { row.element.remove(); rows.delete(key) }
    if (content.runs.length) for (const key of [...chosen]) if (!known.has(key)) chosen.delete(key);
    const visible = order(content.runs.filter(isShown));
    let place = body.firstElementChild;
    const stay = new Set();
    for (const run of visible) {
      const row = rows.get(run.key) ?? rows.set(run.key, new Row(run)).get(run.key);
      row.show(run);
      stay.add(row.element);
      if (row.element === place) place = place.nextElementSibling; else body.insertBefore(row.element, place);
    }
    for (const element of [...body.children]) if (!stay.has(element)) element.remove();
    for (const [name, { button, number }] of chipOf) {
      const many = content.runs.filter(run => run.state === name).length;
      put(number, String(many));
      button.hidden = !many;
      button.setAttribute('aria-pressed', String(!hidden.has(name)));
    }
    put(roots, content.roots.join(' · '));
    put(count, visible.length === content.runs.length ? '' : `${visible.length} of ${content.runs.length} runs`);
    put(empty, content.runs.length ? (visible.length ? '' : 'No run fits the filter.') : 'No runs here yet. They appear as they begin.');
    table.parentElement.hidden = !visible.length;
    for (const column of COLUMNS) {
      if (column.id === sort) column.heading.setAttribute('aria-sort', isRising ? 'ascending' : 'descending');
      else column.heading.removeAttribute('aria-sort');
    }
    tray.hidden = !chosen.size;
    compare.href = `/compare?runs=${[...chosen].join()}`;
    put(compare, chosen.size === 1 ? 'choose a second run to compare' : `compare ${chosen.size} runs`);
    compare.classList.toggle('off', chosen.size < 2);
    remember();
  }

  function remember() {
    const now = new URLSearchParams();
    if (words) now.set('q', words);
    if (sort !== 'status' || !isRising) now.set('sort', sort);
    if (isRising && now.has('sort')) now.set('order', 'rising');
    if (hidden.size) now.set('without', [...hidden].join());
    if (chosen.size) now.set('chosen', [...chosen].join());
    const address = String(now) ? `/?${String(now).replaceAll('%2C', ',')}` : '/';
    if (address !== location.pathname + location.search) history.replaceState(null, '', address);
  }

  live.follow(() => '/api/runs', answer => { content = answer; draw() });
  setInterval(() => { if (!document.hidden) draw() }, 20_000);  // "5 min ago"
})();

/* Several runs laid over each other: who they are, the settings in which they differ, a line each in every chart. */
'use strict';
if (location.pathname === '/compare') (() => {
  const { make, live, shown } = prorl, { put, share, fixed, view } = live;
  const keys = (new URLSearchParams(location.search).get('runs') ?? '').split(',').filter(each => /^[0-9a-f]{16}$/.test(each));
  const grid = make('div', 'grid'), tools = make('div', 'tools'), runs = make('div', 'card scroll'), settings = make('div', 'card scroll tall');
  const differences = make('section', '', { id: 'settings' }, make('h2', '', {}, 'Settings that differ'), settings);
  const back = make('a', 'up', { href: keys.length ? `/?chosen=${keys.join()}` : '/' }, '← all runs');
  view.append(live.head(back, make('h1', '', {}, 'Comparison')), make('section', '', { id: 'runs' }, runs),
    make('div', 'bar', {}, make('nav', '', { 'aria-label': 'sections' }, make('a', '', { href: '#runs' }, 'Runs'),
      make('a', '', { href: '#training' }, 'Training'), make('a', '', { href: '#settings' }, 'Settings')), tools),
    make('section', '', { id: 'training' }, make('h2', '', {}, 'Training'), grid), differences);
  document.title = 'Comparison · ProRL';

  const COLUMNS = [['state', run => live.state(run)], ['step', run => run.steps ? `${run.step} of ${run.steps}` : run.step], ['reward', run => fixed(3)(run.reward)],
    ['pass', run => share(run.pass)], ['held-out', run => run.held_out === null || run.held_out_at_start === null ? share(run.held_out) : `${(100 * run.held_out_at_start).toFixed(1)} → ${share(run.held_out)}`],
    ['entropy', run => fixed(3)(run.entropy)], ['KL', run => shown(run.kl)], ['s/step', run => shown(run.seconds && Number(run.seconds.toPrecision(3)))]];
  const swatch = index => make('span', `swatch c${index % 8}`);

  function showRuns(all) {
    const head = make('tr', '', {}, make('th', '', {}, 'run'), ...COLUMNS.map(([name]) => make('th', '', {}, name)));
    const lines = all.map((run, index) => make('tr', '', {}, make('td', 'who', {}, swatch(index), make('a', 'name', { href: `/run/${run.key}` }, run.label)),
      ...COLUMNS.map(([, cell]) => make('td', '', {}, cell(run)))));
    runs.replaceChildren(make('table', '', {}, make('thead', '', {}, head), make('tbody', '', {}, ...lines)));
  }

  function showSettings(rows, all) {
    differences.hidden = all.length < 2;
    if (!rows.length) { settings.replaceChildren(make('p', 'soft', {}, 'None: the runs have the same settings, as far as they are known.')); return }
    const head = make('tr', '', {}, make('th', '', {}, 'setting'), ...all.map((run, index) => make('th', '', {}, swatch(index), ` ${run.label}`)));
    const lines = rows.map(row => make('tr', '', {}, make('td', '', {}, row.key), ...row.values.map(value => make('td', value === null ? 'soft' : '', {}, value ?? '–'))));
    settings.replaceChildren(make('table', 'differences', {}, make('thead', '', {}, head), make('tbody', '', {}, ...lines)));
  }

  const drawn = new Map();
  let labels = '', rowsShown = '', settingsShown = '';
  function showCharts(charts) {
    live.showAll(grid, drawn, charts);
    live.showTools(tools);
  }

  if (!keys.length) { view.append(make('p', 'soft', {}, 'Choose runs in the list.')); return }
  live.follow(() => `/api/compare?runs=${keys.join()}`, content => {
    const now = content.runs.map(run => run.label).join('\n');
    if (now !== labels) { for (const [name, each] of drawn) live.dropChart(name, each); drawn.clear(); labels = now }
    if (rowsShown !== (rowsShown = JSON.stringify(content.runs))) showRuns(content.runs);
    if (settingsShown !== (settingsShown = JSON.stringify([now, content.settings]))) showSettings(content.settings, content.runs);
    showCharts(content.charts);
  });
})();

/* Fills the page: a chart into every [data-chart], the tools into [data-tools], and jumps of lists into charts. */
'use strict';
(() => {
  const { make } = prorl;
  for (const holder of document.querySelectorAll('[data-chart]')) {
    const chart = prorl.data.charts?.[holder.dataset.chart];
    if (chart && Object.hasOwn(prorl.kinds, chart.kind)) prorl.charts.set(holder.dataset.chart, new prorl.kinds[chart.kind](holder, chart));
  }

  const lines = [...prorl.charts.values()].filter(each => each.group);
  for (const place of document.querySelectorAll('[data-tools]')) {
    place.classList.add('tools');
    if (lines.length) {
      const slider = make('input', '', { type: 'range', min: 0, max: prorl.groups.levels - 1, value: 3, 'aria-label': 'smoothing' });
      const words = make('output');
      const longest = lines.reduce((a, b) => (b.x.length > a.x.length ? b : a));
      const say = () => { words.textContent = longest.width > 1 ? `${longest.width} points` : 'off' };
      slider.addEventListener('input', () => { prorl.groups.all().forEach(each => each.smooth(Number(slider.value))); say() });
      const reset = make('button', 'button', { type: 'button', disabled: '' }, 'reset zoom');
      reset.addEventListener('click', () => prorl.groups.all().forEach(each => each.reset()));
      prorl.groups.onChange(() => { reset.disabled = !prorl.groups.all().some(each => each.zoomed) });
      place.append(make('label', '', {}, make('span', 'word', {}, 'smoothing'), slider, words), reset);
      say();
    }
    const theme = make('button', 'button', { type: 'button', 'aria-label': 'light or dark', title: 'light or dark' }, '◐');
    theme.addEventListener('click', prorl.toggleTheme);
    place.append(theme);
  }

  addEventListener('click', event => {
    const button = event.target.closest?.('[data-jump]');
    if (!button) return;
    const [key, x] = button.dataset.jump.split(':');
    prorl.groups.get(key).jump(Number(x));
  });

  /** The numbers at an x of a group whose points open panels: from its charts. */
  prorl.makers.push(id => {
    const [key, prefix] = Object.entries(prorl.data.opens ?? {}).find(([, each]) => id.startsWith(each)) ?? [];
    if (!prefix || !/^[0-9]{1,12}$/.test(id.slice(prefix.length))) return null;
    const x = Number(id.slice(prefix.length)), rows = [];
    let before = -Infinity, after = Infinity;
    for (const chart of prorl.groups.get(key).charts) {
      const index = chart.x.findIndex(each => each >= x);
      if (index < 0 || (chart.chart.x.first?.[index] ?? chart.x[index]) > x) continue;
      before = Math.max(before, chart.x[index - 1] ?? -Infinity);
      after = Math.min(after, chart.x[index + 1] ?? Infinity);
      for (const series of chart.chart.series)
        if (series.values[index] !== null) rows.push([`${chart.chart.title}: ${series.label}`, prorl.shown(series.values[index])]);
    }
    if (!rows.length) return null;
    const note = Object.hasOwn(prorl.data.panels ?? {}, id) ? null : prorl.data.notes?.[key];
    return { title: `${key} ${x}`, before: Number.isFinite(before) ? prefix + before : null,
      after: Number.isFinite(after) ? prefix + after : null, parts: [{ kind: 'heading', text: 'Numbers' }, { kind: 'table', head: ['', 'value'], rows },
        ...(note ? [{ kind: 'text', text: note, tone: 'soft' }] : [])] };
  });

  prorl.update = (name, chart) => prorl.charts.get(name)?.update(chart);
  function openWanted() {
    let wanted = '';
    try { wanted = decodeURIComponent(location.hash.slice(1)) } catch { /* not an address of this page */ }
    if (wanted) prorl.open(wanted);
  }
  addEventListener('hashchange', openWanted);
  openWanted();
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
})();

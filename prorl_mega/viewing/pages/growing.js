/* Charts of pages that follow runs: added, dropped, and redrawn in place when points are added to them. */
'use strict';
(() => {
  const { make, live, charts, kinds } = prorl;
  const OF_X = ['values', 'first'], OF_SERIES = ['values', 'low', 'high', 'least', 'most'];

  /** Lines that may begin and end at different steps: their smooth lines do so as well. */
  class Growing extends kinds.lines {
    average(values, width) {
      const smooth = super.average(values, width), isKnown = each => each !== null;
      const first = values.findIndex(isKnown), last = values.findLastIndex(isKnown);
      return smooth.map((each, i) => i < first || i > last ? null : each);
    }
  }

  function addChart(chart) {
    const holder = make('div', 'card', { 'data-chart': chart.title });
    return { holder, draw: () => new Growing(holder, chart) };
  }

  /** Charts by title in `shown`, which is brought up to date, and in their order on the page. */
  live.showAll = (grid, shown, wanted) => {
    const titles = new Set(wanted.map(each => each.title));
    for (const [name, drawn] of shown) if (!titles.has(name)) { live.dropChart(name, drawn); shown.delete(name) }
    let place = grid.firstElementChild;
    for (const chart of wanted) {
      let drawn = shown.get(chart.title);
      if (drawn) live.redraw(drawn, chart);
      const { holder, draw } = drawn ?? addChart(chart);
      if (holder === place) place = place.nextElementSibling; else grid.insertBefore(holder, place);
      if (drawn) continue;
      drawn = draw();
      shown.set(chart.title, drawn);
      charts.set(chart.title, drawn);
    }
  };

  live.dropChart = (name, drawn) => {
    drawn.watcher?.disconnect();
    drawn.plot?.destroy();
    drawn.group?.charts.delete(drawn);
    drawn.holder.remove();
    charts.delete(name);
  };

  /** A chart with the points that were sent in place of those from `from` on. */
  live.joined = (chart, sent, from) => {
    const join = (known, more, names) => Object.fromEntries(names.filter(name => more[name]).map(name => [name, known[name].slice(0, from).concat(more[name])]));
    return { ...chart, x: { ...chart.x, ...join(chart.x, sent.x, OF_X) },
      series: chart.series.map((series, i) => ({ ...series, ...join(series, sent.series[i], OF_SERIES) })) };
  };

  /** Whether the plot of one has a place for every line and band of the other. */
  function isAlike(before, after) {
    const words = chart => JSON.stringify([chart.stacked, chart.log_y, chart.series.map(each => [each.label, 'low' in each, 'least' in each])]);
    return words(before) === words(after);
  }
  const few = chart => chart.series.map(each => each.values.filter(value => value !== null).length <= 40).join();

  /** Like `update`, but without a new plot where the old one will do: cursor, tip and a drag that is going on stay. */
  live.redraw = (drawn, chart) => {
    const before = drawn.chart, isSame = drawn.plot && isAlike(before, chart) && few(before) === few(chart)
      && (!chart.log_y || chart.series.some(each => each.values.some(value => value > 0)) === before.series.some(each => each.values.some(value => value > 0)));
    if (!isSame) { drawn.update(chart); return }
    drawn.chart = chart;
    drawn.x = chart.x.values;
    const { left, top } = drawn.plot.cursor;
    drawn.plot.setData(drawn.turnedColumns(drawn.rows()), true);
    if (drawn.isHovered && left >= 0) drawn.plot.setCursor({ left, top }); else drawn.read(null);
  };

  /** Smoothing and zoom, once there is a chart. */
  live.showTools = place => {
    if (place.childElementCount || !charts.size) return;
    const slider = make('input', '', { type: 'range', min: 0, max: prorl.groups.levels - 1, value: 3, 'aria-label': 'smoothing' });
    const words = make('output');
    const say = () => {
      const longest = [...charts.values()].reduce((a, b) => (b.x.length > a.x.length ? b : a));
      words.textContent = longest.width > 1 ? `${longest.width} points` : 'off';
    };
    slider.addEventListener('input', () => { prorl.groups.all().forEach(each => each.smooth(Number(slider.value))); say() });
    const reset = make('button', 'button', { type: 'button', disabled: '' }, 'reset zoom');
    reset.addEventListener('click', () => prorl.groups.all().forEach(each => each.reset()));
    prorl.groups.onChange(() => { reset.disabled = !prorl.groups.all().some(each => each.zoomed) });
    place.append(make('label', '', {}, make('span', 'word', {}, 'smoothing'), slider, words), reset);
    say();
  };
})();

/* Charts over a shared x as `descriptions.py` gives them, drawn by uPlot. Charts of one group have one cursor and zoom. */
'use strict';
prorl.groups = (() => {
  const groups = new Map();
  const WIDTHS = [0, 1 / 60, 1 / 30, 1 / 12, 1 / 6, 1 / 3];  // of a moving average, as shares of the points

  class Group {
    constructor(key) { this.key = key; this.charts = new Set(); this.zoomed = null; this.level = 3; this.at = null }

    /** Everything that its charts show, so that they agree on the x axis. */
    get whole() {
      let [low, high] = [Infinity, -Infinity];
      for (const { x } of this.charts) if (x.length) { low = Math.min(low, x[0]); high = Math.max(high, x[x.length - 1]) }
      return low < high ? [low, high] : Number.isFinite(low) ? [low - .5, low + .5] : [0, 1];
    }

    zoom(low, high) {
      const whole = this.whole;
      low = Math.max(low, whole[0]); high = Math.min(high, whole[1]);
      if (!(high > low)) return;
      this.zoomed = low <= whole[0] && high >= whole[1] ? null : [low, high];
      for (const chart of this.charts) chart.plot?.setScale('x', { min: low, max: high });
      tell();
    }
    reset() { this.zoom(...this.whole) }

    smooth(level) { this.level = level; for (const chart of this.charts) chart.refresh() }
    width(count) { return Math.max(1, Math.floor(Math.floor(count * WIDTHS[this.level]) / 2) * 2 + 1) }

    /** Put the cursor of all charts at an x, and show them. */
    jump(x) {
      if (this.zoomed && (x < this.zoomed[0] || x > this.zoomed[1])) this.reset();
      const first = [...this.charts].find(each => each.plot);
      if (!first) return;
      first.holder.scrollIntoView({ block: 'center' });
      for (const chart of this.charts) chart.point(x);
    }
  }

  const listeners = [];
  function tell() { listeners.forEach(each => each()) }
  return { get: key => groups.get(key) ?? groups.set(key, new Group(key)).get(key), all: () => [...groups.values()],
    onChange: each => listeners.push(each), levels: WIDTHS.length };
})();

/** The frame of a chart: title, words, legend, and the place to draw in. */
prorl.ChartFrame = class {
  constructor(holder, chart) {
    const { make } = prorl;
    Object.assign(this, { holder, chart, hidden: new Set((chart.series ?? []).filter(each => each.hidden).map(each => each.label)) });
    holder.classList.add('chart');
    this.legend = make('ul', 'legend');
    this.place = make('div', 'plot', { tabindex: '0', role: 'application', 'aria-roledescription': 'chart' });
    this.tip = make('div', 'tip', { role: 'presentation' });
    holder.replaceChildren(make('h3', '', {}, chart.title), make('p', 'about', {}, chart.about), this.legend, this.place);
    this.place.setAttribute('aria-label', `${chart.title}: ${chart.about}. Arrow keys move, Enter opens, plus and minus zoom`);
    this.place.append(make('div', 'unit', {}, chart.unit ?? ''));
  }

  get size() {
    const width = Math.max(120, Math.floor(this.place.clientWidth));
    return { width, height: Number(this.holder.dataset.height) || (width < 380 ? 190 : 220) };
  }

  /** The plot once the place has a width, and again with another one. */
  watch(build) {
    this.watcher = new ResizeObserver(() => {
      if (!this.place.clientWidth) return;
      if (!this.plot) build(); else if (this.plot.width !== this.size.width) this.plot.setSize(this.size);
    });
    this.watcher.observe(this.place);
    if (this.place.clientWidth) build();
    prorl.onPaint(() => this.plot?.redraw(false));
  }

  legendOf(labels, toggle) {
    const { make } = prorl;
    if (labels.length > 8) {
      const all = make('button', 'soft', { type: 'button' }, 'all / none');
      all.addEventListener('click', () => {
        const isAll = this.hidden.size === 0;
        this.hidden = new Set(isAll ? labels : []);
        for (const each of this.legend.querySelectorAll('[aria-pressed]')) each.setAttribute('aria-pressed', String(!isAll));
        toggle();
      });
      this.legend.append(make('li', '', {}, all));
    }
    this.readings = labels.map((label, index) => {
      const reading = make('b'), swatch = make('span', `swatch c${index % 8}`);
      const button = make('button', '', { type: 'button', 'aria-pressed': String(!this.hidden.has(label)) },
        swatch, make('span', '', {}, label), reading);
      button.addEventListener('click', () => {
        this.hidden.has(label) ? this.hidden.delete(label) : this.hidden.add(label);
        button.setAttribute('aria-pressed', String(!this.hidden.has(label)));
        toggle();
      });
      this.legend.append(make('li', '', {}, button));
      return reading;
    });
  }

  showTip(left, nodes) {
    const { tip, plot } = this;
    tip.replaceChildren(...nodes);
    tip.style.display = 'block';
    const room = plot.over.clientWidth, wide = tip.offsetWidth, start = plot.over.offsetLeft;
    const wanted = left > room / 2 ? left - wide - 14 : left + 14;
    tip.style.left = `${Math.max(-start, Math.min(room - wide, wanted))}px`;
    const isWide = wide + 14 > Math.max(left, room - left);  // it would hide the lines: then below them
    tip.style.top = `${isWide ? plot.over.clientHeight + 4 : 6}px`;
  }
  hideTip() { this.tip.style.display = 'none' }

  /** Axes in the colours of the page. */
  static axes({ xLabel, xIsWhole, format }) {
    const font = '12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
    const common = { font, stroke: () => prorl.colour('--soft'), ticks: { show: false }, gap: 6 };
    const whole = [1, 2, 5].flatMap(each => Array.from({ length: 9 }, (_, power) => each * 10 ** power)).sort((a, b) => a - b);
    return [
      { ...common, size: 24, space: 56, grid: { show: false }, values: (u, splits) => splits.map(each => each === null ? '' : prorl.shown(each)),
        ...(xIsWhole ? { incrs: whole } : {}) },
      { ...common, space: 34, grid: { stroke: () => prorl.colour('--grid'), width: 1 },
        values: (u, splits) => splits.map(each => each === null ? '' : format(each)),
        size: (u, values) => 14 + Math.max(16, ...(values ?? []).map(each => (each?.length ?? 0) * 7)) },
    ];
  }
};

prorl.kinds.lines = class extends prorl.ChartFrame {
  constructor(holder, chart) {
    super(holder, chart);
    this.group = prorl.groups.get(chart.x.group);
    this.x = chart.x.values;
    this.group.charts.add(this);
    this.legendOf(chart.series.map(each => each.label), () => this.refresh());
    if (chart.names_marks && this.marks.some(each => each.kind === 'reset'))
      this.legend.append(prorl.make('li', 'soft', {}, '┆ reference reset'));
    this.read(null);
    this.watch(() => this.build());
    this.keys();
  }

  /** Its own marks, and those of all charts of its group. */
  get marks() { return [...(this.chart.marks ?? []), ...(prorl.data.marks?.[this.group.key] ?? [])] }

  // Numbers

  known(values) { return values.reduce((sum, each) => sum + (each !== null), 0) }
  isSmooth(series) { return !this.chart.stacked && !series.exact && this.known(series.values) >= 8 && this.width > 1 }
  get width() { return this.group.width(this.x.length) }

  /** Centred mean over `width` points, those without a number left out; linear in the points. */
  average(values, width) {
    const half = (width - 1) / 2, sums = [0], counts = [0];
    values.forEach((each, i) => { sums.push(sums[i] + (each ?? 0)); counts.push(counts[i] + (each !== null)) });
    return values.map((_, i) => {
      const low = Math.max(0, i - half), high = Math.min(values.length, i + half + 1), count = counts[high] - counts[low];
      return count ? (sums[high] - sums[low]) / count : null;
    });
  }

  /** Rows of uPlot per series: lower and upper end of its band, its values, and the line that is drawn. */
  rows() {
    const { chart } = this, positive = values => chart.log_y ? values.map(each => each > 0 ? each : null) : values;
    const rows = [], isCalm = chart.series.length - this.hidden.size > 4;  // many lines: no numbers behind them
    let below = this.x.map(() => 0);
    for (const series of chart.series) {
      const isOn = !this.hidden.has(series.label);
      if (chart.stacked) {
        if (isOn) below = below.map((each, i) => each + (series.values[i] ?? 0));
        rows.push({ series, low: null, high: null, raw: null, line: below, isOn });
        continue;
      }
      const isSmooth = this.isSmooth(series);
      const [low, high] = series.low ? [series.low, series.high] : isCalm ? [] : [series.least, series.most];
      rows.push({ series, isOn, low: low ? positive(low) : null, high: high ? positive(high) : null,
        raw: isSmooth && !isCalm ? positive(series.values) : null,
        line: positive(isSmooth ? this.average(series.values, this.width) : series.values) });
    }
    return rows;
  }

  columns(rows) {
    const empty = this.x.map(() => null), columns = rows.flatMap(row => [row.low ?? empty, row.high ?? empty, row.raw ?? empty, row.line]);
    return [this.x, ...columns];
  }

  // Drawing

  build() {
    const rows = this.rows(), { chart } = this, colour = index => () => prorl.colour(`--c${index % 8}`);
    const faint = (index, share) => () => prorl.colour(`--c${index % 8}`) + Math.round(255 * share).toString(16).padStart(2, '0');
    const series = [{}], bands = [];
    rows.forEach((row, index) => {
      const few = !chart.stacked && this.known(row.series.values) <= 40;
      const common = { show: row.isOn, spanGaps: true, scale: 'y' }, at = series.length;
      series.push({ ...common, stroke: null, width: 0, points: { show: false } }, { ...common, stroke: null, width: 0, points: { show: false } },
        { ...common, stroke: faint(index, .3), width: 1, points: { show: false } },
        chart.stacked
          ? { ...common, stroke: null, width: 0, fill: () => prorl.calmed(`--c${index % 8}`, .3), points: { show: false }, paths: uPlot.paths.stepped({ align: 0 }) }
          : { ...common, stroke: colour(index), width: 2, points: { show: few, size: 6, width: 1.5, fill: colour(index), stroke: () => prorl.colour('--card') } });
      if (row.low) bands.push({ series: [at + 1, at], fill: faint(index, .15) });
    });
    if (chart.stacked) series.splice(1, series.length - 1, ...this.turned(series.slice(1)));  // the tallest is drawn first
    const isLog = chart.log_y && rows.some(row => row.line.some(each => each > 0));
    this.plot = new uPlot({
      ...this.size, series, bands, legend: { show: false }, padding: [8, 20, 0, 0],
      scales: {
        x: { time: false, distr: chart.log_x ? 3 : 1, log: 2, range: () => this.group.zoomed ?? this.group.whole },
        y: { distr: isLog ? 3 : 1, range: (u, low, high) => isLog ? this.decades(low, high) : this.range(low, high) },
      },
      axes: prorl.ChartFrame.axes({ xIsWhole: chart.x.is_whole, format: each => isLog ? each.toExponential(0).replace('e+', 'e') : prorl.shown(each) }),
      cursor: { sync: { key: this.group.key, setSeries: false }, drag: { x: true, y: false, setScale: false }, y: false,
        points: { ...(chart.stacked ? { show: false } : {}), size: 7, width: 1.5,  // on the lines that are drawn, not on the ends of their bands
          fill: (u, i) => i % 4 ? 'transparent' : colour(i / 4 - 1)(), stroke: (u, i) => i % 4 ? 'transparent' : prorl.colour('--card') },
        bind: { dblclick: () => () => { this.group.reset(); return null } } },
      hooks: { setCursor: [u => this.moved(u)], setSelect: [u => this.selected(u)], draw: [u => this.drawMarks(u)] },
    }, this.turnedColumns(rows), this.place);
    this.plot.over.append(this.tip);
    this.listen();
  }

  turned(list) {
    const out = [];
    for (let at = list.length - 4; at >= 0; at -= 4) out.push(...list.slice(at, at + 4));
    return out;
  }
  turnedColumns(rows) {
    const [x, ...rest] = this.columns(rows);
    return this.chart.stacked ? [x, ...this.turned(rest)] : [x, ...rest];
  }

  /** Draw again: other smoothing, another choice of lines. */
  refresh() {
    const at = this.plot?.cursor.idx;
    if (!this.plot) return;
    this.plot.destroy(); this.plot = null;
    this.build();
    this.read(at ?? null);
  }

  /** Other numbers, for a page that follows a run: zoom and hidden lines stay. */
  update(chart) {
    this.chart = chart; this.x = chart.x.values;
    if (chart.series.length !== this.readings.length) {
      this.legend.replaceChildren();
      this.legendOf(chart.series.map(each => each.label), () => this.refresh());
    }
    this.plot ? this.refresh() : this.read(null);
  }

  range(low, high) {
    const [bottom, top] = this.chart.bounds ?? [null, null];
    if (low === null || low === undefined) return [bottom ?? 0, top ?? 1];
    if (this.chart.stacked) low = 0;
    const margin = .06 * (high - low) || .1 * Math.abs(high) || 1;
    const down = bottom ?? (low < 0 ? low - margin : Math.max(0, low - margin));  // never below 0 what is never negative
    const up = top !== null && top !== undefined && top > low ? Math.max(top, high) : high + margin;
    return [down, up];
  }
  decades(low, high) {
    if (!(low > 0)) return [.1, 1];
    const first = Math.floor(Math.log10(low)), last = Math.max(first + 1, Math.ceil(Math.log10(high)));
    return [10 ** first, 10 ** last];
  }

  drawMarks(u) {
    const { ctx, bbox } = u, scale = devicePixelRatio;
    ctx.save();
    for (const mark of this.marks) {
      const x = u.valToPos(mark.x, 'x', true);
      if (x < bbox.left - 1 || x > bbox.left + bbox.width + 1) continue;
      ctx.beginPath();
      if (mark.kind === 'minor') {
        const bottom = bbox.top + bbox.height, wide = 3.5 * scale;
        ctx.fillStyle = prorl.colour('--soft');
        ctx.moveTo(x, bottom - 1.6 * wide); ctx.lineTo(x - wide, bottom); ctx.lineTo(x + wide, bottom); ctx.fill();
        continue;
      }
      ctx.strokeStyle = prorl.colour(mark.kind === 'reset' ? '--ink' : '--accent');
      ctx.globalAlpha = .55; ctx.lineWidth = 1.2 * scale; ctx.setLineDash([2 * scale, 3 * scale]);
      ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke();
    }
    ctx.restore();
  }

  // Reading

  label(index) {
    const { x } = this.chart, last = x.values[index], first = x.first?.[index] ?? last;
    return first === last ? `${x.label} ${prorl.shown(last)}` : `${x.label}s ${first}–${last}`;
  }

  /** Index of the number of a line that stands at, or nearest to, a place; few lines have one everywhere. */
  nearest(series, index) {
    if (series.values[index] !== null && series.values[index] !== undefined) return index;
    for (let away = 1; away < this.x.length; away++)
      for (const each of [index - away, index + away]) if ((series.values[each] ?? null) !== null) return each;
    return null;
  }

  read(index) {
    this.chart.series.forEach((series, i) => {
      const at = this.nearest(series, index ?? this.x.length - 1);
      this.readings[i].textContent = at === null ? '–' : prorl.shown(series.values[at]);
    });
  }

  moved(u) {
    const index = u.cursor.idx;
    const isOut = index === null || index === undefined || u.cursor.left < 0;
    this.read(isOut ? null : index);
    if (isOut || !this.isHovered) { this.hideTip(); return }
    this.showTip(u.cursor.left, this.words(index));
    this.place.classList.toggle('opens', this.target(index) !== null);
  }

  words(index) {
    const { make, shown } = prorl, { chart } = this, nodes = [make('b', '', {}, this.label(index))];
    chart.series.forEach((series, i) => {
      const at = this.nearest(series, index);
      if (this.hidden.has(series.label) || at === null) return;
      const range = series.low ?? series.least, notes = [];
      if (range && range[at] !== null) notes.push(`${shown(range[at])} … ${shown((series.high ?? series.most)[at])}`);
      if (at !== index) notes.push(`at ${shown(this.x[at])}`);
      nodes.push(make('div', 'row', {}, make('span', `swatch c${i % 8}`), make('span', '', {}, series.label, ' ', make('small', '', {}, notes.join(', '))),
        make('b', '', {}, shown(series.values[at]))));
    });
    for (const mark of this.marksAt(index).slice(0, 4)) nodes.push(make('div', 'mark', {}, `${chart.x.label} ${mark.x}: ${mark.text.slice(0, 300)}`));
    if (this.target(index) !== null) nodes.push(make('div', 'hint', {}, this.touched ? 'tap again to open' : 'click to open'));
    return nodes;
  }

  /** Marks at a point or within five pixels of it, the nearest first. */
  marksAt(index) {
    const low = this.chart.x.first?.[index] ?? this.x[index], high = this.x[index], u = this.plot;
    const away = mark => Math.max(low - mark.x, mark.x - high, 0);
    const isNear = mark => u && Math.abs(u.valToPos(mark.x, 'x') - u.valToPos(high, 'x')) <= 5;
    return this.marks.filter(mark => !away(mark) || isNear(mark)).sort((a, b) => away(a) - away(b));
  }

  /** Id of what a point opens: its own, that of a mark, that of the point's x in `opens` of the data; or null. */
  target(index) {
    const own = this.chart.opens?.[index];
    if (own) return own;
    const mark = this.marksAt(index).find(each => each.opens);
    if (mark) return mark.opens;
    const prefix = prorl.data.opens?.[this.group.key];
    if (!prefix) return null;
    const low = this.chart.x.first?.[index] ?? this.x[index], high = this.x[index];
    for (let x = high; x >= low && Number.isInteger(x); x--) if (Object.hasOwn(prorl.data.panels ?? {}, prefix + x)) return prefix + x;
    return prefix + high;
  }

  point(x) {
    const u = this.plot;
    if (!u || !this.x.length) return;
    const index = u.valToIdx(x);
    u.setCursor({ left: u.valToPos(this.x[index], 'x'), top: u.over.clientHeight / 2 });
  }

  // Hands

  selected(u) {
    const { left, width } = u.select;
    if (width < 5) return;
    const low = u.posToVal(left, 'x'), high = u.posToVal(left + width, 'x');
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.group.zoom(low, high);
  }

  listen() {
    const { over } = this.plot;
    let down = null, last = null;
    over.addEventListener('pointerenter', () => { this.isHovered = true });
    over.addEventListener('pointermove', () => { this.isHovered = true });
    over.addEventListener('pointerleave', event => { if (event.pointerType !== 'touch') { this.isHovered = false; this.hideTip() } });
    over.addEventListener('pointerdown', event => { down = event.clientX; this.touched = event.pointerType === 'touch' });
    over.addEventListener('touchmove', event => {
      const box = over.getBoundingClientRect(), touch = event.touches[0];
      this.isHovered = true;
      this.plot.setCursor({ left: touch.clientX - box.left, top: touch.clientY - box.top });
    }, { passive: true });
    over.addEventListener('click', event => {
      const index = this.plot.cursor.idx, isAgain = last === index;
      last = index;
      if (index === null || index === undefined || (down !== null && Math.abs(event.clientX - down) > 4)) return;
      if (event.detail > 1 || (this.touched && !isAgain)) return;
      this.openAt(index);
    });
  }

  openAt(index) {
    const id = this.target(index);
    if (id !== null) prorl.open(id);
  }

  keys() {
    const move = index => {
      this.isHovered = true;
      const at = Math.max(0, Math.min(this.x.length - 1, index));
      this.point(this.x[at]);
      prorl.say(this.words(at).map(each => each.textContent).join('. '));
    };
    this.place.addEventListener('blur', () => { this.isHovered = false; this.hideTip() });
    this.place.addEventListener('keydown', event => {
      if (!this.plot || !this.x.length || event.target !== this.place) return;
      const at = this.plot.cursor.idx ?? this.x.length, far = event.shiftKey ? 10 : 1;
      const [low, high] = this.group.zoomed ?? this.group.whole, middle = this.x[Math.min(at, this.x.length - 1)];
      const actions = {
        ArrowLeft: () => move(at - far), ArrowRight: () => move(at + far), Home: () => move(0), End: () => move(this.x.length - 1),
        Enter: () => this.openAt(Math.min(at, this.x.length - 1)), 0: () => this.group.reset(),
        '+': () => this.group.zoom(middle - (high - low) / 4, middle + (high - low) / 4),
        '-': () => this.group.zoom(low - (high - low) / 2, high + (high - low) / 2),
      };
      const action = Object.hasOwn(actions, event.key) ? actions[event.key] : null;
      if (action) { event.preventDefault(); action() }
    });
  }
};

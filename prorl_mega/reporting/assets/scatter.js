/* Dots that open what they stand for, with lines through them; drawn by uPlot, whose axes and pixels it uses. */
'use strict';
prorl.kinds.scatter = class extends prorl.ChartFrame {
  constructor(holder, chart) {
    super(holder, chart);
    this.legendOf(chart.groups.map(each => each.label), () => this.plot?.redraw(false));
    this.readings.forEach((each, i) => { each.textContent = String(chart.groups[i].dots.length) });
    for (const line of chart.lines ?? []) if (line.label) this.legend.append(prorl.make('li', 'soft', {}, `╌ ${line.label}`));
    this.watch(() => this.build());
    this.keys();
  }

  /** Dots that are shown, from left to right, with their colours. */
  get dots() {
    const shown = this.chart.groups.flatMap((group, index) => this.hidden.has(group.label) ? [] : group.dots.map(dot => ({ ...dot, index, group: group.label })));
    return shown.sort((a, b) => a.x - b.x);
  }

  ends(axis) {
    const { chart } = this, [low, high] = chart[`${axis}_bounds`] ?? [null, null];
    const place = axis === 'x' ? 0 : 1;
    const all = [...chart.groups.flatMap(group => group.dots.map(dot => dot[axis])),
      ...(chart.lines ?? []).flatMap(line => line.points.map(each => each[place]))].filter(Number.isFinite);
    const least = all.length ? Math.min(...all) : 0, most = all.length ? Math.max(...all) : 1, margin = .05 * (most - least) || .5;
    return [low ?? least - margin, high ?? most + margin];
  }

  build() {
    const { chart } = this, axes = prorl.ChartFrame.axes({ xIsWhole: false, format: prorl.shown });
    axes[0] = { ...axes[0], grid: { stroke: () => prorl.colour('--grid'), width: 1 }, label: chart.x.label, labelSize: 20, labelGap: 0,
      labelFont: axes[0].font };
    const ticks = chart.x.ticks ?? [];
    if (ticks.length) {
      axes[0].splits = u => ticks.map(each => each[0]).filter(each => each >= u.scales.x.min && each <= u.scales.x.max);
      axes[0].values = (u, splits) => splits.map(at => ticks.find(each => each[0] === at)?.[1] ?? '');
    }
    const [xs, ys] = [this.ends('x'), this.ends('y')];
    this.plot = new uPlot({
      ...this.size, height: Math.max(300, this.size.height), legend: { show: false }, padding: [8, 14, 0, 0],
      series: [{}, { paths: () => null, points: { show: false } }], axes,
      scales: { x: { time: false, range: () => this.zoomed ?? xs }, y: { range: () => this.zoomed ? this.zoomedY : ys } },
      cursor: { x: false, y: false, points: { show: false }, drag: { x: true, y: true, setScale: false },
        bind: { dblclick: () => () => { this.zoomed = null; this.place.dataset.zoomed = ''; this.plot.setScale('x', { min: xs[0], max: xs[1] }); this.plot.setScale('y', { min: ys[0], max: ys[1] }); return null } } },
      hooks: { draw: [u => this.draw(u)], setCursor: [u => this.moved(u)], setSelect: [u => this.selected(u)] },
    }, [xs, ys], this.place);
    this.plot.over.append(this.tip);
    const { over } = this.plot;
    let down = null;
    over.addEventListener('pointerdown', event => { down = [event.clientX, event.clientY] });
    over.addEventListener('pointerleave', () => this.choose(null));
    over.addEventListener('click', event => {
      if (down && Math.hypot(event.clientX - down[0], event.clientY - down[1]) > 4) return;
      if (event.detail === 1 && this.chosen?.opens) prorl.open(this.chosen.opens);
    });
  }

  draw(u) {
    const { ctx, bbox } = u, scale = devicePixelRatio, at = (x, y) => [u.valToPos(x, 'x', true), u.valToPos(y, 'y', true)];
    ctx.save();
    ctx.beginPath(); ctx.rect(bbox.left - 6 * scale, bbox.top - 6 * scale, bbox.width + 12 * scale, bbox.height + 12 * scale); ctx.clip();
    for (const line of this.chart.lines ?? []) {
      ctx.beginPath(); ctx.setLineDash([5 * scale, 4 * scale]); ctx.lineWidth = 1.3 * scale; ctx.strokeStyle = prorl.colour('--soft');
      line.points.forEach((each, i) => i ? ctx.lineTo(...at(...each)) : ctx.moveTo(...at(...each)));
      ctx.stroke();
    }
    ctx.setLineDash([]);
    for (const dot of this.dots) {
      if (!Number.isFinite(dot.x) || !Number.isFinite(dot.y)) continue;
      const [x, y] = at(dot.x, dot.y), isChosen = this.chosen && this.chosen.label === dot.label && this.chosen.group === dot.group;
      const colour = prorl.colour(`--c${dot.index % 8}`);
      if (Number.isFinite(dot.low) && Number.isFinite(dot.high)) {
        ctx.beginPath(); ctx.lineWidth = 1.4 * scale; ctx.strokeStyle = colour; ctx.globalAlpha = .45;
        ctx.moveTo(...at(dot.x, dot.low)); ctx.lineTo(...at(dot.x, dot.high)); ctx.stroke();
      }
      ctx.globalAlpha = .85;
      ctx.beginPath(); ctx.arc(x, y, (isChosen ? 6.5 : 4.5) * scale, 0, 2 * Math.PI); ctx.fillStyle = colour; ctx.fill();
      ctx.globalAlpha = 1; ctx.lineWidth = 1.2 * scale; ctx.strokeStyle = prorl.colour('--card'); ctx.stroke();
    }
    ctx.restore();
  }

  /** The dot nearest to the cursor, if it is near. */
  moved(u) {
    const { left, top } = u.cursor;
    if (left < 0) { this.choose(null); return }
    let best = null, nearest = 18;
    for (const dot of this.dots) {
      const away = Math.hypot(u.valToPos(dot.x, 'x') - left, u.valToPos(dot.y, 'y') - top);
      if (away < nearest) [best, nearest] = [dot, away];
    }
    this.choose(best);
  }

  choose(dot) {
    const { make, shown } = prorl, { chart } = this;
    const isOther = this.chosen?.label !== dot?.label || this.chosen?.group !== dot?.group;
    this.chosen = dot;
    this.place.classList.toggle('opens', Boolean(dot?.opens));
    if (isOther) this.plot.redraw(false);
    if (!dot) { this.hideTip(); return }
    const range = Number.isFinite(dot.low) ? ` [${shown(dot.low)}, ${shown(dot.high)}]` : '';
    this.showTip(this.plot.valToPos(dot.x, 'x'), [
      make('b', '', {}, dot.label),
      ...(chart.x.ticks?.length ? [] : [make('div', 'row', {}, make('span', '', {}, chart.x.label), make('b', '', {}, shown(dot.x)))]),
      make('div', 'row', {}, make('span', '', {}, chart.y.label), make('b', '', {}, shown(dot.y) + range)),
      ...(dot.note ? [make('div', 'mark', {}, dot.note)] : []), ...(dot.opens ? [make('div', 'hint', {}, 'click to open')] : [])]);
  }

  selected(u) {
    const { left, top, width, height } = u.select;
    if (width < 6 || height < 6) return;
    this.zoomed = [u.posToVal(left, 'x'), u.posToVal(left + width, 'x')];
    this.zoomedY = [u.posToVal(top + height, 'y'), u.posToVal(top, 'y')];
    this.place.dataset.zoomed = 'yes';
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    u.setScale('x', { min: this.zoomed[0], max: this.zoomed[1] });
    u.setScale('y', { min: this.zoomedY[0], max: this.zoomedY[1] });
  }

  keys() {
    this.place.addEventListener('blur', () => this.plot && this.choose(null));
    this.place.addEventListener('keydown', event => {
      const all = this.dots;
      if (!this.plot || !all.length || event.target !== this.place) return;
      const at = all.findIndex(each => each.label === this.chosen?.label && each.group === this.chosen?.group);
      const next = { ArrowRight: at + 1, ArrowLeft: at < 0 ? all.length - 1 : at - 1, Home: 0, End: all.length - 1 }[event.key];
      if (event.key === 'Enter' && this.chosen?.opens) prorl.open(this.chosen.opens);
      if (next === undefined) return;
      event.preventDefault();
      this.choose(all[Math.max(0, Math.min(all.length - 1, next))]);
      prorl.say(this.tip.textContent);
    });
  }

  update(chart) { this.chart = chart; this.plot?.destroy(); this.plot = null; this.build() }
};

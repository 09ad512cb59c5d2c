// Charts, drawn by Chart.js. Each is redrawn when the colours change: for the dark scheme, and for paper.
/// As element(), for a drawing.
function svg(tag, attributes, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const charts = (() => {
  const made = [];  // {box, make, chart, and what make() returns}
  let paper = false;

  // Okabe and Ito's colours, which colour-blind people can tell apart, except the one that marks losses. Each has
  // its own dash pattern, for paper without colours. There are as many patterns as jobs that are drawn one by one.
  const kLight = ['#0072B2', '#009E73', '#B8780A', '#AA4499', '#3B9FD6', '#4D4D4D', '#6A51A3', '#7A7A00'];
  const kDark = ['#56B4E9', '#2FD0A4', '#F0B63A', '#E58BC4', '#8FC7FF', '#C9C9C9', '#B9A5F0', '#E3DF5A'];
  const kDashes = [[], [8, 4], [2, 3], [10, 3, 2, 3], [5, 5], [12, 4], [3, 6], [6, 2, 2, 2], [16, 3, 5, 3], [9, 2, 2, 2, 2, 2]];
  const kMaxShown = 8;

  const dark = () => !paper && matchMedia('(prefers-color-scheme: dark)').matches;
  const theme = () => dark()
    ? { text: '#b6c0ca', grid: '#2b323a', strong: '#e6edf3', lost: '#FF8A5C', ramp: 'rgba(154, 164, 175, 0.20)', series: kDark, ground: '#161b22', dark: true }
    : { text: '#4a525b', grid: '#e4e8ec', strong: '#1b1f24', lost: '#C84A00', ramp: 'rgba(87, 96, 106, 0.14)', series: kLight, ground: '#ffffff', dark: false, paper };

  /// Labels of an axis are round numbers: "1 ms", not "1.00 ms".
  const short = (text) => text.replace(/(\.\d*?)0+ /, '$1 ').replace('. ', ' ');
  const isKnown = (v) => v !== null && v !== undefined;

  // ---- Axes ----

  /// The round numbers (1, 2 and 5 times a power of ten) from `min` to `max`; only the powers of ten if these are many.
  function roundNumbers(min, max) {
    const list = [];
    const steps = max / min > 10 ** 2.5 ? [1] : [1, 2, 5];
    for (let e = Math.floor(Math.log10(min)); 10 ** e <= max * 1.0001; ++e) {
      list.push(...steps.map((step) => step * 10 ** e).filter((v) => v >= min * 0.9999 && v <= max * 1.0001));
    }
    return list;
  }
  /// From the next round number that is not greater than `min` to the next one that is not less than `max`.
  function roundRange(min, max) {
    if (!(min > 0 && max < Infinity)) return [1, 10];
    const roundUp = (v) => roundNumbers(v * 0.9999, v * 10)[0];
    const [from, to] = [roundNumbers(min / 10, min * 1.0001).at(-1), roundUp(max)];
    return [from, from < to ? to : roundUp(to * 1.1)];
  }
  // Percentiles are on an axis of nines: 90 %, 99 %, 99.9 % have equal distances.
  const nines = (per_cent) => -Math.log10(1 - per_cent / 100);
  const kMarks = new Map([[0, '0 %'], [nines(50), '50 %'], [1, '90 %'], [2, '99 %'], [3, '99.9 %'], [4, '99.99 %'], [5, '99.999 %'], [6, '99.9999 %']]);

  const linear = { bend: (v) => v, straighten: (v) => v, range: (min, max) => [0, (max > 0 ? max : 1) * 1.08] };
  const kKinds = {
    linear,
    nines: { ...linear, ticks: () => [...kMarks.keys()] },
    log: { bend: Math.log10, straighten: (v) => 10 ** v, range: roundRange, ticks: roundNumbers },
    // For values that differ much and may be 0: logarithmic from `below` on, and linear below it, so that 0 has a place.
    zero: {
      bend: (v, below) => Math.asinh(v / below), straighten: (v, below) => below * Math.sinh(v),
      range: (min, max, below) => [0, Math.max(max * 1.1, below * 10)],
      ticks: (min, max, below) => [0, ...roundNumbers(Math.max(below, min), max)],
    },
  };

  Chart.register(class extends Chart.LinearScale {
    static id = 'bent';
    static defaults = {};
    /// Calls a function of the axis' kind.
    its(name, ...values) { return kKinds[this.options.kind][name](...values, this.options.below); }
    size() { return this.isHorizontal() ? this.width : this.height; }
    determineDataLimits() {
      const { min, max } = this.getMinMax(false);
      [this.min, this.max] = this.getUserBounds().minDefined ? [min, max] : this.its('range', min, max);
      if (!(this.max > this.min)) this.max = this.min + 1;
    }
    computeTickLimit() { return this.size() / this.options.room + 1; }
    /// Chart.js knows round steps for a linear axis, but would make the axis longer.
    buildTicks() {
      const { min, max } = this;
      const ticks = kKinds[this.options.kind].ticks ? this.its('ticks', min, max).map((value) => ({ value })) : super.buildTicks();
      Object.assign(this, { min, max });
      return ticks.filter(({ value }) => value >= min * 0.9999 && value <= max * 1.0001);
    }
    /// Only the labels that have room.
    generateTickLabels(ticks) {
      const { room, ticks: { callback } } = this.options;
      let last = -Infinity;
      for (const tick of ticks) {
        const at = this.share(tick.value) * this.size();
        const fits = at - last > room * 0.99;
        if (fits) last = at;
        tick.label = fits ? callback(tick.value) : '';
      }
    }
    ends() { return [this.its('bend', this.min), this.its('bend', this.max)]; }
    /// Where a value is: 0 at the begin of the axis, 1 at its end.
    share(value) {
      const [from, to] = this.ends();
      return (this.its('bend', value) - from) / (to - from);
    }
    getPixelForValue(value) { return this.getPixelForDecimal(this.share(value)); }
    getValueForPixel(pixel) {
      const [from, to] = this.ends();
      return this.its('straighten', from + this.getDecimalForPixel(pixel) * (to - from));
    }
  });

  // All charts of a page begin at the same distance from the left, so that their time axes agree.
  const kBeside = 98;
  const axis = (colours, label, says, more) => ({
    type: 'bent', kind: 'linear', room: 60, grid: { color: colours.grid, borderColor: colours.grid, tickLength: 5 },
    ticks: { color: colours.text, callback: says, autoSkip: false, maxRotation: 0, maxTicksLimit: 40, includeBounds: false },
    title: { display: true, text: label, color: colours.text, font: { weight: paper ? 'normal' : 'bold' } }, ...more,
  });
  const rounded = (format) => (v) => (v === 0 ? '0' : short(format(v)));
  const valueAxis = (colours, label, format, more = {}) => axis(colours, label + (more.kind === 'zero' && !paper ? ', logarithmic' : ''), rounded(format),
    { room: more.kind ? 18 : 30, afterFit: (scale) => { scale.width = kBeside; }, ...more });
  const logScale = { kind: 'log' };

  /// A scale for lines if the median of one is more than ten times that of another; otherwise undefined. It is
  /// logarithmic from the greatest power of ten that is not above the least median.
  function scaleFor(lines) {
    const usual = lines.slice(0, kMaxShown).map(({ values }) => values.filter((v) => v > 0).sort((a, b) => a - b)).filter((list) => list.length)
      .map((list) => list[Math.floor(list.length / 2)]);
    const least = Math.min(...usual);
    return Math.max(...usual) > 10 * least ? { kind: 'zero', below: 10 ** Math.floor(Math.log10(least)) } : undefined;
  }

  // ---- A chart ----

  /// The data of line `l`, number i of its chart, in its own colour. Its dashes belong to the colour, unless it has a `dash`. `says` formats its values.
  const line = (colours, l, i, says, more) => {
    const colour = colours.series[l.colour % colours.series.length];
    return { label: l.label, says, data: l.at.map((x, n) => ({ x, y: l.values[n] })), hidden: i >= kMaxShown, spanGaps: true, borderColor: colour, borderWidth: paper ? 1.5 : 2,
      borderDash: kDashes[(l.dash ?? l.colour) % kDashes.length], pointRadius: 0, pointHoverRadius: 3.5, pointBackgroundColor: colour, ...more };
  };

  /// Draws a chart in `box`, instead of the one that is there. `make` gets the colours and returns {span: the ends of the axis x, x: {label, says, end}
  /// of the legend, sets: the lines, scales}, and what overTime() may have.
  function show(box, make) {
    const entry = made.find((one) => one.box === box) ?? made[made.push({ box }) - 1];
    draw(Object.assign(entry, { make }));
  }

  function draw(entry) {
    if (entry.chart) entry.chart.destroy();
    const colours = theme();
    Object.assign(entry, { at: null, from: null }, entry.make(colours));
    const { box, span: [min, max], x, sets, scales } = entry;
    entry.places = [...new Set(sets.flatMap((set) => set.data.map((point) => point.x)))].sort((a, b) => a - b);
    const canvas = element('canvas');
    box.replaceChildren(element('div', { class: 'plot' }, canvas));
    Object.assign(Chart.defaults.font, { size: paper ? 9 : 12, family: getComputedStyle(document.body).fontFamily });
    entry.chart = new Chart(canvas, {
      type: 'line', data: { datasets: sets, x },
      options: {
        animation: false, parsing: false, maintainAspectRatio: false, events: [],
        // Paper and enlarged pages have more pixels than the screen had.
        devicePixelRatio: Math.max(2, devicePixelRatio),
        // Leaves room on the right for half of the label below the end of an axis.
        layout: { padding: { top: 10, right: 34 } },
        plugins: { legend: { display: false }, tooltip: { enabled: false } },
        scales: { ...scales, x: { ...scales.x, min, max }, marks: { display: false } },
      },
      plugins: [{
        id: 'page',
        afterUpdate: (chart) => entry.below && entry.below(chart, colours),
        beforeDatasetsDraw: (chart) => {
          drawTimes(chart, (entry.ramps ?? []).map(([from, to]) => [from, to, colours.ramp, 1]));
          if (entry.behind) entry.behind(chart, colours);
        },
        afterDatasetsDraw: (chart) => {
          inside(chart, () => drawMarks(chart, entry.marks ?? [], colours));
          const { at, pointer, from } = entry;
          if (at !== null) drawTimes(chart, [[pointer, from ?? pointer, colours.text, from === null ? 0.6 : 0.2]], 1);
        },
      }],
    });
    const head = element('span', {}, element('b', {}, x.label), element('span', { class: 'value' }));
    box.append(element('div', { class: 'lines' }, head, ...sets.map((set, i) => keyOf(entry.chart, set, i))));
    tell(entry);
    listen(entry, canvas);
  }

  /// A line in the legend. A click shows and hides the line, also by keyboard.
  function keyOf(chart, set, i) {
    const mark = set.showLine === false ? svg('circle', { cx: 13, cy: 5, r: 4, stroke: set.borderColor, 'stroke-width': 2, fill: set.pointBackgroundColor })
      : svg('line', { x1: 0, x2: 26, y1: 5, y2: 5, stroke: set.borderColor, 'stroke-width': 3, 'stroke-dasharray': (set.borderDash ?? []).join(' ') });
    const key = element('button', { type: 'button', 'aria-pressed': String(!set.hidden) }, svg('svg', { width: 26, height: 10, 'aria-hidden': true }, mark),
      element('b', {}, set.label), element('span', { class: 'value' }));
    key.onclick = () => {
      chart.setDatasetVisibility(i, !chart.isDatasetVisible(i));
      key.setAttribute('aria-pressed', String(chart.isDatasetVisible(i)));
      chart.update();
    };
    return key;
  }

  /// Writes the values under the pointer into the legend. Without a pointer these are the last values, if x.end names them.
  function tell({ box, sets, at, x }) {
    const said = sets.map((set) => {
      const last = () => (x.end && set.yAxisID !== 'marks' ? set.data.findLast(({ y }) => isKnown(y)) : null);
      const shown = at === null ? last() : set.data.findLast((place) => place.x === at);
      return isKnown(shown?.y) ? set.says(shown.y) : '-';
    });
    const values = [at === null ? x.end ?? '-' : x.says(at), ...said];
    box.querySelectorAll('.value').forEach((place, i) => { place.textContent = values[i]; });
  }

  /// The charts of a run point at one time, and zoom together.
  const together = (entry) => made.filter((other) => other === entry || (entry.group && other.group === entry.group));
  function point(entry, pointer) {
    for (const one of together(entry)) {
      const { chart, places, sets, pointed } = one;
      const at = pointer === null ? null : places.reduce((best, place) => (Math.abs(place - pointer) < Math.abs(best - pointer) ? place : best));
      Object.assign(one, { pointer, at });
      chart.setActiveElements(sets.flatMap((set, datasetIndex) => {
        const index = set.data.findLastIndex((place) => place.x === at);
        return isKnown(set.data[index]?.y) && chart.isDatasetVisible(datasetIndex) ? [{ datasetIndex, index }] : [];
      }));
      tell(one);
      chart.draw();
      if (pointed) pointed(pointer);
    }
  }
  function zoom(entry, from, to) {
    for (const { chart, span } of together(entry)) {
      const { x } = chart.options.scales;
      [x.min, x.max] = from === null ? span : [from, to];
      chart.update();
    }
  }

  function listen(entry, canvas) {
    const { chart } = entry;
    const placeOf = ({ offsetX }) => {
      const { left, right } = chart.chartArea;
      return chart.scales.x.getValueForPixel(Math.min(right, Math.max(left, offsetX)));
    };
    const kLeastDrag = 5;
    const end = (event) => {
      const to = placeOf(event);
      const ends = [entry.from ?? to, to].sort((a, b) => a - b);
      entry.from = null;
      const [left, right] = ends.map((at) => chart.scales.x.getPixelForValue(at));
      if (right - left > kLeastDrag) zoom(entry, ...ends);
    };
    canvas.onpointerdown = (event) => { entry.from = event.button === 0 ? placeOf(event) : null; };
    canvas.onpointermove = (event) => point(entry, placeOf(event));
    canvas.onpointerup = end;
    canvas.onpointercancel = () => { entry.from = null; };
    canvas.onpointerleave = (event) => { end(event); point(entry, null); };
    canvas.ondblclick = () => zoom(entry, null);
  }

  function watch() {
    const drawAll = () => made.forEach(draw);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawAll);
    // Paper is white, and narrow. Two sheets have 2078 pixels, and the first loses some of them before a chart.
    const kTwoSheets = 1890;
    const onPaper = (is) => {
      if (paper === is) return;
      paper = is;
      const { classList } = document.documentElement;
      classList.toggle('paper', is);
      classList.remove('short');
      drawAll();
      classList.toggle('short', is && document.body.offsetHeight > kTwoSheets);
    };
    addEventListener('beforeprint', () => onPaper(true));
    addEventListener('afterprint', () => onPaper(false));
  }

  // ---- Over time ----

  /// Lines over the time of all intervals. `marks` has [at, lost, overruns] of intervals with losses or overruns.
  /// `more.below` is called after each change of scale or size, to draw what is below the chart on the same time axis. `more.span`: the
  /// times that the axis must cover, so that all charts of a run have the same axis. `more.behind` draws below the lines.
  /// `more.pointed` gets the time under the pointer, or null.
  function overTime(box, lines, format, label, marks, more = {}) {
    show(box, (colours) => {
      const ends = [...lines.map((l) => l.at), marks.map((mark) => mark[0])].flatMap((list) => [list[0], list.at(-1)]);
      const times = [...(more.span ?? []), ...ends].filter(isKnown);
      // These sets only put the numbers into the legend. drawMarks() draws the marks.
      const silent = (name, of) => ({ label: name, says: units.count, data: marks.map((mark) => ({ x: mark[0], y: mark[of] })),
        yAxisID: 'marks', borderColor: colours.lost, borderWidth: 0, pointRadius: 0, pointHoverRadius: 0 });
      return {
        ...more, marks, group: more.own ? null : 'run', span: [Math.min(...times), Math.max(...times)],
        x: { label: 'time', says: (v) => v.toFixed(1) + ' s', end: 'at the end' },
        // A line of one or two points would be invisible.
        sets: [...lines.map((l, i) => line(colours, l, i, format, l.values.length < 3 ? { pointRadius: 3.5 } : {})),
          ...(marks.length ? [silent('▮ lost frames', 1), silent('┆ overruns', 2)] : [])],
        scales: { x: axis(colours, more.own ? 'time since the job’s own start (s)' : 'time since the start (s)', String), y: valueAxis(colours, label, format, more.scale) },
      };
    });
  }

  /// Points without lines, over the offered rate: rings for the trials that passed, full points for the others.
  function trials(box, lines, format, label) {
    show(box, (colours) => ({
      span: [0, Math.max(...lines.map((l) => l.at.at(-1))) * 1.05], x: { label: 'offered', says: units.fps },
      sets: lines.map((l, i) => line(colours, l, i, format, { showLine: false, pointRadius: 4.5, pointHoverRadius: 6, pointBorderWidth: 2,
        ...(l.passed ? { pointBackgroundColor: colours.ground } : {}) })),
      scales: { x: axis(colours, 'offered rate', rounded(units.fps), { room: 90 }), y: valueAxis(colours, label, format) },
    }));
  }

  /// Calls `make` so that what it draws stays within the axes.
  function inside({ ctx, chartArea: { left, top, width, height } }, make) {
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, top, width, height);
    ctx.clip();
    make();
    ctx.restore();
  }

  /// Fills time spans over the whole height. Each is [from, to, colour, opacity], and at least `least` wide.
  function drawTimes(chart, times, least = 0) {
    const { ctx, chartArea: { top, height }, scales: { x } } = chart;
    inside(chart, () => times.forEach(([from, to, colour, opacity]) => {
      ctx.fillStyle = colour;
      ctx.globalAlpha = opacity;
      const left = x.getPixelForValue(from);
      ctx.fillRect(left, top, x.getPixelForValue(to) - left || least, height);
    }));
  }

  const kGreatestBar = 0.25;  // of the chart's height
  const kLeastBar = 4;
  const kBarWidth = 5;
  /// Draws losses as bars, higher for greater losses, and overruns as dashed lines.
  function drawMarks({ ctx, chartArea: { top, bottom, height }, scales }, marks, colours) {
    const most = marks.reduce((all, mark) => Math.max(all, mark[1]), 0);
    ctx.fillStyle = ctx.strokeStyle = colours.lost;
    ctx.lineWidth = 1;
    ctx.setLineDash([3, 3]);
    for (const [at, lost, overruns] of marks) {
      const x = scales.x.getPixelForValue(at);
      if (overruns) {
        ctx.beginPath();
        ctx.moveTo(x, top);
        ctx.lineTo(x, bottom);
        ctx.stroke();
      }
      if (lost) {
        const size = Math.max(kLeastBar, height * kGreatestBar * lost / most);
        ctx.fillRect(x - kBarWidth / 2, bottom - size, kBarWidth, size);
      }
    }
  }

  // ---- Percentiles ----

  const kNamed = [['p1', 1], ['p10', 10], ['p50', 50], ['p90', 90], ['p95', 95], ['p99', 99], ['p99_9', 99.9], ['p99_99', 99.99], ['p99_999', 99.999]];

  /// [nines, ns] of one histogram: from its buckets, or from the named percentiles.
  function curve(h) {
    const end = Math.min(6, Math.log10(Math.max(h.count, 2)));
    if (!h.bins) return kNamed.filter(([, p]) => nines(p) <= end).map(([key, p]) => [nines(p), h[key]]).concat([[end, h.max]]);
    const points = [];
    let below = 0;
    let bin = 0;
    for (let x = 0; x <= end; x += 0.02) {
      const rank = Math.max(1, Math.ceil((1 - 10 ** -x) * h.count - 1e-6));
      while (bin < h.bins.length && below + h.bins[bin][2] < rank) below += h.bins[bin++][2];
      points.push([Math.round(x * 100) / 100, Math.min(h.bins[Math.min(bin, h.bins.length - 1)][1], h.max)]);
    }
    return points.concat([[end, h.max]]);
  }

  function percentiles(box, lines) {
    show(box, (colours) => {
      const drawn = lines.map((l) => { const points = curve(l.histogram); return { ...l, at: points.map((p) => p[0]), values: points.map((p) => Math.max(p[1], 1)) }; });
      return {
        span: [0, Math.max(...drawn.map((l) => l.at.at(-1)))],
        x: { label: 'share', says: (v) => Number((100 - 10 ** (2 - v)).toPrecision(2 + Math.ceil(v + 0.3))) + ' %' },
        sets: drawn.map((l, i) => line(colours, l, i, units.ns, l.histogram.bins ? {} : { pointRadius: 3 })),
        scales: { x: axis(colours, 'share of frames that took no longer', (v) => kMarks.get(v), { kind: 'nines' }), y: valueAxis(colours, 'latency', units.ns, logScale) },
      };
    });
  }

  // ---- Histogram: how many frames took how long, both logarithmic, 24 columns per power of ten ----

  const kPerDecade = 24;
  function columns(h) {
    const sums = new Map();
    for (const [least, greatest, count] of h.bins) {
      const column = Math.floor(Math.log10(Math.max((least + greatest) / 2, 1)) * kPerDecade);
      sums.set(column, (sums.get(column) || 0) + count);
    }
    return sums;
  }

  function histogram(box, lines) {
    show(box, (colours) => {
      const all = lines.map((l) => columns(l.histogram));
      const keys = all.flatMap((sums) => [...sums.keys()]);
      // One more column, so that the last one has a width.
      const from = Math.min(...keys);
      const places = Array.from({ length: Math.max(...keys) + 2 - from }, (_, n) => n);
      const at = (n) => 10 ** ((from + n) / kPerDecade);
      const sets = lines.map((l, i) => {
        const share = (n) => (all[i].has(from + n) ? all[i].get(from + n) / l.histogram.count : null);
        const set = line(colours, { ...l, at: [], values: [] }, i, units.share, { borderWidth: 1.5, spanGaps: false, stepped: true, fill: 'start' });
        // The last column before a gap ends where the gap begins.
        const data = places.flatMap((n) => [...(n > 0 && share(n) === null && share(n - 1) !== null ? [{ x: at(n), y: share(n - 1) }] : []), { x: at(n), y: share(n) }]);
        return { ...set, data, backgroundColor: set.borderColor + (dark() ? '38' : '2b') };
      });
      return {
        span: [at(0), at(places.length - 1)], x: { label: 'from', says: units.ns }, sets,
        scales: { x: axis(colours, 'latency', rounded(units.ns), logScale), y: valueAxis(colours, 'share of frames', units.share, logScale) },
      };
    });
  }

  return { overTime, percentiles, histogram, trials, watch, logScale, scaleFor, drawTimes };
})();

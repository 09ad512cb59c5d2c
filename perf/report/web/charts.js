// Charts, drawn by uPlot. Each is redrawn when the colours change: for the dark scheme, and for paper.
const charts = (() => {
  const made = [];  // {box, make, plot}
  let paper = false;

  // Okabe and Ito's colours, which colour-blind people can tell apart, except the one that marks losses. Each has
  // its own dash pattern, for paper without colours. There are as many patterns as jobs that are drawn one by one.
  const kLight = ['#0072B2', '#009E73', '#B8780A', '#AA4499', '#3B9FD6', '#4D4D4D', '#6A51A3', '#7A7A00'];
  const kDark = ['#56B4E9', '#2FD0A4', '#F0B63A', '#E58BC4', '#8FC7FF', '#C9C9C9', '#B9A5F0', '#E3DF5A'];
  const kDashes = [[], [8, 4], [2, 3], [10, 3, 2, 3], [5, 5], [12, 4], [3, 6], [6, 2, 2, 2], [16, 3, 5, 3], [9, 2, 2, 2, 2, 2]];
  const kMaxShown = 8;
  /// The border style of a line's mark in the legend: CSS's closest match for the line's dashes.
  const markerDash = (u, i) => {
    const dashes = u.series[i].dash || [];
    return dashes.length === 0 ? 'solid' : dashes[0] < 4 ? 'dotted' : 'dashed';
  };

  const dark = () => !paper && matchMedia('(prefers-color-scheme: dark)').matches;
  const theme = () => dark()
    ? { text: '#b6c0ca', grid: '#2b323a', strong: '#e6edf3', lost: '#FF8A5C', ramp: 'rgba(154, 164, 175, 0.20)', series: kDark, ground: '#161b22', dark: true }
    : { text: '#4a525b', grid: '#e4e8ec', strong: '#1b1f24', lost: '#C84A00', ramp: 'rgba(87, 96, 106, 0.14)', series: kLight, ground: '#ffffff', dark: false };

  const kFont = '12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
  // Leaves room on the right for half of the label below the end of an axis.
  const kPadding = [10, 34, 0, 4];
  const kBelow = 30;
  const kBeside = 76;
  /// Labels of an axis are round numbers: "1 ms", not "1.00 ms".
  const short = (text) => text.replace(/(\.\d*?)0+ /, '$1 ').replace('. ', ' ');
  /// Steps from one label of a linear axis to the next: 1, 2 and 5 times a power of ten. uPlot's own have 2.5, too.
  const kSteps = Array.from({ length: 65 }, (_, i) => i - 32).flatMap((e) => [1, 2, 5].map((step) => Number(step + 'e' + e)));
  const axis = (colours, label, more) => ({
    stroke: colours.text, font: kFont, labelFont: 'bold ' + kFont, label, labelSize: 22, labelGap: 6, incrs: kSteps,
    grid: { stroke: colours.grid, width: 1 }, ticks: { stroke: colours.grid, width: 1, size: 5 }, ...more,
  });

  const isKnown = (v) => v !== null && v !== undefined;
  /// The value in a legend: the one under the pointer (its number in the data is `at`), or the last one without a pointer.
  const orLast = (format) => (u, v, series, at) => {
    const shown = isKnown(at) ? v : u.data[series].findLast(isKnown);
    return isKnown(shown) ? format(shown) : '-';
  };

  /// The series of line `l`, number i of its chart, in its own colour. Its dashes belong to the colour, unless it has a `dash`. `values` formats its values.
  const line = (colours, l, i, values, more) => ({
    label: l.label, stroke: colours.series[l.colour % colours.series.length], width: 2, dash: kDashes[(l.dash ?? l.colour) % kDashes.length],
    spanGaps: true, show: i < kMaxShown, points: { show: false },
    value: (u, v) => (isKnown(v) ? values(v) : '-'), ...more,
  });

  const widthOf = (box) => Math.max(240, Math.floor(box.clientWidth));
  const heightOf = (box) => (box.clientWidth < 480 ? 230 : 290);

  /// Keeps only the labels that have room. The axis of nines and logarithmic axes make their own labels.
  const spaced = (u, splits, axisIndex, room) => {
    const scale = u.axes[axisIndex].scale;
    let last = -Infinity;
    return splits.map((v) => {
      const at = u.valToPos(v, scale);
      if (Math.abs(at - last) < room) return null;
      last = at;
      return v;
    });
  };

  // ---- Labels of logarithmic axes ----
  /// The round numbers (1, 2 and 5 times a power of ten) from `min` to `max`; only the powers of ten if these are many.
  const roundNumbers = (min, max) => {
    const list = [];
    const steps = max / min > 10 ** 2.5 ? [1] : [1, 2, 5];
    for (let e = Math.floor(Math.log10(min)); 10 ** e <= max * 1.0001; ++e) {
      list.push(...steps.map((step) => step * 10 ** e).filter((v) => v >= min * 0.9999 && v <= max * 1.0001));
    }
    return list;
  };
  /// The next round number that is not greater than `v`, or not less.
  const roundDown = (v) => { const list = roundNumbers(v / 10, v * 1.0001); return list[list.length - 1]; };
  const roundUp = (v) => roundNumbers(v * 0.9999, v * 10)[0];
  const logScale = { distr: 3, range: (u, min, max) => {
    if (!(min > 0 && max > 0)) return [1, 10];
    const [from, to] = [roundDown(min), roundUp(max)];
    return from < to ? [from, to] : [from, roundUp(to * 1.1)];
  } };
  const logAxis = (colours, label, format, more) => axis(colours, label, {
    splits: (u, i, min, max) => roundNumbers(min, max),
    filter: (u, splits) => splits,
    values: (u, splits, i) => spaced(u, splits, i, i === 0 ? 58 : 18).map((v) => (v === null ? '' : short(format(v)))), ...more,
  });

  /// For values that differ much and may be 0: logarithmic from `from` on, and linear below it, so that 0 has a place.
  const logToZero = (from) => ({ distr: 4, asinh: from, range: (u, min, max) => [0, Math.max(max * 1.1, from * 10)] });
  const logToZeroAxis = (colours, label, format, from, more) => logAxis(colours, label + ', logarithmic', format, {
    splits: (u, i, min, max) => [...(min > 0 ? [] : [0]), ...roundNumbers(Math.max(from, min), max)],
    values: (u, splits, i) => spaced(u, splits, i, 18).map((v) => (v === null ? '' : v === 0 ? '0' : short(format(v)))), ...more,
  });
  /// The axis of values over time.
  const valueAxis = (colours, label, format, scale) => {
    if (scale && scale.asinh) return logToZeroAxis(colours, label, format, scale.asinh, { size: kBeside });
    if (scale) return logAxis(colours, label, format, { size: kBeside });
    return axis(colours, label, { size: kBeside, values: (u, list) => list.map((v) => (v === 0 ? '0' : short(format(v)))) });
  };

  /// A scale for lines if the median of one is more than ten times that of another; otherwise undefined. It is
  /// logarithmic from the greatest power of ten that is not above the least median.
  function scaleFor(lines) {
    const usual = lines.slice(0, kMaxShown).map(({ values }) => values.filter((v) => v > 0).sort((a, b) => a - b)).filter((list) => list.length)
      .map((list) => list[Math.floor(list.length / 2)]);
    const least = Math.min(...usual);
    return Math.max(...usual) > 10 * least ? logToZero(10 ** Math.floor(Math.log10(least))) : undefined;
  }

  // A chart is as wide as its container, which depends on the window and the charts beside it.
  const sizes = new ResizeObserver((places) => requestAnimationFrame(() => {
    for (const { target } of places) {
      const entry = made.find((e) => e.box === target);
      if (entry && entry.plot.width !== widthOf(target)) entry.plot.setSize({ width: widthOf(target), height: heightOf(target) });
    }
  }));

  function show(box, make) {
    const entry = { box, make, plot: null };
    made.push(entry);
    draw(entry);
    sizes.observe(box);
  }

  function draw(entry) {
    if (entry.plot) entry.plot.destroy();
    const { options, data } = entry.make(theme(), entry.box);
    entry.plot = new uPlot({ width: widthOf(entry.box), height: heightOf(entry.box), padding: kPadding, cursor: { points: { size: 7 } }, legend: { markers: { width: 3, dash: markerDash } }, ...options }, data, entry.box);
    entry.box.dataset.chart = 'drawn';
    // The legend shows and hides lines, also by keyboard.
    for (const head of entry.box.querySelectorAll('.u-legend .u-series:not(:first-child) th')) {
      head.tabIndex = 0;
      head.setAttribute('role', 'button');
      head.addEventListener('keydown', (event) => {
        if (event.key !== 'Enter' && event.key !== ' ') return;
        event.preventDefault();
        head.click();
      });
    }
  }

  const drawAll = () => made.forEach(draw);

  function watch() {
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawAll);
    // Paper is white.
    const onPaper = (is) => {
      if (paper === is) return;
      paper = is;
      drawAll();
    };
    addEventListener('beforeprint', () => onPaper(true));
    addEventListener('afterprint', () => onPaper(false));
  }

  // ---- Over time ----

  /// Lines over the time of all intervals. `marks` has [at, lost, overruns] of intervals with losses or overruns.
  /// `more.below` is called after each drawing, to draw what is below the chart on the same time axis. `more.span`: the
  /// times that the axis must cover, so that all charts of a run have the same axis. `more.behind` draws below the lines.
  /// `more.pointed` gets the time under the pointer, or null.
  function overTime(box, lines, format, label, marks, more = {}) {
    show(box, (colours) => {
      const tables = lines.map((l, i) => (i === 0 && more.span ? spanned(l, more.span) : [l.at, l.values]));
      if (marks.length) tables.push([marks.map((m) => m[0]), marks.map((m) => m[1])], [marks.map((m) => m[0]), marks.map((m) => m[2])]);
      const data = uPlot.join(tables);
      const series = [{ label: 'time', value: (u, v, series, at) => (isKnown(at) ? v.toFixed(1) + ' s' : 'at the end') }];
      lines.forEach((l, i) => series.push(line(colours, l, i, format,
        // A line of one or two points would be invisible.
        { value: orLast(format), ...(l.values.length < 3 ? { points: { show: true, size: 7 } } : {}) })));
      const hooks = {};
      if (marks.length) {
        // These series only put the numbers into the legend. drawMarks() draws the marks on the axis.
        const silent = { scale: 'marks', stroke: colours.lost, width: 0, paths: () => null, points: { show: false } };
        series.push({ ...silent, label: '▮ lost frames', value: (u, v) => units.count(v) });
        series.push({ ...silent, label: '┆ overruns', value: (u, v) => units.count(v) });
        hooks.draw = [(u) => drawMarks(u, marks, colours)];
      }
      if (more.below) hooks.draw = (hooks.draw || []).concat((u) => more.below(u, colours));
      if (more.ramps && more.ramps.length) hooks.drawAxes = [(u) => drawRamps(u, more.ramps, colours)];
      if (more.behind) hooks.drawAxes = (hooks.drawAxes || []).concat((u) => more.behind(u, colours));
      if (more.pointed) hooks.setCursor = [(u) => more.pointed(u.cursor.left >= 0 ? u.posToVal(u.cursor.left, 'x') : null)];
      return { data, options: {
        scales: { x: { time: false }, y: more.scale || { range: (u, min, max) => [0, (max || 1) * 1.08] }, marks: { auto: false, range: [0, 1] } },
        axes: [axis(colours, more.own ? 'time since the job’s own start (s)' : 'time since the start (s)', { space: 60, size: kBelow }),
               valueAxis(colours, label, format, more.scale)],
        // The charts of a run point at one time, and zoom together.
        series, hooks, cursor: { points: { size: 7 }, focus: { prox: -1 }, ...(more.own ? {} : { sync: { key: 'run', setSeries: false } }) },
      } };
    });
  }

  /// Points without lines, over the offered rate: rings for the trials that passed, full points for the others.
  function trials(box, lines, format, label) {
    show(box, (colours) => {
      const points = (l) => {
        const colour = colours.series[l.colour % colours.series.length];
        return { show: true, size: 9, width: 2, stroke: colour, fill: l.passed ? colours.ground : colour };
      };
      return { data: uPlot.join(lines.map((l) => [l.at, l.values])), options: {
        scales: { x: { time: false, range: (u, min, max) => [0, max * 1.05 || 1] }, y: { range: (u, min, max) => [0, (max || 1) * 1.08] } },
        axes: [axis(colours, 'offered rate', { space: 90, size: kBelow, values: (u, list) => list.map((v) => (v === 0 ? '0' : short(units.fps(v)))) }),
               axis(colours, label, { size: kBeside, values: (u, list) => list.map((v) => (v === 0 ? '0' : short(format(v)))) })],
        series: [{ label: 'offered', value: (u, v) => (isKnown(v) ? units.fps(v) : '-') },
                 ...lines.map((l, i) => line(colours, l, i, format, { paths: () => null, points: points(l), dash: [] }))],
      } };
    });
  }

  /// A line extended to the span of the axis: adds empty values at the ends of the span if the line is shorter.
  function spanned({ at, values }, [from, to]) {
    const before = at.length === 0 || from < at[0];
    const behind = at.length > 0 && to > at.at(-1);
    return [[...(before ? [from] : []), ...at, ...(behind ? [to] : [])], [...(before ? [null] : []), ...values, ...(behind ? [null] : [])]];
  }

  /// Fills time spans over the whole height. Each is [from, to, colour, opacity].
  function drawTimes(u, times) {
    const c = u.ctx;
    const { left, top, width, height } = u.bbox;
    c.save();
    c.beginPath();
    c.rect(left, top, width, height);
    c.clip();
    for (const [from, to, colour, opacity] of times) {
      c.fillStyle = colour;
      c.globalAlpha = opacity;
      const x = u.valToPos(from, 'x', true);
      c.fillRect(x, top, u.valToPos(to, 'x', true) - x, height);
    }
    c.restore();
  }

  /// Shades the times before measured windows. Each is [from, to].
  const drawRamps = (u, ramps, colours) => drawTimes(u, ramps.map(([from, to]) => [from, to, colours.ramp, 1]));

  const kGreatestBar = 0.25;  // of the chart's height
  const kLeastBar = 4;
  const kBarWidth = 5;
  /// Draws losses as bars, higher for greater losses, and overruns as dashed lines.
  function drawMarks(u, marks, colours) {
    const c = u.ctx;
    const most = Math.max(...marks.map((mark) => mark[1]));
    const r = uPlot.pxRatio;
    const { top, height } = u.bbox;
    c.save();
    c.fillStyle = c.strokeStyle = colours.lost;
    c.lineWidth = r;
    for (const [at, lost, overruns] of marks) {
      const x = u.valToPos(at, 'x', true);
      if (overruns) {
        c.setLineDash([3 * r, 3 * r]);
        c.beginPath();
        c.moveTo(x, top);
        c.lineTo(x, top + height);
        c.stroke();
      }
      if (lost) {
        const size = Math.max(kLeastBar * r, height * kGreatestBar * lost / most);
        c.fillRect(x - kBarWidth * r / 2, top + height - size, kBarWidth * r, size);
      }
    }
    c.restore();
  }

  // ---- Percentiles, on an axis of nines: 90 %, 99 %, 99.9 % have equal distances ----

  const nines = (per_cent) => -Math.log10(1 - per_cent / 100);
  const kMarks = [[0, '0 %'], [nines(50), '50 %'], [1, '90 %'], [2, '99 %'], [3, '99.9 %'], [4, '99.99 %'], [5, '99.999 %'], [6, '99.9999 %']];
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
      const tables = lines.map((l) => { const c = curve(l.histogram); return [c.map((p) => p[0]), c.map((p) => Math.max(p[1], 1))]; });
      const data = uPlot.join(tables);
      const last = Math.max(...data[0]);
      return { data, options: {
        scales: { x: { time: false, range: () => [0, last] }, y: logScale },
        axes: [axis(colours, 'share of frames that took no longer', {
          splits: () => kMarks.map((m) => m[0]).filter((v) => v <= last + 1e-9),
          filter: (u, splits) => splits,
          size: kBelow,
          values: (u, splits) => spaced(u, splits, 0, 62).map((v) => (v === null ? '' : kMarks.find((m) => m[0] === v)[1])),
        }), logAxis(colours, 'latency', units.ns, { size: kBeside })],
        series: [{ label: 'share', value: (u, v) => (v === null || v === undefined ? '-' : Number((100 - 10 ** (2 - v)).toPrecision(2 + Math.ceil(v + 0.3))) + ' %') },
                 ...lines.map((l, i) => line(colours, l, i, units.ns, l.histogram.bins ? {} : { points: { show: true, size: 6 } }))],
      } };
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
      const to = Math.max(...keys) + 1;
      const xs = [];
      for (let c = from; c <= to; ++c) xs.push(10 ** (c / kPerDecade));
      const data = [xs, ...all.map((sums, i) => xs.map((x, n) => {
        const count = sums.get(from + n);
        return count ? count / lines[i].histogram.count : null;
      }))];
      const fill = (i) => colours.series[i % colours.series.length] + (dark() ? '38' : '2b');
      return { data, options: {
        scales: { x: { time: false, distr: 3, range: () => [xs[0], xs[xs.length - 1]] }, y: logScale },
        axes: [logAxis(colours, 'latency', units.ns, { size: kBelow }), logAxis(colours, 'share of frames', units.share, { size: kBeside })],
        series: [{ label: 'from', value: (u, v) => units.ns(v) },
                 ...lines.map((l, i) => line(colours, l, i, units.share,
                   { fill: fill(l.colour), width: 1.5, spanGaps: false, paths: uPlot.paths.stepped({ align: 1 }) }))],
      } };
    });
  }

  /// Replaces the chart in `box` by another one.
  function replace(box, drawAnother) {
    const old = made.findIndex((e) => e.box === box);
    if (old >= 0) {
      made[old].plot.destroy();
      made.splice(old, 1);
    }
    drawAnother();
  }

  return { overTime, percentiles, histogram, trials, replace, watch, logScale, scaleFor, drawTimes };
})();

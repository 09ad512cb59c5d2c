// What held the jobs back: a band below the throughput chart, on its time axis, and the sentences.
function heldBack() {
  const list = result.causes || [];
  const kNames = {
    waited_for_cpu: 'waited for a CPU', stopped: 'stopped', throttled: 'throttled', migrated: 'moved between CPUs', steal: 'hypervisor',
    softirq: 'softirqs', device_queue: 'interface dropped', memory: 'waited for memory', bus_lock: 'waited for the bus’s lock', bus_pause: 'paused by the bus',
    requested_faults: 'requested faults', fault_queue: 'queue of the faults', receive_buffer: 'socket not read', socket_memory: 'no memory for UDP',
    reassembly: 'fragments missing', listen_queue: 'not accepted', retransmits: 'sent again', no_route: 'no route', neighbour: 'no neighbour',
    qdisc: 'queue of the interface',
  };
  const kKinds = Object.keys(kNames);
  let lane = 20;  // its height
  const kGap = 6;

  /// One row for each job. Causes that overlap in time are in different lanes. [{job, lanes: [[number of the cause]]}]
  function rows() {
    const made = new Map();
    const inTime = list.map((cause, i) => i).sort((a, b) => list[a].begin_s - list[b].begin_s);
    for (const job of result.jobs.map((j) => j.jobname)) {
      const lanes = [];
      for (const i of inTime.filter((n) => list[n].job === job)) {
        const free = lanes.find((lane) => list[lane.at(-1)].end_s <= list[i].begin_s);
        if (free) free.push(i); else lanes.push([i]);
      }
      if (lanes.length) made.set(job, lanes);
    }
    return [...made].map(([job, lanes]) => ({ job, lanes }));
  }

  /// The times of these causes, each with the largest share of the causes that overlap in it. If all were tinted one
  /// above the other, a few jobs that wait all the time would hide the curves.
  function largestShares(causes, since) {
    const spans = causes.map((cause) => [cause.begin_s - since(cause.job), cause.end_s - since(cause.job), cause.share]);
    const borders = [...new Set(spans.flatMap(([from, to]) => [from, to]))].sort((a, b) => a - b);
    const times = [];
    borders.slice(1).forEach((to, i) => {
      const here = spans.filter((span) => span[0] <= borders[i] && to <= span[1]);
      if (!here.length) return;
      const share = Math.max(...here.map((span) => span[2]));
      const last = times.at(-1);
      if (last && last[1] === borders[i] && last[2] === share) last[1] = to; else times.push([borders[i], to, share]);
    });
    return times;
  }

  /// Marks the sentence of a bar while the pointer is on that bar.
  function point(items, i, on) {
    items[i].classList.toggle('pointed', on);
  }

  /// {draw, box, items}: call `draw` whenever the chart above has a new scale or size. `since` returns what to subtract
  /// from the times of a job.
  function band() {
    const box = element('div', { class: 'band' });
    const items = list.map((cause) => element('li', {}, cause.sentence));
    const all = rows();
    // The legend has each kind of cause once, with the colour of its bars and of its times in the chart.
    const kinds = kKinds.filter((kind) => list.some((cause) => cause.cause === kind)).map((kind) => ({ kind, swatch: element('i') }));
    const legend = element('p', { class: 'note held tints' }, 'Tinted in the chart: ', ...kinds.map(({ kind, swatch }) =>
      element('span', { title: list.filter((cause) => cause.cause === kind).map((cause) => cause.sentence).join('\n') }, swatch, kNames[kind])));
    const tint = (chart, colours, since) => charts.drawTimes(chart, [...new Set(list.map((cause) => cause.cause))].flatMap((kind) =>
      largestShares(list.filter((cause) => cause.cause === kind), since).map(([from, to, share]) => [from, to, colourOfKind({ cause: kind }, colours), 0.08 + 0.16 * share])));
    /// Marks the sentences of the causes that held jobs back at a time.
    const pointed = (time, since) => list.forEach((cause, i) => point(items, i, time !== null && cause.begin_s - since(cause.job) <= time && time <= cause.end_s - since(cause.job)));
    const draw = ({ chartArea: { left, width }, scales: { x: axis } }, colours, since) => {
      kinds.forEach(({ kind, swatch }) => { swatch.style.background = colourOfKind({ cause: kind }, colours); });
      lane = colours.paper ? 12 : 20;
      const drawing = svg('svg', { width: left + width + 34, role: 'img', 'aria-label': 'what held the jobs back, over time' });
      let y = 0;
      for (const { job, lanes } of all) {
        const height = lanes.length * lane;
        const name = svg('text', { x: left - 8, y: y + lane * 0.7, 'text-anchor': 'end', fill: colours.text }, shortened(job, left));
        name.append(svg('title', {}, job));
        drawing.append(name, svg('rect', { x: left, y, width, height, fill: 'none', stroke: colours.grid }));
        lanes.forEach((causes, n) => causes.forEach((i) => {
          const from = Math.max(left, axis.getPixelForValue(list[i].begin_s - since(job)));
          const to = Math.min(left + width, axis.getPixelForValue(list[i].end_s - since(job)));
          if (to > from) drawing.append(bar(i, from, y + n * lane, to - from, colours, items));
        }));
        y += height + kGap;
      }
      drawing.setAttribute('height', y);
      box.replaceChildren(drawing);
    };
    return { draw, tint, pointed, legend, box, items };
  }

  const colourOfKind = (cause, colours) => colours.series[kKinds.indexOf(cause.cause) % colours.series.length];

  // The greatest width of a letter in the band's 12 px font.
  const kLetter = 6.4;
  const shortened = (text, width) => {
    const fit = Math.max(3, Math.floor((width - 8) / kLetter));
    return text.length <= fit ? text : text.slice(0, fit - 1) + '…';
  };

  function bar(i, x, y, width, colours, items) {
    const cause = list[i];
    const colour = colourOfKind(cause, colours);
    const shape = { x, y: y + 2, width: Math.max(width, 2), height: lane - 4, rx: 2 };
    const made = svg('g', { 'data-cause': i }, svg('title', {}, cause.sentence), svg('rect', { ...shape, fill: colours.ground }),
      svg('rect', { ...shape, fill: colour, 'fill-opacity': 0.2 + 0.5 * cause.share, stroke: colour }));
    const text = `${kNames[cause.cause]}, ${units.share(cause.share)}`;
    const shown = [text, kNames[cause.cause]].find((t) => t.length * kLetter + 10 < width);
    if (shown) made.append(svg('text', { x: x + 5, y: y + lane * 0.7, fill: colours.strong }, shown));
    made.addEventListener('pointerenter', () => point(items, i, true));
    made.addEventListener('pointerleave', () => point(items, i, false));
    return made;
  }

  /// How the causes were found, or why not.
  function note() {
    if (result.causes === undefined) return null;  // a file of an earlier version
    if (result.causes === null) return 'What held the jobs back is not known: ' + result.causes_reason + '.';
    const { why } = result;
    const how = !why ? '' : `, by ${units.count(why.looks)} looks in ${units.seconds(why.seconds)}`
      + (why.missing.length ? ` (not seen: ${why.missing.map((m) => m.source).join(', ')})` : '');
    if (!list.length) return `Nothing held the jobs back${how}.`;
    return `What held the jobs back, the heaviest first${how}. The darker a bar, the larger the share of its time. Point at a bar to see its sentence.`;
  }

  return { band, note, any: list.length > 0 };
}

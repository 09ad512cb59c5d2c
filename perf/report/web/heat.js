// Which parts of their bus the jobs used: a map of each job below the throughput chart, on its time axis.
function busHeat() {
  const jobs = result.jobs.filter((job) => job.heat);
  const kMaxMaps = 8;
  const mapped = jobs.filter((job) => job.heat.map && job.heat.map.rows.length);
  const uneven = mapped.filter((job) => !alikeIn(job.heat.map));
  const drawn = uneven.slice(0, kMaxMaps);
  let cellHeight = 2;
  const kSharp = 2;  // pixels of the picture per pixel of the page
  const kLight = ['#d3e5f5', '#4f97d0', '#08306b'];
  const kDark = ['#1c3a56', '#3f86c4', '#d9eeff'];
  const kWords = { accessed: 'used', written: 'written' };

  const numbers = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  /// The colour of a share, 0 to 1, of the looks.
  function colourOfShare(share, colours) {
    if (!(share > 0)) return colours.ground;
    const steps = (colours.dark ? kDark : kLight).map(numbers);
    const at = Math.min(share, 1) * (steps.length - 1);
    const first = Math.min(Math.floor(at), steps.length - 2);
    return 'rgb(' + steps[first].map((v, i) => Math.round(v + (steps[first + 1][i] - v) * (at - first))).join(', ') + ')';
  }

  function sharpCanvas(canvas, width, height) {
    canvas.width = Math.round(width * kSharp);
    canvas.height = Math.round(height * kSharp);
    canvas.style.width = width + 'px';
    canvas.style.height = height + 'px';
    const context = canvas.getContext('2d');
    context.scale(kSharp, kSharp);
    return context;
  }

  /// The share that all cells of all rows have, or null if they differ. A part that was never used differs from one that
  /// was used once. `kind`: a key of kWords.
  function shareOfAll(map, kind) {
    const shares = map.rows.flatMap((row) => row[kind] || [null]);
    const first = shares[0];
    const like = (share) => typeof share === 'number' && Math.abs(share - first) < 0.005 && (share > 0) === (first > 0);
    return shares.every(like) ? first : null;
  }

  /// {used, written} if all cells of a map are equally hot at all times; otherwise null, and the map is worth drawing.
  function alikeIn(map) {
    const used = shareOfAll(map, 'accessed');
    const written = shareOfAll(map, 'written');
    const unknown = map.rows.every((row) => !row.written);
    return used === null || (written === null && !unknown) ? null : { used, written };
  }

  /// A sentence instead of a picture that would have only one colour.
  function alikeSentence({ jobname, heat: { map } }) {
    const { used, written } = alikeIn(map);
    const when = `from ${map.rows[0].begin_s.toFixed(1)} s to ${map.rows.at(-1).end_s.toFixed(1)} s`;
    const writes = written === null ? 'writes not measured' : written > 0 ? `and all were written alike, in ${inPercent(written)}` : 'and nothing was written';
    if (!(used > 0)) return `${jobname}: no part of its bus was used ${when}.`;
    return `${jobname}: all ${units.count(cellsOf(map))} parts of its bus were used alike, in ${inPercent(used)} of the looks ${when}, ${writes}.`;
  }

  const cellsOf = (map) => map.parts.reduce((sum, part) => sum + part.cells, 0);
  const inPercent = (share) => (share > 0 && share < 0.01 ? 'below 1 %' : share > 0.99 && share < 1 - 1e-9 ? 'over 99 %' : units.share(Math.round(share * 100) / 100));

  /// "header", or "ring at 1.50 MiB"
  function placeOf(map, cell) {
    let first = 0;
    for (const part of map.parts) {
      if (cell < first + part.cells) return part.cells === 1 ? part.name : `${part.name} at ${units.memory((part.end - part.begin) * (cell - first) / part.cells)}`;
      first += part.cells;
    }
    return '';
  }

  function summary(job) {
    const { heat } = job;
    const set = heat.working_set_bytes;
    return `Heat of ${job.jobname} over time: ` + (set ? `it used ${units.memory(set.p50)} of ${units.memory(heat.bytes)} in the median of the windows, ` : '')
      + `${units.share(heat.touched_share)} of the bus in all, and wrote ${units.share(heat.written_share)}. The tables below have the figures.`;
  }

  const readout = element('p', { class: 'note readout' }, '\u00a0');
  let shownOf = 'accessed';
  let redraw = () => {};

  /// A map, and how to draw it.
  function mapOf(job) {
    const { map } = job.heat;
    const canvas = element('canvas', { role: 'img', 'aria-label': summary(job) });
    const ring = map.parts.at(-1);
    const label = element('div', { class: 'name', title: job.jobname }, element('b', {}, job.jobname), element('span', {}, 'ring ' + units.memory(ring.end - ring.begin)));
    const row = element('div', { class: 'heat' }, label, canvas);
    let seen = null;  // what was drawn last
    const draw = ({ chartArea: { left, width }, scales: { x: axis } }, colours, since) => {
      const height = cellsOf(map) * cellHeight;
      label.style.width = left - 8 + 'px';
      const c = sharpCanvas(canvas, width, height);
      c.fillStyle = colours.grid;
      c.fillRect(0, 0, width, height);
      const at = (seconds) => axis.getPixelForValue(seconds - since) - left;
      for (const each of map.rows) drawRow(c, each[shownOf], Math.max(0, at(each.begin_s)), Math.min(width, at(each.end_s)), colours);
      drawBorders(c, map, width, colours);
      seen = { at: (x) => axis.getValueForPixel(left + x) + since };
    };
    canvas.addEventListener('pointermove', (event) => {
      if (!seen) return;
      const time = seen.at(event.offsetX);
      const under = map.rows.find((each) => each.begin_s <= time && time < each.end_s);
      const cell = Math.min(cellsOf(map) - 1, Math.max(0, Math.floor(event.offsetY / cellHeight)));
      readout.textContent = `${job.jobname}, ${placeOf(map, cell)}, ` + (!under ? `${time.toFixed(1)} s: not looked at`
        : `${under.begin_s.toFixed(1)} s to ${under.end_s.toFixed(1)} s: used in ${inPercent(under.accessed[cell])} of ${units.count(under.looks)} ${under.looks === 1 ? 'look' : 'looks'}, `
          + (under.written ? `written in ${inPercent(under.written[cell])}` : 'writes not measured'));
    });
    canvas.addEventListener('pointerleave', () => { readout.textContent = '\u00a0'; });
    return { row, draw, job };
  }

  function drawRow(c, cells, from, to, colours) {
    if (!cells || to <= from) return;
    cells.forEach((share, i) => {
      c.fillStyle = colourOfShare(share, colours);
      // A little wider, so that no seam shows between two rows.
      c.fillRect(from, i * cellHeight, to - from + 0.5, cellHeight);
    });
  }

  /// A line between the parts, and a frame.
  function drawBorders(c, map, width, colours) {
    c.strokeStyle = colours.text;
    c.lineWidth = 0.5;
    let y = 0;
    c.beginPath();
    for (const part of map.parts.slice(0, -1)) {
      y += part.cells * cellHeight;
      c.moveTo(0, y);
      c.lineTo(width, y);
    }
    c.stroke();
    c.strokeRect(0.25, 0.25, width - 0.5, cellsOf(map) * cellHeight - 0.5);
  }

  const scale = element('canvas', { role: 'img', 'aria-label': 'colours from no look to every look' });
  function drawScale(colours) {
    const width = 140;
    const c = sharpCanvas(scale, width, 12);
    for (let x = 0; x < width; ++x) {
      c.fillStyle = colourOfShare(x / (width - 1), colours);
      c.fillRect(x, 0, 1, 12);
    }
    c.strokeStyle = colours.text;
    c.lineWidth = 0.5;
    c.strokeRect(0.25, 0.25, width - 0.5, 11.5);
  }

  function figures() {
    return table('Heat of the bus', ['job', 'used, p50', 'p95', 'most', 'touched', 'written', 'of', 'why not'], jobs.map((job) => {
      const { heat } = job;
      const set = heat.working_set_bytes || {};
      return [job.jobname, units.memory(set.p50), units.memory(set.p95), units.memory(set.max), units.share(heat.touched_share), units.share(heat.written_share),
        units.memory(heat.bytes), [[heat.reason, heat.writes_reason && 'writes: ' + heat.writes_reason].filter((text) => text).join('; '), 'words']];
    }));
  }

  /// The map of a job in figures, for users who cannot see it: a few rows of time, and the ring in quarters.
  function mapTable(job) {
    const { map } = job.heat;
    const kRows = 20;
    const count = Math.min(kRows, map.rows.length);
    const places = [];
    let first = 0;
    for (const part of map.parts) {
      const pieces = part.name === 'ring' ? 4 : 1;
      for (let i = 0; i < pieces; ++i) places.push([pieces === 1 ? part.name : `ring, quarter ${i + 1}`, first + Math.floor(part.cells * i / pieces), first + Math.floor(part.cells * (i + 1) / pieces)]);
      first += part.cells;
    }
    const mean = (list) => list.reduce((sum, v) => sum + v, 0) / list.length;
    const rows = Array.from({ length: count }, (_, i) => {
      const part = map.rows.slice(Math.floor(i * map.rows.length / count), Math.floor((i + 1) * map.rows.length / count));
      return [`${part[0].begin_s.toFixed(1)} s to ${part.at(-1).end_s.toFixed(1)} s`, ...places.map(([, from, to]) => inPercent(mean(part.map((row) => mean(row.accessed.slice(from, to))))))];
    });
    return folded(`the map of ${job.jobname} in figures`, table(`Map of ${job.jobname}`, ['share of the looks', ...places.map(([name]) => name)], rows));
  }

  const maps = drawn.map(mapOf);
  /// Call `draw` whenever the chart above has a new scale or size; `since` returns what to subtract from the times of a job.
  const draw = (chart, colours, since) => {
    redraw = () => draw(chart, colours, since);
    cellHeight = colours.paper ? 0.5 : 2;
    maps.forEach((map) => map.draw(chart, colours, since(map.job.jobname)));
    drawScale(colours);
  };
  function boxes() {
    if (!jobs.length) return [];
    const note = element('p', { class: 'note held' }, 'Which parts of their bus the jobs used, by ten looks in a second. Used, p50: bytes of the pages that were used in the median of the windows. Touched and written: in any of them.'
      + (maps.length ? ' In the maps, addresses go down: the header, the table of ports, and the ring.' : '')
      + (uneven.length > drawn.length ? ` The first eight of ${units.count(uneven.length)} maps are drawn.` : ''));
    const even = mapped.filter((job) => alikeIn(job.heat.map));
    const more = even.length - kMaxMaps;
    const texts = even.slice(0, kMaxMaps).map(alikeSentence);
    if (more > 0) texts.push(`${units.count(more)} more ${more === 1 ? 'job' : 'jobs'} used all parts of the bus alike, or none; the table has the figures.`);
    const sentences = texts.map((text) => element('p', { class: 'note alike' }, text));
    if (!maps.length) return [note, ...sentences, figures()];
    const bar = element('div', { class: 'bar legend' });
    bar.append(choices('heat of', Object.entries(kWords).map(([key, word]) => [word, key]), (key) => { shownOf = key; redraw(); }),
      element('span', {}, 'no look ', scale, ' every look'), element('span', { class: 'unseen' }, 'not looked at'));
    return [note, bar, ...maps.map((map) => map.row), readout, ...sentences, figures(), ...drawn.map(mapTable)];
  }
  return { draw, boxes, any: jobs.length > 0, hasMaps: maps.length > 0 };
}

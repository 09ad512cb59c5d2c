// Events that the jobs counted, and the memory bandwidth of the run.
const inUnit = (value, unit, format) => {
  if (typeof value !== 'number') return '-';
  return unit === 'ns' ? units.ns(value) : format(value) + (unit === null ? '' : ' ' + unit);
};
const asRatio = (value) => (value >= 1000 ? units.count(Math.round(value)) : String(Number(value.toPrecision(3))));

function counters() {
  const rows = result.jobs.filter((job) => job.counters).flatMap((job) => {
    const events = job.counters.map((c) => [`${job.jobname} ${c.name}`, inUnit(c.value, c.unit, (v) => units.count(Math.round(v))), inUnit(c.per_frame, c.unit, asRatio),
      c.enabled_ns > 0 ? units.share(c.running_ns / c.enabled_ns) : '-', [c.reason ?? '', 'words']]);
    const ipc = job.instructions_per_cycle;
    return typeof ipc === 'number' ? events.concat([[`${job.jobname} instructions per cycle`, asRatio(ipc), '-', '-', ['', 'words']]]) : events;
  });
  if (!rows.length) return;
  const list = table('Counters', ['event', 'value', 'per frame', 'counted for', 'why not'], rows);
  const made = section('Counters', 'In the measured window, of the job with its threads and children. An event that was counted for a part of the time is scaled to all of it.',
    manyJobs ? folded(`${units.count(rows.length)} events`, list) : list);
  countersOverTime(made);
}

/// {name, unit, lines} for each event that was counted in any interval. The lines are per second.
function countedEvents() {
  const events = new Map();
  // As in the other curves, leaves out the drain, and very short intervals, where one event makes any rate.
  const span = runSpan();
  const end = span ? span[1] + 0.01 : Infinity;
  result.jobs.filter((job) => job.counters && job.counter_intervals).forEach((job, colour) => {
    const lengths = job.counter_intervals.map((step) => step.seconds).sort((a, b) => a - b);
    const usual = lengths[Math.floor(lengths.length / 2)] || 0;
    job.counters.forEach(({ name, unit }, i) => {
      const steps = job.counter_intervals.filter((step) => step.seconds > usual / 2 && step.at_seconds < end && step.values[i]);
      if (!steps.some((step) => step.values[i].value !== null)) return;
      const event = events.get(name) || { name, unit, lines: [] };
      event.lines.push({ colour, label: job.jobname, at: timesOf(steps), values: steps.map(({ seconds, values }) => (values[i].value === null ? null : values[i].value / seconds)) });
      events.set(name, event);
    });
  });
  return [...events.values()];
}

/// Shows one event at a time, because their units differ.
function countersOverTime(into) {
  const events = countedEvents();
  if (!events.length) return;
  const box = element('div', { class: 'chart', role: 'figure', 'aria-label': 'counters over time' });
  const draw = ({ name, unit, lines }) => charts.overTime(box, lines,
    unit === 'ns' ? (v) => units.share(v / 1e9) : units.fps,
    unit === 'ns' ? `${name} (of a CPU)` : `${name} per second` + (unit === null ? '' : ` (${unit})`), [], { span: runSpan() });
  const bar = element('div', { class: 'bar counted' });
  into.append(bar, box);
  bar.append(choices('event', events.map((event) => [event.name, event]), draw));
}

const sourceName = (source) => source.source + (source.part === null ? '' : ':' + source.part);
const perSecond = (bytes) => (typeof bytes === 'number' ? units.bytes(bytes) + '/s' : '-');

/// The memory results. In a run on servers, each server has its own.
function memories() {
  if (result.membw) memory(result.membw, '');
  for (const host of result.hosts ?? []) {
    if (host.membw) memory(host.membw, ` of ${host.hostname}`);
  }
}

function memory(measured, of) {
  const title = 'Memory bandwidth' + of;
  const made = section(title, 'Copied: bytes that software copied; many of them never leave a cache. dram: bytes that went to or from the memory itself. Sources of the software count some bytes twice, so they are not added.',
    table(title, ['source', 'scope', 'level', 'windows', 'reads', 'writes', 'total', 'per frame', 'why not'], measured.sources.map((s) => [sourceName(s), s.scope, s.level,
      s.window_s === null ? '-' : units.count(s.samples), perSecond(s.read_bytes_per_s), perSecond(s.write_bytes_per_s), perSecond(s.total_bytes_per_s),
      units.bytes(s.bytes_per_frame), [s.reason ?? '', 'words']])));
  const lines = measured.sources.map((source, i) => {
    const windows = measured.samples.map((sample) => sample.readings[i]).filter((r) => r.begin_s !== null && r.total_bytes_per_s !== null);
    return { colour: i, label: sourceName(source), at: windows.map((r) => Math.round((r.begin_s + r.window_s) * 100) / 100), values: windows.map((r) => r.total_bytes_per_s) };
  }).filter((line) => line.values.some((value) => value > 0));
  if (!lines.length) return;
  const box = element('div', { class: 'chart', role: 'figure', 'aria-label': 'memory bandwidth over time' });
  made.append(box);
  charts.overTime(box, lines, perSecond, 'bytes per second', [], { span: runSpan() });
}

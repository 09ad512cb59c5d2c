// The tables below the charts, with every figure.
const kTimes = ['p50', 'p90', 'p99', 'p99_9', 'p99_99', 'p99_999', 'max'];
const kKinds = { data: '', request: ' requests', reply: ' replies' };

// The columns that the rows of figures ask for (perf/report/fields.hpp): [key, title, format, whether a value above 0 is bad].
const kColumns = JSON.parse(document.getElementById('columns').textContent);
const titles = (list) => list.map(([, title]) => title);
/// Their cells. `asked`: how much of a bad figure the user asked for.
const cells = (list, of, asked = {}) => list.map(([key, , format, isBad]) => (isBad ? bad(of[key], asked[key]) : format === 'text' ? known(of[key] ?? null) : units[format](of[key])));

const trafficRow = (name, t) => [name, ...cells(kColumns.traffic, t)];
const timeRow = (name, h) => [name, units.count(h.count), units.ns(h.min), units.ns(h.mean), ...kTimes.map((key) => units.ns(h[key]))];
// Damaged copies are counted beside the fates, in one column after the damaged frames.
const kFates = kColumns.fates.findIndex(([key]) => key === 'truncated_frames') + 1;
const [fates, otherFates] = [kColumns.fates.slice(0, kFates), kColumns.fates.slice(kFates)];
const fatesRow = (name, f, asked) => [name, ...cells(fates, f, asked), bad(f.corrupt_copies + f.truncated_copies, asked.corrupt_frames + asked.truncated_frames), ...cells(otherFates, f)];

/// A table of jobs and groups. If there are many jobs: the groups, and the jobs on demand.
function jobsAndGroups(caption, head, jobs, groups) {
  if (!manyJobs || !groups.length) return [table(caption, head, jobs.concat(groups))];
  return [table(caption, head, groups), folded(`${units.count(jobs.length)} rows of single jobs`, table(caption + ' of single jobs', head, jobs))];
}

function jobTables() {
  const each = (make) => result.jobs.flatMap(make).concat();
  // A group of one job is left out: it would repeat the job's figures.
  const sizes = new Map();
  for (const { job } of members) sizes.set(job.groupname, (sizes.get(job.groupname) || 0) + 1);
  const groups = (make) => result.groups.filter((g) => sizes.get(g.groupname) > 1).flatMap(make);
  const title = (g) => 'group ' + g.groupname;
  const traffic = each((j) => [j.tx && trafficRow(j.jobname + ' sent', j.tx), j.rx && trafficRow(j.jobname + ' received', j.rx)].filter(Boolean));
  const groupTraffic = groups((g) => [g.tx && trafficRow(title(g) + ' sent', g.tx), g.rx && trafficRow(title(g) + ' received', g.rx)].filter(Boolean));
  if (traffic.length) {
    section('Traffic', 'In the measured window, without the ramp. Rates are averages over the time in column "over".',
      ...jobsAndGroups('Traffic', ['job', ...titles(kColumns.traffic)], traffic, groupTraffic));
  }
  const times = each((j) => [['latency_ns', 'latency'], ['service_ns', 'service'], ['spacing_error_ns', 'spacing error']]
    .filter(([key]) => j[key]).map(([key, name]) => timeRow(`${j.jobname} ${name}`, j[key])));
  const groupTimes = groups((g) => (g.latency_ns ? [timeRow(title(g) + ' latency', g.latency_ns)] : []));
  if (times.length) {
    section('Times', 'Latency: from the intended send time. Service: from the real one. Spacing error: how late frames left.',
      ...jobsAndGroups('Times', ['job and time', 'count', 'min', 'mean', 'p50', 'p90', 'p99', 'p99.9', 'p99.99', 'p99.999', 'max'], times, groupTimes));
  }
  const flows = each((j) => (j.loss ? j.loss.flows.map((f) => fatesRow(`${f.from} → ${f.to}${kKinds[f.kind]}`, f, askedOf(new Set([f.from, f.to])))) : []));
  const groupFlows = groups((g) => (g.loss ? [fatesRow(title(g), g.loss, askedOf(namesOf(membersOf(g))))] : []));
  if (flows.length) {
    section('What became of the frames', 'Each sent frame is counted once: as received, lost, corrupt, truncated, late (after drain_time), cancelled (sent to a receiver that had ended) or unverified. Duplicates and damaged copies are counted separately.',
      ...jobsAndGroups('What became of the frames', ['flow', ...titles(fates), 'damaged copies', ...titles(otherFates)], flows, groupFlows));
  }
  const connections = result.jobs.filter((j) => j.tx && j.tcp).map(({ jobname, tcp }) => [jobname, ...cells(kColumns.tcp, tcp)]);
  if (connections.length) {
    section('TCP', 'Reported by the senders’ kernels, for the measured window.',
      table('TCP', ['job', ...titles(kColumns.tcp)], connections));
  }
  // Older results have none.
  const errors = each((j) => kColumns.errors.map((kind) => [kind, j.errors_by_class?.[kind]]).filter(([, e]) => e?.count > 0)
    .map(([kind, e]) => [`${j.jobname} ${kind}`, units.count(e.count), [e.first ?? '-', 'words']]));
  if (errors.length) {
    const list = table('Errors', ['errors', 'count', 'first'], errors);
    section('Errors', 'In the measured window, by the classes of continue_on_error.', manyJobs ? folded(`${units.count(errors.length)} rows of jobs with errors`, list) : list);
  }
  const agree = (c) => [units.yes(c.agree), c.agree === false ? 'bad' : ''];
  const counts = table('Counts', ['job', 'generator sent', 'wire took', 'wire delivered', 'receiver got', 'of them foreign', 'wire lost', 'wire dropped', 'agree'],
    each((j) => [[j.jobname, j.tx ? units.count(j.counts.generator_tx_frames) : '-', j.tx ? units.count(j.counts.wire_tx_frames) : '-', j.rx ? units.count(j.counts.wire_rx_frames) : '-',
      j.rx ? units.count(j.counts.receiver_rx_frames) : '-', j.rx ? units.count(j.counts.receiver_foreign_frames) : '-',
      j.rx ? units.count(j.counts.wire_lost_frames) : '-', units.count(j.counts.wire_dropped_frames), agree(j.counts)]]));
  section('Counts side by side', 'All frames, also those of the ramp and foreign ones. "-": the medium does not count this.', manyJobs ? folded(`${units.count(result.jobs.length)} jobs`, counts) : counts);
  const cpu = (name, c) => [name, ...cells(kColumns.cpu, c || {}), c ? units.count(c.minor_faults + c.major_faults) : '-'];
  section('CPU and trust', 'Start skew: how long after the common start the job could send or receive. Rate ±: half the 95 % confidence interval. Limit: the highest rate of the harness itself, with such frames and such pacing, on this machine.',
    ...jobsAndGroups('CPU and trust', ['job', ...titles(kColumns.cpu), 'faults', 'start skew', 'rate ±', 'limit', 'used of it'],
      each((j) => [[...cpu(j.jobname, j.cpu), units.ns(j.start_skew_ns), units.share(j.rate_ci95_share), units.fps(j.limit_fps),
        [units.share(j.limit_share), j.limit_share >= 0.8 ? 'bad' : '']]]),
      groups((g) => [[...cpu(title(g), g.cpu), units.ns(g.start_skew_ns), '-', '-', '-']])));
  links();
  jobList();
}

function links() {
  if (!result.links.length) return;
  section('Faults on purpose', null, table('Faults on purpose', ['line', 'options', ...titles(kColumns.links)],
    result.links.map((l) => [`${l.jobname} ${l.direction}`, [l.options, 'words'], ...cells(kColumns.links, l)])));
}

function jobList() {
  const list = table('Jobs', ['job', 'rw', 'engine', 'ended as', 'passed', 'address', 'options'], result.jobs.map((j) => [j.jobname, j.rw, j.engine,
    j.exit_signal === null ? j.state : 'signal ' + j.exit_signal, [units.yes(j.passed), j.passed ? '' : 'bad'], [known(j.address), 'words'],
    [Object.entries(j.options).map(([k, v]) => `${k}=${v}`).join(' ') || '-', 'words']]));
  section('Jobs', null, manyJobs ? folded(`${units.count(result.jobs.length)} jobs`, list) : list);
}

/// A chart of all trials of some searches of one kind: the offered rate, and the figure that decided whether a trial passed.
function trialsOf(into, title, list) {
  const byLatency = list[0].kind === 'latency_target';
  const valueOf = (trial) => (byLatency ? trial.latency_percentile_ns : trial.lost_share);
  const lines = list.flatMap((s, colour) => [true, false].map((passed) => {
    const trials = s.trials.filter((t) => t.passed === passed && valueOf(t) !== null).sort((a, b) => a.offered_fps - b.offered_fps);
    const name = s.frame_bytes === null ? 'mix' : units.count(s.frame_bytes) + ' B';
    return { colour, passed, label: `${list.length > 1 ? `${s.jobname} ${name}` : name} ${passed ? 'passed' : 'too high'}`, at: trials.map((t) => t.offered_fps), values: trials.map(valueOf) };
  })).filter((line) => line.at.length);
  if (sumOf(lines, (line) => line.at.length) < 2) return;
  const box = element('div', { class: 'chart', role: 'figure', 'aria-label': 'trials: ' + title });
  into.append(element('p', { class: 'note held' }, 'Each point is a trial. A full point: its rate was too high.'), box);
  charts.trials(box, lines, byLatency ? units.ns : units.share, byLatency ? 'latency' : 'share of frames lost');
}

/// The trial of a search that the figures and curves of its job come from; empty if that is not known.
function shownTrial(s) {
  if (!s.shown_trial) return '';
  const { number, offered_fps, passed } = s.shown_trial;
  if (offered_fps === null) return 'a trial at full speed, with which the search began';
  if (number === null) return `a trial at ${units.fps(offered_fps)} that was cut off`;
  return `trial ${units.count(number)} of ${units.count(s.trials.length)} at ${units.fps(offered_fps)}, ${passed ? 'passed' : 'failed'}`;
}
/// The same for each search, below the chart of its trials.
function shownTrials() {
  const known = result.searches.filter(shownTrial);
  return known.length ? [element('p', { class: 'note held trials' }, 'Figures and curves of a search are those of one trial. '
    + known.map((s) => `${s.jobname}: ${shownTrial(s)}.`).join(' '))] : [];
}

/// The searches of each kind, by the title of that kind.
function searchesByTitle() {
  const kTitles = { ndr: 'Highest rate without loss (RFC 2544)', pdr: 'Highest rate within the permitted loss', latency_target: 'Highest rate within the latency target', none: 'Search' };
  const byTitle = new Map();
  for (const s of result.searches) {
    const title = kTitles[s.kind];
    if (!byTitle.has(title)) byTitle.set(title, []);
    byTitle.get(title).push(s);
  }
  return byTitle;
}

const kSearch = ['frame', 'job', 'found', 'found bit rate', 'first too high', 'trials', 'limited by'];
function searchRow(s) {
  const failed = s.trials.filter((t) => !t.passed && t.offered_fps > (s.found_fps || 0)).map((t) => t.offered_fps);
  return [s.frame_bytes === null ? 'mix' : units.count(s.frame_bytes) + ' B', s.jobname, units.fps(s.found_fps), units.bps(s.found_bps),
    failed.length ? units.fps(Math.min(...failed)) : '-', units.count(s.trials.length),
    // If the highest rate passed, the limit was not found.
    [s.limited_by_maximum ? 'the highest rate that was tried' : s.why_none || '', 'words']];
}

function searches() {
  for (const [title, list] of searchesByTitle()) trialsOf(section(title, null, table(title, kSearch, list.map(searchRow))), title, list);
  if (!result.repeats.length) return;
  section('Repetitions', null, table('Repetitions', ['figure', 'times', 'median', 'least', 'most', 'spread'], result.repeats.map((r) => {
    const format = r.figure.endsWith('_fps') ? units.fps : r.figure.endsWith('_bps') ? units.bps : /_ns($|[_.])/.test(r.figure) ? units.ns
      : r.figure.endsWith('_share') ? units.share : r.figure.endsWith('_seconds') ? units.seconds : units.count;
    return [`${r.jobname} ${r.figure}`, units.count(r.values.length), format(r.median), format(r.min), format(r.max), r.median > 0 ? units.share((r.max - r.min) / r.median) : '-'];
  })));
}

const windowOf = (m, name) => m.cpu_window.map((c) => [`${name}CPU ${c.cpu}`, units.share(c.user_share), units.share(c.system_share),
  units.share(c.irq_share), [units.share(c.steal_share), c.steal_share >= 0.01 ? 'bad' : ''], units.share(c.idle_share)]);
const cpuOf = (m) => `${units.count(m.cpus)} × ${known(m.cpu_model)}` + (m.frequency_mhz === null ? '' : ` at ${Math.round(m.frequency_mhz)} MHz`);
function addWindow(made, rows) {
  if (rows.length) made.append(table('CPUs over the measured window', ['over the window', 'user', 'system', 'irq', 'steal', 'idle'], rows));
}

/// The machine of the jobs. For a run on servers, these are the servers, not the client.
function machine() {
  if (result.hosts) return servers();
  const m = result.machine;
  const list = element('dl');
  const add = (name, value) => list.append(element('dt', {}, name), element('dd', {}, value));
  add('host', known(m.hostname));
  add('CPUs', cpuOf(m));
  add('memory', units.memory(m.memory_bytes));
  add('kernel', known(m.kernel));
  add('clock', known(m.clock_source));
  add('virtualization', known(m.virtualization));
  addWindow(section('Machine', null, list), windowOf(m, ''));
}

function servers() {
  const made = section('Servers', 'Let go: how long after the first server its jobs were let go, within the accuracy of the clocks (±). Each job begins later by its start skew.',
    table('Servers', ['server', 'passed', 'exit code', 'let go', '±', 'host', 'CPUs', 'memory', 'kernel', 'clock', 'virtualization'], result.hosts.map((h) => {
      const m = h.machine;
      return [h.hostname, [units.yes(h.passed), h.passed ? '' : 'bad'], units.count(h.exit_code), units.ns(h.start_offset_ns), units.ns(h.clock_error_ns),
        ...(m ? [[known(m.hostname), 'words'], [cpuOf(m), 'words'], units.memory(m.memory_bytes), [known(m.kernel), 'words'], known(m.clock_source), known(m.virtualization)]
          : Array(6).fill('-'))];
    })));
  addWindow(made, result.hosts.flatMap((h) => (h.machine ? windowOf(h.machine, h.hostname + ' ') : [])));
}

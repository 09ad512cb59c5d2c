// The page: shows a result as tables and charts, or several (overlay.js). Text is always inserted as text, never as markup.
const embedded = JSON.parse(document.getElementById('result').textContent);

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const main = document.getElementById('main');
/// `note`: a text, or a list of texts and elements.
function section(title, note, ...children) {
  const made = element('section', {}, element('h2', {}, title), note ? element('p', { class: 'note' }, ...[note].flat()) : null, ...children);
  main.append(made);
  return made;
}

/// `head`: the titles of the columns. A cell is a text, or [text, class].
function table(caption, head, rows) {
  const cell = (content, i) => {
    const [text, kind] = Array.isArray(content) ? content : [content, ''];
    const plain = text === '-' ? (kind + ' none').trim() : kind;
    return element(i === 0 ? 'th' : 'td', i === 0 ? { scope: 'row' } : plain ? { class: plain } : {}, text);
  };
  const wordy = (i) => rows.some((row) => Array.isArray(row[i]) && row[i][1] === 'words');
  const made = element('table', { class: 'data' },
    element('thead', {}, element('tr', {}, ...head.map((name, i) => element('th', { scope: 'col', ...(wordy(i) ? { class: 'words' } : {}) }, name)))),
    element('tbody', {}, ...rows.map((row) => element('tr', {}, ...row.map(cell)))));
  return element('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption }, made);
}

// ---- Jobs, and the peers that were made for them ----

// Above this number of jobs, the page shows groups, and jobs on demand.
const kMaxJobs = 10;
let result = null;  // the result that the functions below work on
let members = [];  // {job, peers}
let colourOf = new Map();
let manyJobs = false;

/// Makes this result the one that the functions work on.
function use(one) {
  result = one;
  members = [];
  const owners = new Map();
  for (const job of result.jobs) {
    const owner = job.peer_of !== null ? owners.get(job.peer_of) : undefined;
    if (owner) {
      owner.peers.push(job);
    } else {
      const unit = { job, peers: [] };
      owners.set(job.jobname, unit);
      members.push(unit);
    }
  }
  colourOf = new Map(members.map((unit, i) => [unit, i]));
  manyJobs = members.length > kMaxJobs;
}

const receiverOf = (unit) => unit.peers.find((p) => p.latency_ns) || (unit.job.rx ? unit.job : unit.peers[0] || unit.job);
const known = (value) => (value === null || value === '' ? '-' : value);
/// A count of losses or other faults. The user asked for `asked` of them (faults=), so only a greater count is bad.
const bad = (n, asked = 0) => [units.count(n), !(n > 0) ? '' : n <= asked ? 'asked' : 'bad'];

const sumOf = (list, of) => list.reduce((all, one) => all + of(one), 0);
/// The sum of the known values; null if all are unknown.
const knownSumOf = (list, of) => list.map(of).reduce((all, n) => (n === null ? all : all + n), null);
/// How many frames of these jobs (null: of all) the requested faults lost, damaged, duplicated or reordered, by count.
function askedOf(names) {
  const lines = result.links.filter((line) => names === null || names.has(line.jobname));
  const of = (key) => sumOf(lines, (line) => line[key] ?? 0);
  return { lost_frames: of('lost_frames') + of('under_way_frames'), duplicate_frames: of('duplicated_frames'),
    reordered_frames: of('reordered_frames'), corrupt_frames: of('corrupted_frames'), truncated_frames: of('truncated_frames') };
}
const namesOf = (units) => new Set(units.flatMap((unit) => [unit.job, ...unit.peers]).map((job) => job.jobname));
const membersOf = (group) => members.filter(({ job }) => job.groupname === group.groupname);

// ---- Head ----

const kSignals = { 1: 'SIGHUP', 2: 'SIGINT', 13: 'SIGPIPE', 15: 'SIGTERM' };
const stopped = () => (result.stopped_by_signal === null ? '' : 'stopped by ' + (kSignals[result.stopped_by_signal] || `signal ${result.stopped_by_signal}`));
// A run that was stopped without failures is not shown as failed.
const verdict = () => (result.passed ? 'passed' : stopped() && !result.failures.length ? 'stopped' : 'FAILED');
const where = () => (result.hosts ? `${units.count(result.hosts.length)} server${result.hosts.length === 1 ? '' : 's'}, requested by ${known(result.machine.hostname)}` : known(result.machine.hostname));
const began = () => result.time.began.replace('T', ' ').replace(/\.\d+Z$/, ' UTC');
const commandLine = () => result.command.map(quote).join(' ');

/// The title with its badge, and the most important figures.
function titleOf(badge, kind, figures) {
  document.title = badge + ' · shmifperf report';
  return [element('h1', {}, element('span', { class: 'badge ' + kind }, badge.toUpperCase()), 'shmifperf report'),
    element('div', { class: 'figures' }, ...figures.map(([value, name, its]) => element('div', its ? { class: its } : {}, element('b', {}, value), element('span', {}, name))))];
}

function head() {
  document.getElementById('head').append(...titleOf(verdict(), verdict().toLowerCase(), mainFigures()),
    element('p', {}, `${began()} · took ${units.seconds(result.time.seconds)} · on ${where()} · shmifperf ${result.shmifperf_version} · exit code ${result.exit_code}`
      + (stopped() && ` · ${stopped()}`)
      + losses()
      + (result.steady_state === null ? '' : ` · steady state ${result.steady_state}`)),
    element('pre', { class: 'command wrap', tabindex: '0', 'aria-label': 'command' }, commandLine()));
}
const allLost = () => knownSumOf(result.jobs, (job) => job.loss && job.loss.lost_frames);
/// Shows losses next to "passed", which alone would suggest that all frames arrived.
function losses() {
  const lost = allLost();
  const asked = askedOf(null).lost_frames;
  const queue = sumOf(result.links, (line) => line.queue_full_frames);
  if (!lost) return '';
  const all = ` · ${units.count(lost)} ${lost === 1 ? 'frame' : 'frames'} lost`;
  if (!asked && !queue) return all;
  const most = (count) => (count >= lost ? ' ' : `, no more than ${units.count(count)} of them `);
  const byQueue = 'by the full queue of a fault';
  if (!asked) return all + most(queue) + byQueue;
  if (!queue) return all + most(asked) + 'by the requested faults';
  return `${all}, no more than ${units.count(asked)} of them by the requested faults and ${units.count(queue)} ${byQueue}`;
}
/// What a reader looks for first: [value, name, class] of each figure.
function mainFigures() {
  const searched = result.searches.map((s) => [s.found_fps === null ? 'none' : units.fps(s.found_fps),
    `highest rate, ${s.frame_bytes === null ? 'mix' : units.count(s.frame_bytes) + ' B'}` + (result.searches.length > 1 ? `, ${s.jobname}` : '')]);
  if (searched.length) return searched.slice(0, 6);
  const way = result.jobs.some((job) => job.rx) ? 'rx' : 'tx';
  const moved = result.jobs.filter((job) => job[way]);
  const what = way === 'rx' ? 'received' : 'sent';
  // Rates of jobs that followed each other do not add up.
  const traffic = startApart(moved) ? [[units.count(sumOf(moved, (job) => job[way].frames)), `frames ${what}`]]
    : [[units.bps(sumOf(moved, (job) => job[way].rate_bps)), what], [units.fps(sumOf(moved, (job) => job[way].rate_fps)), 'frames']];
  const lost = allLost();
  const share = members.length === 1 ? lostOf(members[0])[1] : '-';
  const losses = lost === null ? [] : [[units.count(lost), share === '-' ? 'lost' : `lost, ${share}`, bad(lost, askedOf(null).lost_frames)[1]]];
  return [...(moved.length ? traffic : []), ...losses, ...timeFigures('round trip', (job) => job.rw === 'pingpong'),
    // The latency of a job at full speed is that of the queue that it fills itself.
    ...timeFigures('latency', (job) => job.rw !== 'pingpong' && job.spacing_error_ns)];
}
/// A job that falls behind its pace delays its own frames.
const keptPace = ({ tx }) => !tx || tx.rate_fps >= 0.99 * tx.offered_fps;
/// The median and the p99 of the slowest of these jobs.
function timeFigures(what, wanted) {
  const of = (unit) => receiverOf(unit).latency_ns;
  const slowest = members.filter((unit) => wanted(unit.job) && keptPace(unit.job) && of(unit)).sort((a, b) => of(b).p99 - of(a).p99)[0];
  const name = members.length > 1 ? ', ' + slowest?.job.jobname : '';
  return slowest ? [[units.ns(of(slowest).p50), `${what}, p50${name}`], [units.ns(of(slowest).p99), `${what}, p99${name}`]] : [];
}
const quote = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : "'" + word.replaceAll("'", "'\\''") + "'");

/// Whether the requested faults explain all losses, damage, duplicates and reorderings in the flows that a job receives.
function wasAskedFor(job) {
  const kinds = ['lost_frames', 'duplicate_frames', 'reordered_frames', 'corrupt_frames', 'truncated_frames'];
  return job.loss !== null && job.loss.flows.every((flow) => {
    const asked = askedOf(new Set([flow.from, flow.to]));
    return kinds.every((kind) => flow[kind] <= asked[kind]) && flow.late_frames + flow.cancelled_frames + flow.unverified_frames === 0
      && flow.corrupt_copies + flow.truncated_copies <= asked.corrupt_frames + asked.truncated_frames;
  });
}

/// [class, title, text] of each problem.
function problemsOf() {
  return [...result.failures.map((failure) => ['bad', 'failed', failure]),
    ...result.jobs.flatMap((job) => job.problems.map(({ kind, text }) => [kind === 'skipped' || (kind === 'loss' && wasAskedFor(job)) ? 'care' : 'bad', kind, `${job.jobname}: ${text}`])),
    ...result.warnings.map((warning) => ['care', 'warning', warning])];
}

function problems(all) {
  const list = element('ul', { class: 'problems' }, ...all.map(([kind, title, text]) => element('li', { class: kind }, element('b', {}, title), text)));
  list.append(...list.querySelectorAll('.care'));
  for (const kind of ['bad', 'care']) shorten(list, [...list.children].filter((item) => item.className === kind));
  if (list.children.length) main.append(list);
}

/// Shows the first of many items; the others unfold on demand.
function shorten(list, items) {
  const kMaxShown = 8;
  if (items.length <= kMaxShown + 2) return;
  const rest = items.slice(kMaxShown);
  const details = element('details', {}, element('summary', {}, `and ${units.count(rest.length)} more`));
  rest[0].before(element('li', { class: 'more' }, details));
  details.append(element('ul', { class: 'problems' }, ...rest));
}

/// For a pingpong job, lost requests count, too, as in the text output.
function lostOf(unit) {
  const { loss } = receiverOf(unit);
  if (!loss) return ['-', '-'];
  const requests = result.jobs.flatMap((j) => (j.loss ? j.loss.flows : [])).filter((f) => f.kind === 'request' && f.from === unit.job.jobname);
  const asked = askedOf(namesOf([unit])).lost_frames;
  if (!requests.length) return [bad(loss.lost_frames, asked), units.share(loss.lost_share)];
  const lost = requests.reduce((n, f) => n + f.lost_frames, loss.lost_frames);
  const sent = requests.reduce((n, f) => n + f.sent_frames, 0);
  return [bad(lost, asked), units.share(sent ? lost / sent : null)];
}

const kGlance = ['offered', 'sent', 'received', 'bit rate', 'lost', 'lost share', 'p50', 'p99', 'p99.9', 'max'];
function glanceFigures(tx, at, lost) {
  const h = at.latency_ns || {};
  return [units.fps(tx && tx.offered_fps), units.fps(tx && tx.rate_fps), units.fps(at.rx && at.rx.rate_fps), units.bps(at.rx && at.rx.rate_bps),
    ...lost, units.ns(h.p50), units.ns(h.p99), units.ns(h.p99_9), units.ns(h.max)];
}
/// [name, engine or number of jobs, kGlance, own limit]: of each job, or group.
const glanceOfJobs = () => members.map((unit) => [unit.job.jobname, unit.job.engine, ...glanceFigures(unit.job.tx, receiverOf(unit), lostOf(unit)), units.share(unit.job.limit_share)]);
const glanceOfGroups = () => result.groups.map((group) => [group.groupname, units.count(membersOf(group).length),
  ...glanceFigures(group.tx, group, group.loss ? [bad(group.loss.lost_frames, askedOf(namesOf(membersOf(group))).lost_frames), units.share(group.loss.lost_share)] : ['-', '-'])]);

/// How many runs the medians come from; 0 if there was only one run.
const runsOf = () => Math.max(0, ...result.repeats.map((r) => r.values.length));

function glance() {
  const runs = runsOf();
  const note = (runs ? `Medians of ${runs} runs; counts, curves and buckets are those of ${result.shown_run ? 'run ' + result.shown_run : 'one of them'}. ` : '')
    + 'Latency from the intended send time. Own limit: the rate as a share of the highest rate of the harness itself on this machine.';
  const jobs = table(manyJobs ? 'Jobs at a glance' : 'At a glance', ['job', 'engine', ...kGlance, 'own limit'], glanceOfJobs());
  if (!manyJobs) return section('At a glance', note, jobs);
  const groupHead = ['group', 'jobs', ...kGlance];
  const rows = glanceOfGroups();
  const more = rows.length > kMaxJobs ? folded(`and ${units.count(rows.length - kMaxJobs)} more groups`, table('More groups', groupHead, rows.slice(kMaxJobs))) : null;
  return section('At a glance', note, table('At a glance', groupHead, rows.slice(0, kMaxJobs)), more, folded(`each of the ${units.count(members.length)} jobs`, jobs));
}

/// Content that unfolds on demand.
const folded = (title, ...children) => element('details', {}, element('summary', {}, title), ...children);

// ---- Charts ----

/// The intervals of a curve. It leaves out very short intervals, in which one or two frames make any rate.
/// It also leaves out the drain and the interval that crosses into it, whose rates cover half the time.
function curveOf(job) {
  const lengths = job.intervals.map((i) => i.seconds).sort((a, b) => a - b);
  const usual = lengths[Math.floor(lengths.length / 2)] || 0;
  const list = job.intervals.filter((i) => i.seconds > usual / 2);
  if (!list.some((i) => i.measured)) return list;
  // A long interval is a stall, which must be visible.
  while (!list.at(-1).measured && list.at(-1).seconds < 2 * usual) list.pop();
  return list;
}

const timesOf = (list) => list.map((i) => Math.round(i.at_seconds * 100) / 100);
const rate = (i, key, factor) => (i.seconds > 0 ? i[key] * factor / i.seconds : null);
const beginOf = (job) => (job.intervals.length ? job.intervals[0].at_seconds - job.intervals[0].seconds : 0);
/// When the measured window of a job began, if it had a ramp (which is not in any figure); otherwise null.
function rampEndOf(job) {
  const first = job.intervals.findIndex((i) => i.measured);
  return first > 0 ? job.intervals[first].at_seconds - job.intervals[first].seconds : null;
}

// ---- Lines of a chart: one per job, or if there are many jobs, one per group ----

/// {name, colour, jobs: the jobs whose intervals are added up}
function sources() {
  if (!manyJobs) return members.map((unit) => ({ name: unit.job.jobname, colour: colourOf.get(unit), jobs: [receiverOf(unit)] }));
  return result.groups.map((group, i) => ({ name: 'group ' + group.groupname, colour: i,
    jobs: members.filter(({ job }) => job.groupname === group.groupname).map(receiverOf) })).filter((s) => s.jobs.length);
}

/// Adds up the intervals of several jobs that end within the same usual interval.
function curveOfAll(jobs) {
  if (jobs.length === 1) return curveOf(jobs[0]);
  const curves = jobs.map(curveOf).filter((list) => list.length);
  const lengths = curves.flat().map((i) => i.seconds).sort((a, b) => a - b);
  const usual = lengths[Math.floor(lengths.length / 2)] || 1;
  const sums = new Map();
  for (const list of curves) {
    for (const i of list) {
      const key = Math.round(i.at_seconds / usual);
      const sum = sums.get(key) || { at_seconds: key * usual, seconds: usual, measured: true, tx_bytes: 0, rx_bytes: 0, tx_frames: 0, rx_frames: 0, jobs: 0 };
      // Intervals differ a little in length, so rates are added up.
      for (const name of ['tx_bytes', 'rx_bytes', 'tx_frames', 'rx_frames']) sum[name] += i.seconds > 0 ? i[name] * usual / i.seconds : 0;
      sum.jobs += 1;
      sum.measured = sum.measured && i.measured;
      sums.set(key, sum);
    }
  }
  return [...sums.entries()].sort((a, b) => a[0] - b[0]).map(([, sum]) => sum);
}

const kZoomHint = 'Drag across the chart to zoom in; double-click to see all again.';

/// Whether jobs began at different times. On the time axis of the run, their curves then follow each other.
function startApart(jobs) {
  const begins = jobs.filter((job) => job.intervals.length).map(beginOf);
  return begins.length > 1 && Math.max(...begins) - Math.min(...begins) > 0.5;
}

/// Buttons, one of which is pressed. Calls `choose` with the value of the pressed one.
function choices(label, names, choose) {
  const choice = element('div', { class: 'choice', role: 'group', 'aria-label': label });
  const buttons = names.map(([name, value]) => {
    const button = element('button', { type: 'button' }, name);
    button.addEventListener('click', () => press(value));
    choice.append(button);
    return [button, value];
  });
  const press = (value) => {
    buttons.forEach(([button, its]) => button.setAttribute('aria-pressed', String(its === value)));
    choose(value);
  };
  press(names[0][1]);
  return choice;
}

/// What to subtract from times: with `own`, the job's start, so that the job begins at 0.
const since = (job, own) => (own ? beginOf(job) : 0);

/// [at, lost, overruns] of intervals with losses or overruns.
function marksOf(jobs, own) {
  const marks = new Map();
  for (const job of jobs) {
    for (const i of job.intervals) {
      if (!i.lost_frames && !i.overruns) continue;
      const at = Math.round((i.at_seconds - since(job, own)) * 100) / 100;
      const old = marks.get(at) || [at, 0, 0];
      marks.set(at, [at, old[1] + i.lost_frames, old[2] + i.overruns]);
    }
  }
  return [...marks.values()].sort((a, b) => a[0] - b[0]);
}

/// The time axis of the charts: from the start of the run to the end of the last curve.
function runSpan() {
  const ends = result.jobs.map((job) => curveOf(job).at(-1)).filter((i) => i).map((i) => Math.round(i.at_seconds * 100) / 100);
  return ends.length ? [0, Math.max(...ends)] : null;
}

/// [from, to] of each ramp.
function rampsOf(jobs, own) {
  const ramps = new Map();
  for (const job of jobs) {
    const end = rampEndOf(job);
    if (end === null) continue;
    const from = Math.round((beginOf(job) - since(job, own)) * 10) / 10;
    const to = Math.round((end - since(job, own)) * 100) / 100;
    ramps.set(from, [from, Math.max(to, ramps.has(from) ? ramps.get(from)[1] : to)]);
  }
  return [...ramps.values()];
}

/// If the jobs began at different times, adds a choice of where time begins.
function addTimeChoice(into, jobs, redraw) {
  if (!startApart(jobs)) return;
  into.append(choices('time', [['since the start of the run', false], ['since each job’s own start', true]], redraw));
}

/// What held the jobs back: a note, the band if the chart above has one, and the sentences.
function heldBackBelow(causes, band) {
  const note = causes.note();
  return [band && band.legend, note && element('p', { class: 'note held' }, note), band && band.box, band && element('ol', { class: 'causes' }, ...band.items)].filter((part) => part);
}

// If no job receives (a file, or engine=null), only the sent frames are known.
const receivesOf = (job) => job.rx !== null;
const sourcesWithCurves = () => sources().filter((s) => s.jobs.some((job) => curveOf(job).length));
/// `shown`: the set of receiving() values of all lines.
const whatOf = (shown) => (shown.size > 1 ? 'received or sent' : shown.has(true) ? 'received' : 'sent');
const receiving = (all) => new Set(all.map((s) => s.jobs.some(receivesOf)));

/// A line for each source, in bits or frames. `name` is the same in other results; the legend shows `label`.
/// `what`: the word in the label of the axis.
const throughputLines = (all, what, bits, own) => all.map(({ name, colour, jobs }) => {
  const receives = jobs.some(receivesOf);
  const key = (receives ? 'rx_' : 'tx_') + (bits ? 'bytes' : 'frames');
  const list = curveOfAll(jobs);
  const begin = own ? Math.min(...jobs.map(beginOf)) : 0;
  return { name, colour, label: name + (receives || what === 'sent' ? '' : ' (sent)'),
    at: timesOf(list.map((i) => ({ at_seconds: i.at_seconds - begin }))), values: list.map((i) => rate(i, key, bits ? 8 : 1)) };
});

/// A note about the axis in the chart of these lines. `format`: as on the axis.
const logNote = (lines, format) => {
  const scale = charts.scaleFor(lines);
  return scale ? ` The curves differ by more than a factor of ten, so the axis is logarithmic; below ${format(scale.below).replace(/\.0+ /, ' ')} it is linear, down to 0.` : '';
};

function throughput() {
  const all = sourcesWithCurves();
  const causes = heldBack();
  const heat = busHeat();
  if (!all.length) {
    if (causes.any) section('What held the jobs back', null, ...heldBackBelow(causes, causes.band()));
    if (heat.any) section('Heat of the bus', null, ...heat.boxes());
    return;
  }
  const shown = receiving(all);
  const what = whatOf(shown);
  const drawn = all.flatMap((s) => s.jobs);
  const ramps = rampsOf(drawn, false);
  const box = element('div', { class: 'chart', role: 'figure', 'aria-label': 'throughput over time' });
  const band = causes.any ? causes.band() : null;
  const ofAxis = element('span');
  const made = section('Throughput over time', [(shown.has(true) ? 'What arrived in each interval' : 'What was sent in each interval') + (shown.size > 1 ? ', or what was sent if no job receives' : '')
    + (manyJobs ? ', summed for each group' : '') + '. A bar on the time axis: frames were lost then, the more the higher; a dashed line: a receiver was overrun.'
    + (ramps.length ? ' Shaded: the ramp of a job, which its figures do not include.' : '')
    + (all.length > 8 ? ` The first eight ${manyJobs ? 'groups' : 'jobs'} are drawn; click a name to show or hide it.` : ''),
  ofAxis, ' ' + kZoomHint]);
  made.append(...shownTrials());
  const chosen = { bits: true, own: false };
  const sinceOf = (name) => since(result.jobs.find((job) => job.jobname === name), chosen.own);
  const redraw = () => {
    const lines = throughputLines(all, what, chosen.bits, chosen.own);
    const format = chosen.bits ? units.bps : units.fps;
    ofAxis.textContent = logNote(lines, format);
    charts.overTime(box, lines, format,
      `${what} (${chosen.bits ? 'bit/s' : 'frames/s'})`, marksOf(result.jobs, chosen.own), { ramps: rampsOf(drawn, chosen.own), own: chosen.own,
        span: chosen.own ? null : runSpan(), scale: charts.scaleFor(lines),
        ...(band ? { behind: (chart, colours) => band.tint(chart, colours, sinceOf), pointed: (time) => band.pointed(time, sinceOf) } : {}),
        below: (chart, colours) => {
          if (band) band.draw(chart, colours, sinceOf);
          if (heat.hasMaps) heat.draw(chart, colours, sinceOf);
        } });
  };
  const bar = element('div', { class: 'bar' });
  made.append(bar, box, ...heldBackBelow(causes, band), ...heat.boxes());
  bar.append(choices('unit', [['bits', true], ['frames', false]], (bits) => { chosen.bits = bits; redraw(); }));
  addTimeChoice(bar, drawn, (own) => { chosen.own = own; redraw(); });
}

/// {name, colour, label, histogram}: for each job, or if there are many jobs, for each group.
function histograms() {
  if (manyJobs) return result.groups.map((g, i) => ({ name: 'group ' + g.groupname, colour: i, histogram: g.latency_ns })).filter((l) => l.histogram).map((l) => ({ ...l, label: l.name }));
  return members.filter((unit) => receiverOf(unit).latency_ns)
    .map((unit) => ({ name: unit.job.jobname, colour: colourOf.get(unit), label: unit.job.jobname, histogram: receiverOf(unit).latency_ns }));
}

/// The TCP connections of the jobs that send on them.
function connections() {
  const samplesOf = (job) => curveOf(job).filter((i) => i.tcp);
  const senders = result.jobs.filter((job) => job.tx && job.tcp && samplesOf(job).length);
  if (!senders.length) return;
  // The colours of the other charts. These have no colours for peers, and if there are many jobs, only for their groups.
  const colourFor = (job, i) => {
    const place = manyJobs ? i : members.findIndex((unit) => unit.job === job);
    return place >= 0 ? place : members.length + i;
  };
  const lines = (value) => senders.map((job, i) => {
    const list = samplesOf(job);
    return { colour: colourFor(job, i), label: job.jobname, at: timesOf(list), values: list.map(value) };
  });
  const pair = element('div', { class: 'pair' });
  main.append(pair);
  for (const [title, note, value, format, axis] of [
    ['TCP congestion window', 'The value in the sender’s kernel at the end of each interval.', (i) => i.tcp.snd_cwnd_bytes, units.bytes, 'bytes'],
    ['TCP round-trip time', 'As smoothed by the sender’s kernel.', (i) => i.tcp.rtt_ns, units.ns, 'time']]) {
    const box = element('div', { class: 'chart', role: 'figure', 'aria-label': title });
    pair.append(section(title, note, box));
    charts.overTime(box, lines(value), format, axis, []);
  }
}

function latencies(lines) {
  if (!lines.length) return;
  const binned = lines.filter((l) => l.histogram.bins);
  const pair = element('div', binned.length ? { class: 'pair' } : {});
  main.append(pair);
  const chart = (title, note, label) => {
    const box = element('div', { class: 'chart', role: 'figure', 'aria-label': label });
    pair.append(section(title, note, box));
    return box;
  };
  charts.percentiles(chart('Latency percentiles', 'From the intended send time, so a stall shows in every frame that it delayed.'
    + (binned.length ? '' : ' This file has only percentiles (the dots); the curve connects them. A result written with --output-format=json+ has every bucket, for a smooth curve and a histogram.'), 'latency percentiles'), lines);
  if (binned.length) {
    charts.histogram(chart('Latency histogram', 'How many frames took how long; both axes are logarithmic.', 'latency histogram'), binned);
  }
}

/// Each group is represented by its slowest job, because percentiles cannot be added up.
const slowest = () => sources().map((s) => ({ ...s, job: s.jobs.filter((job) => job.latency_ns).sort((a, b) => b.latency_ns.p99 - a.latency_ns.p99)[0] })).filter((s) => s.job);
const latencyLines = (all, own) => all.map(({ name, colour, job }) => {
  const list = curveOf(job).filter((i) => i.latency_p99_ns > 0);
  return { name, colour, label: name + (manyJobs ? ': ' + job.jobname : ''), at: timesOf(list.map((i) => ({ at_seconds: i.at_seconds - since(job, own) }))), values: list.map((i) => i.latency_p99_ns) };
}).filter((l) => l.at.length);

function latencyOverTime() {
  const all = slowest();
  if (!latencyLines(all, false).length) return;
  const jobs = all.map((s) => s.job);
  const ramps = rampsOf(jobs, false);
  const box = element('div', { class: 'chart', role: 'figure', 'aria-label': 'latency over time' });
  const made = section('Latency over time', '99 of 100 frames of an interval were no later than this.' + (manyJobs ? ' For each group: the job with the worst p99.' : '')
    + (ramps.length ? ' Shaded: the ramp of a job, which its figures do not include.' : '') + ' ' + kZoomHint);
  const redraw = (own) => charts.overTime(box, latencyLines(all, own), units.ns, 'p99 latency', [], { scale: charts.logScale, ramps: rampsOf(jobs, own), own, span: own ? null : runSpan() });
  const bar = element('div', { class: 'bar' });
  made.append(bar, box);
  redraw(false);
  addTimeChoice(bar, jobs, redraw);
}

function pageOfOne(one) {
  use(one);
  head();
  problems(problemsOf());
  glance();
  searches();
  throughput();
  connections();
  latencies(histograms());
  latencyOverTime();
  const overview = main.childElementCount;
  jobTables();
  counters();
  memories();
  [...main.children].slice(overview).forEach((part) => part.classList.add('detail'));
  machine();
  main.append(element('p', { class: 'note rest' }, 'The tables of all figures are on the page on a screen, and in shmifperf report --details.'));
}

if (embedded.overlaid) pageOfSeveral(embedded.overlaid); else pageOfOne(embedded);
charts.watch();

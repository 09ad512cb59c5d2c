// The page: what the result says, as tables and charts. Text goes into the page as text, never as markup.
const result = JSON.parse(document.getElementById('result').textContent);

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const main = document.getElementById('main');
function section(title, note, ...children) {
  const made = element('section', {}, element('h2', {}, title), note ? element('p', { class: 'note' }, note) : null, ...children);
  main.append(made);
  return made;
}

/// `head` names the columns; a cell is a text, or [text, class].
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

const owners = new Map();
const members = [];  // {job, peers}
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
const receiverOf = (unit) => unit.peers.find((p) => p.latency_ns) || (unit.job.rx ? unit.job : unit.peers[0] || unit.job);
const colourOf = new Map(members.map((unit, i) => [unit, i]));
const known = (value) => (value === null || value === '' ? '-' : value);
const bad = (n) => [units.count(n), n > 0 ? 'bad' : ''];

// ---- Head ----

const kSignals = { 1: 'SIGHUP', 2: 'SIGINT', 13: 'SIGPIPE', 15: 'SIGTERM' };
const stopped = result.stopped_by_signal === null ? '' : 'stopped by ' + (kSignals[result.stopped_by_signal] || `signal ${result.stopped_by_signal}`);
// Who stops a run in which nothing failed is not told that something has.
const verdict = result.passed ? 'passed' : stopped && !result.failures.length ? 'stopped' : 'FAILED';
const where = result.hosts ? `${units.count(result.hosts.length)} server${result.hosts.length === 1 ? '' : 's'}, asked for by ${known(result.machine.hostname)}` : known(result.machine.hostname);

function head() {
  document.title = verdict + ' · shmifperf report';
  const time = result.time;
  document.getElementById('head').append(
    element('h1', {}, 'shmifperf report', element('span', { class: 'badge ' + verdict.toLowerCase() }, verdict.toUpperCase())),
    element('p', {}, `${time.began.replace('T', ' ').replace(/\.\d+Z$/, ' UTC')} · took ${units.seconds(time.seconds)} · on ${where} · shmifperf ${result.shmifperf_version} · exit code ${result.exit_code}`
      + (stopped && ` · ${stopped}`)
      + (result.steady_state === null ? '' : ` · steady state ${result.steady_state}`)),
    element('pre', { class: 'command wrap', tabindex: '0', 'aria-label': 'command' }, result.command.map(quote).join(' ')));
}
const quote = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : "'" + word.replaceAll("'", "'\\''") + "'");

function problems() {
  const list = element('ul', { class: 'problems' });
  const add = (kind, title, text) => list.append(element('li', { class: kind }, element('b', {}, title), text));
  for (const failure of result.failures) add('bad', 'failed', failure);
  for (const job of result.jobs) {
    for (const { kind, text } of job.problems) add(kind === 'skipped' ? 'care' : 'bad', kind, `${job.jobname}: ${text}`);
  }
  for (const warning of result.warnings) add('care', 'warning', warning);
  list.append(...list.querySelectorAll('.care'));
  for (const kind of ['bad', 'care']) shorten(list, [...list.children].filter((item) => item.className === kind));
  if (list.children.length) main.append(list);
}

/// Of many items of a kind the first are seen, the others on demand, and on paper.
function shorten(list, items) {
  const kMostShown = 8;
  if (items.length <= kMostShown + 2) return;
  const rest = items.slice(kMostShown);
  const details = element('details', {}, element('summary', {}, `and ${units.count(rest.length)} more`));
  rest[0].before(element('li', { class: 'more' }, details));
  details.append(element('ul', { class: 'problems' }, ...rest));
  addEventListener('beforeprint', () => { details.open = true; });
}

function glance() {
  const rows = members.map((unit) => {
    const { job } = unit;
    const at = receiverOf(unit);
    const h = at.latency_ns || {};
    return [job.jobname, job.engine, units.fps(job.tx && job.tx.offered_fps), units.fps(job.tx && job.tx.rate_fps), units.fps(at.rx && at.rx.rate_fps),
      units.bps(at.rx && at.rx.rate_bps), at.loss ? bad(at.loss.lost_frames) : '-', units.share(at.loss && at.loss.lost_share),
      units.ns(h.p50), units.ns(h.p99), units.ns(h.p99_9), units.ns(h.max), units.share(job.limit_share)];
  });
  section('At a glance', 'Latency from the intended send time. Own limit: how much of what the harness itself can do on this machine was used.',
    table('At a glance', ['job', 'engine', 'offered', 'sent', 'received', '', 'lost', '', 'p50', 'p99', 'p99.9', 'max', 'own limit'], rows));
}

// ---- Charts ----

/// The intervals that a curve is made of: without stubs, in which a frame or two make any rate, and
/// without the drain and the interval that crosses into it, whose rates are of half the time.
function curveOf(job) {
  const lengths = job.intervals.map((i) => i.seconds).sort((a, b) => a - b);
  const usual = lengths[Math.floor(lengths.length / 2)] || 0;
  const list = job.intervals.filter((i) => i.seconds > usual / 2);
  if (!list.some((i) => i.measured)) return list;
  // A long one is a stall, which is to be seen.
  while (!list.at(-1).measured && list.at(-1).seconds < 2 * usual) list.pop();
  return list;
}

const timesOf = (list) => list.map((i) => Math.round(i.at_seconds * 100) / 100);
const rate = (i, key, factor) => (i.seconds > 0 ? i[key] * factor / i.seconds : null);

function throughput() {
  const marks = new Map();
  for (const job of result.jobs) {
    for (const i of job.intervals) {
      if (!i.lost_frames && !i.overruns) continue;
      const at = Math.round(i.at_seconds * 100) / 100;
      const old = marks.get(at) || [at, 0, 0];
      marks.set(at, [at, old[1] + i.lost_frames, old[2] + i.overruns]);
    }
  }
  const sorted = [...marks.values()].sort((a, b) => a[0] - b[0]);
  // Where nobody receives, a file or engine=null, what was sent is all there is.
  const receivesOf = (job) => job.rx !== null;
  const shown = new Set(members.map(receiverOf).filter((job) => curveOf(job).length).map(receivesOf));
  const whatOf = () => (shown.size > 1 ? 'received or sent' : shown.has(true) ? 'received' : 'sent');
  const lines = (bits) => members.flatMap((unit) => {
    const at = receiverOf(unit);
    const receives = receivesOf(at);
    const key = (receives ? 'rx_' : 'tx_') + (bits ? 'bytes' : 'frames');
    const list = curveOf(at);
    const one = { colour: colourOf.get(unit), label: unit.job.jobname + (receives || whatOf() === 'sent' ? '' : ' (sent)'), at: timesOf(list), values: list.map((i) => rate(i, key, bits ? 8 : 1)) };
    return list.length ? [one] : [];
  });
  if (!lines(true).length) return;
  const box = element('div', { class: 'chart', role: 'img', 'aria-label': 'throughput over time' });
  const buttons = [];
  const made = section('Throughput over time', (shown.has(true) ? 'What arrived in each interval' : 'What was sent in each interval') + (shown.size > 1 ? ', or was sent where nobody receives' : '') + '. ▲ on the time axis: frames were lost then; a dashed line: a receiver was overrun.'
    + (members.length > 8 ? ' Drawn are the first eight jobs; a click on a name shows or hides one.' : ''));
  const choose = (bits) => {
    buttons.forEach(([b, its]) => b.setAttribute('aria-pressed', String(its === bits)));
    charts.replace(box, () => charts.overTime(box, lines(bits), bits ? units.bps : units.fps, `${whatOf()} (${bits ? 'bit/s' : 'frames/s'})`, sorted));
  };
  const choice = element('div', { class: 'choice', role: 'group', 'aria-label': 'unit' });
  for (const [name, bits] of [['bits', true], ['frames', false]]) {
    const button = element('button', { type: 'button' }, name);
    button.addEventListener('click', () => choose(bits));
    buttons.push([button, bits]);
    choice.append(button);
  }
  made.append(choice, box);
  choose(true);
}

function latencies() {
  const measured = members.filter((unit) => receiverOf(unit).latency_ns);
  if (!measured.length) return;
  const lines = measured.map((unit) => ({ colour: colourOf.get(unit), label: unit.job.jobname, histogram: receiverOf(unit).latency_ns }));
  const binned = lines.filter((l) => l.histogram.bins);
  const pair = element('div', binned.length ? { class: 'pair' } : {});
  main.append(pair);
  const chart = (title, note, label) => {
    const box = element('div', { class: 'chart', role: 'img', 'aria-label': label });
    pair.append(section(title, note, box));
    return box;
  };
  charts.percentiles(chart('Latency percentiles', 'From the intended send time, so that a stall counts for every frame it kept waiting.'
    + (binned.length ? '' : ' This file has percentiles only, marked by dots, through which the curve is drawn: a result written with --output-format=json+ has every bucket, for a smooth curve and a histogram.'), 'latency percentiles'), lines);
  if (binned.length) {
    charts.histogram(chart('Latency histogram', 'How many frames took how long; both axes are logarithmic.', 'latency histogram'), binned);
  }
  const overTime = measured.map((unit) => {
    const list = curveOf(receiverOf(unit)).filter((i) => i.latency_p99_ns > 0);
    return { colour: colourOf.get(unit), label: unit.job.jobname, at: timesOf(list), values: list.map((i) => i.latency_p99_ns) };
  }).filter((l) => l.at.length);
  if (overTime.length) {
    const box = element('div', { class: 'chart', role: 'img', 'aria-label': 'latency over time' });
    section('Latency over time', '99 of 100 frames of an interval were no later than this.', box);
    charts.overTime(box, overTime, units.ns, 'p99 latency', [], { scale: charts.logScale });
  }
}

head();
problems();
glance();
searches();
throughput();
latencies();
jobTables();
machine();
charts.watch();

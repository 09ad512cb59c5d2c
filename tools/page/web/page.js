// The page: asks for the state once a second and shows it. What is shown stays where it is, so that focus, scrolling and
// what the user types survive.

const kInterval = 1000;
let state = null;
let model = { buses: [], nodes: [] };
let selected = null;
let paused = false;
let timer = null;
let asking = false;
let looked = 0;  // number of the server's last look that is in the histories

/// The time is not a part of what a screen reader says, because it changes each second.
function say(text, kind, time = '') {
  tell(byId('live'), text);
  tell(byId('time'), time && ', ' + time);
  byId('status').className = kind;
}

function choose(id) {
  selected = id;
  show();
  const home = byId('panel');
  const box = home.getBoundingClientRect();
  if (box.top > innerHeight - 80 || box.bottom < 80) home.scrollIntoView({ block: 'start', behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth' });
}

// ---- Tables ----

const kColumns = [['Port', ''], ['Bus', 'words'], ['Addresses', 'words'], ['Link', 'words'], ['Faults', 'words any'], ['Lost', ''], ['Line dropped', 'dropped'], ['Sent/s', ''], ['Received/s', ''], ['Sent', ''], ['Received', '']];
const rows = new Map();

function showPorts() {
  const home = byId('ports');
  if (!home.firstChild) {
    home.append(element('thead', {}, element('tr', {}, ...kColumns.map(([name, kind]) => element('th', { scope: 'col', class: name === 'Port' ? 'words' : kind || null }, name)))), element('tbody'));
  }
  const body = home.tBodies[0];
  const seen = new Set(model.nodes.flatMap((node) => node.faces.map((face) => face.key)));
  for (const [key, row] of rows) {
    if (seen.has(key)) continue;
    row.made.remove();
    rows.delete(key);
  }
  let at = 0;
  for (const node of model.nodes) {
    for (const face of node.faces) {
      if (!rows.has(face.key)) {
        const name = element('button', { type: 'button', class: 'plain' });
        const kind = element('small', {});
        const made = element('tr', { 'data-port': face.port.name, 'data-bus': face.bus.name }, element('th', { scope: 'row' }, name, kind), ...kColumns.slice(1).map(([title, words]) => element('td', { class: words || null, 'data-title': title })));
        const row = { made, name, kind, id: node.id };
        name.addEventListener('click', () => choose(row.id));
        rows.set(face.key, row);
      }
      const row = rows.get(face.key);
      if (body.rows[at] !== row.made) body.insertBefore(row.made, body.rows[at] || null);
      ++at;
      row.id = node.id;
      tell(row.name, clipped(tame(face.port.name), 40));
      tell(row.kind, node.kind === 'host' ? '' : kindOf(node));
      const line = face.line ? face.line.line : null;
      const dropped = droppedOf(face.port);
      const lineLost = dropped !== null && dropped[0] + dropped[1] > 0;
      const known = face.addresses.filter((text) => !plain(text));
      [tame(face.bus.name), (known.length ? known : face.addresses).join(', ') || '-', face.link[1], line === null ? '-' : tame(withoutWord(line)) || 'none',
        whole(face.port.lost_frames), dropped ? (lineLost ? `${whole(dropped[0])} in\n${whole(dropped[1])} out` : '0') : '-', bps(face.rates.tx_bps), bps(face.rates.rx_bps), whole(face.port.tx_frames), whole(face.port.rx_frames)]
        .forEach((text, i) => tell(row.made.cells[i + 1], text));
      row.made.cells[3].className = 'words state ' + face.link[0];
      row.made.cells[5].className = face.port.lost_frames > 0 ? 'bad' : '';
      row.made.cells[6].className = lineLost ? 'dropped care' : 'dropped';
    }
  }
}

let shownChanges = '';
function showChanges() {
  const all = model.buses.flatMap((bus) => (bus.changes || []).map((each) => ({ ...each, bus: bus.name })));
  all.sort((a, b) => b.time_ns - a.time_ns || b.number - a.number);
  const shape = JSON.stringify(all.slice(0, 200));
  if (shape === shownChanges) return;
  shownChanges = shape;
  const many = model.buses.length > 1;
  byId('changes').replaceChildren(...(all.length ? all.slice(0, 200).map((each) => element('li', {},
    element('time', { datetime: new Date(each.time_ns / 1e6).toISOString() }, clock(each.time_ns)),
    element('b', {}, tame((each.port || 'several ports') + (many ? ' on ' + each.bus : ''))), tame(each.change),
    element('span', {}, ` before frame ${whole(each.before_frame)}`))) : [element('li', {}, element('span', {}, 'none so far'))]));
}

// ---- The last frames ----

const watching = { on: false, after: null, lines: [], timer: null, bus: '' };

function showFrames() {
  const home = byId('frames');
  const part = byId('frames-filter').value.trim().toLowerCase();
  const at_end = home.scrollHeight - home.scrollTop - home.clientHeight < 30;
  const lines = part ? watching.lines.filter((line) => line.toLowerCase().includes(part)) : watching.lines;
  tell(home, lines.join('\n'));
  if (at_end) home.scrollTop = home.scrollHeight;
}

async function watchFrames() {
  const bus = byId('frames-bus').value;
  if (bus !== watching.bus) Object.assign(watching, { bus, after: null, lines: [] });
  try {
    const news = await asked('/api/frames', watching.after === null ? { bus } : { bus, after: watching.after });
    if (bus === byId('frames-bus').value) {
      const missed = news.lines.length && watching.after !== null ? news.lines[0].number - watching.after - 1 : 0;
      watching.after = news.last;
      watching.lines.push(...(missed > 0 ? [`… ${whole(missed)} frames passed too fast to be shown`] : []), ...news.lines.map((line) => tame(line.text)));
      watching.lines.splice(0, Math.max(0, watching.lines.length - 500));
      tell(byId('frames-note'), watching.lines.length ? '' : 'No frame has passed yet.');
      showFrames();
    }
  } catch (error) {
    tell(byId('frames-note'), String(error.message));
  }
  if (watching.on) watching.timer = setTimeout(watchFrames, kInterval);
}

function runFrames(on) {
  watching.on = on;
  clearTimeout(watching.timer);
  const button = byId('frames-run');
  button.setAttribute('aria-pressed', String(on));
  tell(button, on ? 'Stop' : 'Watch');
  if (on) watchFrames();
}

// ---- The state ----

function showLab() {
  const { lab } = state;
  byId('lab').hidden = !lab;
  if (!lab) return;
  const all = lab.hosts.length;
  tell(byId('lab'), lab.state === 'up' ? `lab up, ${all - model.missing.length} of ${all} hosts` : 'lab ' + lab.state);
  byId('lab').className = 'badge ' + (lab.state === 'down' ? 'bad' : lab.state === 'starting' || model.missing.length ? 'care' : 'good');
  tell(byId('missing'), lab.state === 'down' ? `The lab does not run (shmifctl up ${tame(lab.file)}).` : model.missing.length ? 'Not up: ' + listed(model.missing, 8) : '');
}

function show() {
  if (!state) return;
  model = modelOf(state);
  if (selected === null && model.buses.length) selected = model.buses[0].id;
  showLab();
  showPicture(model, selected, choose);
  showPanel(model, selected, state.may_write);
  showPorts();
  showChanges();
}

function note() {
  if (state.look <= looked) return;
  looked = state.look;
  for (const bus of state.buses) {
    const rates = bus.rates || {};
    remember('bus:' + bus.path, { rate_fps: rates.rate_fps, rate_bps: rates.rate_bps, lost_fps: rates.lost_fps });
    for (const row of rates.ports || []) remember(`${bus.path}:${row.slot}:${row.incarnation}`, { tx_bps: row.tx_bps, rx_bps: row.rx_bps, lost_fps: row.lost_fps });
  }
}

/// Asks for all that the server has seen.
async function recall() {
  const past = await asked('/api/history');
  histories.clear();
  for (const bus of past.buses) histories.set('bus:' + bus.path, { rate_fps: bus.rate_fps, rate_bps: bus.rate_bps, lost_fps: bus.lost_fps });
  looked = past.look;
  const node = model.nodes.find((each) => each.id === selected);
  if (node) await Promise.all(node.faces.map(fetchHistory));
}

function begin() {
  document.title = tame(state.name) + ' · shmif';
  tell(byId('title'), tame(state.name));
  const rights = byId('rights');
  rights.hidden = false;
  tell(rights, state.may_write ? 'may change' : 'read only');
  rights.classList.toggle('care', state.may_write);
  tell(byId('picture-rights'), state.may_write ? ', and to change it' : '');
  byId('frames-bus').replaceChildren(...state.buses.map((bus) => element('option', { value: bus.path }, tame(bus.name))));
  tell(byId('foot'), `shmifctl ${state.version} serve. Whoever has the address of this page can read the frames of ` + (state.buses.length > 1 ? 'these buses' : 'this bus') + (state.may_write ? (state.buses.length > 1 ? ' and change their links.' : ' and change its links.') : '.'));
}

async function refresh() {
  clearTimeout(timer);
  if (asking) return;
  asking = true;
  try {
    const first = state === null;
    state = await asked('/api/state');
    if (first) begin();
    // A page in the background asks more rarely than the server looks.
    if (state.look > looked + 1) await recall();
    note();
    show();
    say('live', 'good', clock(state.time_ns));
  } catch (error) {
    say(error instanceof TypeError ? 'no connection: shmifctl serve has ended, or cannot be reached' : String(error.message), 'bad');
  }
  asking = false;
  if (!paused) timer = setTimeout(refresh, kInterval);
}

byId('pause').addEventListener('click', () => {
  paused = !paused;
  tell(byId('pause'), paused ? 'Continue' : 'Pause');
  if (paused) {
    clearTimeout(timer);
    say('paused', '', state ? clock(state.time_ns) : '');
  } else refresh();
});
byId('frames-run').addEventListener('click', () => runFrames(!watching.on));
byId('frames-bus').addEventListener('change', () => runFrames(true));
byId('frames-filter').addEventListener('input', showFrames);
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && !paused) refresh();
});
new ResizeObserver(() => requestAnimationFrame(show)).observe(byId('picture'));
refresh();

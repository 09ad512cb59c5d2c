// The picture: each bus is a cable, each host or device a box that hangs from it.

// ---- What there is, from the state ----

/// What holds on a port's line: a class, and a word for people.
function linkOf(port, line) {
  if (port.state !== 'live') return ['off', 'process is gone'];
  const text = line ? line.line : '';
  if (/(^|[,;] *)link down/.test(text)) return ['off', 'link down'];
  if (!port.up) return ['off', 'port down'];
  if (port.carrier === false) return ['off', 'no carrier'];
  if (text !== '' || (line && line.partitioned)) return ['faulty', 'up, with faults'];
  if (port.carrier === null) return ['up', 'up, carrier not known'];
  return ['up', 'up'];
}

/// The frames that the line of a port dropped, on the way from the bus and to it; null where its program does not count them.
function droppedOf(port) {
  return typeof port.line_rx_dropped_frames === 'number' ? [port.line_rx_dropped_frames, port.line_tx_dropped_frames] : null;
}
/// What holds on a line, without the word that the page says already.
const withoutWord = (line) => line.replace(/^(link down, )?fault /, '$1');
/// What is at the far end of the line of a port.
const farOf = (port) => (port.link === 'bridge' ? 'line' : 'host');

/// What a host of the lab is on a bus where it has no port.
const absent = (name, bus) => ({ bus, port: { name, state: 'absent', link: 'host', pid: null }, line: null, link: ['off', 'not up'], rates: {}, key: `lab:${bus.path}:${name}`, interface: null, addresses: [] });

/// Of a host of a lab that was started again, the port of its last process may still be there.
function withoutTheDead(faces) {
  return faces.filter((face) => face.port.state === 'live' ||
    !faces.some((other) => other !== face && other.bus === face.bus && (other.port.state === 'live' || other.port.slot > face.port.slot)));
}

/// The state as `buses`, and as `nodes`: what hangs from them. A node is a host, a bridge, or a port of a program. A host of
/// the lab is one, also if it is not up; then it keeps its place.
function modelOf(state) {
  const nodes = new Map();
  const buses = state.buses.map((bus, index) => ({ ...bus, index, id: 'bus:' + bus.path }));
  const ofLab = new Map(((state.lab && state.lab.hosts) || []).map((host, order) => [host.name, { ...host, order }]));
  for (const bus of buses) {
    if (bus.error) continue;
    const rates = new Map(bus.rates.ports.map((row) => [row.slot + ':' + row.incarnation, row]));
    const lines = new Map((bus.lines || []).map((row) => [row.slot + ':' + row.incarnation, row]));
    const hosts = new Map();
    for (const host of bus.hosts || []) for (const face of host.interfaces) hosts.set(face.slot, [host, face]);
    for (const port of bus.stat.ports || []) {
      const id = port.slot + ':' + port.incarnation;
      const [host, face] = hosts.get(port.slot) || [null, null];
      const name = host ? host.name : port.name;
      // A program can have ports on several buses.
      const shared = (host && host.supervisor_pid) || (port.link === 'bridge' && port.pid);
      const key = ofLab.has(name) ? 'lab:' + name : shared ? 'pid:' + shared : 'port:' + bus.path + ':' + id;
      if (!nodes.has(key)) nodes.set(key, { id: key, name, kind: host || ofLab.has(name) ? 'host' : 'device', pid: null, command: null, unknown: null, faces: [] });
      const node = nodes.get(key);
      if (host || (node.pid === null && port.state === 'live')) Object.assign(node, host ? { pid: host.pid, command: host.command, unknown: host.unknown } : { pid: port.pid });
      const line = lines.get(id) || null;
      node.faces.push({ bus, port, line, link: linkOf(port, line), rates: rates.get(id) || {}, key: bus.path + ':' + id,
        interface: face ? face.interface : null, addresses: face && face.addresses ? face.addresses : [] });
    }
  }
  const missing = [];
  for (const [name, host] of ofLab) {
    const key = 'lab:' + name;
    const node = nodes.get(key);
    if (node) node.faces = withoutTheDead(node.faces);
    if (node && node.faces.some((face) => face.port.state === 'live')) continue;
    missing.push(name);
    if (node) continue;
    const faces = buses.filter((bus) => host.buses.includes(bus.name)).map((bus) => absent(name, bus));
    if (faces.length) nodes.set(key, { id: key, name, kind: 'host', pid: null, command: null, unknown: null, faces });
  }
  const order = (node) => (node.id.startsWith('lab:') ? ofLab.get(node.name).order : ofLab.size);
  return { buses, missing, nodes: [...nodes.values()].sort((a, b) => order(a) - order(b)) };
}

const worst = (node) => node.faces.map((face) => face.link).sort((a, b) => ['up', 'faulty', 'off'].indexOf(b[0]) - ['up', 'faulty', 'off'].indexOf(a[0]))[0];
const plain = (text) => /^(fe80|169\.254\.)/.test(text);
/// The address that people know a node by; link-local ones come last.
function addressOf(node) {
  const all = node.faces.flatMap((face) => face.addresses);
  return all.find((text) => !plain(text)) || all[0] || '';
}
const kindOf = (node) => (node.kind === 'host' ? 'host' : node.faces[0].port.link);
/// "web, b1 and 37 more"
const listed = (names, most) => names.slice(0, most).map(tame).join(', ') + (names.length > most ? ` and ${names.length - most} more` : '');

// ---- Where it is drawn ----

const kBox = { width: 150, height: 64, gap: 42, row: 22 };
const kSmall = { width: 92, height: 30, gap: 30, row: 12 };
const kMany = 30;  // from this number of boxes on, they are small
const kCableRoom = 40;
const kDrop = 34;

/// Where the ways from a box to the buses below it are.
function waysBelow(at, size, below) {
  return below.map((face, order) => (at.last ? at.x + (size.width * (order + 1)) / (below.length + 1) : at.x + size.width + 14 - 5 * order));
}

/// Places all: for each node `x`, `y` and its `row`, for each bus `y`; the width and the height of the whole.
function placed(model, width) {
  const size = model.nodes.length > kMany ? kSmall : kBox;
  const step = size.width + size.gap;
  const columns = Math.max(1, Math.floor((width - size.gap / 2) / step));
  const nodes = new Map();
  const buses = new Map();
  let y = 10;
  for (const bus of model.buses) {
    y += kCableRoom;
    buses.set(bus.id, y);
    const own = model.nodes.filter((node) => node.faces[0].bus.index === bus.index);
    const singles = own.filter((node) => node.faces.length === 1);
    const joints = own.filter((node) => node.faces.length > 1);
    // Ways from above to buses further down: no box is to hide one.
    const passing = model.nodes.filter((node) => nodes.has(node.id))
      .flatMap((node) => {
        const below = node.faces.filter((face) => face.bus.index > node.faces[0].bus.index);
        return waysBelow(nodes.get(node.id), size, below).filter((x, i) => below[i].bus.index > bus.index);
      });
    const grid = Array.from({ length: columns }, (_, i) => Math.max(size.gap / 2, (width - columns * step + size.gap) / 2) + i * step);
    const free = grid.filter((x) => !passing.some((way) => way > x - 20 && way < x + size.width + 8));
    const open = passing.length && free.length ? free : null;
    // Rows of about the same length look better than a last one with a single box.
    const inRow = (part) => Math.ceil(part.length / Math.max(Math.ceil(part.length / (open || grid).length), 1));
    const most = Math.max(inRow(singles), inRow(joints), 1);
    const left = Math.max(size.gap / 2, (width - most * step + size.gap) / 2);
    const places = open || Array.from({ length: most }, (_, i) => left + i * step);
    // Those on several buses come last, in a row of their own, so that the way down is free.
    let row = -1;
    for (const part of [singles, joints]) {
      const count = inRow(part);
      const begin = Math.floor((places.length - count) / 2);  // whole columns: the ways to boxes run between them
      part.forEach((node, i) => {
        if (i % count === 0) ++row;
        nodes.set(node.id, { x: places[begin + (i % count)], row, last: i >= part.length - count && part === joints,
          y: y + kDrop + row * (size.height + size.row) });
      });
    }
    y += row < 0 ? 16 : kDrop + (row + 1) * (size.height + size.row) - size.row + 12;
  }
  const widest = Math.max(0, ...[...nodes.values()].map((at) => at.x + size.width + 4));
  return { size, nodes, buses, width: Math.max(width, widest), height: y + 8 };
}

// ---- Drawing ----

/// The way from a cable to a box, where its plug is, and where it leaves the cable.
function wayOf(place, node, face) {
  const { size } = place;
  const at = place.nodes.get(node.id);
  const y = place.buses.get(face.bus.id);
  if (y < at.y) {  // the cable is above
    if (at.row === 0) return { path: `M${at.x + size.width / 2} ${y}V${at.y}`, x: at.x + size.width / 2, y: at.y, joint: at.x + size.width / 2 };
    const x = at.x - 14;
    return { path: `M${x} ${y}V${at.y + size.height / 2}H${at.x}`, x: at.x, y: at.y + size.height / 2, joint: x };
  }
  const below = node.faces.filter((each) => place.buses.get(each.bus.id) > at.y);
  const x = waysBelow(at, size, below)[below.indexOf(face)];
  if (at.last) return { path: `M${x} ${at.y + size.height}V${y}`, x, y: at.y + size.height, joint: x };
  return { path: `M${at.x + size.width} ${at.y + size.height / 2}H${x}V${y}`, x: at.x + size.width, y: at.y + size.height / 2, joint: x };
}

function plugOf(way, kind) {
  if (kind === 'faulty') return drawn('path', { class: 'plug faulty', d: `M${way.x} ${way.y - 7}l7 7l-7 7l-7 -7z` });
  return drawn('circle', { class: 'plug ' + kind, cx: way.x, cy: way.y, r: kind === 'off' ? 6 : 5 });
}

const thick = (bits) => 2 + (bits > 0 ? Math.min(4, Math.log10(1 + bits) / 2.5) : 0);

/// What a screen reader says of a node.
function sayNode(node) {
  return `${kindOf(node)} ${tame(node.name)}` + node.faces.map((face) =>
    `, on ${tame(face.bus.name)}: ${face.link[1]}${face.addresses.length ? ', ' + face.addresses.join(' ') : ''}`).join('');
}
function sayBus(bus) {
  if (bus.error) return `bus ${tame(bus.name)}: ${bus.error}`;
  return `bus ${tame(bus.name)}, ${fps(bus.rates.rate_fps)}, ${bps(bus.rates.rate_bps)}`;
}

const picture = { shape: '', parts: new Map(), order: [], place: null };

/// Draws anew if there is something else to draw; otherwise only the texts and colours change.
function showPicture(model, selected, choose) {
  const home = byId('picture');
  const width = Math.max(home.clientWidth, 300);
  const shape = JSON.stringify([width, model.buses.map((bus) => [bus.id, !bus.error]), model.nodes.map((node) => [node.id, node.faces.map((face) => face.key)])]);
  if (shape !== picture.shape) {
    const focused = document.activeElement && document.activeElement.closest('#picture g[role="button"]');
    const last = focused ? focused.dataset.id : null;
    picture.shape = shape;
    drawPicture(home, model, width, choose);
    if (last && picture.parts.has(last)) picture.parts.get(last).group.focus();
  }
  updatePicture(model, selected);
}

function button(id, kind, choose) {
  const group = drawn('g', { role: 'button', class: kind, tabindex: '-1', 'data-id': id });
  group.addEventListener('click', () => choose(id));
  group.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const at = picture.order.indexOf(id);
    const to = event.key === 'Home' ? 0 : event.key === 'End' ? picture.order.length - 1 : step ? at + step : -1;
    if (event.key === 'Enter' || event.key === ' ') choose(id);
    else if (!picture.order[to]) return;
    else {
      group.setAttribute('tabindex', '-1');
      const next = picture.parts.get(picture.order[to]).group;
      next.setAttribute('tabindex', '0');
      next.focus();
    }
    event.preventDefault();
  });
  picture.order.push(id);
  return group;
}

function drawPicture(home, model, width, choose) {
  picture.parts = new Map();
  picture.order = [];
  const place = placed(model, width);
  picture.place = place;
  const { size } = place;
  const ways = drawn('g', { 'aria-hidden': 'true' });
  // As in a circuit diagram, a dot tells a way that ends at a cable from one that crosses it.
  const joints = drawn('g', { 'aria-hidden': 'true', class: 'joints' });
  const groups = [];
  for (const bus of model.buses) {
    const y = place.buses.get(bus.id);
    const group = button(bus.id, 'bus', choose);
    const cable = drawn('line', { class: 'cable', x1: 8, x2: place.width - 8, y1: y, y2: y });
    const name = drawn('text', { class: 'name', x: 6, y: y - 12 });
    const rate = drawn('text', { class: 'soft', x: place.width - 6, y: y - 12, 'text-anchor': 'end' });
    group.append(drawn('rect', { class: 'cable-room', x: 0, y: y - 27, width: place.width, height: 35 }),
      drawn('rect', { class: 'ring', x: 1, y: y - 27, width: place.width - 2, height: 35, rx: 5 }), cable, name, rate);
    picture.parts.set(bus.id, { group, cable, name, rate });
    groups.push(group);
    for (const node of model.nodes.filter((each) => each.faces[0].bus.index === bus.index)) {
      const at = place.nodes.get(node.id);
      const made = button(node.id, node.kind, choose);
      const text = (dy, kind) => drawn('text', { class: kind, x: at.x + size.width / 2, y: at.y + dy, 'text-anchor': 'middle' });
      const small = size === kSmall;
      const parts = { group: made, hint: drawn('title'), name: text(20, 'name'), middle: text(36, 'soft'), faults: text(45, 'care'), rate: text(51, 'soft'), top: at.y, faces: [] };
      made.append(parts.hint, drawn('rect', { class: 'ring', x: at.x - 4, y: at.y - 4, width: size.width + 8, height: size.height + 8, rx: 10 }),
        drawn('rect', { class: 'box', x: at.x, y: at.y, width: size.width, height: size.height, rx: 7 }), parts.name);
      if (!small) made.append(parts.middle, parts.faults, parts.rate);
      for (const face of node.faces) {
        const way = wayOf(place, node, face);
        const drop = drawn('path', { class: 'drop', d: way.path });
        const plug = drawn('g', {});
        ways.append(drop);
        joints.append(drawn('circle', { class: 'joint', cx: way.joint, cy: place.buses.get(face.bus.id), r: 6.5 }));
        made.append(plug);
        parts.faces.push({ way, drop, plug, kind: '' });
      }
      picture.parts.set(node.id, parts);
      groups.push(made);
    }
  }
  home.replaceChildren(drawn('svg', { width: place.width, height: place.height, role: 'group', 'aria-labelledby': 'picture-title' }, ways, ...groups, joints));
  if (picture.order.length) picture.parts.get(picture.order[0]).group.setAttribute('tabindex', '0');
}

function updatePicture(model, selected) {
  const press = (id, parts) => parts.group.setAttribute('aria-pressed', String(id === selected));
  for (const bus of model.buses) {
    const parts = picture.parts.get(bus.id);
    press(bus.id, parts);
    parts.group.setAttribute('aria-label', sayBus(bus));
    tell(parts.name, clipped(tame(bus.name), 24));
    parts.cable.setAttribute('stroke-width', bus.error ? 3 : 3 + thick(bus.rates.rate_bps));
    if (bus.error) {
      tell(parts.rate, 'cannot be read');
      parts.rate.setAttribute('class', 'bad');
      continue;
    }
    const lost = bus.rates.lost_fps > 0;
    tell(parts.rate, `${fps(bus.rates.rate_fps)}, ${bps(bus.rates.rate_bps)}` + (lost ? `, ${fps(bus.rates.lost_fps)} lost` : ''));
    parts.rate.setAttribute('class', lost ? 'bad' : 'soft');
  }
  for (const node of model.nodes) {
    const parts = picture.parts.get(node.id);
    press(node.id, parts);
    parts.group.setAttribute('aria-label', sayNode(node));
    parts.group.classList.toggle('dead', node.faces.every((face) => face.port.state !== 'live'));
    const room = picture.place.size.width - 14;
    const family = getComputedStyle(document.body).fontFamily;
    tell(parts.hint, tame(node.name));
    tell(parts.name, fitted(tame(node.name), room, '600 13px ' + family));
    const [kind, word] = worst(node);
    const faults = node.faces.map((face) => (face.line ? face.line.line : '')).filter((text) => text !== '').join('; ');
    const lost = node.faces.reduce((all, face) => all + (face.rates.lost_fps || 0), 0);
    tell(parts.middle, fitted(kind === 'off' ? word : tame(addressOf(node)) || kindOf(node), room, '600 12px ' + family));
    parts.middle.setAttribute('class', kind === 'off' ? 'bad' : 'soft');
    const hasFaults = kind !== 'off' && faults !== '';
    tell(parts.faults, hasFaults ? fitted(tame(withoutWord(faults)), room, '600 12px ' + family) : '');
    const rows = hasFaults ? [16, 30, 44, 58] : [20, 36, 44, 51];
    [parts.name, parts.middle, parts.faults, parts.rate].forEach((each, i) => each.setAttribute('y', parts.top + rows[i]));
    const sum = (key) => node.faces.reduce((all, face) => (face.rates[key] === null || face.rates[key] === undefined ? all : (all || 0) + face.rates[key]), null);
    const away = node.faces.every((face) => face.port.state !== 'live');
    tell(parts.rate, away ? '' : lost > 0 ? `${fps(lost)} lost` : `↑ ${short(sum('tx_bps'))}  ↓ ${short(sum('rx_bps'))} bit/s`);
    parts.rate.setAttribute('class', lost > 0 ? 'bad' : 'soft');
    node.faces.forEach((face, i) => {
      const part = parts.faces[i];
      part.drop.setAttribute('stroke-width', thick((face.rates.tx_bps || 0) + (face.rates.rx_bps || 0)));
      if (part.kind === face.link[0]) return;
      part.kind = face.link[0];
      part.drop.setAttribute('class', 'drop ' + part.kind);
      part.plug.replaceChildren(plugOf(part.way, part.kind));
    });
  }
}


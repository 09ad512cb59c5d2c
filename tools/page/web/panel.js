// The panel: everything about what is chosen in the picture, and what can be done with it.

const panel = { id: null, shape: '', update: () => {} };

function facts(rows) {
  const cells = rows.map(([name]) => [element('dt', {}, name), element('dd')]);
  return { made: element('dl', {}, ...cells.flat()), cells: cells.map(([, cell]) => cell) };
}

/// A line that says how an action ended. role=status lets screen readers say it.
function outcome() {
  const made = element('p', { class: 'message', role: 'status' });
  return {
    made,
    say(text, kind) {
      made.className = 'message ' + kind;
      tell(made, text);
    },
  };
}

/// A button that does `work`, which returns what to say. Only one runs at a time.
function doing(name, kind, said, work) {
  const made = element('button', { type: 'button', class: kind }, name);
  made.addEventListener('click', async () => {
    made.disabled = true;
    said.say('', '');
    try {
      said.say(await work(), 'good');
    } catch (error) {
      said.say(String(error.message), 'bad');
    }
    made.disabled = false;
  });
  return made;
}

const change = async (bus, port, text) => {
  const done = await posted('/api/change', port === null ? { bus: bus.path, change: text } : { bus: bus.path, port, change: text });
  refresh();
  return done.holds;
};

// ---- A host, or another port ----

/// What the line of a port dropped, in the words of `shmifctl stat`, and what waits there.
function droppedText(port) {
  if (port.state === 'absent') return '-';
  const dropped = droppedOf(port);
  if (!dropped) return 'not counted by its program';
  const waiting = port.line_waiting_frames;
  return `${whole(dropped[0])} frames to the ${farOf(port)}, ${whole(dropped[1])} from it` + (waiting > 0 ? `; ${whole(waiting)} waiting` : '');
}

/// What is shown of one port. Result: its elements, and a function that brings them up to date.
function facePart(face, mayWrite) {
  const title = element('h3');
  const state = element('span', { class: 'state' });
  const list = facts([['Link'], ['Faults'], ['Addresses'], ['MAC'], ['Sent'], ['Received'], ['Lost'], ['Line dropped'], ['Behind']]);
  list.cells[0].append(state);
  const rates = chart('Rate', bps, face.key, [['sent', '', 'tx_bps'], ['received', 'second', 'rx_bps']]);
  const lost = chart('Lost frames', fps, face.key, [['', 'bad', 'lost_fps']], 'none seen');
  const said = outcome();
  const turn = doing('Take link down', 'grave turn', said, () => change(face.bus, face.port.name, turn.dataset.to));
  const input = element('input', { type: 'text', placeholder: 'loss=5%,delay=20ms', autocomplete: 'off', spellcheck: 'false', 'aria-label': `faults of ${tame(face.port.name)} on ${tame(face.bus.name)}` });
  const set = doing('Set', 'set', said, () => change(face.bus, face.port.name, 'fault ' + (input.value.trim() || 'none')));
  const clear = doing('Clear', 'clear', said, () => change(face.bus, face.port.name, 'fault none'));
  input.addEventListener('keydown', (event) => {
    if (event.key === 'Enter') set.click();
  });
  const deeds = element('div', {}, element('div', { class: 'bar' }, turn),
    element('div', { class: 'bar' }, element('label', { class: 'wide' }, 'Faults', input), set, clear), said.made);
  const cannot = element('p', { class: 'note' });
  return {
    made: [title, list.made, ...(mayWrite ? [deeds, cannot] : []), rates.made, lost.made],
    charts: [rates, lost],
    update(now) {
      const { port, line, link } = now;
      const away = port.state === 'absent';
      tell(title, `${tame(port.name)} on ${tame(now.bus.name)}` + (now.interface ? `, interface ${tame(now.interface)}` : ''));
      state.className = 'state ' + link[0];
      tell(state, link[1]);
      [[1, line ? [withoutWord(line.line), line.partitioned ? 'partitioned' : ''].filter((text) => text).join('; ') || 'none' : '-'],
        [2, now.addresses.join(', ') || '-'], [3, port.mac || '-'],
        [4, away ? '-' : `${whole(port.tx_frames)} frames, ${bytes(port.tx_bytes)}; ${fps(now.rates.tx_fps)}`],
        [5, away ? '-' : `${whole(port.rx_frames)} frames, ${bytes(port.rx_bytes)}; ${fps(now.rates.rx_fps)}`],
        [6, away ? '-' : `${whole(port.lost_frames)}${port.lost_is_lower_bound ? ' or more' : ''} frames; ${fps(now.rates.lost_fps)}`],
        [7, droppedText(port)],
        [8, now.rates.lag === null || now.rates.lag === undefined ? '-' : now.rates.lag >= 1 ? 'overwritten' : `${(now.rates.lag * 100).toFixed(0)} % of the ring`],
      ].forEach(([at, text]) => tell(list.cells[at], tame(text)));
      if (!mayWrite) return;
      const takes = Boolean(line && line.takes_changes);
      deeds.hidden = !takes;
      cannot.hidden = takes;
      tell(cannot, port.state === 'live' ? 'Its program takes no changes while it runs.' : away ? 'It is not up.' : 'Its process is gone.');
      const down = /(^|[,;] *)link down/.test(line ? line.line : '');
      turn.dataset.to = down ? 'link up' : 'link down';
      tell(turn, down ? 'Bring link up' : 'Take link down');
      turn.classList.toggle('grave', !down);
    },
  };
}

function nodePanel(node, mayWrite) {
  const list = facts([['Kind'], ['Process'], ['Program']]);
  const parts = node.faces.map((face) => facePart(face, mayWrite));
  const made = [list.made, ...parts.flatMap((part) => part.made)];
  for (const face of node.faces) fetchHistory(face);
  return [made, (now) => {
    [kindOf(now), now.pid ?? '-', now.command ? now.command.join(' ') : now.unknown || '-'].forEach((text, i) => tell(list.cells[i], clipped(tame(text), 300)));
    now.faces.forEach((face, i) => {
      parts[i].update(face);
      parts[i].charts.forEach((each) => each.update());
    });
  }];
}

/// The page may be younger than the port: the server knows what was before.
async function fetchHistory(face) {
  if (face.port.state === 'absent') return;
  try {
    const lists = await asked('/api/history', { bus: face.bus.path, slot: face.port.slot, incarnation: face.port.incarnation });
    histories.set(face.key, lists);
    panel.update();
  } catch (error) { /* the port is gone: what the page has seen remains */ }
}

// ---- A bus ----

function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = element('a', { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

function capturePart(bus) {
  const said = outcome();
  const filter = element('input', { type: 'text', placeholder: 'arp or icmp', autocomplete: 'off', spellcheck: 'false' });
  const seconds = element('input', { type: 'number', min: '1', max: '120', value: '10', size: '4' });
  let stop = null;
  const record = async (time) => {
    stop = new AbortController();
    cancel.hidden = time === 0;
    try {
      const answer = await ask('/api/capture', { bus: bus.path, seconds: time, filter: filter.value.trim() }, { signal: stop.signal });
      const blob = await answer.blob();
      const name = /filename="([^"]+)"/.exec(answer.headers.get('Content-Disposition') || '');
      save(blob, name ? name[1] : 'frames.pcapng');
      const count = Number(answer.headers.get('X-Shmif-Frames'));
      return `${whole(count)} frames, ${bytes(blob.size)}` + (answer.headers.get('X-Shmif-Cut') ? '; the file was full before the time was over' : '');
    } catch (error) {
      if (error.name === 'AbortError') throw new Error('cancelled');
      throw error;
    } finally {
      cancel.hidden = true;
    }
  };
  const last = doing('Last frames', 'last', said, () => record(0));
  const next = doing('Record', 'record', said, () => {
    const time = Number(seconds.value);
    if (!(time >= 1 && time <= 120)) throw new Error('the time is not from 1 to 120 seconds');
    said.say(`recording for ${time} s`, 'care');
    return record(Math.round(time));
  });
  const cancel = element('button', { type: 'button', hidden: '' }, 'Cancel');
  cancel.addEventListener('click', () => stop.abort());
  return [element('h3', {}, 'Capture'), element('p', { class: 'note' }, 'Downloads a pcapng file: what is in the ring now, or the frames of the next seconds.'),
    element('div', { class: 'bar' }, element('label', { class: 'wide' }, 'Filter', filter), last),
    element('div', { class: 'bar' }, element('label', {}, 'Seconds', seconds), next, cancel), said.made];
}

function partitionPart(bus) {
  const said = outcome();
  const groups = element('input', { type: 'text', placeholder: 'a,b / c,d', autocomplete: 'off', spellcheck: 'false' });
  const divide = doing('Divide', 'grave divide', said, () => {
    if (!groups.value.includes('/')) throw new Error('write the names of ports in groups: a,b / c,d');
    return change(bus, null, 'partition ' + groups.value.trim());
  });
  const heal = doing('Heal', 'heal', said, () => change(bus, null, 'heal'));
  groups.addEventListener('keydown', (event) => {
    if (event.key === 'Enter') divide.click();
  });
  return [element('h3', {}, 'Partition'), element('p', { class: 'note' }, 'Ports of different groups do not hear each other.'),
    element('div', { class: 'bar' }, element('label', { class: 'wide' }, 'Groups', groups), divide, heal), said.made];
}

function busPanel(bus, mayWrite) {
  const list = facts([['File'], ['MTU'], ['Ring'], ['Slow ports'], ['Frames'], ['Lock'], ['Ports']]);
  const error = element('p', { class: 'message bad' });
  const charts = [chart('Frames', fps, bus.id, [['', '', 'rate_fps']]), chart('Rate', bps, bus.id, [['', '', 'rate_bps']]), chart('Lost frames', fps, bus.id, [['', 'bad', 'lost_fps']], 'none seen')];
  return [[error, list.made, ...charts.map((each) => each.made), ...(mayWrite ? partitionPart(bus) : []), ...capturePart(bus)], (now) => {
    tell(error, now.error || '');
    tell(list.cells[0], tame(now.path));
    charts.forEach((each) => each.update());
    if (now.error) return;
    const { stat } = now;
    const live = (stat.ports || []).filter((port) => port.state === 'live').length;
    const size = stat.geometry;
    [[1, size.mtu], [2, bytes(size.ring_bytes)], [3, size.flow === 'pause' ? `senders wait for them up to ${size.patience_ns / 1e6} ms` : 'lose frames'],
      [4, stat.frames === null ? '-' : whole(stat.frames)], [5, stat.lock_holder === null || stat.lock_holder === undefined ? 'free' : 'held by slot ' + stat.lock_holder],
      [6, stat.ports ? `${live} live` + (stat.ports.length > live ? `, ${stat.ports.length - live} whose process is gone` : '') : 'not told by this format'],
    ].forEach(([at, text]) => tell(list.cells[at], String(text)));
  }];
}

/// Shows what has the id `id`. What the user is typing stays, unless something else is chosen.
function showPanel(model, id, mayWrite) {
  const node = model.nodes.find((each) => each.id === id);
  const bus = model.buses.find((each) => each.id === id);
  const home = byId('panel');
  const shape = JSON.stringify([id, node ? node.faces.map((face) => face.key) : !bus]);
  if (shape !== panel.shape) {
    panel.shape = shape;
    const title = element('h2', { id: 'panel-title' });
    if (!node && !bus) {
      tell(title, 'It is gone');
      home.replaceChildren(title, element('p', { class: 'note' }, 'Choose another host or bus in the picture.'));
      panel.update = () => {};
      return;
    }
    const [parts, update] = node ? nodePanel(node, mayWrite) : busPanel(bus, mayWrite);
    home.replaceChildren(title, ...parts);
    panel.refresh = (now) => {
      tell(title, (now.faces ? kindOf(now) : 'Bus') + ' ' + tame(now.name));
      update(now);
    };
  }
  const now = node || bus;
  if (!now) return;
  panel.update = () => panel.refresh(now);
  panel.update();
}


// Small charts of rates over time.

const kPoints = 300;  // as many as the server keeps

/// Histories by bus, and by port: lists of rates, the newest last; null where a rate is not known.
const histories = new Map();

function historyOf(key, names) {
  if (!histories.has(key)) histories.set(key, {});
  const lists = histories.get(key);
  for (const name of names) lists[name] ??= [];
  return lists;
}
function remember(key, values) {
  const lists = historyOf(key, Object.keys(values));
  for (const [name, value] of Object.entries(values)) {
    lists[name].push(value ?? null);
    if (lists[name].length > kPoints) lists[name].shift();
  }
}

/// A path through the known points; a gap where a rate is not known.
function pathOf(values, top, width, height) {
  let path = '';
  let pen = false;
  values.forEach((value, i) => {
    if (value === null) {
      pen = false;
      return;
    }
    const x = width - ((values.length - 1 - i) * width) / (kPoints - 1);
    const y = height - (top > 0 ? (value / top) * height : 0);
    path += (pen ? 'L' : 'M') + x.toFixed(1) + ' ' + y.toFixed(1);
    // A point alone would be invisible.
    if (!pen && (i + 1 === values.length || values[i + 1] === null)) path += 'h.1';
    pen = true;
  });
  return path;
}

/// A figure that draws `series`: [name, class, key of the history]. update() draws it again. `none`: what to say instead if
/// all known values are 0.
function chart(title, text, key, series, none = '') {
  const caption = element('figcaption', {}, element('b', {}, title));
  const nows = series.map(([name, kind]) => {
    const now = element('span', {}, '-');
    caption.append(element('span', {}, element('i', { class: kind }), name + ' ', now));
    return now;
  });
  const width = 400;
  const height = 52;
  const paths = series.map(([, kind]) => drawn('path', { class: kind }));
  const lines = drawn('svg', { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', y: 6, height, 'aria-hidden': 'true' },
    drawn('line', { x1: 0, x2: width, y1: height, y2: height, 'vector-effect': 'non-scaling-stroke' }),
    drawn('line', { x1: 0, x2: width, y1: 0, y2: 0, 'vector-effect': 'non-scaling-stroke', 'stroke-dasharray': '2 4' }), ...paths);
  const highest = element('span', { class: 'highest' });
  caption.append(highest);
  const picture = drawn('svg', { role: 'img' }, lines, drawn('text', { x: 0, y: 71 }, '5 min ago'),
    drawn('text', { x: '100%', y: 71, 'text-anchor': 'end' }, 'now'));
  const made = element('figure', {}, caption, picture);
  return {
    made,
    update() {
      const lists = historyOf(key, series.map(([, , name]) => name));
      const known = series.flatMap(([, , name]) => lists[name].filter((value) => value !== null));
      const top = known.reduce((most, value) => Math.max(most, value), 0);
      series.forEach(([, , name], i) => {
        paths[i].setAttribute('d', pathOf(lists[name], top, width, height));
        tell(nows[i], text(lists[name].at(-1)));
      });
      const is_flat = none !== '' && known.length > 0 && top === 0;
      picture.toggleAttribute('hidden', is_flat);
      if (is_flat) tell(nows[0], none);
      tell(highest, top > 0 ? 'highest ' + text(top) : '');
      picture.setAttribute('aria-label', `${title} of the last 5 minutes: ` +
        series.map(([name, , list]) => `${name} ${text(lists[list].at(-1))}`).join(', ') + (known.length ? `, highest ${text(top)}` : ''));
    },
  };
}


// Texts of values, and small helpers. What comes from a bus is only ever inserted as text, never as markup.

/// An element with attributes and children; null children are left out.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function drawn(tag, attributes = {}, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const byId = (id) => document.getElementById(id);

/// Sets a text only if it differs, so that what the user has marked stays marked.
function tell(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/// Three digits and a letter: "0", "0.5", "999", "1.23k". `between` stands before the letter.
function short(value, between = '') {
  if (value === null || value === undefined) return '-';
  const letters = ['', 'k', 'M', 'G', 'T'];
  let rest = value;
  let at = 0;
  while (rest >= 999.5 && at + 1 < letters.length) {
    rest /= 1000;
    ++at;
  }
  const digits = at === 0 ? (rest >= 10 || Number.isInteger(rest) ? 0 : 1) : rest >= 99.95 ? 0 : rest >= 9.995 ? 1 : 2;
  return rest.toFixed(digits) + between + letters[at];
}
const fps = (value) => (value === null || value === undefined ? '-' : short(value) + '/s');
const bps = (value) => (value === null || value === undefined ? '-' : short(value, ' ') + 'bit/s');
/// All digits, in groups of three.
const whole = (value) => (value === null || value === undefined ? '-' : String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ','));
function bytes(value) {
  if (value === null || value === undefined) return '-';
  for (const [unit, size] of [['GiB', 2 ** 30], ['MiB', 2 ** 20], ['KiB', 2 ** 10]]) {
    if (value >= size) return (value / size).toFixed(value % size === 0 ? 0 : 1) + ' ' + unit;
  }
  return value + ' B';
}
const clock = (ns) => new Date(ns / 1e6).toLocaleTimeString([], { hour12: false });
/// At most `most` characters of a text that others chose.
const clipped = (text, most) => (Array.from(text).length > most ? Array.from(text).slice(0, most - 1).join('') + '…' : text);
/// The beginning of a text, as much as fits into `width` pixels in that font.
const measuring = document.createElement('canvas').getContext('2d');
function fitted(text, width, font) {
  measuring.font = font;
  const fits = (part) => measuring.measureText(part).width <= width;
  if (fits(text)) return text;
  const letters = Array.from(text);
  let yes = 0;
  let no = letters.length;
  while (yes + 1 < no) {
    const half = (yes + no) >> 1;
    if (fits(letters.slice(0, half).join('') + '…')) yes = half;
    else no = half;
  }
  return letters.slice(0, yes).join('') + '…';
}
/// Without what would turn the direction of the text, or control it.
const tame = (text) => String(text).replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, '?');

// ---- The interface of the server (docs/page.md) ----

const token = new URLSearchParams(location.search).get('token') || '';

function address(path, values = {}) {
  return path + '?' + new URLSearchParams({ ...values, token });
}

/// What the server says; throws an Error with its reason.
async function ask(path, values = {}, more = {}) {
  const answer = await fetch(address(path, values), { cache: 'no-store', ...more });
  if (answer.ok) return answer;
  const text = await answer.text();
  let why = text.trim();
  try {
    why = JSON.parse(text).error;
  } catch (e) { /* not JSON: the text itself */ }
  throw new Error(why || 'status ' + answer.status);
}
const asked = async (path, values, more) => (await ask(path, values, more)).json();
const posted = (path, body) => asked(path, {}, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });


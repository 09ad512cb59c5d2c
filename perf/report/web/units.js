// Figures for people, as in perf/report/table.cpp, but with the letter mu.
const units = (() => {
  const digits = (value) => {
    const size = Math.abs(value);
    if (size !== 0 && size < 0.0995) return String(Number(value.toPrecision(3)));
    return value.toFixed(size >= 99.95 || size === 0 ? 0 : size >= 9.995 ? 1 : size >= 0.9995 ? 2 : 3);
  };
  const scaled = (steps) => (value) => {
    if (typeof value !== 'number' || !isFinite(value)) return '-';
    const step = steps.find(([size]) => Math.abs(value) >= size * 0.9995) || steps[steps.length - 1];
    return digits(value / step[0]) + ' ' + step[1];
  };
  const ns = scaled([[1e9, 's'], [1e6, 'ms'], [1e3, 'µs'], [1, 'ns']]);
  return {
    ns,
    bps: scaled([[1e12, 'Tbit/s'], [1e9, 'Gbit/s'], [1e6, 'Mbit/s'], [1e3, 'kbit/s'], [1, 'bit/s']]),
    fps: scaled([[1e9, 'G/s'], [1e6, 'M/s'], [1e3, 'k/s'], [1, '/s']]),
    bytes: scaled([[1e12, 'TB'], [1e9, 'GB'], [1e6, 'MB'], [1e3, 'kB'], [1, 'B']]),
    memory: scaled([[2 ** 40, 'TiB'], [2 ** 30, 'GiB'], [2 ** 20, 'MiB'], [1024, 'KiB'], [1, 'B']]),
    count: (n) => (typeof n === 'number' ? n.toLocaleString('en-US') : '-'),
    share: (s) => (typeof s === 'number' && isFinite(s) ? digits(s * 100) + ' %' : '-'),
    seconds: (s) => {
      if (typeof s !== 'number' || !isFinite(s)) return '-';
      return s === 0 ? '0 s' : s >= 0.09995 ? digits(s) + ' s' : ns(s * 1e9);
    },
    yes: (b) => (b === null ? '-' : b ? 'yes' : 'NO'),
  };
})();

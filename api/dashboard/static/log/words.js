// Owns how numbers and ids of the log are written.

const UNITS = ["B", "KiB", "MiB", "GiB"];
const count = new Intl.NumberFormat("en");

/** 1236 as "1,236". */
export function counted(number) {
  return count.format(number);
}

/** "1 line", "1,236 lines". */
export function countOf(number, word) {
  return `${counted(number)} ${word}${number === 1 ? "" : "s"}`;
}

/** Bytes as "84.2 KiB". */
export function size(bytes) {
  let [value, unit] = [bytes, 0];
  while (value >= 1024 && unit < UNITS.length - 1) [value, unit] = [value / 1024, unit + 1];
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** Time since the run began, in as many characters as the column has: "+43.026", "+16:40.0", "+1:00:00". */
export function since(ms) {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 1000) return `+${seconds.toFixed(3)}`;
  const tenths = Math.floor(seconds * 10);
  const two = (number) => String(Math.floor(number)).padStart(2, "0");
  if (seconds < 3600) return `+${Math.floor(tenths / 600)}:${two((tenths / 10) % 60)}.${tenths % 10}`;
  return `+${Math.floor(seconds / 3600)}:${two((seconds / 60) % 60)}:${two(seconds % 60)}`;
}

/** "57.7 s", "12 min 4 s". */
export function duration(ms) {
  const seconds = ms / 1000;
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
}

/** Ids are told apart by their ends: "sbx_…4T9V5R". */
export function shortId(id) {
  const text = String(id);
  const cut = text.indexOf("_") + 1;
  return text.length - cut <= 8 ? text : `${text.slice(0, cut)}…${text.slice(-6)}`;
}

// Owns how numbers, sizes, durations and ids are written: as the server writes them (`api/dashboard/words.py`).

const [SECOND_MS, MINUTE_MS, HOUR_MS] = [1000, 60_000, 3_600_000];
const KIB = 1024;
const SIZE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
const ID_END_CHARS = 8;
const numbers = new Intl.NumberFormat("en-US");

/**
 * 1236 as "1,236".
 * @param {number} number
 * @returns {string}
 */
export function counted(number) {
  return numbers.format(number);
}

/**
 * "1 line", "1,236 lines".
 * @param {number} number
 * @param {string} word
 * @returns {string}
 */
export function countOf(number, word) {
  return `${counted(number)} ${word}${number === 1 ? "" : "s"}`;
}

/**
 * Bytes with a unit and three digits: "512 B", "84.2 KiB", "211 KiB".
 * @param {number} bytes
 * @returns {string}
 */
export function sizeText(bytes) {
  let [size, unit] = [bytes, 0];
  while (Math.round(size * 10) / 10 >= 1000 && unit < SIZE_UNITS.length - 1) [size, unit] = [size / KIB, unit + 1];
  const text = unit === 0 || size >= 100 ? size.toFixed(0) : size.toFixed(1).replace(/\.0$/, "");
  return `${text} ${SIZE_UNITS[unit]}`;
}

/**
 * A duration beside a running clock: "0:48", "1:02:03".
 * @param {number} ms
 * @returns {string}
 */
export function clockText(ms) {
  const seconds = Math.floor(Math.max(ms, 0) / SECOND_MS);
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const end = twoDigits(seconds % 60);
  return hours > 0 ? `${hours}:${twoDigits(minutes)}:${end}` : `${minutes}:${end}`;
}

/**
 * A place within a run: "0:09.6".
 * @param {number} ms
 * @returns {string}
 */
export function placeText(ms) {
  return `${clockText(ms)}.${Math.floor((Math.max(ms, 0) % SECOND_MS) / 100)}`;
}

/**
 * A duration that is over, inside a sentence: "35 ms", "57.7 s", "3 min 51 s", "1 h 5 min".
 * @param {number} ms
 * @returns {string}
 */
export function durationText(ms) {
  const whole = Math.max(Math.floor(ms), 0);
  if (whole > 0 && whole < 100) return `${whole} ms`;
  if (whole < MINUTE_MS) return `${(Math.floor(whole / 100) / 10).toFixed(1).replace(/\.0$/, "")} s`;
  return growingText(whole);
}

/**
 * A duration that goes on, in whole seconds: "48 s", "3 min 51 s", "1 h 5 min".
 * @param {number} ms
 * @returns {string}
 */
export function growingText(ms) {
  const whole = Math.max(ms, 0);
  if (whole < MINUTE_MS) return `${Math.floor(whole / SECOND_MS)} s`;
  const hours = Math.floor(whole / HOUR_MS);
  const minutes = Math.floor((whole % HOUR_MS) / MINUTE_MS);
  const seconds = hours ? 0 : Math.floor((whole % MINUTE_MS) / SECOND_MS);
  const parts = [hours && `${hours} h`, minutes && `${minutes} min`, seconds && `${seconds} s`];
  return parts.filter(Boolean).join(" ");
}

/**
 * An id shortened from the front, because ids differ at their ends: "sbx_…xvgrecs8".
 * @param {unknown} id
 * @returns {string}
 */
export function shortId(id) {
  const text = String(id);
  const cut = text.indexOf("_") + 1;
  return !cut || text.length - cut <= ID_END_CHARS ? text : `${text.slice(0, cut)}…${text.slice(-ID_END_CHARS)}`;
}

/** @param {number} number */
function twoDigits(number) {
  return String(number).padStart(2, "0");
}

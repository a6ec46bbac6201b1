// Durations and counts in words, as the server writes them.

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const KIB = 1024;
const SIZE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/**
 * A duration beside a running clock: `0:48`, `1:02:03`.
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
 * A place within a run: `0:09.6`.
 * @param {number} ms
 * @returns {string}
 */
export function placeText(ms) {
  return `${clockText(ms)}.${Math.floor((Math.max(ms, 0) % SECOND_MS) / 100)}`;
}

/**
 * A duration that goes on, inside a sentence: `48 s`, `3 min 51 s`, `1 h 5 min`.
 * @param {number} ms
 * @returns {string}
 */
export function durationText(ms) {
  const whole = Math.max(ms, 0);
  const hours = Math.floor(whole / HOUR_MS);
  const minutes = Math.floor((whole % HOUR_MS) / MINUTE_MS);
  const seconds = Math.floor((whole % MINUTE_MS) / SECOND_MS);
  if (hours === 0 && minutes === 0) return `${seconds} s`;
  const parts = [hours > 0 && `${hours} h`, minutes > 0 && `${minutes} min`, hours === 0 && seconds > 0 && `${seconds} s`];
  return parts.filter(Boolean).join(" ");
}

/**
 * Bytes with a unit and three digits: `512 B`, `84.2 KiB`, `211 KiB`.
 * @param {number} bytes
 * @returns {string}
 */
export function sizeText(bytes) {
  let [size, unit] = [bytes, 0];
  while (Math.round(size * 10) / 10 >= 1000 && unit < SIZE_UNITS.length - 1) [size, unit] = [size / KIB, unit + 1];
  const text = unit === 0 || size >= 100 ? size.toFixed(0) : size.toFixed(1).replace(/\.0$/, "");
  return `${text} ${SIZE_UNITS[unit]}`;
}

/** @param {number} number */
function twoDigits(number) {
  return String(number).padStart(2, "0");
}

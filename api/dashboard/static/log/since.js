// Owns the column of times: since the run began.

/**
 * In as many characters as the column has: "+43.026", "+16:40.0", "+1:00:00".
 * @param {number} ms
 * @returns {string}
 */
export function since(ms) {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 1000) return `+${seconds.toFixed(3)}`;
  const tenths = Math.floor(seconds * 10);
  const two = (number) => String(Math.floor(number)).padStart(2, "0");
  if (seconds < 3600) return `+${Math.floor(tenths / 600)}:${two((tenths / 10) % 60)}.${tenths % 10}`;
  return `+${Math.floor(seconds / 3600)}:${two((seconds / 60) % 60)}:${two(seconds % 60)}`;
}

// Owns links to places in the log: `#L123` a line, `#seq-147` or `#S147` an event.

/**
 * What the address points to, null for nothing of ours.
 * @param {string} hash
 * @returns {{line: number}|{seq: number}|null}
 */
export function placeIn(hash) {
  const found = /^#(L|seq-|S)([1-9][0-9]{0,14})$/.exec(hash);
  if (found === null) return null;
  return found[1] === "L" ? { line: Number(found[2]) } : { seq: Number(found[2]) };
}

/**
 * Write a place into the address, without a jump of the browser and without a step in its history.
 * @param {{line: number}|{seq: number}} place
 */
export function writePlace(place) {
  history.replaceState(history.state, "", "line" in place ? `#L${place.line}` : `#seq-${place.seq}`);
}

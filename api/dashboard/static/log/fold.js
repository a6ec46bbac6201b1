// Owns when two letters count as the same in a search.

/** Case does not matter. The one letter that becomes two would move what is found behind it. */
export function folded(text) {
  return text.replaceAll("\u0130", "i").toLowerCase();
}

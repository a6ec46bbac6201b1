// Owns what the reader chose for all logs: wrapped or not, with or without times.

const KEY = "crownest:log";

/** @returns {{isWrapped: boolean, hasTimes: boolean}} */
export function choices() {
  try {
    const { isWrapped = false, hasTimes = true } = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    return { isWrapped: isWrapped === true, hasTimes: hasTimes !== false };
  } catch {
    return { isWrapped: false, hasTimes: true }; // storage is off, or holds what others wrote
  }
}

/** @param {{isWrapped: boolean, hasTimes: boolean}} chosen */
export function rememberChoices(chosen) {
  try {
    localStorage.setItem(KEY, JSON.stringify(chosen));
  } catch {
    // Storage is off or full: the choice lasts as long as the page.
  }
}

// What a reader chose for all pages: in cookies, so that the server writes the first paint with it.

const YEAR_S = 365 * 24 * 3600;

/**
 * @param {string} name
 * @param {string | null} value null forgets it
 */
export function choose(name, value) {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  const age = value === null ? 0 : YEAR_S;
  document.cookie = `crownest_${name}=${value ?? ""}; Path=/; Max-Age=${age}; SameSite=Lax${secure}`;
}

/**
 * @param {string} name
 * @returns {string | null}
 */
export function chosen(name) {
  const prefix = `crownest_${name}=`;
  const found = document.cookie.split("; ").find((one) => one.startsWith(prefix));
  return found === undefined ? null : found.slice(prefix.length);
}

// Requests of a signed-in page: with the session's cookie, and with the token that changes need.

/** What the server refused, or that nothing answered (`status` 0). */
export class RequestFailed extends Error {
  /**
   * @param {number} status
   * @param {string} code
   * @param {string} message
   */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/**
 * Asks the server to change something. Leads to the sign-in when the session is over.
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body] sent as JSON
 * @returns {Promise<any>} the answer's JSON, null for an empty one
 */
export async function send(method, path, body) {
  /** @type {Record<string, string>} */
  const headers = { "x-crownest-csrf": csrfToken(), accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      credentials: "same-origin",
    });
  } catch {
    throw new RequestFailed(0, "unreachable", "The server does not answer. Nothing was changed by this page.");
  }
  if (answer.status === 401) signInAgain();
  const text = await answer.text();
  if (answer.ok) return text === "" ? null : JSON.parse(text);
  throw refusal(answer.status, text);
}

/** @returns {string} */
export function csrfToken() {
  return document.querySelector('meta[name="crownest-csrf"]')?.getAttribute("content") ?? "";
}

/** Goes to the sign-in page, which leads back here. */
export function signInAgain() {
  location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
}

/** Lets the buttons in the menus end the session. */
export function watchSignOut() {
  for (const button of document.querySelectorAll("[data-sign-out]")) {
    button.addEventListener("click", async () => {
      await send("POST", "/auth/sign-out");
      location.assign("/sign-in");
    });
  }
}

/**
 * @param {number} status
 * @param {string} text
 * @returns {RequestFailed}
 */
function refusal(status, text) {
  try {
    const { code, message } = JSON.parse(text).error;
    return new RequestFailed(status, code, message);
  } catch {
    return new RequestFailed(status, "unknown", `The server answered ${status}.`);
  }
}

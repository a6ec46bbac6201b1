// Keeps the rows of a page as they are now, by asking: no connection is held, and a hidden tab asks nothing.
// What is asked is small: the rows that may still change, the counts, and how many runs are newer.
import { signInAgain } from "../shell/session.js";
import { writeTimes } from "../shell/times.js";
import { become } from "../run/morph.js";

const LIVE_MS = 2000;
const QUIET_MS = 5000;
const FAILED_MS_MAX = 60_000;

export class Updates {
  #etag = "";
  #asked = "";
  #failures = 0;
  /** @type {number | undefined} */
  #timer;
  /** @type {HTMLElement} */
  #place;
  /** @type {() => void} */
  #changed;

  /**
   * @param {HTMLElement} place the element that says where to ask (`data-updates`, `data-top`)
   * @param {() => void} changed called after each change of the page
   */
  constructor(place, changed) {
    this.#place = place;
    this.#changed = changed;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#stop() : this.#ask()));
    if (!document.hidden) this.#later();
  }

  #stop() {
    clearTimeout(this.#timer);
  }

  #later() {
    this.#stop();
    const rest = openRows().length > 0 ? LIVE_MS : QUIET_MS;
    const wait = this.#failures === 0 ? rest : Math.min(QUIET_MS * 2 ** this.#failures, FAILED_MS_MAX);
    this.#timer = setTimeout(() => this.#ask(), wait);
  }

  async #ask() {
    this.#stop();
    const address = this.#address();
    if (address !== this.#asked) this.#etag = "";
    this.#asked = address;
    try {
      const answer = await fetch(address, {
        headers: this.#etag === "" ? {} : { "if-none-match": this.#etag },
        redirect: "manual",
        cache: "no-store",
      });
      if (answer.type === "opaqueredirect") return signInAgain();
      if (answer.status !== 304 && !answer.ok) throw new Error(`the server answered ${answer.status}`);
      if (answer.status !== 304) this.#take(await answer.text(), answer.headers.get("etag") ?? "");
      this.#failures = 0;
      tell("Live");
    } catch {
      this.#failures += 1;
      tell("The server does not answer. What is shown may be old.");
    }
    if (!document.hidden) this.#later();
  }

  #address() {
    const url = new URL(this.#place.dataset.updates ?? "", location.href);
    if (this.#place.dataset.top !== undefined) url.searchParams.set("top", this.#place.dataset.top);
    for (const row of openRows()) url.searchParams.append("row", row.dataset.row ?? "");
    return url.href;
  }

  /**
   * @param {string} html
   * @param {string} etag
   */
  #take(html, etag) {
    this.#etag = etag;
    const sent = new DOMParser().parseFromString(html, "text/html");
    for (const one of ["[data-tabs]", "[data-newer]"]) {
      const target = document.querySelector(one);
      const source = sent.querySelector(one);
      if (target !== null && source !== null) become(target, source);
    }
    for (const source of sent.querySelectorAll("tr[data-row]")) {
      const target = document.querySelector(`tr[data-row="${CSS.escape(source.getAttribute("data-row") ?? "")}"]`);
      if (target !== null) become(target, source);
    }
    writeTimes();
    this.#changed();
  }
}

/** @returns {HTMLElement[]} the rows that may still change */
function openRows() {
  return [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("tr[data-row][data-open]"))];
}

/** @param {string} text */
function tell(text) {
  const place = document.querySelector("[data-connection]");
  if (place !== null && place.textContent !== text) place.textContent = text;
}

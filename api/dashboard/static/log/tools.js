// Owns the tools above the log: their elements, and what they show. What they do is given by the view.

import { element, icon } from "../shell/dom.js";
import { SEARCH_CHARS_MAX } from "./limits.js";
import { counted } from "../shell/words.js";

/**
 * @typedef {object} ToolActions
 * @property {(text: string) => void} search
 * @property {(step: 1|-1) => void} step to the next or previous hit
 * @property {(stream: "stdout"|"stderr") => void} toggle
 * @property {() => void} failure
 * @property {() => void} wrap
 * @property {() => void} times
 * @property {() => void} copy
 */

/** The toolbar of one log. */
export class Tools {
  /**
   * @param {ToolActions} actions
   * @param {string} rawPath where the raw log is downloaded
   */
  constructor(actions, rawPath) {
    this.actions = actions;
    this.input = /** @type {HTMLInputElement} */ (element("input", {
      type: "search", placeholder: "Search log", autocomplete: "off", spellcheck: "false", maxlength: SEARCH_CHARS_MAX,
      "aria-label": "Search in the log",
    }));
    this.hits = element("span", { class: "hits", role: "status" });
    this.previous = button("up", "Previous match (N)", () => actions.step(-1));
    this.next = button("chev", "Next match (n)", () => actions.step(1));
    this.steps = element("span", { class: "updown" }, this.previous, this.next);
    this.steps.hidden = true;
    this.streams = { stdout: this.toggle("stdout"), stderr: this.toggle("stderr") };
    this.failure = element("button", { class: "tog hide-small", type: "button", title: "Jump to failure (e)" }, icon("fail", "ic ic--s"), "Jump to failure");
    this.failure.hidden = true;
    this.failure.addEventListener("click", () => actions.failure());
    this.wrap = button("wrap", "Wrap lines (w)", () => actions.wrap());
    this.times = button("clock", "Show times (t)", () => actions.times(), "hide-small");
    this.copy = button("copy", "Copy log", () => actions.copy(), "hide-small");
    this.raw = element("a", { class: "btn btn--quiet btn--icon btn--s", href: rawPath, download: true, "aria-label": "Download raw log", title: "Download raw log" }, icon("down"));
    this.element = this.build();
    this.listen();
  }

  build() {
    return element(
      "div", { class: "logbar", role: "toolbar", "aria-label": "Log tools" },
      element("div", { class: "field" }, icon("search"), this.input), this.hits, this.steps,
      element("span", { class: "sep hide-small", "aria-hidden": "true" }),
      this.streams.stdout.button, this.streams.stderr.button,
      element("span", { class: "end" }, this.failure, this.wrap, this.times, this.copy, this.raw),
    );
  }

  toggle(stream) {
    const number = element("span", { class: "n hide-narrow" });
    const swatch = element("span", { class: stream === "stderr" ? "swatch swatch--err" : "swatch", "aria-hidden": "true" });
    const made = element("button", { class: "tog", type: "button", "aria-pressed": "true" }, swatch, stream, " ", number);
    made.addEventListener("click", () => this.actions.toggle(stream));
    return { button: made, number };
  }

  listen() {
    this.input.addEventListener("input", () => this.actions.search(this.input.value));
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.actions.step(event.shiftKey ? -1 : 1);
      else if (event.key === "Escape" && this.input.value !== "") this.clearSearch();
      else if (event.key === "Escape") this.input.blur();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  clearSearch() {
    this.input.value = "";
    this.actions.search("");
  }

  showCounts({ stdoutLines, stderrLines }) {
    this.streams.stdout.number.textContent = counted(stdoutLines);
    this.streams.stderr.number.textContent = counted(stderrLines);
  }

  /** What is on and what is off. */
  showState({ stdout, stderr, isWrapped, hasTimes }) {
    this.streams.stdout.button.setAttribute("aria-pressed", String(stdout));
    this.streams.stderr.button.setAttribute("aria-pressed", String(stderr));
    this.wrap.setAttribute("aria-pressed", String(isWrapped));
    this.times.setAttribute("aria-pressed", String(hasTimes));
  }

  /** "1 of 2", or how far the search is. */
  showHits(text, hasHits) {
    this.hits.textContent = text;
    this.steps.hidden = !hasHits;
  }
}

function button(picture, label, act, names = "") {
  const made = element(
    "button", { class: `btn btn--quiet btn--icon btn--s ${names}`.trim(), type: "button", "aria-label": label.replace(/ \(.\)$/, ""), title: label },
    icon(picture),
  );
  made.addEventListener("click", act);
  return made;
}

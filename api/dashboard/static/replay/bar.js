// The replay bar on the page: what it shows, and what the reader does with it.
import { AXES } from "./axis.js";
import { drawPlot } from "./plot.js";
import { otherSpeed } from "./playback.js";
import { placeText } from "../shell/words.js";

/** What a key on the slider does: a number steps so many events. */
const STEPS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 };
const FAR = 10;

export class Bar {
  /** @type {any} */
  #histogram = null;

  /** @param {HTMLElement} root `#replay` */
  constructor(root) {
    this.root = root;
    this.slider = /** @type {HTMLInputElement} */ (root.querySelector("[data-position]"));
    this.speedField = /** @type {HTMLSelectElement} */ (root.querySelector("[data-speed]"));
    this.plot = /** @type {SVGElement} */ (root.querySelector("[data-plot]"));
    this.isDragged = false;
  }

  get speed() {
    return Number(this.speedField.value);
  }

  get skipIdle() {
    return /** @type {HTMLInputElement} */ (this.root.querySelector("[data-skip-idle]")).checked;
  }

  get axis() {
    const chosen = /** @type {HTMLInputElement} */ (this.root.querySelector("[name=replay-axis]:checked"));
    return AXES[chosen.value === "seq" ? "seq" : "time"];
  }

  /**
   * Lets the controls do what they say.
   * @param {{first(): void, toggle(): void, seek(where: object): void, settle(): void, step(events: number): void,
   *   end(): void, redraw(): void, span(): import("./axis.js").Span}} acts
   */
  watch(acts) {
    this.root.querySelector("[data-first]")?.addEventListener("click", () => acts.first());
    this.root.querySelector("[data-play]")?.addEventListener("click", () => acts.toggle());
    for (const radio of this.root.querySelectorAll("[name=replay-axis]")) {
      radio.addEventListener("change", () => acts.redraw());
    }
    this.slider.addEventListener("input", () => {
      this.isDragged = true;
      const isLast = Number(this.slider.value) >= Number(this.slider.max);
      if (isLast) acts.end();
      else acts.seek(this.axis.place(Number(this.slider.value), acts.span()));
    });
    this.slider.addEventListener("change", () => {
      this.isDragged = false;
      acts.settle();
    });
    this.slider.addEventListener("keydown", (event) => this.#onKey(event, acts));
  }

  /** The next faster or slower speed. @param {1 | -1} step */
  changeSpeed(step) {
    this.speedField.value = String(otherSpeed(this.speed, step));
  }

  /** @param {boolean} isPlaying */
  showPlaying(isPlaying) {
    const button = this.root.querySelector("[data-play]");
    button?.setAttribute("aria-label", isPlaying ? "Pause" : "Play the run at its recorded pace");
    button?.setAttribute("title", isPlaying ? "Pause (Space)" : "Play (Space)");
    button?.querySelector("use")?.setAttribute("href", isPlaying ? "#i-pause" : "#i-play");
  }

  /**
   * Shows where the replay stands; null is the end.
   * @param {{seq: number, time: number} | null} position
   * @param {import("./axis.js").Span} span
   */
  showPosition(position, span) {
    const [least, most] = this.axis.range(span);
    const value = position === null ? most : this.axis.value(position, span);
    this.slider.min = String(least);
    this.slider.max = String(most);
    if (!this.isDragged) this.slider.value = String(value);
    const place = position === null
      ? `at the end, seq ${span.lastSeq}`
      : `${placeText(position.time - span.from)}, seq ${position.seq}`;
    this.slider.setAttribute("aria-valuetext", place);
    this.#write("[data-at]", place);
    this.#write("[data-to]", placeText(span.to - span.from));
    if (this.#histogram !== null) {
      drawPlot(this.plot, this.#histogram, this.axis, span, position === null ? 1 : (value - least) / (most - least));
    }
  }

  /** @param {any} histogram */
  showHistogram(histogram) {
    this.#histogram = histogram;
  }

  /**
   * @param {KeyboardEvent} event
   * @param {any} acts
   */
  #onKey(event, acts) {
    const step = STEPS[/** @type {keyof STEPS} */ (event.key)];
    if (step !== undefined) acts.step(step * (event.shiftKey ? FAR : 1));
    else if (event.key === "PageUp" || event.key === "PageDown") acts.step(event.key === "PageUp" ? FAR : -FAR);
    else if (event.key === "Home") acts.first();
    else if (event.key === "End") acts.end();
    else return;
    event.preventDefault();
  }

  /**
   * @param {string} selector
   * @param {string} text
   */
  #write(selector, text) {
    const target = this.root.querySelector(selector);
    if (target !== null && target.textContent !== text) target.textContent = text;
  }
}

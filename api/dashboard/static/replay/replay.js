// Plays a run back: where the replay stands, and what log, facts and bar show there.
import { onKey } from "../shell/keys.js";
import { Bar } from "./bar.js";
import { nextMoment } from "./playback.js";
import { BUCKETS } from "./plot.js";
import { Strip } from "./strip.js";

/** The plot of a run that goes on is drawn anew this often. */
const REDRAW_MS = 1000;
/** A frame counts no more than this: a tab that was hidden goes on where it was. */
const FRAME_MS_MAX = 250;
const FAR = 10;

/** @typedef {{seq: number, time: number, lines: number}} Position */

export class Replay {
  /** @type {Position | null} where it stands, null at the end */
  #position = null;
  #span = { from: 0, to: 0, lastSeq: 1 };
  /** @type {{seq?: number, time?: number} | null} what is looked for next: only the newest wish counts */
  #wish = null;
  #isSeeking = false;
  #isPlaying = false;
  #isDrawing = false;
  /** @type {(() => void) | null} ends the pause between two drawings */
  #drawNow = null;

  /**
   * @param {HTMLElement} root `#replay`
   * @param {{session: any, log: any, shown: import("../run/shown.js").ShownRun}} parts
   */
  constructor(root, { session, log, shown }) {
    this.session = session;
    this.log = log;
    this.shown = shown;
    this.bar = new Bar(root);
    this.strip = new Strip(/** @type {HTMLElement} */ (document.getElementById("asof")));
    this.bar.watch({
      first: () => this.seek({ seq: 1 }),
      toggle: () => this.toggle(),
      seek: (where) => this.seek(where),
      settle: () => this.strip.remember(this.#position),
      step: (events) => this.step(events),
      end: () => this.leave(),
      redraw: () => this.#show(),
      span: () => this.#span,
    });
    session.addEventListener("grown", () => {
      if (this.#wish !== null) this.seek(this.#wish);
      void this.#draw();
    });
    session.addEventListener("connection", () => {
      this.#drawNow?.(); // all that there was has been read, or the end has come
      void this.#draw();
    });
    shown.addEventListener("shown", () => this.strip.show(this.#position, this.#span.lastSeq));
    document.addEventListener("click", (event) => this.#onClick(event));
    this.#bindKeys();
    if (this.session.grown !== null) void this.#draw();
  }

  /** Whether the past is shown. */
  get isOn() {
    return this.#position !== null;
  }

  /** The last event that was read. */
  get lastSeq() {
    return this.session.grown?.seq ?? 0;
  }

  /** Whether the beginning is still being read: what was read last is not the end. */
  get isReading() {
    return this.session.connection.state === "replaying";
  }

  /**
   * Shows the run as it was at an event or a moment.
   * @param {{seq?: number, time?: number}} where
   */
  seek(where) {
    this.#wish = where;
    if (!this.#isSeeking) void this.#seekNewest();
  }

  /**
   * Goes so many events on, or back.
   * @param {number} events
   */
  step(events) {
    this.pause();
    const from = this.#wish?.seq ?? this.#position?.seq ?? this.lastSeq; // keys come faster than answers
    const seq = from + events;
    if (seq >= this.lastSeq && !this.isReading) this.leave();
    else this.seek({ seq: Math.max(seq, 1) });
  }

  toggle() {
    if (this.#isPlaying) this.pause();
    else void this.play();
  }

  pause() {
    this.#isPlaying = false;
    this.bar.showPlaying(false);
    this.strip.remember(this.#position);
  }

  /** Plays from where it stands, from the start when it stands at the end, until the end or a pause. */
  async play() {
    this.#isPlaying = true;
    this.bar.showPlaying(true);
    if (this.#position === null) this.#move(await this.session.positionAt({ seq: 1 }));
    let shownAt = performance.now();
    while (this.#isPlaying && this.#position !== null) {
      await new Promise((resume) => requestAnimationFrame(resume));
      const at = this.#position;
      if (at === null || this.#isSeeking) continue;
      const next = await this.session.positionAt({ seq: at.seq + 1 });
      const now = performance.now();
      const time = nextMoment({
        time: at.time,
        nextTime: next.time,
        elapsedMs: Math.min(now - shownAt, FRAME_MS_MAX),
        speed: this.bar.speed,
        skipIdle: this.bar.skipIdle,
      });
      shownAt = now;
      const there = time >= next.time ? await this.session.positionAt({ time }) : at;
      if (!this.#isPlaying || this.#position !== at) continue; // paused or moved meanwhile
      if (next.seq <= at.seq) break;
      this.#move({ ...there, time });
    }
    if (this.#isPlaying) this.leave();
  }

  /** Goes back to the present. */
  leave() {
    this.#wish = null;
    this.#isPlaying = false;
    this.bar.showPlaying(false);
    if (this.#position === null) return;
    this.#move(null);
    this.strip.remember(null);
  }

  async #seekNewest() {
    this.#isSeeking = true;
    try {
      while (this.#wish !== null) {
        const wish = this.#wish;
        const found = await this.session.positionAt(wish);
        if (this.#wish !== wish) continue;
        if (found.seq === 0 && this.lastSeq === 0) return; // nothing was read yet: `grown` looks again
        this.#wish = null;
        if (found.seq >= this.lastSeq && !this.isReading) this.leave();
        else this.#move(found.seq > 0 ? found : await this.session.positionAt({ seq: 1 }));
      }
    } finally {
      this.#isSeeking = false;
    }
    if (!this.bar.isDragged) this.strip.remember(this.#position);
  }

  /** @param {Position | null} position */
  #move(position) {
    const seq = this.#position?.seq;
    this.#position = position;
    if (position === null) this.shown.showNow();
    else this.shown.showAsOf(position);
    if (position === null || position.seq !== seq) this.log.showAsOf(position);
    this.#show();
    for (const target of [document, document.getElementById("proof")]) {
      target?.dispatchEvent(new CustomEvent("as-of", { detail: position }));
    }
  }

  #show() {
    this.bar.showPosition(this.#position, this.#span);
    this.strip.show(this.#position, this.#span.lastSeq);
  }

  /** Draws the plot of what there is now; while the run goes on, not more often than it can be looked at. */
  async #draw() {
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    const [histogram, last] = await Promise.all([
      this.session.histogram(BUCKETS),
      this.session.positionAt({ seq: Number.MAX_SAFE_INTEGER }),
    ]);
    if (last.seq > 0) {
      this.#span = { from: histogram.from, to: histogram.to, lastSeq: last.seq };
      this.bar.showHistogram(histogram);
      this.#show();
    }
    await new Promise((resume) => {
      this.#drawNow = () => resume(undefined);
      setTimeout(resume, REDRAW_MS);
    });
    this.#isDrawing = false;
    if (last.seq < this.lastSeq) void this.#draw();
  }

  /** @param {MouseEvent} event */
  #onClick(event) {
    const link = event.target instanceof Element ? event.target.closest("[data-leave-replay]") : null;
    if (link === null || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    this.leave();
  }

  #bindKeys() {
    onKey("Escape", "leave replay", () => {
      if (!this.isOn) return false;
      this.leave();
      return true;
    });
    onKey(" ", "play, pause", () => this.toggle());
    onKey("ArrowLeft", "one event back; with Shift ten", (event) => this.step(event.shiftKey ? -FAR : -1));
    onKey("ArrowRight", "one event on; with Shift ten", (event) => this.step(event.shiftKey ? FAR : 1));
    onKey(",", "slower", () => this.bar.changeSpeed(-1));
    onKey(".", "faster", () => this.bar.changeSpeed(1));
  }
}

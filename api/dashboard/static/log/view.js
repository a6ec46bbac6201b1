// Owns the log on the page: tools above, rows below, and how they act together.

import { copyText } from "../shell/copy.js";
import { element, say } from "../shell/dom.js";
import { timeText } from "../shell/times.js";
import { placeIn, writePlace } from "./address.js";
import { Finder } from "./finder.js";
import { bindKeys } from "./keyboard.js";
import { VirtualList } from "./list.js";
import { choices, rememberChoices } from "./choices.js";
import { makeRow, makeWaiting } from "./row.js";
import { State } from "./state.js";
import { Tools } from "./tools.js";
import { counted, countOf } from "../shell/words.js";

const NARROW = "(max-width: 47.99rem)";
const NOTHING = { rows: 0, lines: 0, stdoutLines: 0, stderrLines: 0 };

/**
 * Show the log of a session.
 * @param {HTMLElement} section
 * @param {import("./session.js").RunSession} session
 * @param {{pxMax?: number}} [options] the height from which the scroll bar works in proportion
 * @returns {LogView}
 */
export function mountLog(section, session, options = {}) {
  return new LogView(section, session, options);
}

export class LogView {
  constructor(section, session, { pxMax } = {}) {
    this.session = session;
    this.lens = { stdout: true, stderr: true, asOf: null };
    this.chosen = choices();
    /** @type {{line: number}|{seq: number}|null} what the address points to and is not shown yet */
    this.target = placeIn(location.hash);
    this.linked = this.target;
    this.stopped = null;
    this.missing = "";
    this.linesSeen = 0;
    /** @type {number[]} events that were changed after they were recorded */
    this.badSeqs = [];
    this.startedAt = 0;
    /** Resolved when the first rows stand there. */
    this.firstShown = new Promise((resolve) => (this.showedFirst = resolve));
    this.finder = new Finder(session, { show: (hit) => void this.showRow(hit.row), changed: () => this.searchChanged() });
    this.tools = new Tools(this.actions(), `/workspace-runs/${encodeURIComponent(session.runId)}/log`);
    this.state = new State(() => this.follow());
    this.scroller = element("div", { class: "log", tabindex: "0", role: "log", "aria-live": "off", "aria-label": "Output" });
    section.classList.add("logview");
    section.append(this.tools.element, this.scroller, this.state.element);
    this.list = new VirtualList(this.scroller, {
      fetchRows: (from, to) => session.rows(from, to, this.lens),
      make: (row) => makeRow(row, this.look()),
      makeWaiting,
      moved: () => this.showState(),
    }, { pxMax });
    this.list.isFollowing = this.target === null;
    this.applyLayout();
    this.listen(section);
    bindKeys(this);
    if (session.grown !== null) this.grown(session.grown);
  }

  actions() {
    return {
      search: (text) => this.finder.begin(text, this.lens, this.rowInView()),
      step: (by) => void this.finder.step(by),
      toggle: (stream) => void this.toggle(stream),
      failure: () => void this.jumpToFailure(),
      wrap: () => this.choose({ isWrapped: !this.chosen.isWrapped }),
      times: () => this.choose({ hasTimes: !this.chosen.hasTimes }),
      copy: () => void this.copyAll(),
    };
  }

  listen(section) {
    this.session.addEventListener("grown", ({ detail }) => this.grown(detail));
    this.session.addEventListener("connection", () => void this.connectionChanged());
    this.session.addEventListener("stopped", ({ detail }) => {
      this.stopped = detail.message;
      this.showState();
    });
    this.session.addEventListener("facts", ({ detail }) => detail.events.forEach((event) => this.factArrived(event)));
    this.scroller.addEventListener("click", (event) => this.clicked(event));
    addEventListener("hashchange", () => this.goToAddress());
    matchMedia(NARROW).addEventListener("change", () => this.applyLayout());
    section.ownerDocument.addEventListener("proof-state", (event) => this.markChanged(event.detail?.badSeqs ?? []));
  }

  look() {
    return {
      startedAt: this.startedAt,
      matches: (text) => this.finder.matches(text),
      matchLength: this.finder.text.length,
      current: this.finder.current,
      linkedLine: this.linked !== null && "line" in this.linked ? this.linked.line : 0,
      linkedSeq: this.linked !== null && "seq" in this.linked ? this.linked.seq : 0,
      badSeqs: this.badSeqs,
      timeText: (time) => timeText(new Date(time).toISOString(), "utc"),
    };
  }

  grown(now) {
    this.now = now;
    if (this.lens.asOf !== null) return;
    this.tools.showCounts(now);
    void this.showGrowth(now);
    if (this.target !== null) void this.goToTarget();
  }

  async showGrowth(now) {
    const facts = now.rows - now.lines;
    const count = facts + (this.lens.stdout ? now.stdoutLines : 0) + (this.lens.stderr ? now.stderrLines : 0);
    await this.list.grow(count, now.changedFrom ?? 0);
    this.showedFirst();
    this.showState();
  }

  async connectionChanged() {
    this.showState();
    if (this.session.connection.state !== "ended" || this.target === null) return;
    await this.goToTarget();
    if (this.target === null) return;
    const [word, number] = "line" in this.target ? ["line", this.target.line] : ["event", this.target.seq];
    this.missing = `This log has no ${word} ${counted(number)}.`;
    this.target = null;
    this.showState();
  }

  factArrived(event) {
    if (this.startedAt === 0) this.startedAt = Date.parse(event.createdAt) || 0;
    const hasFailed = event.status === "collecting" && event.exitCode !== 0 && !event.canceled;
    if (hasFailed || event.workspaceRun?.status === "failed") this.tools.failure.hidden = false;
  }

  showState() {
    const { lines } = this.now ?? NOTHING;
    if (this.list.isFollowing || this.session.connection.state === "replaying") this.linesSeen = lines;
    const label = `Output, ${countOf(lines, "line")}`;
    if (this.scroller.getAttribute("aria-label") !== label) this.scroller.setAttribute("aria-label", label);
    this.state.show({
      connection: this.session.connection, isFollowing: this.list.isFollowing, isAsOf: this.lens.asOf !== null,
      newLines: lines - this.linesSeen, lines, stopped: this.stopped,
      missing: this.missing,
    });
  }

  /** The row that the reader sees at the top, 0 while there is none. */
  rowInView() {
    return this.list.pages.at(this.list.seen.first)?.row ?? 0;
  }

  /** Go on at the end. */
  follow() {
    this.list.follow();
    this.showState();
  }

  // ---- places

  /** Show a line by its number. */
  scrollToLine(line) {
    return this.goTo({ line });
  }

  /** Show an event by its seq. */
  scrollToSeq(seq) {
    return this.goTo({ seq });
  }

  goToAddress() {
    const place = placeIn(location.hash);
    if (place !== null) void this.goTo(place);
  }

  goTo(place) {
    this.target = place;
    this.missing = "";
    this.linked = place;
    this.list.stay();
    return this.goToTarget();
  }

  /** Jump to what is waited for, once it is there. */
  async goToTarget() {
    const target = this.target;
    if (target === null) return;
    const place = await this.session.place({ ...target, lens: this.lens });
    const isThere = place.isThere && ("line" in target || target.seq <= (this.now?.seq ?? 0));
    if (!isThere || target !== this.target) return;
    this.target = null;
    await this.showRow(place.row);
    this.list.remake();
  }

  /** Show a row; a stream that hides it is turned on. */
  async showRow(row) {
    let place = await this.session.place({ row, lens: this.lens });
    if (!place.isSeen && this.lens.asOf === null) {
      await this.see({ stdout: true, stderr: true }, row);
      place = await this.session.place({ row, lens: this.lens });
    }
    if (place.index >= this.list.count) this.list.heights.setCount(place.index + 1);
    this.list.show(place.index);
    this.list.remake();
    this.showState();
  }

  clicked(event) {
    const link = event.target instanceof Element ? event.target.closest(".ln > a") : null;
    const place = link === null ? null : placeIn(link.getAttribute("href") ?? "");
    if (place === null || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    this.list.stay();
    this.linked = place;
    writePlace(place);
    this.list.remake();
    [...this.scroller.querySelectorAll(".ln > a")].find((made) => made.getAttribute("href") === link.getAttribute("href"))?.focus({ preventScroll: true });
  }

  /** Mark the next or the previous row, as a click on its number does; off the screen it begins anew. */
  stepLine(by) {
    const { first, last } = this.list.seen;
    const marked = this.list.pages.find(first, last + 1, (row) => this.isLinked(row));
    const wanted = marked < 0 ? (by > 0 ? first : last) : marked + by;
    const index = Math.min(Math.max(0, wanted), this.list.count - 1);
    const row = this.list.pages.at(index);
    if (row === undefined) return;
    this.linked = row.line > 0 ? { line: row.line } : { seq: row.seq };
    this.list.show(index, "near");
    this.list.remake();
  }

  isLinked(row) {
    if (this.linked === null) return false;
    return "line" in this.linked ? row.line === this.linked.line : row.line === 0 && row.seq === this.linked.seq;
  }

  async jumpToFailure() {
    if (this.badSeqs.length > 0) return this.scrollToSeq(Math.min(...this.badSeqs));
    const row = await this.session.failure();
    if (row < 0) return say("No line looks like a failure");
    const { line } = await this.session.place({ row, lens: this.lens });
    writePlace({ line });
    return this.scrollToLine(line);
  }

  /** Copy a link to the line that is linked, else to the first one seen. */
  async copyLink() {
    const line = this.list.pages.at(this.list.seen.first)?.line || 1;
    const place = this.linked ?? { line };
    writePlace(place);
    this.linked = place;
    this.list.remake();
    say(await copyText(location.href) ? "Link copied" : "Not copied: this browser does not allow it");
  }

  // ---- what is seen

  async toggle(stream) {
    await this.see({ ...this.lens, [stream]: !this.lens[stream] }, this.rowInView());
    if (this.finder.text !== "") this.finder.begin(this.finder.text, this.lens, this.rowInView());
  }

  /** See other streams; `row`, or what follows it, stays at the top. */
  async see({ stdout, stderr }, row) {
    this.lens = { stdout, stderr, asOf: this.lens.asOf };
    const [count, place] = await Promise.all([this.session.count(this.lens), this.session.place({ row, lens: this.lens })]);
    this.list.replace(count, this.list.isFollowing ? -1 : Math.min(place.index, Math.max(0, count - 1)));
    this.applyState();
  }

  choose(change) {
    this.chosen = { ...this.chosen, ...change };
    rememberChoices(this.chosen);
    this.applyLayout();
  }

  applyLayout() {
    const isNarrow = matchMedia(NARROW).matches;
    this.scroller.classList.toggle("log--wrap", this.chosen.isWrapped || isNarrow);
    this.scroller.classList.toggle("log--bare", !this.chosen.hasTimes || isNarrow);
    const probe = element("div", { class: "ln" }, element("code", {}, "x"));
    this.list.box.append(probe);
    const usual = probe.getBoundingClientRect().height || 19;
    probe.remove();
    this.list.setLayout({ isWrapped: this.chosen.isWrapped || isNarrow, usual });
    this.applyState();
  }

  applyState() {
    this.tools.showState({ ...this.lens, ...this.chosen });
  }

  /**
   * Show the log as it was at a position, null: as it is.
   * @param {import("./moments.js").Position|null} position
   */
  async showAsOf(position) {
    const before = this.lens.asOf;
    this.lens = { ...this.lens, asOf: position };
    const isForward = before !== null && position !== null && position.seq >= before.seq;
    this.tools.showCounts(position ?? this.now ?? NOTHING);
    if (position === null && this.now) {
      this.list.replace(await this.session.count(this.lens), -1);
    } else if (isForward) {
      await this.showGrowth({ ...position, changedFrom: before.rows });
    } else if (position !== null) {
      this.list.replace(await this.session.count(this.lens), -1);
    }
    this.showState();
  }

  markChanged(badSeqs) {
    this.badSeqs = badSeqs;
    if (badSeqs.length > 0) this.tools.failure.hidden = false;
    this.list.remake();
  }

  searchChanged() {
    this.tools.showHits(this.finder.status, this.finder.found.hits > 0 && this.finder.text !== "");
    const key = `${this.finder.text} ${this.finder.current?.index}`;
    if (key !== this.searchShown) this.list.remake();
    this.searchShown = key;
  }

  async copyAll() {
    const { text, lines, isWhole } = await this.session.text(this.lens);
    const isCopied = await copyText(text);
    if (!isCopied) say("Not copied: this browser does not allow it");
    else say(isWhole ? `Copied ${countOf(lines, "line")}` : `Copied the last ${countOf(lines, "line")}; the raw download has all`);
  }
}

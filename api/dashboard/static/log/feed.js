// Owns the way from the server to the log: history first, then what is new, and on after every loss.

import { ASK_AGAIN_MS, PIECE_BYTES, RETRY_AFTER_S, SILENCE_MS_MAX, SLICE_MS } from "./limits.js";
import { takeSlot } from "./slots.js";
import { breathe, Wakeable } from "./waiting.js";
import { BadWire, NdjsonReader, SseReader } from "./wire.js";

const SIGNED_OUT = "You are signed out here. Sign in again, and the log goes on.";

/** The server refused for good: signed out, no such run. */
class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    Object.assign(this, { status, code });
  }
}

/** The connection was lost, or the server is busy: worth another try. */
class Lost extends Error {
  constructor(message, retryAfterS = 0) {
    super(message);
    this.retryAfterS = retryAfterS;
  }
}

/**
 * @typedef {object} FeedSink
 * @property {(events: any[]) => void} take the next events, in order, none of them twice
 * @property {(state: string, retryInS: number) => void} turn replaying, following, lost, hidden, ended
 * @property {(reason: {status: number, code: string, message: string}) => void} stop refused for good
 */

/** Reads one run to its end. */
export class Feed {
  /**
   * @param {string} runId
   * @param {number} afterSeq
   * @param {FeedSink} sink
   */
  constructor(runId, afterSeq, sink) {
    this.path = `/v1/workspace-runs/${encodeURIComponent(runId)}/events`;
    this.seq = afterSeq;
    this.sink = sink;
    this.failures = 0;
    this.isHidden = false;
    this.hasEnded = false;
    this.abort = new AbortController();
    this.wake = new Wakeable();
  }

  /** A hidden tab holds no connection; a visible one goes on after the last event. */
  show(isVisible) {
    this.isHidden = !isVisible;
    if (this.isHidden) this.abort.abort();
    this.wake.wake();
  }

  async run() {
    while (!this.hasEnded) {
      if (this.isHidden) {
        this.sink.turn("hidden", 0);
        await this.wake.sleep(Infinity);
        continue;
      }
      this.abort = new AbortController();
      try {
        await this.readOn();
      } catch (error) {
        if (this.isHidden) continue;
        if (error instanceof Refused || error instanceof BadWire) return this.stop(error);
        await this.retry(error);
      }
    }
    this.sink.turn("ended", 0);
  }

  stop(error) {
    this.sink.stop({ status: error.status ?? 0, code: error.code ?? "bad_wire", message: error.message });
  }

  async retry(error) {
    const step = Math.min(this.failures, RETRY_AFTER_S.length - 1);
    const waitS = Math.max(RETRY_AFTER_S[step], error instanceof Lost ? error.retryAfterS : 0);
    this.failures += 1;
    this.sink.turn("lost", waitS);
    await this.wake.sleep(waitS * 1000);
  }

  /** History as NDJSON, which is the quickest; then the tail while there is a place for it, else again later. */
  async readOn() {
    if (this.seq === 0) this.sink.turn("replaying", 0);
    await this.read(NdjsonReader, "");
    if (this.hasEnded) return;
    const release = await takeSlot();
    this.sink.turn("following", 0);
    if (release === null) {
      await this.wake.sleep(ASK_AGAIN_MS);
      return;
    }
    try {
      await this.read(SseReader, "&stream=true");
    } finally {
      release();
    }
    if (!this.hasEnded) throw new Lost("The server closed the stream.");
  }

  async read(Reader, query) {
    const reader = new Reader();
    const watch = new Watch(this.abort);
    try {
      const response = await fetch(`${this.path}?afterSeq=${this.seq}${query}`, {
        headers: { accept: Reader.accept }, signal: this.abort.signal, cache: "no-store",
      });
      if (!response.ok || response.body === null) throw await refusal(response);
      await this.readBody(response.body.getReader(), reader, watch);
    } finally {
      watch.stop();
    }
    if (reader instanceof NdjsonReader && !reader.isBetweenEvents) throw new Lost("The answer ended inside an event.");
  }

  async readBody(body, reader, watch) {
    let breathedAt = performance.now();
    while (!this.hasEnded) {
      const { value, done } = await body.read();
      if (done) return;
      watch.reset();
      // What came while something else was done comes at once, and may be megabytes.
      for (let at = 0; at < value.length && !this.hasEnded; at += PIECE_BYTES) {
        this.take(reader.feed(value.subarray(at, at + PIECE_BYTES)));
        if (performance.now() - breathedAt > SLICE_MS) {
          await breathe();
          breathedAt = performance.now();
        }
        if (this.abort.signal.aborted) throw new Lost("The connection was closed here.");
      }
    }
    await body.cancel();
  }

  /** What was seen already is dropped, what is missing is said. */
  take(events) {
    const fresh = [];
    for (const event of events) {
      if (event.seq <= this.seq) continue;
      if (event.seq !== this.seq + 1) {
        const { seq, createdAt } = event;
        fresh.push({ type: "gap", seq, createdAt, from: this.seq + 1, to: seq - 1 });
      }
      fresh.push(event);
      this.seq = event.seq;
      if (event.type === "terminal") this.hasEnded = true;
    }
    if (events.some((event) => event.type === "terminal")) this.hasEnded = true;
    if (fresh.length === 0) return;
    this.failures = 0;
    this.sink.take(fresh);
  }
}

/** Ends a connection on which nothing comes any more, not even a comment. */
class Watch {
  /** @param {AbortController} abort */
  constructor(abort) {
    this.abort = abort;
    this.timer = 0;
    this.reset();
  }

  reset() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.abort.abort(), SILENCE_MS_MAX);
  }

  stop() {
    clearTimeout(this.timer);
  }
}

/** What a refusal of the server means for us. */
async function refusal(response) {
  let error = { code: "", message: `The server answered ${response.status}.` };
  try {
    error = (await response.json()).error ?? error;
  } catch {
    // A proxy may answer in another form: the status says enough.
  }
  if (response.status === 401) return new Refused(401, error.code, SIGNED_OUT);
  const canPass = response.status === 408 || response.status === 429 || response.status >= 500;
  if (canPass) return new Lost(error.message, Number(response.headers.get("retry-after")) || 0);
  return new Refused(response.status, error.code, error.message);
}

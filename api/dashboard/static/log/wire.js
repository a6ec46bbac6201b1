// Owns the two framings of events that are read here: NDJSON, and Server-Sent Events (CONTRACT of the API).

import { EVENT_BYTES_MAX } from "./limits.js";

const LF = 10;

/** What came over the wire is no event; nothing after it was read. */
export class BadWire extends Error {}

/** Bytes in pieces of any size to whole lines; what is not whole yet stays bytes. */
class Lines {
  constructor() {
    this.decoder = new TextDecoder();
    /** @type {Uint8Array[]} */
    this.rest = [];
    this.restBytes = 0;
  }

  /** @param {Uint8Array} bytes */
  feed(bytes) {
    const end = bytes.lastIndexOf(LF);
    if (end < 0) {
      this.keep(bytes);
      return [];
    }
    const whole = joined([...this.rest, bytes.subarray(0, end)]);
    [this.rest, this.restBytes] = [[], 0];
    this.keep(bytes.subarray(end + 1));
    return this.decoder.decode(whole).split("\n");
  }

  keep(bytes) {
    if (bytes.length === 0) return;
    this.rest.push(bytes);
    this.restBytes += bytes.length;
    if (this.restBytes > EVENT_BYTES_MAX) throw new BadWire(`The server sent an event of more than ${EVENT_BYTES_MAX} bytes.`);
  }
}

function joined(pieces) {
  if (pieces.length === 1) return pieces[0];
  const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

/** One event a line. */
export class NdjsonReader {
  static accept = "application/x-ndjson";

  constructor() {
    this.lines = new Lines();
  }

  /** Whether the last event is whole. */
  get isBetweenEvents() {
    return this.lines.restBytes === 0;
  }

  /**
   * The events that these bytes complete.
   * @param {Uint8Array} bytes
   */
  feed(bytes) {
    const events = [];
    for (const line of this.lines.feed(bytes)) if (line !== "") events.push(parse(line));
    return events;
  }
}

/** One event a frame, on one `data:` line; comments keep the connection awake. */
export class SseReader {
  static accept = "text/event-stream";

  constructor() {
    this.lines = new Lines();
  }

  /** @param {Uint8Array} bytes */
  feed(bytes) {
    const events = [];
    for (const line of this.lines.feed(bytes)) if (line.startsWith("data:")) events.push(parse(line.slice(5)));
    return events;
  }
}

function parse(text) {
  let event;
  try {
    event = JSON.parse(text);
  } catch {
    throw new BadWire("The server sent something that is no event.");
  }
  if (typeof event?.seq !== "number" || typeof event?.type !== "string") {
    throw new BadWire("The server sent an event without a number.");
  }
  return event;
}

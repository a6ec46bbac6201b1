// Owns the two framings of events that are read here: NDJSON, and Server-Sent Events (CONTRACT of the API).

import { EVENT_CHARS_MAX } from "./limits.js";

/** What came over the wire is no event; nothing after it was read. */
export class BadWire extends Error {}

/** Text in pieces of any size to whole lines. */
class Lines {
  constructor() {
    this.decoder = new TextDecoder();
    this.rest = "";
  }

  /** @param {Uint8Array} bytes */
  feed(bytes) {
    const lines = (this.rest + this.decoder.decode(bytes, { stream: true })).split("\n");
    this.rest = /** @type {string} */ (lines.pop());
    if (this.rest.length > EVENT_CHARS_MAX) throw new BadWire(`The server sent an event of more than ${EVENT_CHARS_MAX} characters.`);
    return lines;
  }
}

/** One event a line. */
export class NdjsonReader {
  static accept = "application/x-ndjson";

  constructor() {
    this.lines = new Lines();
  }

  /** Whether the last event is whole. */
  get isBetweenEvents() {
    return this.lines.rest === "";
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

// Owns how the chunks of one output stream are cut into lines, and which look each line begins with.

import { effectOf, PLAIN, styled } from "./style.js";

const LF = 10;
const CR = 13;
const ESC = 27;
/** A chunk without these is only text and line ends. */
const NOT_PLAIN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;
const NOT_PLAIN_BEYOND_ASCII = /[\u0080-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;
const PARAMETERS_CHARS_MAX = 128;
/** SGR parameters of so many bytes are looked up by a number. */
const SHORT_BYTES = 6;
const SHORT_KEPT_MAX = 4096;
/** @type {Map<number, {keeps: number, adds: number}>} */
const shortEffects = new Map();

/** What a line holds beside text: SGR escapes alone, or more than those. */
export const HAS_STYLE = 8;
export const HAS_MORE = 16;

const GROUND = 0;
const AFTER_ESC = 1;
const IN_CSI = 2;
const IN_CHARSET = 3;

/**
 * Where the lines of a stream go.
 * @typedef {object} LineSink
 * @property {(start: number, style: number) => void} begin a line begins at this offset of the stream
 * @property {(end: number, flags: number, rewrites: number) => void} end it ends before this offset
 */

/** Reads one stream chunk by chunk; an escape, a CR LF and a line may be cut anywhere. */
export class Scanner {
  /** @param {LineSink} sink */
  constructor(sink) {
    this.sink = sink;
    this.offset = 0;
    this.style = PLAIN;
    this.state = GROUND;
    this.parameters = "";
    this.isOpen = false;
    this.flags = 0;
    this.rewrites = 0;
    /** CRs at the end of what was read: they may belong to a LF that still comes. */
    this.crs = 0;
  }

  /**
   * @param {Uint8Array} bytes
   * @param {string|null} text the same as text, null where the bytes are not UTF-8
   */
  feed(bytes, text) {
    const isPlain = text !== null && this.state === GROUND && this.crs === 0 && !NOT_PLAIN.test(text);
    if (isPlain) this.feedPlain(bytes);
    else this.feedAny(bytes, text === null || NOT_PLAIN_BEYOND_ASCII.test(text) ? HAS_MORE : 0);
    this.offset += bytes.length;
  }

  /** Something else follows: the open line ends here, unfinished. */
  cut() {
    if (this.isOpen) this.endAt(this.offset);
    this.state = GROUND;
    this.crs = 0;
  }

  feedPlain(bytes) {
    let at = 0;
    while (at < bytes.length) {
      const found = bytes.indexOf(LF, at);
      const end = found < 0 ? bytes.length : found;
      this.beginAt(this.offset + at);
      if (found >= 0) this.endAt(this.offset + end);
      at = end + 1;
    }
  }

  feedAny(bytes, flags) {
    for (let at = 0; at < bytes.length; at += 1) {
      const byte = bytes[at];
      if (this.state !== GROUND && this.continues(byte)) continue;
      this.beginAt(this.offset + at);
      this.flags |= flags;
      if (byte === LF) {
        this.endAt(this.offset + at - this.crs);
        this.crs = 0;
        continue;
      }
      if (this.crs > 0 && byte !== CR) this.rewritten();
      if (byte === ESC) at = this.escape(bytes, at);
      else if (byte === CR) this.crs += 1;
      else if ((byte < 32 && byte !== 9) || byte === 127) this.flags |= HAS_MORE;
    }
  }

  /** A short SGR sequence is taken at once; all others, and what is cut, byte by byte. Where it ends. */
  escape(bytes, at) {
    this.flags |= HAS_STYLE;
    if (bytes[at + 1] === 0x5b) {
      let end = at + 2;
      let key = 1;
      while (end - at <= SHORT_BYTES + 1 && bytes[end] >= 0x30 && bytes[end] <= 0x3b) {
        key = key * 256 + bytes[end];
        end += 1;
      }
      if (bytes[end] === 0x6d) {
        const { keeps, adds } = shortEffects.get(key) ?? remembered(key, bytes.subarray(at + 2, end));
        this.style = (this.style & keeps) | adds;
        return end;
      }
    }
    this.state = AFTER_ESC;
    return at;
  }

  rewritten() {
    this.crs = 0;
    this.rewrites += 1;
    this.flags |= HAS_MORE;
  }

  /** Whether this byte belongs to the escape that is being read. */
  continues(byte) {
    if (this.state === AFTER_ESC && byte === 0x5b) {
      [this.state, this.parameters] = [IN_CSI, ""];
      return true;
    }
    if (this.state === AFTER_ESC && (byte === 0x28 || byte === 0x29)) {
      this.state = IN_CHARSET;
      return true;
    }
    if (this.state === IN_CSI && byte >= 0x30 && byte <= 0x3f && this.parameters.length < PARAMETERS_CHARS_MAX) {
      this.parameters += String.fromCharCode(byte);
      return true;
    }
    const wasCsi = this.state === IN_CSI;
    this.state = GROUND;
    if (wasCsi && byte === 0x6d) this.style = styled(this.style, this.parameters);
    else this.flags |= HAS_MORE;
    return wasCsi && byte >= 0x40 && byte <= 0x7e;
  }

  beginAt(start) {
    if (this.isOpen) return;
    this.isOpen = true;
    this.flags = 0;
    this.rewrites = 0;
    this.sink.begin(start, this.style);
  }

  endAt(end) {
    this.isOpen = false;
    this.sink.end(end, this.flags, this.rewrites);
  }
}

function remembered(key, parameters) {
  const effect = effectOf(String.fromCharCode(...parameters));
  if (shortEffects.size >= SHORT_KEPT_MAX) shortEffects.clear();
  shortEffects.set(key, effect);
  return effect;
}

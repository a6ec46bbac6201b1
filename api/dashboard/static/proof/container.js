// Owns the container of a bundle: a zip of stored members, read with distrust as it comes in (PROOF P8, P9.3).
//
// Members lie back to back from the first byte; headers and directory are, byte for byte, those that the writer
// would write, and nothing follows the end record. So a stream is enough: nothing has to be looked up behind it.
// @ts-check

import { FormatError, concat, decodeAscii, encodeUtf8, equalBytes, isAscii } from "./bytes.js";

/** @typedef {{name: string, size: number, crc: number, start: number}} Member */

const MEMBERS_MAX = 1024;
const NAME_BYTES_MAX = 255;
const LOCAL_BYTES = 30;
const LOCAL_MAGIC = 0x04034b50;
const CENTRAL_MAGIC = 0x02014b50;
const END_MAGIC = 0x06054b50;
const VERSION = 10;
const MADE_BY = (3 << 8) | VERSION;
const MODE = 0o100644 * 2 ** 16;
/** 1980-01-01, the first day that the format knows. */
const DATE = (1 << 5) | 1;
const PRINTABLE = /^[ -~]+$/;

/** The bytes of a stream that were not consumed yet. */
export class Source {
  /** @param {ReadableStream<Uint8Array>} stream @param {(bytes: number) => void} [onBytes] Told what was read so far. */
  constructor(stream, onBytes = () => {}) {
    this._reader = stream.getReader();
    this._onBytes = onBytes;
    this._rest = new Uint8Array();
    this.bytesRead = 0;
  }

  /** At most `count` of the next bytes, at least one unless the stream has ended. @param {number} count */
  async some(count) {
    if (!this._rest.length) await this._fill();
    return this._take(Math.min(count, this._rest.length));
  }

  /** Exactly `count` bytes; fewer only where the stream ends. @param {number} count */
  async exactly(count) {
    while (this._rest.length < count && (await this._fill()));
    return this._take(Math.min(count, this._rest.length));
  }

  /** Read no further. */
  async cancel() {
    await this._reader.cancel();
  }

  async _fill() {
    const { done, value } = await this._reader.read();
    if (done) return false;
    this.bytesRead += value.length;
    this._onBytes(this.bytesRead);
    this._rest = this._rest.length ? concat(this._rest, value) : value;
    return true;
  }

  /** @param {number} count */
  _take(count) {
    const taken = this._rest.subarray(0, count);
    this._rest = this._rest.subarray(count);
    return taken;
  }
}

/** A container that is read from front to back. Every method throws `FormatError` for what is none of ours. */
export class Container {
  /** @param {Source} source */
  constructor(source) {
    this._source = source;
    /** @type {Member[]} */
    this._members = [];
    this._position = 0;
    /** Members whose bytes do not fit the zip's own checksum. @type {string[]} */
    this.damaged = [];
  }

  /** The next member, whose bytes must be read before the one after it; null once everything was read. @returns {Promise<Member | null>} */
  async next() {
    const magic = await this._exactly(4);
    if (view(magic).getUint32(0, true) !== LOCAL_MAGIC) {
      await this._end(magic);
      return null;
    }
    const fixed = concat(magic, await this._exactly(LOCAL_BYTES - 4));
    const fields = view(fixed);
    const nameSize = fields.getUint16(26, true);
    if (!nameSize || nameSize > NAME_BYTES_MAX)
      throw new FormatError("a member of the zip has no name, or too long a one");
    const raw = await this._exactly(nameSize);
    if (!isAscii(raw) || !PRINTABLE.test(decodeAscii(raw)))
      throw new FormatError("a member of the zip has no readable name");
    const member = {
      name: decodeAscii(raw),
      size: fields.getUint32(22, true),
      crc: fields.getUint32(14, true),
      start: this._position,
    };
    if (!equalBytes(concat(fixed, raw), localHeader(member))) {
      throw new FormatError(`${member.name}: members of a bundle are stored plainly, with headers of one form`);
    }
    if (this._members.some(({ name }) => name === member.name))
      throw new FormatError(`${member.name} stands in the zip twice`);
    if (this._members.length >= MEMBERS_MAX) throw new FormatError(`a bundle has at most ${MEMBERS_MAX} members`);
    this._members.push(member);
    this._position += LOCAL_BYTES + nameSize + member.size;
    return member;
  }

  /** A small member, whole. @param {Member} member @param {number} bytesMax */
  async read(member, bytesMax) {
    if (member.size > bytesMax) throw new FormatError(`${member.name} has more than ${bytesMax} bytes`);
    const bytes = await this._exactly(member.size);
    this._compare(member, crc32(bytes, 0));
    return bytes;
  }

  /** A member in pieces, as they come in. @param {Member} member @returns {AsyncGenerator<Uint8Array>} */
  async *chunks(member) {
    let crc = 0;
    for (let left = member.size; left > 0;) {
      const chunk = await this._source.some(left);
      if (!chunk.length) throw new FormatError("the zip is cut");
      left -= chunk.length;
      crc = crc32(chunk, crc);
      yield chunk;
    }
    this._compare(member, crc);
  }

  /** @param {Member} member @param {number} crc */
  _compare(member, crc) {
    if (crc !== member.crc) this.damaged.push(member.name);
  }

  /** Directory and end record, and nothing behind them. @param {Uint8Array} magic Their first bytes. */
  async _end(magic) {
    const expected = directory(this._members, this._position);
    const found = concat(magic, await this._exactly(Math.max(0, expected.length - magic.length)));
    if (!equalBytes(found, expected)) throw new FormatError("the zip's directory says other things than its members");
    if ((await this._source.some(1)).length) throw new FormatError("the zip has bytes that belong to no member");
  }

  /** @param {number} count */
  async _exactly(count) {
    const bytes = await this._source.exactly(count);
    if (bytes.length !== count) throw new FormatError("the zip is cut");
    return bytes;
  }
}

/** @param {Uint8Array} bytes */
const view = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** @param {[number, 2 | 4][]} fields Each value and its bytes. */
function packed(fields) {
  const bytes = new Uint8Array(fields.reduce((sum, [, size]) => sum + size, 0));
  let at = 0;
  for (const [value, size] of fields) {
    if (size === 2) view(bytes).setUint16(at, value, true);
    else view(bytes).setUint32(at, value, true);
    at += size;
  }
  return bytes;
}

/** @param {Member} member @returns {[number, 2 | 4][]} What both headers of a member say alike. */
const common = ({ name, size, crc }) => [
  [VERSION, 2],
  [0, 2],
  [0, 2],
  [0, 2],
  [DATE, 2],
  [crc, 4],
  [size, 4],
  [size, 4],
  [name.length, 2],
  [0, 2],
];

/** @param {Member} member */
const localHeader = (member) => concat(packed([[LOCAL_MAGIC, 4], ...common(member)]), encodeUtf8(member.name));

/** @param {Member[]} members @param {number} position Where the directory begins. */
function directory(members, position) {
  const entries = members.map((member) => {
    const fixed = packed([
      [CENTRAL_MAGIC, 4],
      [MADE_BY, 2],
      ...common(member),
      [0, 2],
      [0, 2],
      [0, 2],
      [MODE, 4],
      [member.start, 4],
    ]);
    return concat(fixed, encodeUtf8(member.name));
  });
  const size = entries.reduce((sum, entry) => sum + entry.length, 0);
  const count = members.length;
  return concat(
    ...entries,
    packed([
      [END_MAGIC, 4],
      [0, 2],
      [0, 2],
      [count, 2],
      [count, 2],
      [size, 4],
      [position, 4],
      [0, 2],
    ]),
  );
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit += 1) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte;
});

/** @param {Uint8Array} bytes @param {number} crc That of the bytes before them. @returns {number} */
function crc32(bytes, crc) {
  crc = ~crc;
  for (let at = 0; at < bytes.length; at += 1) crc = CRC_TABLE[(crc ^ bytes[at]) & 0xff] ^ (crc >>> 8);
  return ~crc >>> 0;
}

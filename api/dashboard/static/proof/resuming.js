// Owns an answer that is read on after its connection was lost, from the byte at which it stopped.
//
// The server is asked anew, and what was read before is passed over. Its digest is compared: bytes of two different
// answers are never judged as one, so that a lost connection can change no verdict.
// @ts-check

import { equalBytes } from "./bytes.js";
import { Empty, Unfinished, bodyOf, open } from "./fetching.js";
import { Sha256 } from "./sha256.js";

/** Waits between tries that bring no further byte; after the last one the check gives up. */
const WAITS_MS = [200, 400, 800, 1600, 3200, 6400];
/** The longest wait behind an answer without bytes: what is empty so often is empty. */
const EMPTY_WAIT_MS_MAX = 800;
/** Connections of one answer, however far each of them came. */
const CONNECTIONS_MAX = 100;
/** What a proxy says while its server is away. */
const AWAY = new Set([502, 503, 504]);

/** What was read before is not what is sent now: the check has to begin anew. */
export class Changed extends Unfinished {}

/**
 * What `ask` answers, asked again while the connection is lost.
 * @template T @param {() => Promise<T>} ask @param {() => void} onLost @returns {Promise<T>}
 */
export async function again(ask, onLost) {
  for (const wait of WAITS_MS) {
    try {
      return await ask();
    } catch (error) {
      if (!isLoss(error) || (error instanceof Empty && wait > EMPTY_WAIT_MS_MAX)) throw error;
      onLost();
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
  return ask();
}

/** An answer whose `body` outlives its connections. */
export class Resuming {
  /** @param {string} path @param {string} accept @param {() => void} onLost Told at each loss. */
  constructor(path, accept, onLost) {
    this._path = path;
    this._accept = accept;
    this._onLost = onLost;
    this._connections = 0;
    this._given = new Sha256();
    /** @type {ReadableStreamDefaultReader<Uint8Array> | null} */
    this._reader = null;
    /** Bytes of the whole answer, 0 where it is not known. */
    this.bytesTotal = 0;
  }

  /** Ask for it. Throws `Unfinished`. @returns {Promise<this>} */
  async open() {
    await again(() => this._connect(), this._onLost);
    return this;
  }

  /** @returns {ReadableStream<Uint8Array>} */
  body() {
    return new ReadableStream(
      {
        pull: async (controller) => {
          const { done, value } = await again(() => this._next(), this._onLost).catch(this._emptyAtLast);
          if (done) controller.close();
          else controller.enqueue(value);
        },
        cancel: (reason) => this._reader?.cancel(reason),
      },
      { highWaterMark: 0 },
    );
  }

  /** What is empty at each try is empty: its judge says what that means. @param {unknown} error */
  _emptyAtLast = (error) => {
    if (!(error instanceof Empty) || this._given.size > 0) throw error;
    return { done: /** @type {true} */ (true), value: undefined };
  };

  async _connect() {
    this._connections += 1;
    if (this._connections > CONNECTIONS_MAX) throw new Unfinished(`the connection was lost ${CONNECTIONS_MAX} times`);
    const answer = await open(this._path, this._accept);
    this.bytesTotal = Number(answer.headers.get("content-length")) || 0;
    const reader = bodyOf(answer).getReader();
    this._reader = reader;
    return reader;
  }

  /** The next bytes that were not given yet. */
  async _next() {
    try {
      const reader = this._reader ?? (await this._passOver());
      const piece = await reader.read();
      if (piece.value) this._given.update(piece.value);
      return piece;
    } catch (error) {
      this._reader = null;
      throw error;
    }
  }

  /** A new connection, at the place where the one before it ended. */
  async _passOver() {
    const reader = await this._connect();
    const passed = new Sha256();
    while (passed.size < this._given.size) {
      const { done, value } = await reader.read();
      if (done) throw new Changed("the connection was lost, and what is sent now is shorter");
      const missing = this._given.size - passed.size;
      passed.update(value.subarray(0, missing));
      if (value.length > missing) return this._startingWith(reader, value.subarray(missing), passed);
    }
    this._compare(passed);
    return reader;
  }

  /**
   * A reader whose first bytes came in with what was passed over.
   * @param {ReadableStreamDefaultReader<Uint8Array>} reader @param {Uint8Array} first @param {Sha256} passed
   */
  _startingWith(reader, first, passed) {
    this._compare(passed);
    let rest = /** @type {Uint8Array | null} */ (first);
    const stream = new ReadableStream(
      {
        async pull(controller) {
          const { done, value } = rest ? { done: false, value: rest } : await reader.read();
          rest = null;
          if (done) controller.close();
          else controller.enqueue(value);
        },
        cancel: (reason) => reader.cancel(reason),
      },
      { highWaterMark: 0 },
    );
    this._reader = stream.getReader();
    return this._reader;
  }

  /** @param {Sha256} passed */
  _compare(passed) {
    if (!equalBytes(passed.digest(), this._given.digest())) {
      throw new Changed("the connection was lost, and what is sent now is not what was sent before");
    }
  }
}

/** @param {unknown} error */
function isLoss(error) {
  if (!(error instanceof Unfinished) || error instanceof Changed) return false;
  return error.status === 0 ? error.isLoss : AWAY.has(error.status);
}

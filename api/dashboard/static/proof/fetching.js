// Owns reading from the server in the worker: what could not be read says nothing about the record.
// @ts-check

const STALL_MS_MAX = 120_000;
/** Bytes of an answer that is read whole. */
const WHOLE_BYTES_MAX = 8 * 1024 * 1024;
const MESSAGE_CHARS_MAX = 300;

/** The check could not finish. The message says why; `status` is that of the answer, 0 without one. */
export class Unfinished extends Error {
  /** @param {string} message @param {number} [status] @param {boolean} [isLoss] Whether the connection was lost. */
  constructor(message, status = 0, isLoss = false) {
    super(message);
    this.status = status;
    this.isLoss = isLoss;
  }
}

/** An answer without bytes, which is a loss until it has come so again and again. */
export class Empty extends Unfinished {
  constructor() {
    super("the server sent an empty answer", 0, true);
  }
}

const lost = () => new Unfinished("the connection was lost", 0, true);

/**
 * @param {string} path @param {string} [accept]
 * @returns {Promise<Response>} An answer of 2xx whose body never stalls for long. Throws `Unfinished`.
 */
export async function open(path, accept = "*/*") {
  let answer;
  try {
    answer = await fetch(path, {
      headers: { accept },
      cache: "no-store",
      credentials: "same-origin",
      redirect: "error",
    });
  } catch {
    throw lost();
  }
  if (!answer.ok) throw new Unfinished(await refusal(answer), answer.status);
  return answer;
}

/** @param {string} path @returns {Promise<Uint8Array>} The whole body. Throws `Unfinished`. */
export async function readAll(path) {
  const answer = await open(path);
  const reader = bodyOf(answer).getReader();
  /** @type {Uint8Array[]} */
  const chunks = [];
  for (let size = 0; ;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > WHOLE_BYTES_MAX) throw new Unfinished(`the answer has more than ${WHOLE_BYTES_MAX} bytes`);
    chunks.push(value);
  }
  return new Uint8Array(await new Blob(/** @type {BlobPart[]} */ (chunks)).arrayBuffer());
}

/**
 * The body of an answer, which ends as `Unfinished` when the connection breaks or says nothing for long.
 *
 * Over plain http a browser takes a head that was cut for a whole one: an answer without bytes ends as `Empty`.
 * @param {Response} answer @returns {ReadableStream<Uint8Array>}
 */
export function bodyOf(answer) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (answer.body).getReader();
  let isHeadWhole = answer.headers.get("content-length") === "0";
  return new ReadableStream(
    {
      async pull(controller) {
        const { done, value } = await soon(reader.read());
        if (done && !isHeadWhole) throw new Empty();
        isHeadWhole = true;
        if (done) controller.close();
        else controller.enqueue(value);
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}

/** @template T @param {Promise<T>} reading @returns {Promise<T>} */
async function soon(reading) {
  let timer = 0;
  const stalled = new Promise((_, reject) => {
    timer = setTimeout(
      () => reject(new Unfinished(`the server sent nothing for ${STALL_MS_MAX / 1000} s`)),
      STALL_MS_MAX,
    );
  });
  try {
    return /** @type {T} */ (await Promise.race([reading, stalled]));
  } catch (error) {
    throw error instanceof Unfinished ? error : lost();
  } finally {
    clearTimeout(timer);
  }
}

/** What the server says of a refusal. @param {Response} answer */
async function refusal(answer) {
  if (answer.status === 401) return "nobody is signed in any more; reload the page to sign in";
  try {
    const { error } = await answer.json();
    return `the server answered ${answer.status}: ${String(error.message).slice(0, MESSAGE_CHARS_MAX)}`;
  } catch {
    return `the server answered ${answer.status}`;
  }
}

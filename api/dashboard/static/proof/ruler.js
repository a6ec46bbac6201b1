// Owns the ruler: all events as one bar, the seal as its end, bad events as taller marks.
// @ts-check

import { svg } from "../shell/dom.js";
import { counted } from "../shell/words.js";

/** The part of the width that events have, in percent; what is left is the seal. */
const EVENTS_WIDTH = 98.2;
const SEAL_AT = 98.8;
const MARK_WIDTH = 1;
/** Marks nearer to an end than this would stand in the way of its label, in percent. */
const LABEL_ROOM = 14;

/**
 * @param {{size: number, done: number, bad: number[], sealSeq: number | null, label: string}} shown `done` events are good
 *   but those in `bad`.
 * @returns {HTMLElement}
 */
export function ruler({ size, done, bad, sealSeq, label }) {
  const at = (/** @type {number} */ seq) => (Math.max(0, seq - 1) / Math.max(1, size)) * EVENTS_WIDTH;
  const drawing = svg("svg", { role: "img", "aria-label": label });
  drawing.append(
    bar("q-todo", 0, EVENTS_WIDTH),
    bar("q-good", 0, (Math.min(done, size) / Math.max(1, size)) * EVENTS_WIDTH),
  );
  for (const seq of bad)
    drawing.append(
      svg("rect", { class: "q-bad", x: percent(at(seq)), y: 1, width: percent(MARK_WIDTH), height: 18, rx: 1 }),
    );
  const isSealed = sealSeq !== null && done >= sealSeq;
  drawing.append(
    svg("rect", {
      class: isSealed ? "q-seal" : "q-todo",
      x: percent(SEAL_AT),
      y: 4,
      width: percent(100 - SEAL_AT),
      height: 12,
      rx: 1,
    }),
  );
  drawing.append(...labels(size, bad, sealSeq, at));
  const box = document.createElement("div");
  box.className = "ruler";
  box.append(drawing);
  return box;
}

/** @param {number} size @param {number[]} bad @param {number | null} sealSeq @param {(seq: number) => number} at */
function labels(size, bad, sealSeq, at) {
  if (!size) return []; // not known yet
  const end = sealSeq === null ? counted(size) : `${counted(size)}, sealed`;
  const texts = [];
  const place = bad.length ? at(bad[0]) : null;
  if (place === null || place > LABEL_ROOM) texts.push(svg("text", { x: 0, y: 32 }, "1"));
  if (place === null || place < 100 - 2 * LABEL_ROOM)
    texts.push(svg("text", { x: "100%", y: 32, "text-anchor": "end" }, end));
  if (place !== null) {
    const anchor = place < LABEL_ROOM ? "start" : place > 100 - LABEL_ROOM ? "end" : "middle";
    texts.push(
      svg(
        "text",
        { class: "q-txt", x: percent(Math.min(place + MARK_WIDTH / 2, 100)), y: 32, "text-anchor": anchor },
        counted(bad[0]),
      ),
    );
  }
  return texts;
}

/** @param {string} name @param {number} from @param {number} width */
const bar = (name, from, width) =>
  svg("rect", { class: name, x: percent(from), y: 6, width: percent(width), height: 8, rx: 1 });

/** @param {number} number */
const percent = (number) => `${number.toFixed(3)}%`;

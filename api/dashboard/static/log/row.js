// Owns the elements of one row. Everything that a command printed goes in as text nodes.

import { element, icon } from "../shell/dom.js";
import { sentence } from "./facts.js";
import { classesOf } from "./style.js";
import { counted, countOf, sizeText } from "../shell/words.js";
import { since } from "./since.js";

/**
 * What a row looks like beside what it holds.
 * @typedef {object} Look
 * @property {number} startedAt ms since epoch, from where times are counted
 * @property {(text: string) => number[]} matches where the text that is looked for begins
 * @property {number} matchLength
 * @property {{row: number, nth: number}|null} current the hit that was jumped to
 * @property {number} linkedLine 0 for none
 * @property {number} linkedSeq
 * @property {number[]} badSeqs events that were changed after they were recorded
 * @property {(time: number) => string} timeText
 */

/**
 * @param {import("./lines.js").Row} row
 * @param {Look} look
 */
export function makeRow(row, look) {
  return row.kind === "fact" ? makeFact(row, look) : makeLine(row, look);
}

/** What stands for a row that is on its way. */
export function makeWaiting() {
  return element("div", { class: "ln" });
}

function makeLine(row, look) {
  const names = ["ln"];
  if (row.kind === "stderr") names.push("ln--err");
  if (row.isBlockStart) names.push("ln--first");
  if (row.isGone) names.push("ln--gone");
  if (row.line === look.linkedLine || row.seq === look.linkedSeq) names.push("ln--at");
  const badSeq = look.badSeqs.find((seq) => row.seq <= seq && seq <= row.lastSeq);
  if (badSeq !== undefined) names.push("ln--changed");
  const code = element("code", {}, ...textOf(row, look));
  const made = element(
    "div", { class: names.join(" "), "data-line": row.line, "data-seq": row.seq },
    element("a", { href: `#L${row.line}`, "aria-label": `Line ${row.line}, event ${row.seq}` }, String(row.line)),
    element("time", { title: look.timeText(row.time) }, since(row.time - look.startedAt)), code,
  );
  const isLastOfEvent = row.nextSeq === 0 || row.nextSeq > (badSeq ?? 0);
  if (badSeq === undefined || !isLastOfEvent) return made;
  return element("div", { "data-high": true }, made, changedNote(badSeq));
}

function textOf(row, look) {
  if (row.isGone) return [element("span", { class: "gone" }, `Text of event ${counted(row.seq)} was removed from the record`)];
  const parts = marked(row, look);
  if (row.moreBytes > 0) {
    parts.push(element("span", { class: "tag" }, `${sizeText(row.moreBytes)} more of this line are in the raw download`));
  }
  if (row.rewrites > 0) parts.push(" ", element("span", { class: "tag" }, `rewritten ${countOf(row.rewrites, "time")}`));
  if (row.isOpen) parts.push(" ", element("span", { class: "caret", "aria-hidden": "true" }));
  return parts;
}

/** The text in its styles, with what was found in it marked; one mark may go over several styles. */
function marked(row, look) {
  const parts = [];
  const ranges = rangesOf(row, look);
  /** @type {{nth: number, element: HTMLElement}|null} */
  let mark = null;
  let at = 0;
  for (const span of row.spans) {
    if (span.label) {
      mark = null;
      parts.push(element("span", { class: "esc" }, span.text));
      continue;
    }
    for (const [text, nth] of cut(span.text, at, ranges)) {
      if (nth < 0) mark = null;
      else if (mark?.nth !== nth) parts.push((mark = { nth, element: markOf(row, nth, look) }).element);
      const shown = styledText(text, span.style);
      if (mark === null) parts.push(shown);
      else mark.element.append(shown);
    }
    at += span.text.length;
  }
  return parts;
}

function markOf(row, nth, look) {
  const isCurrent = look.current !== null && look.current.row === row.row && look.current.nth === nth;
  return element("mark", { "aria-current": isCurrent ? "true" : null });
}

function rangesOf(row, look) {
  if (look.matchLength === 0) return [];
  let text = "";
  for (const span of row.spans) if (!span.label) text += span.text;
  return look.matches(text).map((from) => [from, from + look.matchLength]);
}

/** One span cut where hits begin and end: pieces, each with the number of its hit or -1. */
function cut(text, start, ranges) {
  /** @type {[string, number][]} */
  const pieces = [];
  let at = 0;
  ranges.forEach(([from, to], nth) => {
    const [first, last] = [Math.max(at, from - start), Math.min(text.length, to - start)];
    if (last <= first) return;
    if (first > at) pieces.push([text.slice(at, first), -1]);
    pieces.push([text.slice(first, last), nth]);
    at = last;
  });
  if (at < text.length) pieces.push([text.slice(at), -1]);
  return pieces;
}

function styledText(text, style) {
  const names = classesOf(style);
  return names === "" ? text : element("span", { class: names }, text);
}

function makeFact(row, look) {
  const { parts, tone, sign } = sentence(row.fact);
  const words = parts.map((part) => (typeof part === "string" ? part : element("code", {}, part.code)));
  const inside = [element("span", {}, ...words)];
  if (sign) inside.unshift(element("span", { class: `st ${tone}` }, icon(sign)));
  const names = row.seq === look.linkedSeq ? "ln ln--sys ln--at" : "ln ln--sys";
  const link = element("a", { href: `#seq-${row.seq}`, title: look.timeText(row.time) }, element("span", { class: "hide-small" }, "seq "), String(row.seq));
  return element("div", { class: "sys", "data-seq": row.seq }, element("div", { class: names }, link, element("span", {}, ...inside)));
}

function changedNote(seq) {
  return element(
    "p", { class: "note", role: "note" },
    element("strong", {}, `Event ${counted(seq)} was changed after it was recorded.`),
    " The line above is the text this server sends today. It does not match the fingerprint in the signed record. What it said before cannot be read from here.",
  );
}

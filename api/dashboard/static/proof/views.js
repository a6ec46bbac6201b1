// Owns how the outcome of a check looks: what holds, what does not, and what this browser remembers.
// @ts-check

import { element, icon } from "../shell/dom.js";
import { timeElement } from "../shell/times.js";
import { checkRows } from "./rows.js";
import { ruler } from "./ruler.js";
import { counted } from "../shell/words.js";
import { failureLimits, heldWords, stillHolds } from "./words.js";

/** @typedef {import("./words.js").Report} Report */
/** @typedef {import("./words.js").Failure} Failure */

const MARKS = { verified: "hex-ok", redacted: "hex-red", open: "hex-open" };

/**
 * @param {Report} report @param {import("./words.js").State} state @param {Node} checked When, how long, how much.
 * @returns {Node[]}
 */
export function heldView(report, state, checked) {
  const [title, text] = heldWords(report, state);
  const kind = state === "open" ? "open" : "verified";
  const label =
    report.sealSeq === null
      ? `Events 1 to ${counted(report.size)} match`
      : `All ${counted(report.size)} records match, the seal too`;
  return [
    verdict(kind, MARKS[/** @type {keyof typeof MARKS} */ (state)], title, `${text} `, checked),
    ruler({ size: report.size, done: report.done, bad: [], sealSeq: report.sealSeq, label }),
    checkRows(report, null),
    ...when(report),
    ...report.warnings.map((warning) => notice("warn", "warn", "The server’s clock was off.", warning)),
  ];
}

/** @param {Report} report @param {Failure} failure @param {Node} checked @returns {Node[]} */
export function failedView(report, failure, checked) {
  const bad = report.changed.length ? report.changed : failure.seq === null ? [] : [failure.seq];
  const label = failure.seq === null ? failure.title : `${failure.title}, of ${counted(report.size)} records`;
  const holds = stillHolds(report, failure);
  return [
    verdict("failed", "hex-bad", failure.title, `${failure.text} `, checked),
    ...(report.size ? [ruler({ size: report.size, done: report.done, bad, sealSeq: report.sealSeq, label })] : []),
    comparison(report, failure),
    checkRows(report, failure),
    ...(holds ? [limits("What still holds", element("p", {}, holds))] : []),
    limits(
      "What this does not show",
      element("ul", {}, ...failureLimits(failure).map((line) => element("li", {}, line))),
    ),
    element(
      "p",
      { class: "fine first-do" },
      element("strong", {}, "First keep a copy."),
      " Download the bundle before anything is restored or repaired, then compare it with a copy made earlier.",
    ),
  ];
}

/** Code, place, and both fingerprints where a payload was changed. @param {Report} report @param {Failure} failure */
function comparison({ firstChanged, served }, failure) {
  const change = failure.clause === "P1.1" ? null : firstChanged;
  const place = change ?? served.other;
  const list = element("dl", { class: "cmp" });
  const add = (/** @type {string} */ name, /** @type {(string | Node)[]} */ values, full = false) =>
    list.append(
      element("dt", { class: full ? "full" : null }, name),
      element("dd", { class: full ? "full" : null }, ...values),
    );
  if (change) {
    add("Recorded fingerprint", [element("code", {}, change.recorded)], true);
    add("Fingerprint of the text sent today", [element("code", {}, change.computed)], true);
  }
  if (place)
    add("Where", [
      `${place.type}, `,
      element("a", { href: `#seq-${place.seq}` }, `event ${counted(place.seq)}`),
      ", ",
      timeElement(place.createdAt),
    ]);
  else if (failure.seq !== null)
    add("Where", [element("a", { href: `#seq-${failure.seq}` }, `event ${counted(failure.seq)}`)]);
  add("Code", [element("code", {}, failure.code), " ", element("span", { class: "sec" }, failure.clause)]);
  return list;
}

/**
 * Whose key it was, and whether this browser saw it before.
 * @param {Report} report @param {import("./pins.js").Remembered | null} known @param {boolean} isKept
 * @param {{trust: () => void, forget: () => void}} acts
 * @returns {Node[]}
 */
export function memoryNotices(report, known, isKept, acts) {
  const nodes = [...keyNotices(report, acts), ...recordNotices(report, known, acts)];
  if (report.passed.includes("signature") && !report.strangers.length) nodes.push(keyLine(report, known, isKept));
  return nodes;
}

/** @param {Report} report @param {{trust: () => void}} acts @returns {Node[]} */
function keyNotices(report, acts) {
  const nodes = [];
  if (report.strangers.length) {
    nodes.push(
      notice(
        "bad",
        "hex-bad",
        "The key of this server changed.",
        "Ask its operator, on another way than this page, whether that is so. Only then: ",
        button("Trust the new key", acts.trust),
      ),
    );
  }
  if (report.vouchedFor.length) {
    const ids = report.vouchedFor.map(({ id }) => id).join(" and ");
    const what = `The key that this browser remembered vouches for ${ids} in the global log.`;
    nodes.push(notice("info", "key", "The key of this server changed.", what));
  }
  return nodes;
}

/**
 * Witnesses that are gone, and a record that is not the one remembered.
 * @param {Report} report @param {import("./pins.js").Remembered | null} known
 * @param {{trust: () => void, forget: () => void}} acts
 * @returns {Node[]}
 */
function recordNotices(report, known, acts) {
  const nodes = [];
  const gone = (known?.witnesses ?? []).filter(
    ({ text }) => !report.witnesses.some((witness) => witness.text === text),
  );
  if (gone.length && report.code === null) {
    const names = gone.map(({ name }) => name).join(", ");
    nodes.push(
      notice(
        "warn",
        "warn",
        "This server names fewer witnesses than before.",
        `Missing: ${names}. What they cosigned no longer counts here. `,
        button("Remember the present ones", acts.trust),
      ),
    );
  }
  if (report.code === "E_FORK" || report.code === "E_ROLLBACK") {
    nodes.push(
      notice(
        "bad",
        "hex-bad",
        "This browser remembers another record.",
        "Keep a bundle of both if you can: together they show that two histories were signed. ",
        button("Forget the one remembered", acts.forget),
      ),
    );
  }
  return nodes;
}

/** @param {Report} report @param {import("./pins.js").Remembered | null} known @param {boolean} isKept */
function keyLine({ signers }, known, isKept) {
  const key = element(
    "code",
    { title: signers.map(({ text }) => text).join(" ") },
    signers.map(({ id }) => id).join(", "),
  );
  const line = element(
    "p",
    { class: "fine when" },
    "Checked with the key ",
    key,
    ", which is this server’s own word. ",
  );
  if (known !== null) line.append("This browser remembers it since ", timeElement(known.since), ".");
  else
    line.append(
      isKept
        ? "It was seen here for the first time, and is remembered from now on."
        : "This browser remembers nothing, so a changed key would not be noticed.",
    );
  return line;
}

/** When it was recorded, by the word of others. @param {Report} report @returns {Node[]} */
function when({ notBeforeMs, notAfterMs, log }) {
  if (notAfterMs === null) return [];
  const moment = (/** @type {number} */ ms) => timeElement(new Date(ms).toISOString());
  const witnesses = log?.cosigned.length ?? 0;
  const by = `, by the log and ${witnesses === 1 ? "1 witness" : `${counted(witnesses)} witnesses`}.`;
  const from = notBeforeMs === null ? ["Recorded no later than "] : ["Recorded between ", moment(notBeforeMs), " and "];
  return [element("p", { class: "fine when" }, ...from, moment(notAfterMs), by)];
}

/** @param {string} state @param {string} glyph @param {string} title @param {...(string | Node)} text */
function notice(state, glyph, title, ...text) {
  return element(
    "div",
    { class: "notice proof-notice", "data-state": state },
    icon(glyph),
    element("div", {}, element("strong", {}, title), " ", ...text),
  );
}

/** @param {string} text @param {() => void} act */
function button(text, act) {
  const made = element("button", { type: "button", class: "btn btn--s" }, text);
  made.addEventListener("click", act);
  return made;
}

/** @param {string} title @param {Node} body */
const limits = (title, body) => element("div", { class: "limits" }, element("h3", {}, title), body);

/** @param {string} state @param {string} glyph @param {string} title @param {...(string | Node)} text */
export function verdict(state, glyph, title, ...text) {
  return element(
    "div",
    { class: "verdict", "data-state": state },
    icon(glyph),
    element("h3", {}, title),
    element("p", {}, ...text),
  );
}

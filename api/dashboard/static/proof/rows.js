// Owns the rows that say what was checked, each with its clause, and where a check stopped.
// @ts-check

import { element, icon } from "../shell/dom.js";
import { counted, countOf } from "../shell/words.js";
import { CHECKS } from "./checks.js";

/** @typedef {import("./words.js").Report} Report */
/** @typedef {import("./words.js").Failure} Failure */
/** @typedef {"ok" | "bad" | "todo"} RowState */

/** Codes whose row is not that of the first check that did not pass. @type {Readonly<Record<string, string>>} */
const ROW_OF = {
  E_CHAIN_BROKEN: "chain",
  E_GENESIS: "chain",
  E_WITNESS_SIG: "witnesses",
  E_WITNESS_QUORUM: "witnesses",
};
const ICONS = { ok: "check", bad: "x", todo: "dash" };
const ROOT_CHARS = 6;

/** @param {Report} report @param {Failure | null} failure @returns {HTMLElement} */
export function checkRows(report, failure) {
  const blamed = blamedRow(report, failure);
  const list = element("ul", { class: "checks", "aria-label": "What was checked" });
  for (const { id, name, clause, text } of ROWS) {
    const [state, words] = text(report, rowState(report, id, blamed), failure);
    list.append(row(state, name, words, clause));
  }
  return list;
}

/** @param {Report} report @param {Failure | null} failure */
function blamedRow(report, failure) {
  if (failure === null) return null;
  if (report.code === null && failure.code === "E_NOT_FINAL") return "seal";
  if (report.code === null) return report.served.other ? "served" : "signature";
  return ROW_OF[failure.code] ?? CHECKS.find((check) => !report.passed.includes(check)) ?? null;
}

/** @param {Report} report @param {string} id @param {string | null} blamed @returns {RowState} */
function rowState(report, id, blamed) {
  if (id === blamed) return "bad";
  const check = id === "witnesses" ? "log" : id;
  if (id === "served") return report.served.same && report.passed.includes("payloads") ? "ok" : "todo";
  return report.passed.includes(check) ? "ok" : "todo";
}

/** @param {RowState} state @param {string} name @param {string | Node} words @param {string} clause */
function row(state, name, words, clause) {
  const said = { ok: "holds", bad: "does not hold", todo: "not checked" }[state];
  return element(
    "li",
    { "data-state": state, "data-check": name },
    icon(ICONS[state]),
    element("b", {}, name, element("span", { class: "vh" }, `, ${said}`)),
    element("span", {}, words),
    element("abbr", { title: "Clause of the proof specification" }, clause),
  );
}

/** @typedef {[RowState, string | Node]} Said */
/** @typedef {{id: string, name: string, clause: string, text: (report: Report, state: RowState, failure: Failure | null) => Said}} Row */

/** @type {Row[]} */
const ROWS = [
  { id: "signature", name: "Signature", clause: "P6", text: signature },
  { id: "records", name: "Records", clause: "P2", text: records },
  { id: "chain", name: "Chain, tree", clause: "P3", text: chain },
  { id: "payloads", name: "Payloads", clause: "P2", text: payloads },
  { id: "seal", name: "Seal", clause: "P4", text: seal },
  {
    id: "evidence",
    name: "Evidence",
    clause: "P12",
    text: evidence,
  },
  { id: "output", name: "Output", clause: "P4", text: output },
  { id: "artifacts", name: "Artifacts", clause: "P8", text: artifacts },
  {
    id: "shown",
    name: "As shown",
    clause: "P12",
    text: (report, state) =>
      afterSeal(report, state, "evidence on this server is the sealed one", "evidence is shown otherwise"),
  },
  { id: "served", name: "As sent", clause: "P1", text: served },
  { id: "log", name: "Global log", clause: "P5", text: globalLog },
  { id: "witnesses", name: "Witnesses", clause: "P5", text: witnesses },
  { id: "attestations", name: "Attestations", clause: "P11", text: attestations },
];

/** @param {Report} report @param {RowState} state @returns {Said} */
function signature(report, state) {
  const names = [...new Set(report.signers.map(({ name }) => name))].join(", ");
  if (state === "bad") return [state, names ? `${names}, not what is expected` : "no signature that holds"];
  return [state, names];
}

/** @param {Report} report @param {RowState} state @returns {Said} */
function records(report, state) {
  if (state === "ok") return [state, `${counted(report.done)} of ${counted(report.size)}, no gap`];
  return [state, report.size ? `${counted(report.done)} of ${counted(report.size)} follow each other` : "not read"];
}

/** @param {Report} report @param {RowState} state @param {Failure | null} failure @returns {Said} */
function chain(report, state, failure) {
  if (state === "bad")
    return [state, failure?.seq ? `broken at ${counted(failure.seq)}` : "another root than was signed"];
  if (state === "todo") return [state, "not computed to the end"];
  const short = `${report.root.slice(0, ROOT_CHARS)}…${report.root.slice(-ROOT_CHARS)}`;
  return [state, joined("root ", element("code", { title: report.root }, short))];
}

/** @param {Report} report @param {RowState} state @param {Failure | null} failure @returns {Said} */
function payloads(report, state, failure) {
  const all = report.matched + report.changedCount + report.redactedCount;
  if (report.changedCount === 1)
    return ["bad", joined(`${counted(report.matched)} of ${counted(all)} match, `, seqLink(report.changed[0], "does not"))];
  if (report.changedCount)
    return [
      "bad",
      joined(
        `${counted(report.matched)} of ${counted(all)} match, `,
        seqLink(report.changed[0], `and ${counted(report.changedCount - 1)} more do not`),
      ),
    ];
  if (state === "bad") return [state, failure?.seq ? seqLink(failure.seq, "does not hold") : "not as recorded"];
  if (report.redactedCount && state === "ok")
    return [state, `${counted(report.matched)} hashed again, ${counted(report.redactedCount)} redacted`];
  return [state, `${counted(report.matched)} hashed again`];
}

/** @param {Report} report @param {RowState} state @returns {Said} */
function seal(report, state) {
  if (state === "bad") return [state, report.sealSeq === null ? "is not here" : "not the last record"];
  if (state === "todo") return [state, "not reached"];
  if (report.sealSeq === null) return ["todo", "none yet"];
  const after = report.size - report.sealSeq;
  return [
    state,
    after
      ? `record ${counted(report.sealSeq)}, after it only ${after === 1 ? "a redaction" : `${counted(after)} redactions`}`
      : "last record, nothing after",
  ];
}

/** @param {Report} report @param {RowState} state @param {string} ok @param {string} bad @returns {Said} */
function afterSeal(report, state, ok, bad) {
  if (state === "bad") return [state, bad];
  if (isOpen(report)) return ["todo", "only after the seal"];
  return [state, state === "ok" ? ok : "not reached"];
}

/** What the record says of the run's end, so that a page which shows another one is noticed. @param {Report} report @param {RowState} state @returns {Said} */
function evidence(report, state) {
  const { status, exitCode } = report.outcome ?? { status: "", exitCode: null };
  const code = exitCode === null ? "" : `, exit code ${exitCode}`;
  return afterSeal(report, state, `folded again, same bytes: ${status}${code}`, "not what the events say");
}

/** @param {Report} report @param {RowState} state @returns {Said} */
function output(report, state) {
  const [held, words] = afterSeal(report, state, "stdout and stderr, digests of all bytes", "not the sealed digest");
  return held === "ok" && report.redactedCount ? [held, "digests, where nothing was redacted"] : [held, words];
}

/** @param {Report} report @param {RowState} state @returns {Said} */
function artifacts(report, state) {
  if (state === "bad") return [state, "a content has another digest"];
  if (isOpen(report) || state === "todo") return afterSeal(report, state, "", "");
  if (!report.artifacts) return ["todo", "none collected"];
  if (!report.artifactsRead) return [state, `${counted(report.artifacts)} digests as in the events; contents not read`];
  return [state, `${counted(report.artifactsRead)} of ${counted(report.artifacts)} contents hashed again`];
}

/** @param {Report} report @param {RowState} state @returns {Said} */
function served({ served: { same, other } }, state) {
  if (other)
    return [
      "bad",
      seqLink(
        other.seq,
        { changed: "is sent otherwise", missing: "is not sent", added: "was never recorded" }[other.how],
      ),
    ];
  return [state, state === "ok" ? `log of ${countOf(same, "event")}, same bytes` : "not compared to the end"];
}

/** @param {Report} report @param {RowState} state @returns {Said} */
function globalLog(report, state) {
  const { log } = report;
  if (log) return [state, `entry ${counted(log.index)} of ${counted(log.size)}`];
  if (state === "bad") return [state, "not shown to hold this record"];
  return ["todo", isOpen(report) ? "not shown for this size" : "not reached"];
}

/** @param {Report} report @param {RowState} state @returns {Said} */
function witnesses(report, state) {
  const { log, witnesses: named, witnessesNeeded: needed } = report;
  if (state === "bad") return [state, `${counted(needed)} needed`];
  if (!named.length) return ["todo", "this server names none"];
  if (!log) return ["todo", "not reached"];
  return [log.cosigned.length ? state : "todo", `${counted(log.cosigned.length)} signed, ${counted(needed)} needed`];
}

/** @param {Report} report @param {RowState} state @returns {Said} */
function attestations(report, state) {
  if (state === "bad") return [state, "not as this run warrants"];
  if (isOpen(report)) return ["todo", "only after the seal"];
  if (state === "todo") return [state, "not reached"];
  return [state, `${counted(report.attested.length)} signed, as this run warrants`];
}

/** Is it a run that goes on, of which a part holds? @param {Report} report */
const isOpen = (report) => report.verdict === "OPEN_PREFIX";

/** @param {number} seq @param {string} what */
const seqLink = (seq, what) => element("a", { href: `#seq-${seq}` }, `${counted(seq)} ${what}`);

/** @param {...(Node | string)} parts */
const joined = (...parts) => {
  const all = document.createDocumentFragment();
  all.append(...parts);
  return all;
};

// Owns the sentences of the rows between the lines: what happened to the run, and when.

import { counted, countOf, durationText, shortId, sizeText } from "../shell/words.js";

/**
 * A row's sentence: text, and code where a piece is the word of somebody else; with the sign before it.
 * @typedef {{parts: (string | {code: string})[], tone?: string, sign?: string}} Sentence
 */

const STATUSES = {
  awaiting_archive: (event) => said("Run created", ...by(event.actor)),
  archive_uploaded: (event) => said(`Archive received, ${sizeText(event.archive?.sizeBytes ?? 0)}, digest matches`),
  starting: () => said("Start requested"),
  extracting: (event) => said("Sandbox ready: ", code(event.provider ?? "unknown"), isolation(event)),
  running: (event) => said(...unpacked(event), "Command started"),
  collecting: ended,
};

const ENDS = {
  succeeded: ["Succeeded", "st--ok", "ok"],
  failed: ["Failed", "st--bad", "bad"],
  canceled: ["Canceled", "st--idle", "stop"],
};

const TYPES = {
  status: (event) => (STATUSES[event.status] ?? unknown)(event),
  cancel_requested: (event) => said("Cancel requested", ...by(event.actor)),
  output_truncated: (event) => warned(
    `Output limit reached after ${sizeText(event.keptBytes ?? 0)}. What the command printed after this point was not recorded.`,
  ),
  artifact_collected: (event) => said("Kept ", code(event.path), ` (${sizeText(event.sizeBytes ?? 0)})`),
  artifact_error: (event) => warned("Not kept: ", code(event.error?.message ?? event.error?.code ?? "unknown reason")),
  cleanup: (event) => cleaned(event),
  terminal: (event) => terminal(event.workspaceRun ?? {}),
  error: (event) => ({ ...said("The server reports: ", code(event.message ?? event.code)), tone: "st--bad", sign: "warn" }),
  gap: (event) => ({ ...missing(event), tone: "st--bad", sign: "hex-bad" }),
  page_full: () => warned(
    "This page holds no more output. The lines after this point are in the raw download.",
  ),
};

/**
 * @param {any} event
 * @returns {Sentence}
 */
export function sentence(event) {
  return (TYPES[event.type] ?? unknown)(event);
}

function said(...parts) {
  return { parts };
}

function warned(...parts) {
  return { parts, tone: "st--warn", sign: "warn" };
}

function code(text) {
  return { code: String(text) };
}

function unknown(event) {
  return said("Event ", code(event.status ?? event.type));
}

function by(actor) {
  return actor === undefined ? [] : [" by ", code(shortId(actor))];
}

function isolation(event) {
  return event.isolation === "namespaces" ? ", own namespaces" : event.isolation === "none" ? ", not isolated" : "";
}

function unpacked(event) {
  if (event.entries === undefined) return [];
  return [`Unpacked ${countOf(event.entries, "file")}, ${sizeText(event.bytes ?? 0)}. `];
}

function ended(event) {
  const after = event.durationMs === undefined ? "" : ` after ${durationText(event.durationMs)}`;
  const dropped = (event.droppedBytes?.stdout ?? 0) + (event.droppedBytes?.stderr ?? 0);
  const lost = dropped > 0 ? `. ${sizeText(dropped)} of its output were not recorded` : "";
  if (event.timedOut) return { ...said(`Command stopped at its time limit${after}${lost}`), tone: "st--bad", sign: "late" };
  if (event.canceled) return { ...said(`Command stopped${after}, canceled${lost}`), tone: "st--idle", sign: "stop" };
  const isGood = event.exitCode === 0;
  const text = `Command ended with exit code ${counted(event.exitCode ?? 0)}${after}${lost}`;
  return { ...said(text), tone: isGood ? "st--ok" : "st--bad", sign: isGood ? "ok" : "bad" };
}

function cleaned(event) {
  if (event.cleanupStatus === "failed") return warned("The sandbox could not be removed");
  if (event.reason === "kept") return said("Sandbox kept");
  if (event.reason === "never_started") return said("No sandbox was started");
  if (event.reason === "recovered") return warned("The server was restarted while the command ran. Sandbox removed");
  return said("Sandbox removed");
}

function terminal(run) {
  const [word] = ENDS[run.status] ?? ["Ended"];
  return { ...said(`${word}. Evidence written, record sealed`), tone: "st--seal", sign: "hex-ok" };
}

function missing(event) {
  const which = event.from === event.to ? `Event ${counted(event.from)}` : `Events ${counted(event.from)} to ${counted(event.to)}`;
  return said(`${which} did not arrive: the server left them out. What follows is as it was sent. Verify the run to learn more.`);
}

// The entry of the run page: the log and what needs no more, and what stands beside it once lines are shown.
import { mountLog } from "../log/view.js";
import { copyText } from "../shell/copy.js";
import { say } from "../shell/dom.js";
import { watchCancel } from "./cancel.js";
import { LateFacts } from "./late.js";
import { session } from "./open.js";

/** What is beside the log is loaded after so long at the latest: a run may have nothing to show, or not be reached. */
const ALONE_MS_MAX = 500;

const facts = new LateFacts(session);
const log = mountLog(/** @type {HTMLElement} */ (document.getElementById("log")), session);
session.begin();
watchCancel(session.runId);
document.addEventListener("click", (event) => {
  const button = event.target instanceof Element ? event.target.closest("[data-copy-link]") : null;
  if (button !== null) void copyLink();
});
await Promise.race([log.firstShown, new Promise((resume) => setTimeout(resume, ALONE_MS_MAX))]);
const { mountBeside } = await import("./beside.js");
mountBeside({ session, log, facts });
facts.begin();

/** Copies where this page is: in replay with the event that is shown. */
async function copyLink() {
  const copied = await copyText(location.href);
  say(copied ? "Link copied" : "Not copied: this browser does not allow it");
}

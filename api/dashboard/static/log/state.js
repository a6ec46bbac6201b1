// Owns the words about how the log is connected, and the way back to its end.

import { element, say } from "../shell/dom.js";
import { counted, countOf } from "../shell/words.js";

/** Shown in the status bar, and under the log where the bar is far away. */
export class State {
  /** @param {() => void} follow what "follow again" does */
  constructor(follow) {
    this.follow = follow;
    this.element = element("div", { class: "logstate" });
    this.said = "";
    this.shown = "";
  }

  /**
   * @param {{connection: {state: string, seq: number, retryInS: number}, isFollowing: boolean, isAsOf: boolean,
   *   newLines: number, lines: number, stopped: string|null, missing: string}} now
   */
  show(now) {
    const { text, tone, isLive, canFollow } = wording(now);
    const key = JSON.stringify([text, tone, isLive, canFollow]);
    if (key === this.shown) return;
    this.shown = key;
    for (const place of [this.element, document.querySelector("[data-log-status]")]) {
      place?.replaceChildren(...this.parts(text, tone, isLive, canFollow));
    }
    this.announce(now, text);
  }

  parts(text, tone, isLive, canFollow) {
    const parts = isLive ? [element("span", { class: "beat", "aria-hidden": "true" })] : [];
    if (!canFollow) return [...parts, element("span", { class: tone }, text)];
    const again = element("button", { class: "again", type: "button", title: "Follow again (G)" }, text);
    again.addEventListener("click", this.follow);
    return [...parts, again];
  }

  /** A change of the connection is said once; lines are not. */
  announce({ connection, stopped }, text) {
    const key = `${connection.state} ${stopped}`;
    if (key === this.said) return;
    this.said = key;
    if (connection.state === "lost" || stopped !== null) say(text);
  }
}

function wording({ connection, isFollowing, isAsOf, newLines, lines, stopped, missing }) {
  const still = { tone: "", isLive: false, canFollow: false };
  if (stopped !== null) return { ...still, text: stopped, tone: "warn" };
  if (connection.state === "lost") {
    const wait = `Connection lost at event ${counted(connection.seq)}. Trying again in ${connection.retryInS} s.`;
    return { ...still, text: wait, tone: "warn" };
  }
  if (isAsOf) return { ...still, text: "As it was" };
  if (connection.state === "hidden") return { ...still, text: `Paused at event ${counted(connection.seq)} while hidden` };
  if (connection.state === "replaying") return { ...still, text: `Reading, ${countOf(lines, "line")} so far` };
  if (connection.state === "ended" && missing !== "") return { ...still, text: missing, tone: "warn" };
  if (connection.state === "ended") return { ...still, text: "Complete" };
  if (isFollowing) return { ...still, text: "Following", isLive: true };
  const again = newLines > 0 ? `${countOf(newLines, "new line")}, follow again` : "Follow again";
  return { text: again, tone: "", isLive: true, canFollow: true };
}

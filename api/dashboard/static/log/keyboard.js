// Owns which keys do what in the log.

import { onKey } from "../shell/keys.js";

/** @param {import("./view.js").LogView} view */
export function bindKeys(view) {
  onKey("/", "search the log", () => view.tools.input.focus());
  onKey("n", "next match", () => void view.finder.step(1));
  onKey("N", "previous match", () => void view.finder.step(-1));
  onKey("j", "next line", () => view.stepLine(1));
  onKey("k", "previous line", () => view.stepLine(-1));
  onKey("ArrowDown", "scroll the log by a line, when it has the focus", (event) => scrollLine(view, event, 1));
  onKey("ArrowUp", "and back", (event) => scrollLine(view, event, -1));
  onKey("g", "start of the log", () => view.list.show(0, "start"));
  onKey("G", "end of the log, follow again", () => view.follow());
  onKey("e", "jump to the failure or changed event", () => void view.jumpToFailure());
  onKey("w", "wrap lines", () => view.tools.wrap.click());
  onKey("t", "show times", () => view.tools.times.click());
  onKey("1", "stdout", () => void view.toggle("stdout"));
  onKey("2", "stderr", () => void view.toggle("stderr"));
  onKey("y", "copy link to the line", () => void view.copyLink());
}

/** Elsewhere the arrows are the browser's. */
function scrollLine(view, event, by) {
  if (event.target !== view.scroller) return false;
  return view.list.moveBy(by * view.list.heights.usual);
}

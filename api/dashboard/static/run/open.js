// Opens the run before the rest of its page is there: its worker loads and reads while that comes.
import { openRun } from "../log/session.js";

const named = document.querySelector('meta[name="crownest-run"]');
/** Tells nothing before `begin`. */
export const session = openRun(named?.getAttribute("content") ?? "", { isHeld: true });

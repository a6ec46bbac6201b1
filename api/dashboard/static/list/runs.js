// The list of runs.
import { Clocks } from "../run/clock.js";
import { watchFilters } from "./filters.js";
import { watchRows } from "./rows.js";
import { Updates } from "./updates.js";

const clocks = new Clocks();
clocks.write();
watchRows();
watchFilters();
const place = /** @type {HTMLElement | null} */ (document.querySelector("[data-updates]"));
if (place !== null) new Updates(place, () => clocks.write());

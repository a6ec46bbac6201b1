// Rows of a list by keyboard: `j` and `k` move, Enter opens what has the focus, `/` searches.
import { onKey } from "../shell/keys.js";

/** Lets the keys walk through the rows of this page. */
export function watchRows() {
  onKey("j", "next row", () => move(1));
  onKey("k", "previous row", () => move(-1));
  onKey("/", "search this list", focusSearch);
}

/** @param {1 | -1} step */
function move(step) {
  const links = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("tr[data-row] a.go")]);
  const row = document.activeElement?.closest("tr[data-row]");
  const present = links.findIndex((link) => link.closest("tr") === row);
  const wanted = present < 0 ? (step > 0 ? 0 : links.length - 1) : present + step;
  const link = links[Math.min(Math.max(wanted, 0), links.length - 1)];
  link?.focus();
  link?.scrollIntoView({ block: "nearest" });
}

function focusSearch() {
  const field = /** @type {HTMLInputElement | null} */ (document.querySelector('[data-filters] input[type="search"]'));
  field?.focus();
  field?.select();
}

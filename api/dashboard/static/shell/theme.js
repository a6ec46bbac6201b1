// The theme: the system's, light, or dark.
import { choose } from "./choices.js";
import { say } from "./dom.js";

const THEMES = ["system", "light", "dark"];

/** Lets the button in the top bar go through the themes. */
export function watchTheme() {
  for (const button of document.querySelectorAll("[data-theme-switch]")) {
    button.addEventListener("click", () => show(button, next()));
  }
}

function next() {
  const present = document.documentElement.dataset.theme ?? "system";
  return THEMES[(THEMES.indexOf(present) + 1) % THEMES.length];
}

/**
 * @param {Element} button
 * @param {string} theme
 */
function show(button, theme) {
  const root = document.documentElement;
  if (theme === "system") delete root.dataset.theme;
  else root.dataset.theme = theme;
  choose("theme", theme === "system" ? null : theme);
  button.setAttribute("aria-label", `Theme: ${theme}`);
  button.setAttribute("title", `Theme: ${theme}`);
  say(`Theme: ${theme}`);
}

// Times in the form that the reader chose: relative, local or UTC; the other forms stand in the title.
import { choose } from "./choices.js";
import { element } from "./dom.js";

const REFRESH_MS = 1000;
const FORMS = ["relative", "local", "utc"];
const UNITS = [
  ["d", 86400],
  ["h", 3600],
  ["min", 60],
  ["s", 1],
];
const LOCAL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** Writes every `<time datetime>` of the page, now and whenever the form changes or time goes on. */
export function watchTimes() {
  for (const input of document.querySelectorAll("[data-times-switch] input")) {
    input.addEventListener("change", () => setForm(/** @type {HTMLInputElement} */ (input).value));
  }
  for (const button of document.querySelectorAll("button[data-times]")) {
    button.addEventListener("click", () => setForm(/** @type {HTMLElement} */ (button).dataset.times ?? ""));
  }
  writeTimes();
  setInterval(() => {
    if (document.hidden) return;
    if (form() === "relative") writeTimes();
    writeClock();
  }, REFRESH_MS);
  writeClock();
}

/**
 * A `<time>` in the chosen form, kept up to date like those of the page.
 * @param {string} iso
 * @returns {HTMLElement}
 */
export function timeElement(iso) {
  const made = element("time", { datetime: iso });
  writeTime(made);
  return made;
}

/** Writes all times of `root` anew. */
export function writeTimes(root = document) {
  for (const one of root.querySelectorAll("time[datetime]")) writeTime(one);
}

/**
 * The text of a moment in the chosen form.
 * @param {string} iso
 * @returns {string}
 */
export function timeText(iso, wanted = form()) {
  const moment = new Date(iso);
  if (Number.isNaN(moment.getTime())) return iso;
  if (wanted === "local") return LOCAL.format(moment);
  if (wanted === "utc") return `${iso.slice(0, 10)} ${moment.toISOString().slice(11, 19)} UTC`;
  return relative((Date.now() - moment.getTime()) / 1000);
}

/** @returns {string} `relative`, `local` or `utc` */
export function form() {
  return document.documentElement.dataset.times ?? FORMS[0];
}

/** @param {Element} one */
function writeTime(one) {
  const iso = one.getAttribute("datetime") ?? "";
  const text = timeText(iso);
  if (one.textContent !== text) one.textContent = text;
  const title = `${timeText(iso, "utc")}\n${timeText(iso, "local")}`;
  if (one.getAttribute("title") !== title) one.setAttribute("title", title);
}

/**
 * @param {number} seconds since then; below 0 the moment is still to come
 * @returns {string}
 */
function relative(seconds) {
  const distance = Math.abs(seconds);
  if (distance < 1) return "now";
  const [unit, size] = UNITS.find(([, length]) => distance >= Number(length)) ?? UNITS[3];
  const text = `${Math.floor(distance / Number(size))} ${unit}`;
  return seconds < 0 ? `in ${text}` : `${text} ago`;
}

/** @param {string} wanted */
function setForm(wanted) {
  if (!FORMS.includes(wanted)) return;
  document.documentElement.dataset.times = wanted;
  choose("times", wanted);
  for (const input of document.querySelectorAll("[data-times-switch] input")) {
    const radio = /** @type {HTMLInputElement} */ (input);
    radio.checked = radio.value === wanted;
  }
  for (const button of document.querySelectorAll("button[data-times]")) {
    button.setAttribute("aria-pressed", String(/** @type {HTMLElement} */ (button).dataset.times === wanted));
  }
  writeTimes();
  document.dispatchEvent(new CustomEvent("crownest:times", { detail: wanted }));
}

function writeClock() {
  const clock = document.querySelector("[data-clock]");
  if (clock !== null) clock.textContent = `${new Date().toISOString().slice(11, 19)} UTC`;
}

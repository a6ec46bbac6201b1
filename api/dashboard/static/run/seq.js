// The number of the event that is shown, wherever the page says it.

const PROMPT = "$ ";

/**
 * Writes it into every `[data-as-of-seq]`, and into what the copy buttons beside them copy.
 * @param {number} seq
 */
export function showSeq(seq) {
  for (const one of document.querySelectorAll("[data-as-of-seq]")) {
    if (one.textContent !== String(seq)) one.textContent = String(seq);
  }
  for (const command of document.querySelectorAll("[data-follow]")) {
    const button = command.querySelector("[data-copy]");
    const line = command.querySelector(".line")?.textContent ?? "";
    if (button instanceof HTMLElement) button.dataset.copy = line.slice(PROMPT.length);
  }
}

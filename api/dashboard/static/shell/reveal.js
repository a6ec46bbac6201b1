// Buttons that show what is typed into a password field: `<button data-reveal="id of the field">`.

/** Watches the buttons of the page. */
export function watchReveals() {
  for (const button of document.querySelectorAll("[data-reveal]")) {
    button.addEventListener("click", () => {
      const field = document.getElementById(/** @type {HTMLElement} */ (button).dataset.reveal ?? "");
      if (!(field instanceof HTMLInputElement)) return;
      const shown = field.type === "password";
      field.type = shown ? "text" : "password";
      button.setAttribute("aria-pressed", String(shown));
      button.setAttribute("aria-label", shown ? "Hide key" : "Show key");
    });
  }
}

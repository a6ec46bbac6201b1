// Menus and popovers are `<details data-menu>`: they close with Escape, and when something else is pressed.

/** Watches all of them, also those that are added later. */
export function watchMenus() {
  document.addEventListener("click", (event) => {
    for (const menu of openMenus()) {
      const inside = event.target instanceof Node && menu.contains(event.target);
      const chosen = event.target instanceof Element && event.target.closest(".menu a, .menu button") !== null;
      if (!inside || chosen) menu.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of openMenus()) {
      menu.open = false;
      menu.querySelector("summary")?.focus();
      event.preventDefault();
    }
  });
}

/** @returns {HTMLDetailsElement[]} */
function openMenus() {
  return [...document.querySelectorAll("details[data-menu][open], details.pop[open]")].map(
    (one) => /** @type {HTMLDetailsElement} */ (one),
  );
}

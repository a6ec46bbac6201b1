// The side panel: which of its sections is read, and links into it.

/** Marks the section that is at the top of the panel; below 1024 px the whole page scrolls instead. */
export function watchSections() {
  const links = /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll(".jump a"));
  const sections = [...links].map((link) => document.querySelector(link.hash)).filter((one) => one !== null);
  const seen = new Set();
  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) isIntersecting ? seen.add(target) : seen.delete(target);
      const first = sections.find((section) => seen.has(section));
      if (first !== undefined) mark(links, `#${first.id}`);
    },
    { rootMargin: "-25% 0px -60% 0px" },
  );
  for (const section of sections) observer.observe(section);
  for (const link of links) link.addEventListener("click", () => mark(links, link.hash));
}

/**
 * Brings a section of the panel into view and the focus to it.
 * @param {string} id
 */
export function goToSection(id) {
  const section = document.getElementById(id);
  if (section === null) return;
  section.tabIndex = -1;
  section.focus({ preventScroll: true });
  section.scrollIntoView({ block: "start" });
}

/**
 * @param {NodeListOf<HTMLAnchorElement>} links
 * @param {string} hash
 */
function mark(links, hash) {
  for (const link of links) {
    if (link.hash === hash) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

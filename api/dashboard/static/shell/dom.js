// Makes elements: text is only ever text.

const SVG = "http://www.w3.org/2000/svg";

/**
 * A new element. Attributes that are null or false are left out, `true` is an empty attribute.
 * @param {string} name
 * @param {Record<string, string | number | boolean | null>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  setAttributes(made, attributes);
  made.append(...children);
  return made;
}

/**
 * A new SVG element.
 * @param {string} name
 * @param {Record<string, string | number | boolean | null>} [attributes]
 * @param {...(Node | string)} children
 * @returns {SVGElement}
 */
export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  setAttributes(made, attributes);
  made.append(...children);
  return made;
}

/**
 * A picture of the page's sprite: `icon("copy")`, `icon("run", "spin")`.
 * @param {string} name
 * @param {string} [className]
 * @returns {SVGElement}
 */
export function icon(name, className = "ic") {
  return svg("svg", { class: className, "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));
}

/**
 * Says something once to those who listen to the page.
 * @param {string} text
 */
export function say(text) {
  const line = document.querySelector("[data-say]");
  if (line !== null) line.textContent = text;
}

/**
 * @param {Element} made
 * @param {Record<string, string | number | boolean | null>} attributes
 */
function setAttributes(made, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === false) continue;
    made.setAttribute(name, value === true ? "" : String(value));
  }
}

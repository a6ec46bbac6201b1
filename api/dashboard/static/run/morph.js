// Makes a part of the page like one that the server sent anew: what did not change stays as it is.

/** What a script of ours writes: as long as this attribute stays, so does the text. */
const WRITTEN = ["datetime", "data-since"];
/** What the reader did: never taken back. */
const READERS = new Set(["open"]);

/**
 * Changes `target` into `source`, node by node: focus, open panels and selected text survive.
 * @param {Element} target in this document
 * @param {Element} source of another document, left unchanged
 */
export function become(target, source) {
  if (WRITTEN.some((name) => source.hasAttribute(name) && target.getAttribute(name) === source.getAttribute(name))) {
    return;
  }
  copyAttributes(target, source);
  if (target.hasAttribute("data-kept")) return;
  const wanted = [...source.childNodes];
  wanted.forEach((node, index) => place(target, target.childNodes[index], node));
  while (target.childNodes.length > wanted.length) target.lastChild?.remove();
}

/**
 * @param {Element} parent
 * @param {ChildNode | undefined} present
 * @param {ChildNode} wanted
 */
function place(parent, present, wanted) {
  if (present === undefined) {
    parent.append(document.importNode(wanted, true));
  } else if (!isAlike(present, wanted)) {
    present.replaceWith(document.importNode(wanted, true));
  } else if (present instanceof Element) {
    become(present, /** @type {Element} */ (wanted));
  } else if (present.nodeValue !== wanted.nodeValue) {
    present.nodeValue = wanted.nodeValue;
  }
}

/**
 * @param {Node} one
 * @param {Node} other
 * @returns {boolean}
 */
function isAlike(one, other) {
  return one.nodeName === other.nodeName && idOf(one) === idOf(other);
}

/** @param {Node} node */
function idOf(node) {
  return node instanceof Object && "id" in node ? node.id : "";
}

/**
 * @param {Element} target
 * @param {Element} source
 */
function copyAttributes(target, source) {
  for (const { name } of [...target.attributes]) {
    if (!source.hasAttribute(name) && !READERS.has(name)) target.removeAttribute(name);
  }
  for (const { name, value } of [...source.attributes]) {
    if (target.getAttribute(name) !== value) target.setAttribute(name, value);
  }
}

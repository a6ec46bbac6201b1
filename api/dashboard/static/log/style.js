// Owns what SGR escapes (ECMA-48 §8.3.117) do to the look of text: a style is one whole number.
//
// bits 0-4 colour (0: plain, else 1 + one of sixteen), 5-9 the same for the background, then one bit each.

export const PLAIN = 0;
const FOREGROUND = 0;
const BACKGROUND = 5;
const COLOUR_MASK = 31;
export const BOLD = 1 << 10;
export const DIM = 1 << 11;
export const ITALIC = 1 << 12;
export const UNDERLINE = 1 << 13;
export const INVERSE = 1 << 14;
export const STRUCK = 1 << 15;
const ALL = (1 << 16) - 1;

const SWITCHES = new Map([
  [1, [BOLD, 0]], [2, [DIM, 0]], [3, [ITALIC, 0]], [4, [UNDERLINE, 0]], [7, [INVERSE, 0]], [9, [STRUCK, 0]],
  [21, [UNDERLINE, 0]], [22, [0, BOLD | DIM]], [23, [0, ITALIC]], [24, [0, UNDERLINE]], [27, [0, INVERSE]],
  [29, [0, STRUCK]],
]);

/** Red, green, blue of the sixteen colours as terminals commonly show them; only to find the nearest. */
const SIXTEEN = [
  [0, 0, 0], [205, 0, 0], [0, 205, 0], [205, 205, 0], [0, 0, 238], [205, 0, 205], [0, 205, 205], [229, 229, 229],
  [127, 127, 127], [255, 0, 0], [0, 255, 0], [255, 255, 0], [92, 92, 255], [255, 0, 255], [0, 255, 255],
  [255, 255, 255],
];
const CUBE = [0, 95, 135, 175, 215, 255];

/**
 * The nearest of the sixteen colours. Hue counts more than lightness: a pale green stays green.
 * @param {number} red 0 to 255
 * @param {number} green
 * @param {number} blue
 */
export function nearest(red, green, blue) {
  let best = 0;
  let least = Infinity;
  for (let index = 0; index < SIXTEEN.length; index += 1) {
    const [r, g, b] = SIXTEEN[index];
    const [dr, dg, db] = [red - r, green - g, blue - b];
    const light = (dr + dg + db) / 3;
    const distance = dr * dr + dg * dg + db * db - 2 * light * light;
    if (distance < least) [best, least] = [index, distance];
  }
  return best;
}

/**
 * One of 256 colours as one of sixteen.
 * @param {number} index
 */
export function nearestOf256(index) {
  if (index < 16) return index;
  if (index > 231) {
    const grey = 8 + (index - 232) * 10;
    return nearest(grey, grey, grey);
  }
  const cube = index - 16;
  return nearest(CUBE[Math.floor(cube / 36)], CUBE[Math.floor(cube / 6) % 6], CUBE[cube % 6]);
}

/** Sequences whose effect is remembered: programs use few, and use them often. */
const EFFECTS_KEPT_MAX = 4096;
/** @type {Map<string, {keeps: number, adds: number}>} */
const effects = new Map();

/**
 * The style after an SGR sequence.
 * @param {number} style
 * @param {string} parameters what stands between `ESC [` and `m`, such as "1;31" or "38:2::255:0:0"
 */
export function styled(style, parameters) {
  const { keeps, adds } = effectOf(parameters);
  return (style & keeps) | adds;
}

/** Whatever a sequence does, it keeps some bits and adds others. */
export function effectOf(parameters) {
  let effect = effects.get(parameters);
  if (effect === undefined) {
    effect = { keeps: applied(ALL, parameters), adds: applied(PLAIN, parameters) };
    if (effects.size >= EFFECTS_KEPT_MAX) effects.clear();
    effects.set(parameters, effect);
  }
  return effect;
}

function applied(style, parameters) {
  if (/^[<=>?]/.test(parameters)) return style; // a private sequence that only ends like SGR
  const groups = parameters.split(";");
  let now = style;
  for (let at = 0; at < groups.length; at += 1) {
    const code = Number(groups[at].split(":")[0] || 0);
    if (code === 38 || code === 48 || code === 58) {
      const [colour, used] = extended(groups, at);
      at += used;
      if (colour !== null && code !== 58) now = coloured(now, code === 38 ? FOREGROUND : BACKGROUND, colour + 1);
    } else {
      now = switched(now, code, groups[at]);
    }
  }
  return now;
}

function switched(style, code, group) {
  if (code === 0) return PLAIN;
  if (code === 4 && group === "4:0") return style & ~UNDERLINE;
  const change = SWITCHES.get(code);
  if (change) return (style | change[0]) & ~change[1];
  if (code >= 30 && code <= 37) return coloured(style, FOREGROUND, code - 29);
  if (code === 39) return coloured(style, FOREGROUND, 0);
  if (code >= 40 && code <= 47) return coloured(style, BACKGROUND, code - 39);
  if (code === 49) return coloured(style, BACKGROUND, 0);
  if (code >= 90 && code <= 97) return coloured(style, FOREGROUND, code - 81);
  if (code >= 100 && code <= 107) return coloured(style, BACKGROUND, code - 91);
  return style;
}

/** The colour of `38;5;n`, `38;2;r;g;b` or their forms with colons, and how many more groups it took. */
function extended(groups, at) {
  const parts = groups[at].split(":");
  const inColons = parts.length > 1;
  const given = inColons ? parts.slice(1) : groups.slice(at + 1, at + 5);
  const byte = (text) => Math.min(255, Number(text) || 0);
  if (given[0] === "5" && given.length > 1) return [nearestOf256(byte(given[1])), inColons ? 0 : 2];
  if (given[0] === "2" && given.length > 3) {
    const [red, green, blue] = inColons ? given.slice(-3) : given.slice(1, 4);
    return [nearest(byte(red), byte(green), byte(blue)), inColons ? 0 : 4];
  }
  return [null, inColons ? 0 : 1];
}

function coloured(style, shift, value) {
  return (style & ~(COLOUR_MASK << shift)) | (value << shift);
}

/**
 * The class names that show a style.
 * @param {number} style
 * @returns {string}
 */
export function classesOf(style) {
  const names = [];
  const foreground = (style >> FOREGROUND) & COLOUR_MASK;
  const background = (style >> BACKGROUND) & COLOUR_MASK;
  if (style & INVERSE && !background) names.push(foreground ? `b${foreground - 1}` : "inv");
  else if (style & INVERSE) names.push(`a${background - 1}`);
  else if (background) names.push(`b${background - 1}`);
  else if (foreground) names.push(`a${foreground - 1}`);
  if (style & BOLD) names.push("bd");
  if (style & DIM) names.push("dm");
  if (style & ITALIC) names.push("it");
  if (style & UNDERLINE && style & STRUCK) names.push("ul-so");
  else if (style & UNDERLINE) names.push("ul");
  else if (style & STRUCK) names.push("so");
  return names.join(" ");
}

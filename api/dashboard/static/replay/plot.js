// Draws output over the run: stdout upwards, stderr downwards, idle stretches dotted, the future pale.
import { svg } from "../shell/dom.js";

export const BUCKETS = 240;
const [WIDTH, BASE, UP, DOWN] = [1200, 22, 20, 8];
/** So many empty buckets in a row are an idle stretch. */
const IDLE_BUCKETS = 4;
const GAP = 0.28;

/**
 * @param {SVGElement} target 1200 wide, 32 high
 * @param {{seqs: number[], stdout: number[], stderr: number[]}} histogram
 * @param {import("./axis.js").Axis} axis
 * @param {import("./axis.js").Span} span
 * @param {number} done how much lies in the past, 0 to 1
 */
export function drawPlot(target, histogram, axis, span, done) {
  const most = Math.max(...histogram.stdout, ...histogram.stderr, 1);
  const height = (bytes) => (bytes === 0 ? 0 : Math.max(Math.sqrt(bytes / most), 0.06));
  const paths = { "d-out d-done": "", "d-out d-next": "", "d-err d-done": "", "d-err d-next": "" };
  for (let bucket = 0; bucket < histogram.stdout.length; bucket += 1) {
    const start = axis.start(bucket, histogram, span);
    const end = axis.start(bucket + 1, histogram, span);
    const when = start < done ? "d-done" : "d-next";
    const [x, width] = [round(start * WIDTH), round(Math.max(end - start, 0) * WIDTH * (1 - GAP))];
    const [up, down] = [round(height(histogram.stdout[bucket]) * UP), round(height(histogram.stderr[bucket]) * DOWN)];
    if (up > 0) paths[`d-out ${when}`] += `M${x} ${BASE - up}h${width}v${up}h${-width}z`;
    if (down > 0) paths[`d-err ${when}`] += `M${x} ${BASE + 1}h${width}v${down}h${-width}z`;
  }
  target.replaceChildren(
    ...Object.entries(paths).map(([name, d]) => svg("path", { class: name, d })),
    svg("path", { class: "d-line", d: `M0 ${BASE}h${WIDTH}v1H0z` }),
    svg("path", { class: "d-idle", "vector-effect": "non-scaling-stroke", d: idle(histogram, axis, span) }),
  );
}

/** A dotted line over every stretch in which nothing was printed. */
function idle(histogram, axis, span) {
  const { stdout, stderr } = histogram;
  let [path, since] = ["", 0];
  for (let bucket = 0; bucket <= stdout.length; bucket += 1) {
    if (bucket < stdout.length && stdout[bucket] + stderr[bucket] === 0) continue;
    if (bucket - since >= IDLE_BUCKETS) {
      path += `M${round(axis.start(since, histogram, span) * WIDTH)} 16H${round(axis.start(bucket, histogram, span) * WIDTH)}`;
    }
    since = bucket + 1;
  }
  return path;
}

/** @param {number} number */
function round(number) {
  return Math.round(number * 10) / 10;
}

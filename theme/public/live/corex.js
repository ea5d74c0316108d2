// Chapter 6: two fair coins, each written down twice with errors, and a code of two latents that copy parts
// of it: what the code explains of total correlation, and what its latents repeat.

import { choice, plot, scene, size, slider, svg, under } from "./kit.js";
import { entropy, sum } from "./maths.js";

const bits = (state, count) => Array.from({ length: count }, (_, k) => (state >> k) & 1);

// p(x) of four parts, x = 8 x4 + 4 x3 + 2 x2 + x1: parts 1 and 2 show the first coin, 3 and 4 the second.
export function source(flip) {
  const pair = (a, b) => sum([0, 1].map((coin) =>
    0.5 * (a === coin ? 1 - flip : flip) * (b === coin ? 1 - flip : flip)));
  return Array.from({ length: 16 }, (_, x) => {
    const [a, b, c, d] = bits(x, 4);
    return pair(a, b) * pair(c, d);
  });
}

function totalCorrelation(p, count) {
  const marginal = (k) => sum(p.filter((_, state) => (state >> k) & 1));
  const each = Array.from({ length: count }, (_, k) => entropy([marginal(k), 1 - marginal(k)]));
  return sum(each) - entropy(p);
}

// Two latents copy the parts `reads` (0 to 3), each turned over with chance `noise`.
export function code(p, reads, noise) {
  const sends = (x, z) => reads.reduce((chance, part, j) =>
    chance * (((x >> part) & 1) === ((z >> j) & 1) ? 1 - noise : noise), 1);
  const joint = Array.from({ length: 4 }, (_, z) => p.map((mass, x) => mass * sends(x, z)));
  const weights = joint.map(sum);
  const unexplained = sum(joint.map((row, z) => (weights[z] > 0
    ? weights[z] * totalCorrelation(row.map((mass) => mass / weights[z]), 4) : 0)));
  const [total, entangled] = [totalCorrelation(p, 4), totalCorrelation(weights, 2)];
  return { total, unexplained, entangled, objective: total - unexplained - entangled };
}

export default function show(stage, { flip }) {
  const parts = scene(stage, "Two coins, four parts, two latents, and total correlation", render);
  const percent = (x) => `${(100 * x).toFixed(0)} %`;
  const options = ["part 1", "part 2", "part 3", "part 4"];
  const reads = ["first", "second"].map((name) =>
    choice(parts.panel, { label: `the ${name} latent copies`, options }));
  reads[1].value = 2;
  const errors = slider(parts.panel, { label: "errors of the parts", min: 0, max: 0.5, value: flip, say: percent });
  const noise = slider(parts.panel, { label: "errors of the latents", min: 0, max: 0.5, value: 0, say: percent });
  parts.begin();

  function render(canvas, width) {
    const chosen = reads.map(({ value }) => Number(value));
    const found = code(source(errors.value), chosen, noise.value);
    const at = (column, k, of) => [width * (0.14 + 0.36 * column), 28 + 150 * ((k + 0.5) / of)];
    const group = canvas.appendChild(svg("g"));
    const arrow = ([a, b], [c, d], kind) => group.append(svg("path",
      { class: `line ${kind}`, d: `M${a + 22} ${b}L${c - 24} ${d}` }));
    const node = ([x, y], text, kind) => group.append(
      svg("circle", { cx: x, cy: y, r: 17, class: `area ${kind}` }),
      svg("text", { x, y: y + 4, "text-anchor": "middle" }, text));
    for (let k = 0; k < 4; k++) arrow(at(0, k >> 1, 2), at(1, k, 4), "muted thin");
    chosen.forEach((part, j) => arrow(at(1, part, 4), at(2, j, 2), "amber"));
    for (let k = 0; k < 2; k++) node(at(0, k, 2), "ab"[k], "plum");
    for (let k = 0; k < 4; k++) node(at(1, k, 4), `x${k + 1}`, "blue");
    for (let k = 0; k < 2; k++) node(at(2, k, 2), `z${k + 1}`, "amber");
    ["coins", "parts", "latents"].forEach((text, column) => group.append(
      svg("text", { x: width * (0.14 + 0.36 * column), y: 14, "text-anchor": "middle", class: "title" }, text)));
    const frame = { left: 74, top: 216, width: width - 132, height: 132 };
    const low = Math.min(0, found.objective);
    const axes = plot(canvas, frame, { x: [low, 2 * Math.log(2)], y: [4, 0], yTicks: [], xLabel: "nats" });
    const bars = [["TC(X)", found.total, "blue"], ["TC(X|Z)", found.unexplained, "muted"],
      ["TC(Z)", found.entangled, "plum"], ["objective", found.objective, "leaf"]];
    bars.forEach(([name, value, kind], row) => {
      const y = frame.top + 33 * row + 4;
      const [from, to] = [axes.X(Math.min(0, value)), axes.X(Math.max(0, value))];
      axes.add("rect", { x: from, y, width: Math.max(to - from, 0), height: 24, class: `area ${kind}` });
      axes.write(frame.left - 8, y + 17, name, { "text-anchor": "end" });
      axes.write(to + 6, y + 17, (Math.round(1e3 * value) / 1e3).toFixed(3));
    });
    size(canvas, width, under([frame]));
    const say = (value) => Math.abs(value).toFixed(3);
    return `TC(X) is ${say(found.total)} nats. Knowing the code leaves TC(X|Z) = ${say(found.unexplained)}, the latents `
      + `repeat TC(Z) = ${say(found.entangled)}; the objective is ${found.objective < -5e-4 ? "-" : ""}${say(found.objective)}. `
      + `The latents copy ${chosen.map((part) => options[part]).join(" and ")}.`;
  }
}

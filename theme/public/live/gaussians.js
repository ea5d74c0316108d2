// Chapter 4: two pictures, each with a Gaussian code that can be dragged, against the marginal N(0, 1):
// what the codes cost, how much of it is information, and how often one can tell them apart.

import { clamp, dragged, frames, plot, scene, size, slider, under } from "./kit.js";

const density = (z, [mean, width]) =>
  Math.exp(-(((z - mean) / width) ** 2) / 2) / (width * Math.sqrt(2 * Math.PI));

// The mean divergence of codes [mean, width], each as likely, from N(0, 1), in nats.
export function rate(codes) {
  return codes.reduce((total, [mean, width]) =>
    total + (mean ** 2 + width ** 2 - 1) / 2 - Math.log(width), 0) / codes.length;
}

// I(X;Z): the mean divergence of the codes from their average. The rule of equal steps is exact to
// rounding here, as the integrand is smooth and ends in zeros.
export function information(codes) {
  const step = Math.min(...codes.map(([, width]) => width)) / 12;
  let total = 0;
  for (const [mean, width] of codes) {
    for (let z = mean - 12 * width; z <= mean + 12 * width; z += step) {
      const own = density(z, [mean, width]);
      const average = codes.reduce((sum, code) => sum + density(z, code), 0) / codes.length;
      if (own > 0) total += own * Math.log(own / average) * step;
    }
  }
  return total / codes.length;
}

// The normal distribution function, by a series whose terms are all positive.
export function normal(x) {
  if (Math.abs(x) > 8) return x > 0 ? 1 : 0;
  let [term, total] = [x, x];
  for (let k = 3; Math.abs(term) > 1e-17 * Math.abs(total); k += 2) total += term *= x ** 2 / k;
  return 0.5 + total * density(x, [0, 1]);
}

// How often the best guess from z names the right one of two codes.
export function guessed([[a, s], [b, r]]) {
  // the densities are equal where A z^2 + B z + C = 0
  const A = 1 / r ** 2 - 1 / s ** 2;
  const B = 2 * (a / s ** 2 - b / r ** 2);
  const C = (b / r) ** 2 - (a / s) ** 2 + 2 * Math.log(r / s);
  const between = (low, high, [mean, width]) =>
    normal((high - mean) / width) - normal((low - mean) / width);
  const cuts = [];
  const root = Math.sqrt(Math.max(B ** 2 - 4 * A * C, 0));
  const q = -(B + (B < 0 ? -root : root)) / 2; // no digits are lost this way
  if (q !== 0) cuts.push(C / q);
  if (A !== 0) cuts.push(q / A);
  const ends = [-Infinity, ...cuts.filter(Number.isFinite).sort((x, y) => x - y), Infinity];
  let right = 0;
  for (let k = 1; k < ends.length; k++) {
    const parts = [[a, s], [b, r]].map((code) => between(ends[k - 1], ends[k], code));
    right += Math.max(...parts) / 2;
  }
  return right;
}

export default function show(stage, { codes: start }) {
  const parts = scene(stage, "Two Gaussian codes, their average and the marginal", render);
  const names = ["first", "second"];
  const sliders = start.map(([mean, width], k) => [
    slider(parts.panel, { label: `${names[k]} code, place μ`, min: -4, max: 4, value: mean,
      say: (x) => x.toFixed(2) }),
    slider(parts.panel, { label: `${names[k]} code, width σ`, min: Math.log(0.1), max: Math.log(2),
      value: Math.log(width), map: Math.exp, say: (x) => x.toFixed(2) }),
  ]);
  let toMean = () => 0;
  dragged(parts.canvas, (x, y, k) => {
    sliders[k][0].set(clamp(toMean(x), -4, 4));
    parts.redraw();
  });
  parts.begin();

  function render(canvas, width) {
    const codes = sliders.map((pair) => pair.map(({ value }) => value));
    const [R, I, right] = [rate(codes), information(codes), guessed(codes)];
    const [frame] = frames(width, [230], { left: 20 });
    const low = { left: 20, top: frame.top + frame.height + 84, width: width - 34, height: 96 };
    const top = Math.max(0.45, ...codes.map((code) => density(code[0], code)));
    const axes = plot(canvas, frame, { x: [-5, 5], y: [0, top * 1.12], yTicks: [], xLabel: "code z",
      title: "drag a code" });
    toMean = (px) => -5 + (10 * (px - frame.left)) / frame.width;
    const grid = Array.from({ length: 501 }, (_, k) => -5 + k / 50);
    const curve = (f) => grid.map((z) => [z, f(z)]);
    axes.line(curve((z) => density(z, [0, 1])), "muted");
    codes.forEach((code, k) => {
      const kind = ["blue", "amber"][k];
      const shape = axes.area([[-5, 0], ...curve((z) => density(z, code)), [5, 0]], kind);
      shape.dataset.drag = k;
      axes.line(curve((z) => density(z, code)), kind);
    });
    axes.line(curve((z) => (density(z, codes[0]) + density(z, codes[1])) / 2), "ink dashed");
    axes.text(0, density(0, [0, 1]), "r(z)", "muted", { anchor: "middle", dy: -7 });
    const most = Math.max(2, Math.ceil(R));
    const bars = plot(canvas, low, { x: [0, most], y: [3, 0], yTicks: [], xLabel: "nats",
      title: "rate R = information + misfit" });
    const pieces = [["R", 0, R, "muted", 0], ["I(X;Z)", 0, I, "leaf", 1], ["misfit", I, R - I, "plum", 1]];
    for (const [name, from, length, kind, row] of pieces) {
      const [x, wide] = [bars.X(from), bars.X(from + length) - bars.X(from)];
      const y = low.top + 8 + 42 * row;
      bars.add("rect", { x, y, width: Math.max(wide, 0), height: 30, class: `area ${kind}` });
      const text = `${name} = ${length.toFixed(2)}`;
      if (wide > 90) bars.write(x + wide / 2, y + 20, text, { "text-anchor": "middle" });
      else if (name !== "I(X;Z)") bars.write(x + wide + 6, y + 20, text);
    }
    size(canvas, width, under([low]));
    return `The rate is ${R.toFixed(3)} nats: ${I.toFixed(3)} of information and ${(R - I).toFixed(3)} of misfit `
      + `between the average (dashed) and r(z). The best guess names the right picture ${(100 * right).toFixed(1)} % `
      + "of the time.";
  }
}

// Chapter 7: the linear-Gaussian problem. Beta and the penalty's weight move; four decoders fall silent,
// each at a threshold of its own.

import { plot, scene, size, slider, under } from "./kit.js";
import { root, sum } from "./maths.js";

// Eigenvalues of a symmetric matrix, falling: Householder's reflections make it tridiagonal, and
// counting signs (Sturm) tells how many eigenvalues lie below a number.
export function eigenvalues(matrix) {
  const a = matrix.map((row) => [...row]);
  const n = a.length;
  for (let k = 0; k < n - 2; k++) {
    const v = a.map((row, i) => (i > k ? row[k] : 0));
    const norm = Math.hypot(...v);
    if (norm === 0) continue;
    v[k + 1] += v[k + 1] > 0 ? norm : -norm;
    const square = sum(v.map((x) => x * x));
    const w = a.map((row) => (2 / square) * sum(row.map((x, j) => x * v[j])));
    const mixed = sum(w.map((x, i) => x * v[i])) / square;
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) a[i][j] -= v[i] * (w[j] - mixed * v[j]) + (w[i] - mixed * v[i]) * v[j];
    }
  }
  const diagonal = a.map((row, i) => row[i]);
  const beside = a.map((row, i) => (i ? row[i - 1] ** 2 : 0));
  const below = (x) => {
    let [count, d] = [0, 1];
    for (let i = 0; i < n; i++) {
      d = diagonal[i] - x - (i ? beside[i] / (d || 1e-300) : 0);
      if (d < 0) count++;
    }
    return count;
  };
  const reach = Math.max(...a.map((row) => sum(row.map(Math.abs)))) + 1;
  return diagonal.map((_, k) => root((x) => below(x) - (n - k) + 0.5, -reach, reach));
}

// The betas at which the four decoders fall silent; `fixed` is the variance of the fourth.
export function thresholds(cov, l2, fixed) {
  const variances = cov.map((row, i) => row[i]);
  const top = (noise) => {
    const scale = noise.map((v) => Math.sqrt(1 / v + 2 * l2));
    return eigenvalues(cov.map((row, i) => row.map((x, j) => x * scale[i] * scale[j])))[0];
  };
  const even = sum(variances) / cov.length;
  const largest = eigenvalues(cov)[0];
  return {
    full: 1 + 2 * l2 * largest,
    diagonal: top(variances),
    isotropic: largest / even + 2 * l2 * largest,
    fixed: largest / fixed + 2 * l2 * largest,
  };
}

// What the best linear code tells in nats, `values` being the eigenvalues of the data, falling. `noise`
// is "full", "isotropic" or the variance of a decoder that does not learn it.
export function told(values, beta, l2, noise, latents) {
  const rest = sum(values.slice(latents));
  const left = (level) => sum(values.slice(0, latents).map((d) => Math.min(d, level))) + rest;
  const at = (r) => (beta * r) / (1 + 2 * l2 * r);
  let level = (beta - 1) / (2 * l2);
  if (noise === "isotropic") {
    // n r less the error is positive from the one root on
    level = at(root((r) => (values.length * r >= left(at(r)) ? 1 : -1), 0, sum(values) / values.length));
  } else if (noise !== "full") level = at(noise);
  return sum(values.slice(0, latents).map((d) => Math.max(Math.log(d / level) / 2, 0)));
}

export default function show(stage, { loadings, floor, fixed, latents }) {
  const cov = loadings.map((a, i) => loadings.map((b, j) => sum(a.map((x, k) => x * b[k])) + (i === j ? floor : 0)));
  const values = eigenvalues(cov);
  const decoders = [["full", "full", "plum"], ["diagonal", "diagonal", "amber"],
    ["isotropic", "isotropic", "blue"], ["fixed", `fixed, ${fixed}`, "leaf"]];
  const [low, high] = [1.05, 4000];
  const parts = scene(stage, "What the best code tells against beta, for four decoders", render);
  const beta = slider(parts.panel, { label: "β", min: Math.log(low), max: Math.log(high), map: Math.exp,
    value: Math.log(4), say: (b) => (b < 10 ? b.toFixed(2) : b.toFixed(0)) });
  const l2 = slider(parts.panel, { label: "penalty λ", min: 0, max: 8, step: 0.05, value: 0,
    say: (weight) => weight.toFixed(2) });
  let known = {};
  parts.begin();

  function render(canvas, width) {
    if (known.l2 !== l2.value) known = { l2: l2.value, ...thresholds(cov, l2.value, fixed) };
    const betas = Array.from({ length: 100 }, (_, k) => low * (high / low) ** (k / 99));
    const of = (name, b) => told(values, b, l2.value, name === "fixed" ? fixed : name, latents);
    const frame = { left: 48, top: 30, width: width - 62, height: 250 };
    const most = 1.05 * Math.max(of("fixed", low), of("isotropic", low));
    const axes = plot(canvas, frame, { x: [low, high], y: [0, most], log: "x", xLabel: "β",
      yLabel: "I(X;Y), nats", title: "what the best code tells", xTicks: [2, 10, 100, 1000] });
    axes.line([[beta.value, 0], [beta.value, most]], "muted thin");
    const words = decoders.map(([name, title, kind], row) => {
      const threshold = known[name];
      const silent = beta.value >= threshold;
      const x = axes.X(Math.min(threshold, high));
      const foot = axes.Y(0);
      axes.add("path", { class: `solid ${kind}`, d: `M${x - 6} ${foot}h12l-6 -12z` });
      axes.write(frame.left + frame.width, frame.top + 12 + 17 * row,
        `${title}: silent from ${threshold < 10 ? threshold.toFixed(2) : threshold.toFixed(0)}`,
        { class: kind, "text-anchor": "end" });
      if (name === "diagonal") return `${title} (threshold ${threshold.toFixed(1)}) is ${silent ? "silent" : "not silent"}`;
      axes.line(betas.map((b) => [b, of(name, b)]).filter(([, nats]) => nats <= most), kind);
      if (of(name, beta.value) <= most) axes.dot(beta.value, of(name, beta.value), kind);
      return `${title} (threshold ${threshold.toFixed(1)}) ${silent ? "is silent"
        : `tells ${of(name, beta.value).toFixed(2)} nats`}`;
    });
    size(canvas, width, under([frame]));
    return `At β = ${beta.value.toFixed(2)} and λ = ${l2.value.toFixed(2)}: ${words.join("; ")}.`;
  }
}

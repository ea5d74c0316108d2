// Chapter 2: the iteration of Blahut and Arimoto, step by step.

import { button, calm, frames, plot, scene, size, slider, under } from "./kit.js";
import { sum } from "./maths.js";

const MOST = 100; // steps

// Where the iteration stands at its step 0, 1, ..., `steps`, from the uniform q: the weights q of
// the words, the ratios c by which the step multiplies them, and the encoder between the two.
export function iterate(p, distortion, beta, steps) {
  const kernel = distortion.map((row) => row.map((d) => Math.exp(-beta * d)));
  let q = kernel[0].map(() => 1 / kernel[0].length);
  const all = [];
  for (let step = 0; step <= steps; step++) {
    const z = kernel.map((row) => sum(row.map((k, j) => k * q[j])));
    const c = q.map((_, j) => sum(p.map((mass, i) => (mass * kernel[i][j]) / z[i])));
    const next = q.map((weight, j) => weight * c[j]);
    const error = sum(p.map((mass, i) =>
      sum(q.map((weight, j) => (mass * weight * kernel[i][j] * distortion[i][j]) / z[i]))));
    const saved = sum(next.map((weight, j) => (weight > 0 ? weight * Math.log(c[j]) : 0)));
    const objective = -sum(p.map((mass, i) => mass * Math.log(z[i]))) - saved;
    all.push({ q, c, next, distortion: error, rate: objective - beta * error, objective,
      gap: Math.log(Math.max(...c)) - saved });
    q = next;
  }
  return all;
}

export default function show(stage, { p, distortion, beta }) {
  const parts = scene(stage, "Weights of four words, step by step, and the certified gap", render);
  const count = slider(parts.panel, {
    label: "step", min: 0, max: MOST, step: 1, value: 0, say: (k) => `${k}`,
  });
  const slope = slider(parts.panel, {
    label: "slope β", min: 0.3, max: 6, value: beta, say: (b) => b.toFixed(2),
  });
  let timer = 0;
  button(parts.panel, "One step", () => {
    count.set(count.value === MOST ? 0 : count.value + 1);
    parts.redraw();
  });
  button(parts.panel, "Run", () => {
    clearInterval(timer);
    count.set(calm() ? MOST : 0);
    parts.redraw();
    if (calm()) return;
    timer = setInterval(() => {
      count.set(count.value + 1);
      parts.redraw();
      if (count.value === MOST || !stage.isConnected) clearInterval(timer);
    }, 80);
  });
  parts.panel.addEventListener("input", () => clearInterval(timer));
  parts.begin();

  function render(canvas, width) {
    const steps = iterate(p, distortion, slope.value, 2000);
    const best = steps.at(-1).objective;
    const now = steps[count.value];
    const all = frames(width, [210, 210], { left: 56 });
    const bars = plot(canvas, all[0], {
      x: [0.4, p.length + 0.6], y: [0, 1], xTicks: p.map((_, k) => k + 1), xLabel: "word",
      yLabel: "weight q", title: `q at step ${count.value}, times c`,
    });
    now.q.forEach((weight, k) => {
      const [left, right] = [bars.X(k + 0.7), bars.X(k + 1.3)];
      const rect = (value, kind) => bars.add("rect", { x: left, y: bars.Y(value), class: kind,
        width: right - left, height: bars.Y(0) - bars.Y(value) });
      rect(weight, "solid blue");
      rect(now.next[k], "line amber");
      const top = Math.min(bars.Y(weight), bars.Y(now.next[k])) - 6;
      bars.write(bars.X(k + 1), top, `×${now.c[k].toFixed(2)}`,
        { class: now.c[k] > 1 ? "amber" : "muted", "text-anchor": "middle" });
    });
    const floor = 1e-6;
    const shown = (value) => Math.max(value, floor);
    const gaps = plot(canvas, all[1], {
      x: [0, MOST], y: [floor, 1], log: "y", xLabel: "step", yLabel: "nats",
      yTicks: [[1e-6, "10⁻⁶"], [1e-4, "10⁻⁴"], [1e-2, "10⁻²"], [1, "1"]], title: "certified gap, true error",
    });
    const first = steps.slice(0, MOST + 1);
    gaps.line(first.map(({ gap }, k) => [k, shown(gap)]), "blue");
    gaps.line(first.map(({ objective }, k) => [k, shown(objective - best)]), "ink dashed");
    gaps.dot(count.value, shown(now.gap), "blue");
    gaps.dot(count.value, shown(now.objective - best), "ink");
    size(canvas, width, under(all));
    const written = now.next.map((weight) => weight.toFixed(3)).join(", ");
    return `After step ${count.value + 1} the weights are ${written}; rate ${now.rate.toFixed(4)} nats, `
      + `distortion ${now.distortion.toFixed(4)}. The gap certifies ${Math.max(now.gap, 0).toFixed(5)} nats.`;
  }
}

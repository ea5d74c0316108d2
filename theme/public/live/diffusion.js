// Chapter 8: a diffusion of Gaussian data, undone step by step, and what each step releases.

import { button, calm, choice, frames, plot, scene, size, slider, under } from "./kit.js";
import { sum } from "./maths.js";

const MOST = 0.999; // of the variance that one step may replace

// The share of the variance of x_t that comes from x_0, for t = 1 ... steps.
export function alphaBar(name, steps) {
  const times = Array.from({ length: steps }, (_, k) => (k + 1) / steps);
  const curve = {
    cosine: (t) => (Math.cos(((t + 0.008) / 1.008) * (Math.PI / 2))
      / Math.cos((0.008 / 1.008) * (Math.PI / 2))) ** 2,
    sqrt: (t) => 1 - Math.sqrt(t + 1e-4),
  }[name];
  const betas = curve
    ? times.map((t, k) => 1 - curve(t) / (k ? curve(times[k - 1]) : 1))
    : times.map((_, k) => ((1e-4 + (0.02 - 1e-4) * (steps > 1 ? k / (steps - 1) : 0)) * 1000) / steps);
  let level = 1;
  return betas.map((beta) => (level *= 1 - Math.min(beta, MOST)));
}

// What x_t tells of each direction of x_0, in nats, for data of these variances.
export const known = (level, variances) =>
  variances.map((d) => Math.log1p((level / (1 - level)) * d) / 2);

// For t = 2 ... T: what the step from x_t to x_{t-1} releases with the exact reverse, and what it pays
// when its variance is fixed at that of p(x_{t-1} | x_t, x_0).
export function steps(levels, variances) {
  return levels.slice(1).map((after, k) => {
    const before = levels[k];
    const [more, less] = [before / (1 - before), after / (1 - after)];
    const error = sum(variances.map((d) => d / (1 + less * d)));
    return { released: sum(known(before, variances)) - sum(known(after, variances)),
      paid: ((more - less) * error) / 2 };
  });
}

export default function show(stage, { variances, steps: count }) {
  const names = ["linear", "cosine", "sqrt"];
  const all = names.map((name) => {
    const levels = alphaBar(name, count);
    return { name, levels, steps: steps(levels, variances) };
  });
  const parts = scene(stage, "What a noisy picture tells, and what each step releases", render);
  const schedule = choice(parts.panel, { label: "schedule", options: names });
  const taken = slider(parts.panel, { label: "steps undone", min: 1, max: count - 1, step: 1,
    value: Math.round(count * 0.9), say: (k) => `${k} of ${count - 1}` });
  let timer = 0;
  button(parts.panel, "One step", () => {
    taken.set(taken.value === count - 1 ? 1 : taken.value + 1);
    parts.redraw();
  });
  button(parts.panel, "Run", () => {
    clearInterval(timer);
    taken.set(calm() ? (taken.value === count - 1 ? 1 : count - 1) : 1);
    parts.redraw();
    if (calm()) return;
    timer = setInterval(() => {
      taken.set(taken.value + 1);
      parts.redraw();
      if (taken.value === count - 1 || !stage.isConnected) clearInterval(timer);
    }, Math.max(30, 4000 / count));
  });
  parts.panel.addEventListener("input", () => clearInterval(timer));
  parts.begin();

  function render(canvas, width) {
    const { name, levels, steps: pieces } = all[schedule.value];
    const t = count - taken.value; // of the picture that the last step made, x_t from x_{t+1}
    const [now, before] = [known(levels[t - 1], variances), known(levels[t], variances)];
    const places = frames(width, [220, 220], { gap: 78 });
    const most = Math.max(...all.map((one) => Math.max(...known(one.levels[0], variances))));
    const bars = plot(canvas, places[0], { x: [0.4, variances.length + 0.6], y: [0, most * 1.05],
      xTicks: variances.map((d, k) => [k + 1, d]), xLabel: "variance of the direction", yLabel: "nats",
      title: `what xₜ tells of x₀, t = ${t}` });
    now.forEach((value, k) => {
      const [left, right] = [bars.X(k + 0.65), bars.X(k + 1.35)];
      const rect = (from, to, kind) => bars.add("rect", { x: left, width: right - left, y: bars.Y(to),
        height: Math.max(bars.Y(from) - bars.Y(to), 0), class: `solid ${kind}` });
      rect(0, before[k], "blue");
      rect(before[k], value, "amber");
    });
    const high = Math.max(...all.flatMap((one) => one.steps.map(({ paid }) => paid))) * 1.3;
    const [bottom, floor] = [1e-4, (value) => Math.max(value, 1e-4)];
    const costs = plot(canvas, places[1], { x: [1, count - 1], y: [bottom, high], log: "xy", xLabel: "t",
      yLabel: "nats", title: "released; paid (dashed)", yTicks: [[1e-4, "10⁻⁴"], [1e-2, "10⁻²"], [1, "1"]] });
    const curve = (pick) => pieces.map((piece, k) => [k + 1, floor(pick(piece))]);
    costs.line(curve(({ released }) => released), "amber");
    costs.line(curve(({ paid }) => paid), "ink dashed");
    costs.dot(t, floor(pieces[t - 1].released), "amber");
    costs.dot(t, floor(pieces[t - 1].paid), "ink", 4);
    size(canvas, width, under(places));
    return `${name}, step ${taken.value} of ${count - 1}: it releases ${pieces[t - 1].released.toFixed(4)} nats and pays `
      + `${pieces[t - 1].paid.toFixed(4)} with the smaller variance. Released so far: `
      + `${sum(pieces.slice(t - 1).map(({ released }) => released)).toFixed(3)} nats, paid: `
      + `${sum(pieces.slice(t - 1).map(({ paid }) => paid)).toFixed(3)}.`;
  }
}

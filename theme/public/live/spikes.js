// Chapter 3: what weight at a decoder q would return, W(q), when the code says nothing. Silence is
// best as long as no point lies above 1; beta moves, for two sources at once.

import { frames, plot, scene, size, slider, under } from "./kit.js";
import { columns, divergence, rows, sum } from "./maths.js";

export const replaces = true;

// W of the silent code at the decoder that gives the second y the chance q.
export function worth(pxy, beta, q) {
  const [px, py] = [rows(pxy), columns(pxy)];
  return sum(pxy.map((row, i) => {
    const given = row.map((p) => p / px[i]);
    return px[i] * Math.exp(-beta * (divergence(given, [1 - q, q]) - divergence(given, py)));
  }));
}

const MARKED = [0.85, 1, 1.1]; // the three betas of the picture, in thresholds

const chance = (logit) => 1 / (1 + Math.exp(-logit));

// The place where W is largest: a grid of logits, then golden sections.
function summit(pxy, beta) {
  const f = (logit) => worth(pxy, beta, chance(logit));
  const [step, golden] = [0.05, (Math.sqrt(5) - 1) / 2];
  let best = -9;
  for (let logit = -9; logit <= 9; logit += step) if (f(logit) > f(best)) best = logit;
  let [low, high] = [best - step, best + step];
  while (high - low > 1e-9) {
    const [a, b] = [high - golden * (high - low), low + golden * (high - low)];
    if (f(a) > f(b)) high = b;
    else low = a;
  }
  return chance((low + high) / 2);
}

export const highest = (pxy, beta) => worth(pxy, beta, summit(pxy, beta));

export default function show(stage, { sources }) {
  const parts = scene(stage, "Worth W over decoders q, for two sources", render);
  const scale = slider(parts.panel, {
    label: "β ÷ threshold", min: 0.6, max: 1.6, value: 1,
    say: (share) => share.toFixed(2),
  });
  parts.begin();

  function render(canvas, width) {
    const all = frames(width, sources.map(() => 250), { gap: 60 });
    const marks = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999];
    const words = sources.map(({ name, pxy, lost, unstable }, k) => {
      const beta = scale.value * lost;
      const axes = plot(canvas, all[k], {
        x: [-9, 9], y: [0.4, 2.1], xLabel: "decoder q(y = 1)", yLabel: k ? undefined : "worth W(q)",
        xTicks: marks.map((q, i) => [Math.log(q / (1 - q)), i % 2 && q !== 0.5 ? "" : q]),
        yTicks: [0.5, 1, 1.5, 2], title: `${name}, β = ${beta.toFixed(2)}`,
      });
      const p = columns(pxy)[1];
      const home = Math.log(p / (1 - p));
      axes.line([[home, 0.4], [home, 1]], "muted thin");
      axes.text(home, 0.46, "p(y)", "muted", { dx: 5 });
      axes.line([[-9, 1], [9, 1]], "ink thin dashed");
      const curve = (b) => inside(Array.from({ length: 361 }, (_, i) => -9 + i * 0.05)
        .map((logit) => [logit, worth(pxy, b, chance(logit))]), 0.4, 2.1);
      for (const share of MARKED) for (const piece of curve(share * lost)) axes.line(piece, "muted thin");
      for (const piece of curve(beta)) axes.line(piece, "blue");
      const at = summit(pxy, beta);
      const top = { at, worth: worth(pxy, beta, at) };
      const above = top.worth > 1 + 1e-6;
      const place = Math.log(top.at / (1 - top.at));
      if (top.worth <= 2.1) axes.dot(place, top.worth, above ? "amber" : "blue");
      const bends = beta > unstable ? "upwards" : "downwards";
      return `For ${name}, ${above ? `W reaches ${top.worth.toFixed(3)} at q = ${top.at.toFixed(3)}, so silence is not best`
        : "W is nowhere above 1, so silence is best"}; at p(y) the curve bends ${bends}.`;
    });
    size(canvas, width, under(all));
    return `β is ${scale.value.toFixed(2)} times the one at which silence is lost. ${words.join(" ")}`;
  }
}

// The pieces of a curve that lie between two heights, so that none leaves its panel.
function inside(curve, low, high) {
  const pieces = [[]];
  for (const point of curve) {
    if (point[1] >= low && point[1] <= high) pieces.at(-1).push(point);
    else if (pieces.at(-1).length) pieces.push([]);
  }
  return pieces.filter((piece) => piece.length);
}

// Chapter 2: reverse water-filling; the level can be moved, and a point follows along R(D).

import { clamp, dragged, frames, plot, scene, size, slider, under } from "./kit.js";
import { sum } from "./maths.js";

// Total error and rate of independent Gaussians that are coded down to a level.
export function atLevel(variances, level) {
  return {
    distortion: sum(variances.map((v) => Math.min(v, level))),
    rate: sum(variances.map((v) => Math.max(0, Math.log(v / level) / 2))),
  };
}

// The level at which the total error is `distortion`.
export function waterLevel(variances, distortion) {
  const ascending = [...variances].sort((a, b) => a - b);
  let drowned = 0;
  for (let k = 0; k < ascending.length; k++) {
    const level = (distortion - drowned) / (ascending.length - k);
    if (level <= ascending[k]) return level;
    drowned += ascending[k];
  }
  return ascending.at(-1);
}

export default function show(stage, { variances, distortion }) {
  const [lowest, most] = [Math.min(...variances), Math.max(...variances)];
  const floor = lowest / 3;
  const parts = scene(stage, "Six variances under a water level, and the curve R(D)", render);
  const level = slider(parts.panel, {
    label: "water level θ", min: Math.log(floor), max: Math.log(most), map: Math.exp,
    value: Math.log(waterLevel(variances, distortion)), say: (theta) => theta.toFixed(2),
  });
  const curve = Array.from({ length: 160 }, (_, k) => {
    const at = atLevel(variances, floor * (most / floor) ** (k / 159));
    return [at.distortion, at.rate];
  });
  let toLevel = () => most;
  dragged(parts.canvas, (x, y) => {
    level.set(Math.log(clamp(toLevel(y), floor, most)));
    parts.redraw();
  });
  parts.begin();

  function render(canvas, width) {
    const all = frames(width, [220, 220]);
    const theta = level.value;
    const at = atLevel(variances, theta);
    const bars = plot(canvas, all[0], {
      x: [0.4, variances.length + 0.6], y: [floor * 0.8, most * 1.4], log: "y",
      xTicks: variances.map((_, k) => k + 1), xLabel: "coordinate", yLabel: "variance",
      title: "drag the level",
    });
    const bar = (k, top, kind) => {
      const [left, right] = [bars.X(k + 0.65), bars.X(k + 1.35)];
      const y = bars.Y(top);
      bars.add("rect", { x: left, y, width: right - left, class: `solid ${kind}`,
        height: all[0].top + all[0].height - y });
    };
    variances.forEach((v, k) => {
      bar(k, v, "blue");
      bar(k, Math.min(v, theta), "muted");
    });
    const y = bars.Y(theta);
    const { left, width: wide, top, height } = all[0];
    bars.add("path", { class: "line amber", d: `M${left} ${y}h${wide}` });
    bars.add("rect", { class: "hit", x: left, y: y - 16, width: wide, height: 32, "data-drag": 0,
      "pointer-events": "all" });
    bars.write(left + wide, y - 6, `θ = ${theta.toFixed(2)}`, { class: "amber", "text-anchor": "end" });
    toLevel = (py) => most * 1.4 * ((floor * 0.8) / (most * 1.4)) ** clamp((py - top) / height, 0, 1);
    const plane = plot(canvas, all[1], {
      x: [0, sum(variances)], y: [0, curve[0][1]], xLabel: "total error D", yLabel: "rate, nats",
      title: "R(D)",
    });
    plane.line(curve, "blue");
    plane.dot(at.distortion, at.rate, "amber", 6);
    size(canvas, width, under(all));
    const described = variances.filter((v) => v > theta).length;
    return `At the level ${theta.toFixed(2)} the total error is D = ${at.distortion.toFixed(2)} and `
      + `the rate R = ${at.rate.toFixed(2)} nats; ${described} of ${variances.length} coordinates `
      + "are described.";
  }
}

// Chapter 1: a joint distribution whose cells can be dragged, its information diagram, its bars.

import { button, dragged, frames, plot, scene, size, slider, svg } from "./kit.js";
import { columns, entropy, information, root, rows, sum } from "./maths.js";

export const replaces = true;

export function measures(pxy) {
  const [x, y, joint] = [entropy(rows(pxy)), entropy(columns(pxy)), entropy(pxy.flat())];
  return { x, y, joint, shared: information(pxy), xAlone: joint - y, yAlone: joint - x };
}

export function overlap(distance, r, s) {
  if (distance >= r + s) return 0;
  if (distance <= Math.abs(r - s)) return Math.PI * Math.min(r, s) ** 2;
  const half = (own, other) =>
    Math.acos((distance ** 2 + own ** 2 - other ** 2) / (2 * distance * own));
  const [a, b] = [half(r, s), half(s, r)];
  return r ** 2 * (a - Math.sin(2 * a) / 2) + s ** 2 * (b - Math.sin(2 * b) / 2);
}

// How far apart the centres of circles of areas `x` and `y` are that share the area `shared`.
export function distance(x, y, shared) {
  const [r, s] = [Math.sqrt(x / Math.PI), Math.sqrt(y / Math.PI)];
  return root((d) => overlap(d, r, s) - shared, Math.abs(r - s), r + s);
}

export default function show(stage, { weights, skies, needs }) {
  const start = weights.flat();
  const MOST = Math.max(60, ...start); // the largest weight of a cell
  const parts = scene(stage, "Joint distribution, information diagram and lengths", render);
  parts.panel.classList.add("cells");
  parts.panel.style.setProperty("--columns", needs.length);
  const cells = start.map((value, k) => slider(parts.panel, {
    label: `${skies[Math.floor(k / needs.length)]}, ${needs[k % needs.length]}`,
    min: 0, max: MOST, value, say: (weight) => weight.toFixed(weight % 1 ? 1 : 0),
  }));
  const put = (values) => {
    cells.forEach((cell, k) => cell.set(values[k]));
    parts.redraw();
  };
  button(parts.panel, "As observed", () => put(start));
  button(parts.panel, "Make independent", () => {
    const table = joint();
    put(rows(table).flatMap((p) => columns(table).map((q) => p * q * Math.min(MOST, sum(start)))));
  });
  const table = { unit: 0, centre: () => [0, 0] };
  dragged(parts.canvas, (x, y, k) => {
    const [cx, cy] = table.centre(Number(k));
    const side = 2 * Math.max(Math.abs(x - cx), Math.abs(y - cy));
    cells[k].set(MOST * (side / (0.96 * table.unit)) ** 2);
    parts.redraw();
  });
  parts.begin();

  function joint() {
    const values = cells.map((cell) => cell.value);
    const total = sum(values) || 1;
    return skies.map((_, i) => needs.map((_, j) => values[i * needs.length + j] / total));
  }

  function render(canvas, width) {
    const pxy = joint();
    const m = measures(pxy);
    const [left, right] = frames(width, [180, 180], { left: 64, gap: 20, bottom: 20 });
    squares(canvas, left, pxy);
    circles(canvas, right, m);
    const top = Math.max(right.top + right.height, left.top + left.height) + 58;
    bars(canvas, { left: 14, top, width: width - 28, height: 128 }, m);
    size(canvas, width, top + 172);
    return `H(X) = ${m.x.toFixed(2)}, H(Y) = ${m.y.toFixed(2)}, H(X,Y) = ${m.joint.toFixed(2)} nats. `
      + `Both share I(X;Y) = ${m.shared.toFixed(2)}; X alone holds ${m.xAlone.toFixed(2)}, `
      + `Y alone ${m.yAlone.toFixed(2)}.`;
  }

  function squares(canvas, { left, top, height }, pxy) {
    const group = canvas.appendChild(svg("g"));
    const unit = height / skies.length;
    table.unit = unit;
    table.centre = (k) => [left + unit * ((k % needs.length) + 0.5),
      top + unit * (Math.floor(k / needs.length) + 0.5)];
    group.append(svg("text", { x: left, y: top - 12, class: "title" }, "drag a square"));
    cells.forEach((cell, k) => {
      const [x, y] = table.centre(k);
      const side = 0.96 * unit * Math.sqrt(cell.value / MOST);
      const box = (full, kind, more) => svg("rect",
        { x: x - full / 2, y: y - full / 2, width: full, height: full, class: kind, ...more });
      // the whole cell takes the pointer, so that a square of no size can be drawn out again
      group.append(box(0.96 * unit, "line thin grid"), box(side, "solid plum"),
        box(unit, "hit", { "data-drag": k, "pointer-events": "all" }));
    });
    rows(pxy).forEach((p, i) => group.append(svg("text",
      { x: left - 8, y: top + unit * (i + 0.5), "text-anchor": "end" }, skies[i],
      svg("tspan", { x: left - 8, dy: 14, class: "tick" }, p.toFixed(2)))));
    columns(pxy).forEach((p, j) => group.append(svg("text",
      { x: left + unit * (j + 0.5), y: top + height + 16, "text-anchor": "middle" },
      `${needs[j]} ${p.toFixed(2)}`)));
  }

  function circles(canvas, { left, top, width, height }, m) {
    const group = canvas.appendChild(svg("g"));
    const apart = distance(m.x, m.y, m.shared);
    const [r, s] = [Math.sqrt(m.x / Math.PI), Math.sqrt(m.y / Math.PI)];
    const largest = Math.sqrt(Math.log(skies.length) / Math.PI);
    const scale = Math.min(height / 2 / Math.max(largest, r, s), width / (r + s + largest * 2));
    const middle = top + height / 2 + 6;
    const from = left + width / 2 - (apart + s - r) * scale / 2;
    group.append(svg("text", { x: left, y: top - 12, class: "title" }, "areas in nats"));
    for (const [x, radius, kind] of [[0, r, "blue"], [apart, s, "amber"]]) {
      const at = { cx: from + x * scale, cy: middle, r: Math.max(radius * scale, 0) };
      group.append(svg("circle", { ...at, class: `area ${kind}` }),
        svg("circle", { ...at, class: `line ${kind}` }));
    }
    const name = (x, text, kind, anchor) => group.append(
      svg("text", { x, y: top + 12, class: kind, "text-anchor": anchor }, text));
    name(from - r * scale * 0.75, "H(X)", "blue", "end");
    name(from + (apart + s * 0.75) * scale, "H(Y)", "amber", "start");
    for (const [x, value] of [[(-r + apart - s) / 2, m.xAlone], [(apart - s + r) / 2, m.shared],
      [(r + apart + s) / 2, m.yAlone]]) {
      if (value < 0.005) continue;
      group.append(svg("text", { x: from + x * scale, y: middle + 4, "text-anchor": "middle" },
        value.toFixed(2)));
    }
  }

  function bars(canvas, frame, m) {
    const axes = plot(canvas, frame, {
      x: [0, Math.log(skies.length * needs.length)], y: [4, 0], yTicks: [],
      xLabel: "nats", title: "lengths in nats",
    });
    const pieces = [["H(X,Y)", 0, m.joint, "muted", 0], ["H(X)", 0, m.x, "blue", 1],
      ["H(Y)", m.xAlone, m.y, "amber", 2], ["H(X|Y)", 0, m.xAlone, "blue", 3],
      ["I(X;Y)", m.xAlone, m.shared, "leaf", 3], ["H(Y|X)", m.x, m.yAlone, "amber", 3]];
    for (const [name, from, length, kind, row] of pieces) {
      const [x, wide] = [axes.X(from), axes.X(from + length) - axes.X(from)];
      const y = frame.top + frame.height * (row / 4) + 3;
      axes.add("rect", { x, y, width: Math.max(wide, 0), height: 25, class: `area ${kind}` });
      const text = wide > 92 ? `${name} = ${length.toFixed(2)}` : name;
      if (wide > 46) axes.write(x + wide / 2, y + 17, text, { "text-anchor": "middle" });
    }
  }
}

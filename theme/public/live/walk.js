// Chapter 5: a walk through the two strongest latents of a trained model. Its decoder has answered on a
// grid; between the points of the grid the picture is blended.

import { clamp, dragged, html, plot, scene, size, slider } from "./kit.js";

// Grey values from 0 to 1 out of a string of two hexadecimal digits each.
export const grey = (hex) => Array.from({ length: hex.length / 2 }, (_, k) =>
  parseInt(hex.slice(2 * k, 2 * k + 2), 16) / 255);

// The picture at (a, b), blended from its four neighbours. `pictures` lists them row by row: the first
// latent, at `values`, changes from row to row, the second within a row.
export function blend(values, pictures, a, b) {
  const place = (x) => {
    const inside = clamp(x, values[0], values.at(-1));
    const k = Math.min(values.findLastIndex((value) => value <= inside), values.length - 2);
    return [k, (inside - values[k]) / (values[k + 1] - values[k])];
  };
  const [[i, s], [j, t]] = [place(a), place(b)];
  const at = (row, column) => pictures[row * values.length + column];
  const corners = [at(i, j), at(i, j + 1), at(i + 1, j), at(i + 1, j + 1)];
  const weights = [(1 - s) * (1 - t), (1 - s) * t, s * (1 - t), s * t];
  return corners[0].map((_, k) => weights.reduce((sum, w, c) => sum + w * corners[c][k], 0));
}

// Where the light of a picture lies: column and row, from 0, and how much of it there is.
export function centre(picture, side) {
  let [x, y, total] = [0, 0, 0];
  picture.forEach((value, k) => {
    x += value * (k % side);
    y += value * Math.floor(k / side);
    total += value;
  });
  return { x: x / total, y: y / total, total };
}

export default function show(stage, { values, pixels, side, net, row }) {
  const flat = grey(pixels);
  const count = side * side;
  const pictures = Array.from({ length: values.length ** 2 }, (_, k) => flat.slice(k * count, (k + 1) * count));
  const screen = html("canvas", { width: side, height: side, role: "img", "aria-label": "decoded picture" });
  const parts = scene(stage, "The plane of the two strongest latents", render);
  stage.classList.add("walk");
  const [low, high] = [values[0], values.at(-1)];
  const say = (x) => x.toFixed(2);
  const latents = ["first", "second"].map((name) =>
    slider(parts.panel, { label: `${name} latent`, min: low, max: high, value: 0, say }));
  let toCode = () => [0, 0];
  dragged(parts.canvas, (x, y) => {
    toCode(x, y).forEach((value, k) => latents[k].set(clamp(value, low, high)));
    parts.redraw();
  });
  parts.canvas.after(screen);
  parts.begin();

  function render(canvas, width) {
    const [a, b] = latents.map(({ value }) => value);
    const square = Math.min(300, width - 54);
    const frame = { left: 44, top: 30, width: square, height: square };
    const axes = plot(canvas, frame, { x: [low, high], y: [low, high], xLabel: "first latent",
      yLabel: "second latent", title: "drag the point" });
    axes.add("rect", { x: frame.left, y: frame.top, width: square, height: square, class: "hit",
      "data-drag": 0, "pointer-events": "all" });
    toCode = (x, y) => [low + ((x - frame.left) / square) * (high - low),
      high - ((y - frame.top) / square) * (high - low)];
    const visible = net.map((point) => point.map((value) => clamp(value, low, high)));
    for (let k = 0; k < row; k++) {
      axes.line(visible.slice(k * row, (k + 1) * row), "blue thin");
      axes.line(visible.filter((_, place) => place % row === k), "amber thin");
    }
    axes.dot(a, b, "plum", 8);
    size(canvas, square + 58, square + 80);
    const picture = blend(values, pictures, a, b);
    const brush = screen.getContext("2d");
    const image = brush.createImageData(side, side);
    picture.forEach((value, k) => image.data.set([255 * value, 255 * value, 255 * value, 255], 4 * k));
    brush.putImageData(image, 0, 0);
    const { x, y, total } = centre(picture, side);
    return `At (${a.toFixed(2)}, ${b.toFixed(2)}) the decoder draws light worth ${total.toFixed(1)} white pixels, `
      + `its centre at column ${x.toFixed(1)} and row ${y.toFixed(1)} of ${side}.`;
  }
}

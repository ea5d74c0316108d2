// What all live figures are made of: a scene, its controls, and axes to draw on.
// A unit of the drawing is a pixel of the page, so that text keeps its size at every width.

const SVG = "http://www.w3.org/2000/svg";
let made = 0; // controls so far, for their ids

const fill = (element, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
};

export const html = (name, attributes = {}, ...children) =>
  fill(document.createElement(name), attributes, children);

export const svg = (name, attributes = {}, ...children) => {
  const short = Object.entries(attributes)
    .map(([key, value]) => [key, typeof value === "number" ? Math.round(value * 100) / 100 : value]);
  return fill(document.createElementNS(SVG, name), Object.fromEntries(short), children);
};

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// A drawing with controls above it and a sentence below. `render(canvas, width)` draws all of it
// and returns the sentence, which is spoken; it runs again after each input and at each new width.
export function scene(stage, label, render) {
  const panel = html("form", { class: "controls", "aria-label": label });
  const canvas = svg("svg", { role: "img", "aria-label": label });
  const output = html("output", { "aria-live": "polite" });
  let width = 0;
  const redraw = () => {
    canvas.replaceChildren();
    output.textContent = render(canvas, width);
  };
  panel.onsubmit = (event) => event.preventDefault();
  panel.addEventListener("input", redraw);
  stage.append(panel, canvas, output);
  const begin = () => {
    new ResizeObserver(() => {
      if (!stage.clientWidth || stage.clientWidth === width) return; // hidden, or a new height only
      width = stage.clientWidth;
      redraw();
    }).observe(stage);
    width = stage.clientWidth || 640;
    redraw();
  };
  return { panel, canvas, redraw, begin };
}

export function size(canvas, width, height) {
  fill(canvas, { viewBox: `0 0 ${width} ${height}`, width, height }, []);
}

// ---- controls

// `value` of what it returns is `map` of the slider's position, and `say` puts that in words.
export function slider(panel, { label, min, max, step = "any", value, say, map = (x) => x }) {
  const id = `live-${++made}`;
  const input = html("input", { type: "range", id, min, max, step, value });
  const shown = html("span", { class: "shown", "aria-hidden": "true" });
  const tell = () => {
    const words = say(map(Number(input.value)));
    shown.textContent = words;
    input.setAttribute("aria-valuetext", words);
  };
  input.addEventListener("input", tell);
  panel.append(html("div", { class: "control" }, html("label", { for: id }, label), input, shown));
  tell();
  return {
    input,
    get value() { return map(Number(input.value)); },
    set(position) {
      input.value = position;
      tell();
    },
  };
}

export function choice(panel, { label, options }) {
  const id = `live-${++made}`;
  const all = options.map((name, k) => html("option", { value: k }, name));
  const select = html("select", { id }, ...all);
  panel.append(html("div", { class: "control" }, html("label", { for: id }, label), select));
  return select;
}

export function button(panel, label, press) {
  const made = html("button", { type: "button" }, label);
  made.onclick = press;
  panel.append(made);
  return made;
}

// Call `move(x, y, target)`, in units of the drawing, while a shape with `data-drag` is dragged.
export function dragged(canvas, move) {
  let target = null;
  const report = (event) => {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(canvas.getScreenCTM().inverse());
    move(x, y, target);
  };
  canvas.addEventListener("pointerdown", (event) => {
    target = event.target.closest("[data-drag]")?.dataset.drag ?? null;
    if (target === null) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => { if (target !== null) report(event); });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => { target = null; });
  }
}

// ---- axes

export const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

function nice(low, high, count) {
  const rough = (high - low) / count;
  const ten = 10 ** Math.floor(Math.log10(rough));
  const step = ten * [1, 2, 5, 10].find((times) => times * ten >= rough * 0.999);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) ticks.push(k * step);
  return ticks;
}

function decades(low, high) {
  const ticks = [];
  for (let k = Math.floor(Math.log10(low)); 10 ** k <= high; k++) {
    for (const times of high / low > 200 ? [1] : [1, 2, 5]) {
      const tick = times * 10 ** k;
      if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
    }
  }
  return ticks;
}

const short = (x) => String(Number(x.toPrecision(4)));

// A panel of `canvas` with a frame of {left, top, width, height} for the curves themselves.
// `x` and `y` are [low, high]; `ticks` are numbers, or pairs of a number and what to write.
export function plot(canvas, frame, { x, y, log = "", xTicks, yTicks, xLabel, yLabel, title }) {
  const { left, top, width, height } = frame;
  const group = canvas.appendChild(svg("g", { class: "plot" }));
  const along = (value, [low, high], isLog) => (isLog
    ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low));
  const X = (value) => left + width * along(value, x, log.includes("x"));
  const Y = (value) => top + height * (1 - along(value, y, log.includes("y")));
  const add = (name, attributes, ...children) => group.appendChild(svg(name, attributes, ...children));
  const write = (px, py, text, attributes = {}) => add("text", { x: px, y: py, ...attributes }, text);
  const pairs = (ticks) => ticks.map((tick) => (Array.isArray(tick) ? tick : [tick, short(tick)]));
  const xs = pairs(xTicks ?? (log.includes("x") ? decades(...x) : nice(...x, width / 90)));
  const ys = pairs(yTicks ?? (log.includes("y") ? decades(...y) : nice(...y, height / 50)));
  if (xs.length || xLabel) add("path", { class: "axis", d: `M${left} ${top + height}h${width}` });
  if (ys.length || yLabel) add("path", { class: "axis", d: `M${left} ${top}v${height}` });
  for (const [tick, text] of xs) {
    add("path", { class: "axis", d: `M${X(tick)} ${top + height}v4` });
    write(X(tick), top + height + 17, text, { class: "tick", "text-anchor": "middle" });
  }
  for (const [tick, text] of ys) {
    add("path", { class: "axis", d: `M${left} ${Y(tick)}h-4` });
    write(left - 7, Y(tick) + 4, text, { class: "tick", "text-anchor": "end" });
  }
  if (title) write(left, top - 12, title, { class: "title" });
  if (xLabel) write(left + width / 2, top + height + 35, xLabel, { "text-anchor": "middle" });
  if (yLabel) {
    const place = `translate(${left - 36} ${top + height / 2}) rotate(-90)`;
    add("text", { transform: place, "text-anchor": "middle" }, yLabel);
  }
  const path = (points) => points
    .map(([a, b], k) => `${k ? "L" : "M"}${X(a).toFixed(1)} ${Y(b).toFixed(1)}`).join("");
  return {
    X, Y, add,
    line: (points, kind) => add("path", { class: `line ${kind}`, d: path(points) }),
    area: (points, kind) => add("path", { class: `area ${kind}`, d: `${path(points)}Z` }),
    dot: (a, b, kind, r = 5) => add("circle", { class: `solid ${kind}`, cx: X(a), cy: Y(b), r }),
    text: (a, b, text, kind = "", attributes = {}) =>
      write(X(a) + (attributes.dx ?? 0), Y(b) + (attributes.dy ?? 0), text,
        { class: kind, "text-anchor": attributes.anchor ?? "start" }),
    write,
  };
}

// Frames side by side where there is room, one below the other where there is not.
export function frames(width, heights, { gap = 64, left = 48, right = 14, top = 30, bottom = 44 } = {}) {
  const wide = width >= 560;
  let below = top;
  return heights.map((height, k) => {
    const each = (width - left - right - gap * (heights.length - 1)) / heights.length;
    const frame = wide ? { left: left + k * (each + gap), top, width: each, height }
      : { left, top: below, width: width - left - right, height };
    below += height + top + bottom;
    return frame;
  });
}

export const under = (all, bottom = 44) => Math.max(...all.map(({ top, height }) => top + height)) + bottom;

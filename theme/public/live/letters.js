// Chapter 3: letters in clusters. Beta moves: clusters split, and a dot climbs the curve.

import { choice, frames, plot, scene, size, slider, svg } from "./kit.js";
import { columns, information, rows, sum } from "./maths.js";

// An encoder [x][t] from its entries above zero, [x] -> [[t, share], ...].
export function dense(sparse) {
  const width = 1 + Math.max(...sparse.flat().map(([t]) => t));
  return sparse.map((row) => {
    const total = sum(row.map(([, share]) => share));
    const full = Array(width).fill(0);
    for (const [t, share] of row) full[t] += share / total;
    return full;
  });
}

// Weights of the clusters, what each says of y, and both informations of a code.
export function code(pxy, encoder) {
  const px = rows(pxy);
  const clusters = encoder[0].map((_, t) => t);
  const joint = clusters.map((t) => pxy[0].map((_, y) => sum(pxy.map((row, x) => row[y] * encoder[x][t]))));
  const weights = joint.map(sum);
  return {
    weights,
    decoder: joint.map((row, t) => row.map((p) => (weights[t] > 0 ? p / weights[t] : 0))),
    complexity: information(encoder.map((row, x) => row.map((share) => px[x] * share))),
    relevance: information(joint),
  };
}

export default function show(stage, { alphabet, counts, betas, encoders }) {
  const letters = [...alphabet];
  const total = sum(counts.map(sum));
  const pxy = counts.map((row) => row.map((count) => count / total));
  const codes = encoders.map((sparse) => {
    const encoder = dense(sparse);
    return { encoder, ...code(pxy, encoder) };
  });
  const parts = scene(stage, "Letters in clusters, and the information plane", render);
  const at = slider(parts.panel, {
    label: "β", min: 0, max: betas.length - 1, step: 1, value: Math.round(betas.length * 0.2),
    say: (k) => betas[k].toFixed(2),
  });
  const chosen = choice(parts.panel, { label: "letter", options: letters });
  chosen.value = letters.indexOf("q");
  parts.canvas.addEventListener("pointerover", ({ target }) => {
    const letter = target.closest("[data-letter]")?.dataset.letter;
    if (letter === undefined || letter === chosen.value) return;
    chosen.value = letter;
    parts.redraw();
  });
  parts.begin();

  function render(canvas, width) {
    const [table, plane] = frames(width, [310, 310], { left: 16, gap: 66, bottom: 40 });
    if (width < 560) {
      plane.left += 40;
      plane.width -= 40;
    }
    const now = codes[at.value];
    const letter = Number(chosen.value);
    const used = now.weights.map((weight, t) => [weight, t]).filter(([weight]) => weight > 1e-4)
      .sort((a, b) => b[0] - a[0]);
    boxes(canvas, table, now, used, letter);
    const axes = plot(canvas, plane, {
      x: [0, Math.max(...codes.map(({ complexity }) => complexity)) * 1.04],
      y: [0, Math.max(...codes.map(({ relevance }) => relevance)) * 1.08],
      xLabel: "complexity I(X;T), nats", yLabel: "relevance I(T;Y), nats", title: "the information curve",
    });
    axes.line([[0, 0], ...codes.map(({ complexity, relevance }) => [complexity, relevance])], "blue");
    axes.dot(now.complexity, now.relevance, "amber", 6);
    size(canvas, width, plane.top + plane.height + 44);
    const of = now.encoder[letter].map((share, t) => [share, t]).sort((a, b) => b[0] - a[0])[0];
    const next = now.decoder[of[1]].map((p, y) => [p, letters[y]]).sort((a, b) => b[0] - a[0]).slice(0, 3)
      .map(([p, y]) => `${y} ${Math.round(100 * p)} %`).join(", ");
    const company = letters.filter((_, x) => now.encoder[x][of[1]] > 0.5).join("");
    return `β = ${betas[at.value].toFixed(2)}: ${used.length} cluster${used.length > 1 ? "s" : ""}, `
      + `I(X;T) = ${now.complexity.toFixed(3)}, I(T;Y) = ${now.relevance.toFixed(3)} nats. `
      + `The letter ${letters[letter]} goes to ${company || "a shared cluster"} with chance ${of[0].toFixed(2)}; `
      + `that cluster says what comes next: ${next}.`;
  }

  // a row for each cluster, the heaviest on top; a letter stands in every cluster it goes to
  function boxes(canvas, { left, top, width, height }, now, used, letter) {
    const group = canvas.appendChild(svg("g"));
    group.append(svg("text", { x: left, y: top - 12, class: "title" }, "clusters of letters"));
    const columns = used.length > 14 ? 2 : 1;
    const wide = (width - 10 * (columns - 1)) / columns;
    const members = used.map(([, t]) => letters.map((_, x) => x).filter((x) => now.encoder[x][t] > 0.02));
    const room = Math.max(1, Math.floor((wide - 12) / 17));
    const lines = members.map((all) => Math.max(1, Math.ceil(all.length / room)));
    const first = Math.ceil(used.length / columns);
    const most = Math.max(sum(lines.slice(0, first)), sum(lines.slice(first)));
    const unit = Math.min(26, height / (most + 0.25 * first));
    let y = top;
    used.forEach(([, t], row) => {
      if (row === first) y = top;
      const from = left + (row < first ? 0 : wide + 10);
      const mine = now.encoder[letter][t] > 0.02;
      group.append(svg("rect", { x: from, y, width: wide, height: unit * lines[row], rx: 4,
        class: mine ? "line thin amber" : "line thin muted" }));
      members[row].forEach((x, k) => {
        const place = { x: from + 14 + 17 * (k % room), y: y + unit * (Math.floor(k / room) + 0.5) + 4 };
        group.append(svg("text", { ...place, "text-anchor": "middle", "data-letter": x,
          class: x === letter ? "amber chosen" : "", opacity: 0.6 + 0.4 * now.encoder[x][t] },
        letters[x]));
      });
      y += unit * (lines[row] + 0.25);
    });
  }
}

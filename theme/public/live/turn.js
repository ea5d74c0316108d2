// Appendix: the code of a trained network, turned by an angle. The score falls, what is told stays, and
// an encoder that states variances only pays.

import { choice, frames, plot, scene, size, slider, under } from "./kit.js";
import { sum } from "./maths.js";

const turned = ([a, b], cos, sin) => [cos * a - sin * b, sin * a + cos * b];

const mean = (values) => sum(values) / values.length;

function covariance(a, b) {
  const [ma, mb] = [mean(a), mean(b)];
  return mean(a.map((value, k) => (value - ma) * (b[k] - mb)));
}

// The least, over two factors, of the best squared correlation with a latent of the turned code.
export function score(codes, factors, degrees) {
  const angle = (degrees * Math.PI) / 180;
  const latents = columns(codes.map((code) => turned(code, Math.cos(angle), Math.sin(angle))));
  return Math.min(...columns(factors).map((factor) => Math.max(...latents.map((latent) =>
    covariance(latent, factor) ** 2 / (covariance(latent, latent) * covariance(factor, factor))))));
}

const columns = (pairs) => [0, 1].map((k) => pairs.map((pair) => pair[k]));

// beta / 2 E[sum_j ln (Q P Q^T)_jj - ln det P], for precisions P that are diagonal at no turn.
export function price(precisions, degrees, beta) {
  const angle = (degrees * Math.PI) / 180;
  const [c, s] = [Math.cos(angle) ** 2, Math.sin(angle) ** 2];
  const more = mean(precisions.map(([p, q]) =>
    Math.log(c * p + s * q) + Math.log(s * p + c * q) - Math.log(p * q)));
  return Math.max((beta / 2) * more, 0); // rounding may leave a hair less
}

// ln det of the turned code's covariance less that of its noise, halved: what a Gaussian code tells.
export function told(codes, precisions, degrees) {
  const angle = (degrees * Math.PI) / 180;
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  const [u, v] = columns(codes.map((code) => turned(code, c, s)));
  const noise = precisions.map(([p, q]) => [c * c / p + s * s / q, s * s / p + c * c / q, c * s * (1 / p - 1 / q)]);
  const det = ([a, b, d]) => a * b - d * d;
  const all = [covariance(u, u) + mean(noise.map(([a]) => a)), covariance(v, v) + mean(noise.map(([, b]) => b)),
    covariance(u, v) + mean(noise.map(([, , d]) => d))];
  return (Math.log(det(all)) - mean(noise.map((one) => Math.log(det(one))))) / 2;
}

export default function show(stage, { families, side, beta }) {
  const parts = scene(stage, "A code in the plane, its score and the price of its turn", render);
  const family = choice(parts.panel, { label: "pictures of", options: families.map(({ name }) => name) });
  const angle = slider(parts.panel, { label: "turned by", min: -90, max: 90, step: 1, value: 0,
    say: (x) => `${x}°` });
  parts.begin();

  function render(canvas, width) {
    const { codes, precisions } = families[family.value];
    const factors = codes.map((_, k) => [Math.floor(k / side), k % side]);
    const all = frames(width, [250, 250], { gap: 70 });
    const square = Math.min(all[0].width, all[0].height);
    const plane = plot(canvas, { ...all[0], width: square, height: square }, {
      x: [-3, 3], y: [-3, 3], xLabel: "first latent", yLabel: "second latent", title: "places in the code",
      xTicks: [-2, 0, 2],
    });
    const turn = (angle.value * Math.PI) / 180;
    const net = codes.map((code) => turned(code, Math.cos(turn), Math.sin(turn)));
    for (let k = 0; k < side; k += 2) {
      plane.line(net.slice(k * side, (k + 1) * side), "blue thin");
      plane.line(net.filter((_, place) => place % side === k), "amber thin");
    }
    const degrees = Array.from({ length: 91 }, (_, k) => 2 * k - 90);
    const prices = degrees.map((d) => [d, price(precisions, d, beta)]);
    const top = Math.max(...families.map((one) => Math.max(...degrees.map((d) => price(one.precisions, d, beta)))));
    const costs = plot(canvas, all[1], { x: [-90, 90], y: [0, 1.1 * top], xLabel: "turn, degrees",
      yLabel: "price, nats", title: "price, and R² (dashed, 0 to 1)", xTicks: [-90, -45, 0, 45, 90] });
    costs.line(prices, "plum");
    costs.line(degrees.map((d) => [d, 1.1 * top * score(codes, factors, d)]), "leaf dashed");
    const [now, cost] = [score(codes, factors, angle.value), price(precisions, angle.value, beta)];
    costs.dot(angle.value, cost, "plum");
    costs.dot(angle.value, 1.1 * top * now, "leaf");
    size(canvas, width, under(all));
    return `Turned by ${angle.value}°, the ${families[family.value].name}: R² = ${now.toFixed(3)}; `
      + `a Gaussian code of this shape tells ${told(codes, precisions, angle.value).toFixed(3)} nats at every angle; `
      + `an encoder of variances alone pays ${cost.toFixed(3)} nats more.`;
  }
}

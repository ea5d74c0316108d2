// Measures of information that several live figures need, in nats.

export const sum = (values) => values.reduce((total, value) => total + value, 0);

// p ln q, and 0 where p is 0.
export const pLog = (p, q) => (p > 0 ? p * Math.log(q) : 0);

export const entropy = (p) => -sum(p.map((x) => pLog(x, x)));

export const divergence = (p, q) => sum(p.map((x, k) => pLog(x, x / q[k])));

export const rows = (pxy) => pxy.map(sum);

export const columns = (pxy) => pxy[0].map((_, j) => sum(pxy.map((row) => row[j])));

export function information(pxy) {
  const [px, py] = [rows(pxy), columns(pxy)];
  const total = sum(pxy.map((row, i) => sum(row.map((p, j) => pLog(p, p / (px[i] * py[j]))))));
  return Math.max(total, 0);
}

// A root of `f`, which has one sign at `low` and the other at `high`.
export function root(f, low, high) {
  const sign = Math.sign(f(high));
  for (let step = 0; step < 100; step++) {
    const middle = (low + high) / 2;
    if (Math.sign(f(middle)) === sign) high = middle;
    else low = middle;
  }
  return (low + high) / 2;
}

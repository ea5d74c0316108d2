// Search in the records that the theme writes. Whole words come before fragments, and what is
// misspelt finds what it is near to. No page is needed: node runs this in the tests. A plain script,
// so that it also comes from a disk, where a browser loads no modules.

globalThis.bookSearch = (() => {
"use strict";

const GREEK = Object.fromEntries(
  ("αalpha βbeta γgamma δdelta εepsilon ϵepsilon ζzeta ηeta θtheta κkappa λlambda μmu νnu ξxi πpi "
  + "ρrho σsigma τtau φphi ϕphi χchi ψpsi ωomega Γgamma Δdelta Θtheta Λlambda Σsigma Φphi Ψpsi Ωomega")
    .split(" ").map((pair) => [pair[0], pair.slice(1)]),
);
const WEIGHTS = { title: 8, meaning: 6, page: 2, text: 1 };
const SHORT = { eq: "equation", eqn: "equation", thm: "theorem", fig: "figure", def: "definition",
  ex: "exercise", tab: "table", prop: "proposition", cor: "corollary" };

/** A word as it is compared: no accents, Greek letters by name, British and plural endings gone. */
function stem(word) {
  const named = [...word].map((letter) => GREEK[letter] ?? letter).join("");
  const plain = named.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  return plain.replace(/iz(?=e|a|i)/g, "is").replace(/our$/, "or")
    .replace(/ies$/, "y").replace(/(?<=\p{L}{3}[^su])s$/u, "");
}

/** The words of a text and where they stand; `3.4` is one word, so are a letter and its accent. */
function words(text) {
  return [...text.matchAll(/\p{N}+(?:\.\p{N}+)+|\p{L}\.\p{N}+|[\p{L}\p{N}\p{M}]+/gu)]
    .map((found) => ({ stem: stem(found[0]), start: found.index, end: found.index + found[0].length }));
}

/** What a search needs, from what the theme wrote. */
function open({ aliases, records }) {
  const places = new Map(); // of each word: the records that have it, and how much it weighs there
  const calls = new Map(); // the same, of functions that the code of a section calls
  records.forEach((record, at) => {
    for (const [field, weight] of Object.entries(WEIGHTS)) {
      for (const { stem: word } of words(record[field] ?? "")) {
        if (!places.has(word)) places.set(word, new Map());
        const held = places.get(word);
        const before = held.get(at) ?? 0;
        held.set(at, field === "text" && before ? Math.min(before + 0.1, 9) : Math.max(before, weight));
      }
    }
    for (const name of record.code?.split(" ") ?? []) {
      if (!calls.has(name)) calls.set(name, new Map());
      calls.get(name).set(at, 4);
    }
  });
  const known = Object.entries(aliases).flatMap(([name, meanings]) => meanings.map(
    (meaning) => ({ name: stems(name), meaning: stems(meaning) }),
  ));
  for (const [name, held] of calls) {
    known.push({ name: stems(name), meaning: [name] });
    places.set(name, new Map([...held, ...(places.get(name) ?? [])]));
  }
  return { records, places, aliases: known };
}

const stems = (text) => words(text).map((word) => word.stem);

/** Letters to add, drop, change or swap to make one word of another; `most` + 1 if more. */
function distance(one, other, most) {
  if (Math.abs(one.length - other.length) > most) return most + 1;
  let [before, last] = [[], Array.from({ length: other.length + 1 }, (_, i) => i)];
  for (let i = 1; i <= one.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= other.length; j += 1) {
      const same = one[i - 1] === other[j - 1];
      row[j] = Math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + !same);
      if (i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1]) {
        row[j] = Math.min(row[j], before[j - 2] + 1);
      }
    }
    [before, last] = [last, row];
  }
  return last[other.length];
}

/** The words of the book that a word of a query may mean, each with its worth from 0 to 1. */
function meant(word, places) {
  const found = new Map(places.has(word) ? [[word, 1]] : []);
  for (const other of places.keys()) {
    if (found.has(other) || /^[\d.]+$/.test(word)) continue;
    if (word.length > 2 && other.startsWith(word)) found.set(other, 0.4 * (word.length / other.length));
    else if (word.length > 3 && other.includes(word)) found.set(other, 0.1);
  }
  const most = word.length > 7 ? 2 : Number(word.length > 3);
  if (found.size || !most || /\d/.test(word)) return found;
  for (const other of places.keys()) {
    const far = distance(word, other, most);
    if (far <= most) found.set(other, 0.3 / far);
  }
  return found;
}

/** A query as terms; each has alternatives, of which every word must be there. */
function terms(query, { aliases }) {
  const given = stems(query).map((word) => SHORT[word] ?? word);
  const said = [];
  for (let at = 0; at < given.length;) {
    const fits = aliases.filter(({ name }) => name.every((word, i) => given[at + i] === word));
    const length = Math.max(1, ...fits.map(({ name }) => name.length));
    const longest = fits.filter(({ name }) => name.length === length);
    said.push([given.slice(at, at + length), ...longest.map(({ meaning }) => meaning)]);
    at += length;
  }
  return said;
}

/** How much of a name was asked for; a number counts only if it was. */
function share(name, found) {
  const own = stems(name).filter((word) => !/^[\d.]+$/.test(word) || found.includes(word));
  return own.filter((word) => found.includes(word)).length / Math.max(own.length, 1);
}

/** The best records first, with the words that were found. */
function find(query, index, most = 15) {
  const { records, places } = index;
  const asked = terms(query, index);
  const totals = new Map();
  for (const alternatives of asked) {
    const scores = new Map(); // of this term: the best that an alternative has
    for (const needed of alternatives) {
      const parts = needed.map((word) => {
        const part = new Map();
        for (const [other, worth] of meant(word, places)) {
          const rare = Math.log(1 + records.length / places.get(other).size);
          for (const [at, weight] of places.get(other)) {
            const score = worth * weight * rare;
            if (score > (part.get(at)?.score ?? 0)) part.set(at, { score, word: other });
          }
        }
        return part;
      });
      for (const at of parts[0]?.keys() ?? []) {
        if (!parts.every((part) => part.has(at))) continue;
        const all = parts.map((part) => part.get(at));
        const score = all.reduce((sum, one) => sum + one.score, 0) / all.length;
        if (score > (scores.get(at)?.score ?? 0)) scores.set(at, { score, found: all.map((one) => one.word) });
      }
    }
    for (const [at, { score, found }] of scores) {
      const total = totals.get(at) ?? { score: 0, count: 0, found: [] };
      totals.set(at, { score: total.score + score, count: total.count + 1, found: [...total.found, ...found] });
    }
  }
  const count = Math.max(0, ...[...totals.values()].map((total) => total.count));
  const best = [...totals].filter(([, total]) => total.count === count).map(([at, { score, found }]) => {
    const record = records[at];
    const covered = Math.max(share(record.title, found), share(record.meaning ?? "", found));
    const together = ` ${stems(record.text ?? "").join(" ")} `.includes(` ${found.join(" ")} `);
    const whole = record.url.includes("#") ? 1 : 1.3; // a page, not a part of one
    // exercises ask about what a chapter explains
    const asks = record.url.startsWith("exercises-") ? 0.3 : 1;
    return { record, found, score: asks * (score * (1 + 2 * covered ** 2) * whole + (found.length > 1 && together) * 4) };
  });
  return best.sort((one, other) => other.score - one.score).slice(0, most);
}

/** Where in a text the words were found: parts with `hit`, of about `length` letters. */
function excerpt(text, found, length = 150) {
  const hits = words(text).filter((word) => found.includes(word.stem));
  const inside = (from) => new Set(hits.filter((hit) => hit.start >= from && hit.end <= from + length - 40)
    .map((hit) => hit.stem)).size;
  const first = hits.reduce((best, hit) => (inside(hit.start) > inside(best.start) ? hit : best), hits[0]);
  let start = Math.max(0, (first?.start ?? 0) - 40);
  if (start) start = text.indexOf(" ", start) + 1;
  let end = start + length;
  if (end < text.length) end = Math.max(text.lastIndexOf(" ", end), first?.end ?? 0);
  const parts = start ? [{ text: "… " }] : [];
  let at = start;
  for (const hit of hits.filter((one) => one.start >= start && one.end <= end)) {
    parts.push({ text: text.slice(at, hit.start) }, { text: text.slice(hit.start, hit.end), hit: true });
    at = hit.end;
  }
  parts.push({ text: text.slice(at, end) + (end < text.length ? " …" : "") });
  return parts.filter((part) => part.text);
}

return { open, find, excerpt };
})();

// What the modules of live figures compute: a list of [module, function, arguments] from standard
// input, the list of results to standard output. An array of them is asked for at once.

import { readFileSync } from "node:fs";

const folder = new URL("../../../theme/public/live/", import.meta.url);
const modules = {};
const results = [];
for (const [module, name, values] of JSON.parse(readFileSync(0, "utf8"))) {
  modules[module] ??= await import(new URL(`${module}.js`, folder));
  results.push(modules[module][name](...values));
}
process.stdout.write(JSON.stringify(results));

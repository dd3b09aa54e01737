// What the page and its worker weigh: bytes over the wire, and code by crate before wasm-opt (whose output has no names).
//   node frontend/size.mjs SITE MODULE.wasm…
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { brotliCompressSync } from "node:zlib";

const [site, ...modules] = process.argv.slice(2);
const kB = (bytes) => `${(bytes / 1000).toFixed(1).padStart(8)} kB`;

for (const [title, files] of Object.entries({
  page: ["loader.js", "pkg/dashboard.wasm", "pkg/dashboard.js", "pkg/dashboard.css"],
  worker: ["worker.js", "pkg/worker.wasm", "pkg/worker.js"],
})) {
  const sizes = files.map((file) => brotliCompressSync(readFileSync(join(site, file))).length);
  console.log(`\n${title}, brotli:${kB(sizes.reduce((sum, size) => sum + size, 0))}`);
  files.forEach((file, i) => console.log(`${kB(sizes[i])}  ${file}`));
}

for (const module of modules) {
  const { functions, data } = read(readFileSync(module));
  const crates = new Map();
  for (const { name, bytes } of functions) crates.set(crate(name), (crates.get(crate(name)) ?? 0) + bytes);
  const all = functions.reduce((sum, { bytes }) => sum + bytes, 0);
  console.log(`\n${basename(module)}, code as compiled:${kB(all)}, constants:${kB(data)}`);
  for (const [name, bytes] of [...crates].sort((a, b) => b[1] - a[1]).slice(0, 25)) console.log(`${kB(bytes)}  ${name}`);
}

/** The crate a function's code belongs to: the first one its mangled name speaks of, but of code of the standard library
 *  for a type of another crate, that one. */
function crate(name) {
  const segments = [];
  for (let rest = name.replace(/^_*ZN/, ""), length; (length = /^\d+/.exec(rest)?.[0]); ) {
    segments.push(rest.slice(length.length, length.length + Number(length)));
    rest = rest.slice(length.length + Number(length));
  }
  const first = segments[0] ?? "";
  // `<T as a_crate::Trait>::method`
  const inside = [...first.matchAll(/(?<![a-z0-9_.])([a-z_][a-z0-9_]*)\.\./g)].map(([, crate]) => crate).filter((name) => name !== "_");
  const standard = ["core", "alloc", "std"];
  const crates = first.includes("$LT$") ? inside : [first];
  return crates.find((crate) => crate && !standard.includes(crate)) ?? (crates[0] || "other");
}

/** Functions with names and sizes, and the size of the constants. */
function read(wasm) {
  let at = 8;
  const number = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = wasm[at++];
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  const text = () => {
    const length = number();
    at += length;
    return wasm.toString("utf8", at - length, at);
  };
  let imported = 0;
  let data = 0;
  const sizes = [];
  const names = new Map();
  while (at < wasm.length) {
    const id = wasm[at++];
    const end = number() + at;
    if (id === 2) {
      for (let left = number(); left > 0; left -= 1) {
        text();
        text();
        const kind = wasm[at++];
        if (kind === 0) imported += 1;
        if (kind === 1) at += 1;
        if (kind === 0) number();
        else if (kind === 3) at += 2;
        else if (wasm[at++] & 1) [number(), number()];
        else number();
      }
    } else if (id === 10) {
      for (let left = number(); left > 0; left -= 1) {
        const bytes = number();
        sizes.push(bytes);
        at += bytes;
      }
    } else if (id === 11) {
      data = end - at;
    } else if (id === 0 && text() === "name") {
      while (at < end) {
        const kind = wasm[at++];
        const until = number() + at;
        if (kind === 1) for (let left = number(); left > 0; left -= 1) names.set(number(), text());
        at = until;
      }
    }
    at = end;
  }
  return { functions: sizes.map((bytes, i) => ({ name: names.get(imported + i) ?? "", bytes })), data };
}

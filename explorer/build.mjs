// Bundles the explorer into ../defectdb/serve/site/assets: one folder of static files that loads nothing from elsewhere.
import { build } from "esbuild";
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import path from "node:path";

const here = path.dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? path.join(here, "../defectdb/serve/site/assets");
const engine = path.join(here, "node_modules/@duckdb/duckdb-wasm/dist");

/** The questions of docs/sql.md that are one SELECT, each with its heading. */
async function examples() {
  const text = await readFile(path.join(here, "../docs/sql.md"), "utf8");
  const found = [];
  for (const section of text.split(/^## /m).slice(1)) {
    const block = /```sql\n([\s\S]*?)```/.exec(section);
    if (block) found.push({ title: section.split("\n", 1)[0].replace(/^\d+\.\s*/, ""), sql: block[1].trim() });
  }
  return found;
}

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
await build({
  entryPoints: { explorer: path.join(here, "src/main.js") },
  bundle: true,
  format: "esm",
  target: "es2022",
  splitting: true,
  minify: true,
  legalComments: "external",
  chunkNames: "chunk-[hash]",
  assetNames: "[name]",
  loader: { ".woff2": "file", ".woff": "empty", ".ttf": "empty" },
  define: { __EXAMPLES__: JSON.stringify(await examples()) },
  outdir: out,
  logLevel: "warning",
});
for (const name of ["duckdb-eh.wasm", "duckdb-browser-eh.worker.js"]) {
  await copyFile(path.join(engine, name), path.join(out, name));
}
await copyFile(path.join(here, "src/index.html"), path.join(out, "index.html"));

const licences = [];
const names = ["@duckdb/duckdb-wasm", "apache-arrow", "@observablehq/plot", "3dmol", "codemirror", "katex"];
for (const name of names) {
  const { version, license } = JSON.parse(await readFile(path.join(here, "node_modules", name, "package.json"), "utf8"));
  licences.push(`${name} ${version}: ${license}`);
}
await writeFile(path.join(out, "LICENCES.txt"), `The explorer is made with\n\n${licences.join("\n")}\n`);

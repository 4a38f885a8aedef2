// What the database holds: sets, materials, models with their errors, pairs to look at.
import { dataTable, h, meV, sqlNote } from "../dom.js";
import { windowText } from "./kernel.js";

const COUNTS = `SELECT (SELECT count(*) FROM datasets) AS datasets, (SELECT count(*) FROM materials) AS materials,
  (SELECT count(*) FROM structures) AS structures, (SELECT count(*) FROM defects) AS defects,
  (SELECT count(*) FROM pairs) AS pairs, (SELECT count(*) FROM formulas) AS formulas`;
const DATASETS = `SELECT d.name, d.n_structures, d.n_rejects, d.licence, d.citation, d.doi,
  (SELECT string_agg(DISTINCT h.material_id, ', ') FROM structures AS s JOIN hosts AS h USING (host_id)
   WHERE s.dataset_id = d.dataset_id) AS material
FROM datasets AS d ORDER BY d.name`;
const MATERIALS = `SELECT h.material_id AS material, count(*) AS structures, min(s.n_defects) AS fewest, max(s.n_defects) AS most
FROM structures AS s JOIN hosts AS h USING (host_id) GROUP BY ALL ORDER BY ALL`;
const MODELS = `SELECT model_id, material_id AS material, target, trained_on, n_train, mae_train, mae_cv
FROM models WHERE status = 'active' ORDER BY ALL`;
const KERNELS = `SELECT material_id AS material, pair_label AS label, target, complexity, mae_cv, dz_min, dz_max,
  row_number() OVER (PARTITION BY material_id, target, pair_label ORDER BY dz_min) - 1 AS "window"
FROM formulas WHERE status = 'active' AND length(pair_label) - length(replace(pair_label, '-', '')) = 1
ORDER BY material_id, target, pair_label, dz_min`;

const ERRORS = `SELECT material_id AS material, target, count(*) AS n, avg(abs(error)) AS mae
FROM prediction_errors WHERE error IS NOT NULL GROUP BY ALL`;

export async function overviewPage(page, _parameters, db) {
  const [[counts], datasets, materials, models, kernels] = await Promise.all(
    [COUNTS, DATASETS, MATERIALS, MODELS, KERNELS].map((sql) => db.rows(sql)),
  );
  const tiles = Object.entries(counts).map(([name, n]) => h("li", {}, h("b", { "data-count": name }, n.toLocaleString("en")), ` ${name}`));
  const errors = h("div", { "aria-live": "polite" }, h("p", {}, "Predicting every stored structure …"));
  judged(db).then((table) => errors.replaceChildren(table), (error) => errors.replaceChildren(h("p", { class: "error" }, error.message)));
  page.append(
    h("h1", {}, "Point defects in 2D crystals"),
    h("p", {}, "Calculated structures, the formulas learned from them, and what these predict. Everything on these pages is read from one DuckDB file in your browser; each figure shows its SQL."),
    h("ul", { class: "tiles" }, ...tiles),
    dataTable("Active models", [
      { title: "material", value: (r) => r.material, link: (r) => `#/model?material=${encodeURIComponent(r.material)}&target=${r.target}` },
      { title: "target", value: (r) => r.target },
      { title: "learned from", value: (r) => r.trained_on },
      { title: "structures", value: (r) => r.n_train },
      { title: "MAE left out (meV)", value: (r) => meV(r.mae_cv, 2), numeric: true },
    ], models),
    errors,
    dataTable("Kernels in use", [
      { title: "pair", value: (r) => r.label, link: (r) => kernelLink(r) },
      { title: "material", value: (r) => r.material },
      { title: "target", value: (r) => r.target },
      { title: "|Δz|", value: windowText },
      { title: "tokens", value: (r) => r.complexity },
      { title: "MAE left out (meV)", value: (r) => meV(r.mae_cv, 2), numeric: true },
    ], kernels),
    dataTable("Materials", [
      { title: "material", value: (r) => r.material, link: (r) => `#/structure?material=${encodeURIComponent(r.material)}` },
      { title: "structures", value: (r) => r.structures },
      { title: "defects in each", value: (r) => (r.fewest === r.most ? `${r.most}` : `${r.fewest}–${r.most}`) },
    ], materials),
    dataTable("Data sets", [
      { title: "set", value: (r) => r.name },
      { title: "material", value: (r) => r.material },
      { title: "structures", value: (r) => r.n_structures },
      { title: "not loaded", value: (r) => r.n_rejects },
      { title: "licence", value: (r) => r.licence },
      { title: "cite", value: (r) => r.citation ?? r.doi },
    ], datasets),
    sqlNote([[COUNTS], [MODELS], [KERNELS], [MATERIALS], [DATASETS], [ERRORS]]),
  );
}

/** Errors over all stored structures: every prediction is made for it, so that it comes after the page. */
async function judged(db) {
  return dataTable("Predictions against all stored values", [
    { title: "material", value: (r) => r.material, link: (r) => `#/model?material=${encodeURIComponent(r.material)}&target=${r.target}` },
    { title: "target", value: (r) => r.target }, { title: "structures", value: (r) => r.n },
    { title: "MAE (meV)", value: (r) => meV(r.mae, 2), numeric: true },
  ], (await db.rows(ERRORS)).sort((a, b) => `${a.material} ${a.target}`.localeCompare(`${b.material} ${b.target}`)));
}

const kernelLink = (r) => `#/kernel?${new URLSearchParams({ material: r.material, label: r.label, target: r.target, window: r.window })}`;

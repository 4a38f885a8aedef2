// Structures to choose from: the hull of least energy over the number of defects, energy against gap, filters, download.
import * as Plot from "@observablehq/plot";
import { modelled } from "../database.js";
import { choice, csv, dataTable, download, field, figure, h, number, palette, plot } from "../dom.js";

const MATERIALS = "SELECT DISTINCT material_id AS material FROM hosts JOIN structures USING (host_id) ORDER BY ALL";
const CANDIDATES = `SELECT s.structure_id, s.defect_labels AS composition, s.n_defects, s.n_defects / h.n_sites AS concentration,
  max(p.value) FILTER (p.target = 'formation_energy_per_site') AS predicted, max(p.value) FILTER (p.target = 'homo_lumo_gap') AS gap,
  bool_or(p.extrapolated) AS extrapolated, any_value(w.formation_energy_per_site) AS calculated, any_value(w.homo_lumo_gap) AS calculated_gap
FROM structures AS s JOIN hosts AS h USING (host_id) LEFT JOIN predictions AS p USING (structure_id) LEFT JOIN targets_wide AS w USING (structure_id)
WHERE h.material_id = ? AND s.n_defects > 0 AND s.charge = 0 GROUP BY ALL ORDER BY s.structure_id`;
const COLUMNS = ["structure_id", "composition", "n_defects", "concentration", "energy", "source", "gap", "above_hull", "extrapolated"];
const MOST = 6000;

export async function screeningPage(page, parameters, db, go) {
  const materials = (await db.rows(MATERIALS)).map((m) => m.material);
  if (materials.length === 0) {
    page.append(h("h1", {}, "Screening"), h("p", {}, "No structure is stored: ", h("code", {}, "defectdb ingest"), " loads some."));
    return;
  }
  const material = materials.includes(parameters.material) ? parameters.material : await modelled(db, materials);
  const rows = withHull((await db.rows(CANDIDATES, material)).map(valued).filter((r) => r.energy !== null));
  const chosen = rows.filter(accepts(parameters)).sort((a, b) => a.energy - b.energy);
  const filter = (name, label, attributes = { type: "number", step: "any" }) => field(label, { ...attributes, value: parameters[name] ?? "" }, (value) => go({ [name]: value }));
  page.append(
    h("h1", {}, `Screening ${material}`),
    h("div", { class: "controls" },
      choice("Material", materials, material, (m) => go({ material: m })),
      filter("holds", "Composition holds", { type: "search", placeholder: "Vac_S" }),
      filter("fewest", "Defects, from", { type: "number", min: 1 }), filter("most", "to", { type: "number", min: 1 }),
      filter("energy", "Energy per defect below (eV)"), filter("gap_from", "Gap, from (eV)"), filter("gap_to", "to (eV)"),
      filter("above", "Above the hull at most (meV)")),
    h("p", {}, h("b", { "data-value": "chosen" }, String(chosen.length)), ` of ${rows.length} structures. `,
      h("button", { type: "button", onclick: () => download(`${material}-candidates.csv`, csv(COLUMNS, chosen.map((r) => COLUMNS.map((c) => r[c]))), "text/csv") }, "Download CSV")),
    hullFigure(rows, chosen, material), gapFigure(chosen, material),
    dataTable(`Lowest energies${chosen.length > 100 ? `: 100 of ${chosen.length}` : ""}`, [
      { title: "structure", value: (r) => r.structure_id, link: (r) => `#/structure?id=${encodeURIComponent(r.structure_id)}` },
      { title: "composition", value: (r) => r.composition }, { title: "energy per defect (eV)", value: (r) => number(r.energy, 5), numeric: true },
      { title: "above hull (meV)", value: (r) => (1000 * r.above_hull).toFixed(1), numeric: true },
      { title: "gap (eV)", value: (r) => number(r.gap, 4), numeric: true }, { title: "value is", value: (r) => r.source },
      { title: "extrapolated", value: (r) => (r.extrapolated ? "yes" : "") },
    ], chosen, 100),
  );
}

/** A candidate's energy and gap: predicted where a model predicts it, else calculated. */
function valued(row) {
  const predicted = row.predicted !== null && Number.isFinite(row.predicted);
  return { ...row, energy: predicted ? row.predicted : row.calculated, gap: row.gap ?? row.calculated_gap, source: predicted ? "predicted" : "calculated" };
}

/** Every candidate's energy per defect above the lower convex hull over the concentration of defects, eV. */
function withHull(rows) {
  const hull = lowerHull(rows);
  const height = (x) => {
    const i = hull.findIndex((p) => p.concentration >= x);
    if (i <= 0) return (hull[0] ?? { energy: 0 }).energy;
    const [a, b] = [hull[i - 1], hull[i]];
    return a.energy + ((x - a.concentration) / (b.concentration - a.concentration)) * (b.energy - a.energy);
  };
  return rows.map((row) => ({ ...row, above_hull: row.energy - height(row.concentration) }));
}

export function lowerHull(rows) {
  const hull = [];
  const best = new Map();
  for (const row of rows) if (!best.has(row.concentration) || row.energy < best.get(row.concentration).energy) best.set(row.concentration, row);
  for (const point of [...best.values()].sort((a, b) => a.concentration - b.concentration)) {
    while (hull.length > 1 && !below(hull.at(-2), hull.at(-1), point)) hull.pop();
    hull.push(point);
  }
  return hull;
}

const below = (a, b, c) => (b.energy - a.energy) * (c.concentration - a.concentration) < (c.energy - a.energy) * (b.concentration - a.concentration);

function accepts(p) {
  const given = (text) => text !== undefined && text !== "";
  const holds = (p.holds ?? "").toLowerCase();
  return (r) => r.composition.toLowerCase().includes(holds) && (!given(p.fewest) || r.n_defects >= Number(p.fewest)) && (!given(p.most) || r.n_defects <= Number(p.most)) &&
    (!given(p.energy) || r.energy < Number(p.energy)) && (!given(p.gap_from) || r.gap >= Number(p.gap_from)) && (!given(p.gap_to) || r.gap <= Number(p.gap_to)) && (!given(p.above) || 1000 * r.above_hull <= Number(p.above));
}

const thinned = (rows) => (rows.length > MOST ? rows.filter((_, i) => i % Math.ceil(rows.length / MOST) === 0) : rows);

function hullFigure(rows, chosen, material) {
  const colours = palette();
  return figure({ title: "Energy per defect against the concentration of defects", name: `hull-${material}`, queries: [[CANDIDATES, material]],
    legend: [{ text: "chosen", colour: colours[0] }, { text: "lower convex hull of all", colour: colours[1], line: true }],
    draw: (width) => plot(width, { x: { label: "defects per site", nice: true }, y: { label: "formation energy per defect (eV)", nice: true }, marks: [
      Plot.dot(thinned(chosen), { x: "concentration", y: "energy", r: 2.5, fill: colours[0], fillOpacity: 0.5 }),
      Plot.lineY(lowerHull(rows), { x: "concentration", y: "energy", stroke: colours[1], marker: "circle" }),
      Plot.tip(thinned(chosen), Plot.pointer({ x: "concentration", y: "energy", channels: { structure: "structure_id", composition: "composition" } })),
    ] }) });
}

function gapFigure(chosen, material) {
  const colours = palette();
  const known = thinned(chosen.filter((r) => r.gap !== null && Number.isFinite(r.gap)));
  if (known.length === 0) return h("p", {}, "No chosen structure has a gap, predicted or calculated.");
  return figure({ title: "Gap against energy", name: `gap-${material}`, queries: [[CANDIDATES, material]],
    draw: (width) => plot(width, { x: { label: "formation energy per defect (eV)", nice: true }, y: { label: "HOMO–LUMO gap (eV)", nice: true }, marks: [
      Plot.dot(known, { x: "energy", y: "gap", r: 2.5, fill: colours[2], fillOpacity: 0.5 }),
      Plot.tip(known, Plot.pointer({ x: "energy", y: "gap", channels: { structure: "structure_id", composition: "composition" } })),
    ] }) });
}

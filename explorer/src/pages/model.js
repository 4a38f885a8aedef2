// One model: predicted against calculated, errors by composition, and what is extrapolated.
import * as Plot from "@observablehq/plot";
import { choice, dataTable, figure, fitting, h, meV, palette, plot, sqlNote } from "../dom.js";

const CHOICES = `SELECT DISTINCT m.material_id AS material, o.target FROM models AS m
JOIN (VALUES ('formation_energy', 'formation_energy'), ('formation_energy', 'formation_energy_per_site'),
  ('homo_lumo_gap', 'homo_lumo_gap'), ('homo', 'homo'), ('lumo', 'lumo')) AS o(source, target) ON o.source = m.target
WHERE m.status = 'active' ORDER BY ALL`;
const ERRORS = `SELECT structure_id, predicted, actual, error, n_defects, extrapolated, descriptor
FROM prediction_errors WHERE material_id = ? AND target = ? ORDER BY structure_id`;
const BY_NUMBER = `SELECT n_defects, count(*) AS n, avg(abs(error)) AS mae, sqrt(avg(error * error)) AS rmse,
  max(abs(error)) AS largest, count(*) FILTER (extrapolated) AS extrapolated
FROM prediction_errors WHERE material_id = ? AND target = ? AND error IS NOT NULL GROUP BY ALL ORDER BY ALL`;
const BY_COMPOSITION = `SELECT s.defect_labels AS composition, count(*) AS n, avg(abs(e.error)) AS mae, avg(e.error) AS bias,
  max(abs(e.error)) AS largest, count(*) FILTER (e.extrapolated) AS extrapolated
FROM prediction_errors AS e JOIN structures AS s USING (structure_id)
WHERE e.material_id = ? AND e.target = ? AND e.error IS NOT NULL GROUP BY ALL ORDER BY mae DESC, composition`;
const MOST = 6000; // dots in a figure

export async function modelPage(page, parameters, db, go) {
  const choices = await db.rows(CHOICES);
  if (choices.length === 0) {
    page.append(h("h1", {}, "Models"), h("p", {}, "No model is active yet: ", h("code", {}, "defectdb learn --model"), " makes one."));
    return;
  }
  const score = (c) => 2 * (c.material === parameters.material) + (c.target === (parameters.target ?? "formation_energy_per_site"));
  const chosen = choices.reduce((best, c) => (score(c) > score(best) ? c : best));
  const key = [chosen.material, chosen.target];
  const [errors, numbers, compositions] = await Promise.all([ERRORS, BY_NUMBER, BY_COMPOSITION].map((sql) => db.rows(sql, ...key)));
  const known = errors.filter((e) => e.error !== null && Number.isFinite(e.error));
  const mae = known.reduce((sum, e) => sum + Math.abs(e.error), 0) / known.length;
  page.append(
    h("h1", {}, `Model of ${chosen.target} in ${chosen.material}`),
    h("div", { class: "controls" },
      choice("Material", [...new Set(choices.map((c) => c.material))], chosen.material, (material) => go({ material })),
      choice("Target", choices.filter((c) => c.material === chosen.material).map((c) => c.target), chosen.target, (target) => go({ target }))),
    known.length ? h("p", {}, "Mean absolute error ", h("b", { "data-value": "mae" }, meV(mae, 2)), ` meV over ${known.length} stored structures; ${errors.length - known.length} more have a stored value and no prediction. The model was learned from some of them: the table by number of defects tells them apart.`) : h("p", {}, "No stored structure has both a value and a prediction."),
    parity(known, chosen, key),
    dataTable("Errors by number of defects (meV)", [
      { title: "defects", value: (r) => r.n_defects }, { title: "structures", value: (r) => r.n },
      { title: "MAE", value: (r) => meV(r.mae, 2), numeric: true }, { title: "RMSE", value: (r) => meV(r.rmse, 2), numeric: true },
      { title: "largest", value: (r) => meV(r.largest), numeric: true }, { title: "extrapolated", value: (r) => r.extrapolated },
    ], numbers),
    errorsFigure(compositions, chosen, key),
    dataTable(`Errors by composition (meV)${compositions.length > 200 ? `: the 200 largest of ${compositions.length}` : ""}`, [
      { title: "composition", value: (r) => r.composition, link: (r) => `#/structure?${new URLSearchParams({ material: chosen.material, find: r.composition })}` },
      { title: "structures", value: (r) => r.n }, { title: "MAE", value: (r) => meV(r.mae, 2), numeric: true },
      { title: "mean error", value: (r) => meV(r.bias, 2), numeric: true }, { title: "largest", value: (r) => meV(r.largest), numeric: true },
      { title: "extrapolated", value: (r) => r.extrapolated },
    ], compositions, 200),
    sqlNote([[BY_NUMBER, ...key], [BY_COMPOSITION, ...key]]),
  );
}

function parity(known, chosen, key) {
  const colours = palette();
  const step = Math.ceil(known.length / MOST);
  const rows = step > 1 ? known.filter((_, i) => i % step === 0) : known;
  const inside = rows.filter((e) => !e.extrapolated);
  const outside = rows.filter((e) => e.extrapolated);
  const dots = (data, fill, symbol) => Plot.dot(data, { x: "actual", y: "predicted", fill, symbol, fillOpacity: 0.5, r: 2.5 });
  return figure({ title: `Predicted against calculated${step > 1 ? ` (one structure in ${step})` : ""}`, name: `parity-${key.join("-")}`, queries: [[ERRORS, ...key]],
    legend: [{ text: `within what was learned: ${known.filter((e) => !e.extrapolated).length}`, colour: colours[0] }, { text: `extrapolated: ${known.filter((e) => e.extrapolated).length}`, colour: colours[1] }],
    draw: (width) => plot(width, { height: Math.min(480, width * 0.8), x: { label: "calculated (eV)", nice: true }, y: { label: "predicted (eV)", nice: true }, marks: [
      Plot.line([...ends(rows)].map((v) => [v, v]), { stroke: "currentColor", strokeOpacity: 0.5 }),
      dots(inside, colours[0], "circle"), dots(outside, colours[1], "square"),
      Plot.tip(rows, Plot.pointer({ x: "actual", y: "predicted", channels: { structure: "structure_id", defects: "n_defects", "error (meV)": (e) => meV(e.error) } })),
    ] }) });
}

function ends(rows) {
  const values = rows.flatMap((e) => [e.actual, e.predicted]);
  return values.length ? [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))] : [];
}

const side = (width) => Math.min(200, width * 0.42);

function errorsFigure(compositions, chosen, key) {
  const colours = palette();
  const rows = compositions.slice(0, 30);
  return figure({ title: `Error by composition${compositions.length > 30 ? `: the 30 largest of ${compositions.length}` : ""}`, name: `errors-${key.join("-")}`, queries: [[BY_COMPOSITION, ...key]],
    legend: [{ text: "mean absolute error", colour: colours[0] }, { text: "largest", colour: colours[1] }],
    draw: (width) => plot(width, { height: 60 + 20 * rows.length, marginLeft: side(width), x: { label: "error (meV)", nice: true }, y: { label: null, domain: rows.map((r) => r.composition), tickFormat: (t) => fitting(t, side(width) - 14) }, marks: [
      Plot.ruleY(rows, { y: "composition", x1: (r) => 1000 * r.mae, x2: (r) => 1000 * r.largest, strokeOpacity: 0.4 }),
      Plot.dot(rows, { y: "composition", x: (r) => 1000 * r.largest, stroke: colours[1], symbol: "square", r: 3 }),
      Plot.dot(rows, { y: "composition", x: (r) => 1000 * r.mae, fill: colours[0], r: 4, tip: true }),
    ] }) });
}

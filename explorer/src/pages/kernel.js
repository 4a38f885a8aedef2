// One pair of defects: calculated points, the formula in use, the whole front on a slider, residuals, known laws.
import * as Plot from "@observablehq/plot";
import { choice, dataTable, figure, h, meV, number, palette, plot, SYMBOLS } from "../dom.js";
import { compiled, fittedLaws, front, typeset } from "../formula.js";

const CHOICES = `SELECT DISTINCT material_id AS material, pair_label AS label, target FROM formulas
WHERE length(pair_label) - length(replace(pair_label, '-', '')) = 1 ORDER BY ALL`;
const FORMULAS = `SELECT formula_id, run_id, status, complexity, mae_train, mae_cv, r_min, r_max, dz_min, dz_max, cutoff, images,
  infix, latex, CAST(ast AS VARCHAR) AS ast, constants, constant_errors, n_train
FROM formulas WHERE material_id = ? AND pair_label = ? AND target = ? ORDER BY dz_min, run_id, complexity`;
const POINTS = (column) => `SELECT structure_id, pair_id, distance AS r, dz, ${column} AS value
FROM pair_energies WHERE material_id = ? AND label = ? AND ${column} IS NOT NULL ORDER BY dz, distance`;
const IMAGES = `SELECT d.pair_id, d.distance AS r, d.dz FROM distances AS d JOIN structures AS s USING (structure_id)
JOIN hosts AS h USING (host_id) WHERE h.material_id = ? AND d.label = ? AND s.n_defects = 2`;
const CURVE = (id) => `SELECT r, dz, f_${id}(r, dz) AS value
FROM (SELECT ? + i * (? - ?) / 300 AS r, CAST(? AS DOUBLE) AS dz FROM range(301) AS t(i))`;

const COLUMNS = { formation_energy: "interaction", homo_lumo_gap: "homo_lumo_gap", homo: "homo", lumo: "lumo" };

export async function kernelPage(page, parameters, db, go) {
  const choices = await db.rows(CHOICES);
  if (choices.length === 0) {
    page.append(h("h1", {}, "Kernels"), h("p", {}, "No formula is stored yet: ", h("code", {}, "defectdb learn --all-pairs"), " finds some."));
    return;
  }
  const chosen = nearest(choices, parameters);
  const key = [chosen.material, chosen.label, chosen.target];
  const pointsSql = POINTS(COLUMNS[chosen.target]);
  const [rows, points] = await Promise.all([db.rows(FORMULAS, ...key), db.rows(pointsSql, key[0], key[1])]);
  const windows = windowsOf(rows);
  const window = windows[Math.min(Number(parameters.window ?? 0), windows.length - 1)];
  const mine = points.filter((p) => p.dz >= window.low && p.dz < window.high);
  const images = window.formulas.some((f) => f.images === "sum") ? await db.rows(IMAGES, key[0], key[1]) : [];
  const state = { ...chosen, window, points: mine, images: byPair(images) };
  const active = window.formulas.find((f) => f.status === "active");
  const formulas = front(window.formulas.filter((f) => f.run_id === (active ?? window.formulas.at(-1)).run_id));
  if (active && !formulas.some((f) => f.formula_id === active.formula_id)) formulas.push(active);
  const curve = active && mine.length > 0 ? await db.rows(CURVE(Number(active.formula_id)), ...span(mine)) : [];

  const wanted = formulas.findIndex((f) => String(f.formula_id) === parameters.formula);
  const start = wanted >= 0 ? wanted : Math.max(0, formulas.findIndex((f) => f.formula_id === active?.formula_id));
  page.append(
    h("h1", {}, "Kernel ", h("span", { class: "nowrap" }, chosen.label)),
    h("div", { class: "controls" },
      choice("Material", unique(choices, "material"), chosen.material, (material) => go({ material, formula: "", window: 0 })),
      choice("Pair", unique(choices.filter((c) => c.material === chosen.material), "label"), chosen.label, (label) => go({ label, formula: "", window: 0 })),
      choice("Target", unique(choices.filter((c) => c.material === chosen.material && c.label === chosen.label), "target"), chosen.target, (target) => go({ target, formula: "", window: 0 })),
      windows.length > 1 ? choice("|Δz|", windows.map((w, i) => ({ value: i, text: w.text })), windows.indexOf(window), (w) => go({ window: w, formula: "" })) : null,
    ),
    await explorable(state, formulas, active, curve, start, [[pointsSql, key[0], key[1]], [FORMULAS, ...key], ...(curve.length ? [[CURVE(active.formula_id), ...span(mine)]] : [])]),
  );
}

/** The slider with everything that follows it. */
async function explorable(state, formulas, active, curve, start, queries) {
  const laws = state.target === "formation_energy" && state.points.length > 1 ? fittedLaws(state.points) : [];
  const place = h("div", { class: "front" });
  const slider = h("input", { type: "range", min: 0, max: formulas.length - 1, step: 1, value: start, "aria-label": "Formula of the front, short to long" });
  const says = h("output", { "aria-live": "polite" });
  const lawChoice = h("select", {}, h("option", { value: "" }, "none"), ...laws.map((law, i) => h("option", { value: i }, `${law.name} (${meV(law.mae)} meV)`)));
  const show = () => {
    const formula = formulas[Number(slider.value)];
    says.textContent = `${formula.complexity} tokens, error ${meV(formula.mae_train, 2)} meV, left out ${leftOut(formula.mae_cv)}${formula.formula_id === active?.formula_id ? " – in use" : ""}`;
    slider.setAttribute("aria-valuetext", says.textContent);
    const law = laws[lawChoice.value];
    place.replaceChildren(...pictures(state, formula, active, curve, law, formulas, queries));
  };
  slider.addEventListener("input", show);
  lawChoice.addEventListener("change", show);
  show();
  return h("div", {},
    h("div", { class: "controls" },
      h("label", { class: "choice wide" }, h("span", {}, `Formula of the front: ${formulas.length} from short to long`), slider),
      laws.length ? h("label", { class: "choice" }, h("span", {}, "Known law"), lawChoice) : null),
    says, place);
}

function pictures(state, formula, active, curve, law, formulas, queries) {
  const colours = palette();
  const value = compiled(formula);
  const points = fitted(state, value, formula.images === "sum");
  const energy = state.target === "formation_energy";
  const [scale, unit] = energy ? [1000, "meV"] : [1, "eV"];
  const name = `kernel-${state.material}-${state.label}-${state.target}`;
  const fine = points.length ? grid(points, value) : [];
  const heights = [...new Set(points.map((p) => p.height))];
  const symbol = { domain: heights, range: SYMBOLS };
  const dots = (y) => Plot.dot(points, { x: "r", y, symbol: "height", stroke: colours[0], fill: colours[0], fillOpacity: 0.25, r: 4, channels: { "|Δz| (Å)": "height", structure: "structure_id" }, tip: true });
  const legend = [{ text: energy ? "calculated interaction" : `calculated ${state.target}`, colour: colours[0] }, { text: `formula of ${formula.complexity} tokens`, colour: colours[1], line: true }];
  if (curve.length && active.formula_id !== formula.formula_id) legend.push({ text: "formula in use", colour: colours[2], line: true });
  if (law) legend.push({ text: law.name, colour: colours[3], line: true });
  const main = figure({ title: `${state.label} in ${state.material}${state.window.text ? `, |Δz| ${state.window.text}` : ""}`, name, queries, legend,
    draw: (width) => plot(width, { symbol, x: { label: "distance r (Å)" }, y: { label: `${energy ? "interaction" : state.target} (${unit})`, nice: true }, marks: [
      energy ? Plot.ruleY([0], { strokeOpacity: 0.5 }) : null,
      curve.length && active.formula_id !== formula.formula_id ? Plot.lineY(curve, { x: "r", y: (d) => scale * d.value, stroke: colours[2], strokeDasharray: "5 3" }) : null,
      law ? Plot.lineY(fine, { x: "r", y: (d) => scale * law.value(d.r), stroke: colours[3], strokeDasharray: "2 3" }) : null,
      Plot.lineY(fine, { x: "r", y: (d) => scale * d.value, z: "dz", stroke: colours[1], strokeWidth: 2 }),
      dots((d) => scale * d.shown),
    ] }) });
  const residuals = figure({ title: "Residuals: calculated less formula", name: `${name}-residuals`, queries,
    draw: (width) => plot(width, { symbol, height: 200, x: { label: "distance r (Å)" }, y: { label: "residual (meV)", nice: true }, marks: [
      Plot.ruleY([0], { strokeOpacity: 0.5 }), Plot.ruleX(points, { x: "r", y1: 0, y2: (d) => 1000 * d.residual, stroke: colours[0] }), dots((d) => 1000 * d.residual),
    ] }) });
  return [h("div", {}, main, residuals), h("div", {}, formulaCard(formula), frontFigure(formulas, formula, name, queries))];
}

/** The chosen formula typeset, its constants with their errors, and where it holds. */
function formulaCard(formula) {
  const mathematics = h("div", { class: "formula", tabindex: 0, role: "math", "aria-label": formula.infix });
  typeset(mathematics, `V(r) = ${formula.latex}`);
  const errors = formula.constant_errors ?? [];
  const constants = (formula.constants ?? []).map((value, i) => ({ name: `c${i}`, value, error: errors[i] }));
  return h("section", { class: "card" }, h("h2", {}, `Formula ${formula.formula_id}`), mathematics,
    h("p", {}, `eV, with r in Å. Learned from ${formula.n_train} rows, ${number(formula.r_min, 3)} to ${number(formula.r_max, 3)} Å; ${formula.images === "sum" ? "summed over all periodic images" : "nearest image"}.`),
    constants.length ? dataTable("Fitted constants", [
      { title: "constant", value: (c) => c.name },
      { title: "value", value: (c) => number(c.value, 6), numeric: true },
      { title: "standard error", value: (c) => number(Number.isFinite(c.error) ? c.error : null, 2), numeric: true },
    ], constants) : null);
}

function frontFigure(formulas, formula, name, queries) {
  const colours = palette();
  const most = 30 * Math.max(...formulas.map((f) => f.mae_train)); // of formulas that break down where they were left out
  return figure({ title: "The front: error against length", name: `${name}-front`, queries: queries.slice(1, 2), legend: [{ text: "error of the fit", colour: colours[0] }, { text: "error left out", colour: colours[1] }],
    draw: (width) => plot(width, { height: 220, x: { label: "tokens" }, y: { label: "mean absolute error (meV)", ...(formulas.every((f) => f.mae_train > 0) ? { type: "log", tickFormat: "~g" } : {}) }, marks: [
      Plot.ruleX([formula.complexity], { strokeOpacity: 0.5 }),
      Plot.lineY(formulas, { x: "complexity", y: (f) => 1000 * f.mae_train, stroke: colours[0], curve: "step-after" }),
      Plot.dot(formulas, { x: "complexity", y: (f) => 1000 * f.mae_train, fill: colours[0], r: (f) => (f === formula ? 6 : 3), tip: true }),
      Plot.dot(formulas.filter((f) => f.mae_cv > 0 && f.mae_cv < most), { x: "complexity", y: (f) => 1000 * f.mae_cv, stroke: colours[1], symbol: "square", r: 4 }),
    ] }) });
}

/** Points with what is drawn (of a lattice sum the nearest image's part) and the residual, eV. */
function fitted(state, value, summed) {
  return state.points.map((p) => {
    const one = value(p);
    const total = summed ? (state.images.get(p.pair_id) ?? [p]).reduce((sum, image) => sum + value(image), 0) : one;
    return { ...p, height: p.dz.toFixed(2), shown: p.value - (total - one), residual: p.value - total };
  });
}

const byPair = (images) => images.reduce((map, image) => map.set(image.pair_id, [...(map.get(image.pair_id) ?? []), image]), new Map());
const unique = (rows, name) => [...new Set(rows.map((row) => row[name]))];
const leftOut = (value) => (value === null || !Number.isFinite(value) ? "unknown" : value > 100 ? meV(value) : `${meV(value, 2)} meV`);

/** Values of a formula on a fine grid between the points, one curve for every |dz|. */
function grid(points, value) {
  const r = points.map((p) => p.r);
  const [low, high] = [Math.min(...r), Math.max(...r)];
  const heights = [...new Map(points.map((p) => [p.height, p.dz])).values()];
  return heights.flatMap((dz) => Array.from({ length: 401 }, (_, i) => low + ((high - low) * i) / 400).map((x) => ({ r: x, dz, value: value({ r: x, dz }) }))).filter((d) => Number.isFinite(d.value));
}

/** Values for CURVE: first distance, last, first again, |dz|. */
function span(points) {
  const r = points.map((p) => p.r);
  return [Math.min(...r), Math.max(...r), Math.min(...r), points[0].dz];
}

/** The formulas of every window of |dz|, named. */
function windowsOf(rows) {
  const windows = new Map();
  for (const row of rows) {
    const key = `${row.dz_min} ${row.dz_max}`;
    if (!windows.has(key)) windows.set(key, { low: row.dz_min, high: row.dz_max, text: windowText(row), formulas: [] });
    windows.get(key).formulas.push(row);
  }
  const all = [...windows.values()];
  const used = all.filter((w) => w.formulas.some((f) => f.status === "active"));
  return used.length ? used : all;
}

export const windowText = ({ dz_min, dz_max }) => (dz_max < 1e8 ? (dz_min > 0 ? `${number(dz_min, 3)} to ${number(dz_max, 3)} Å` : `under ${number(dz_max, 3)} Å`) : dz_min > 0 ? `from ${number(dz_min, 3)} Å` : "");

/** The choice that agrees with most of the parameters, in the order material, label, target. */
function nearest(choices, wanted) {
  const score = (c) => 4 * (c.material === wanted.material) + 2 * (c.label === wanted.label) + (c.target === (wanted.target ?? "formation_energy"));
  return choices.reduce((best, c) => (score(c) > score(best) ? c : best));
}

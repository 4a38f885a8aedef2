// One structure: its defects on the host in 3D and from above, its pairs, and its prediction term by term.
import { createViewer } from "3dmol/build/3Dmol.es6-min.js";
import * as Plot from "@observablehq/plot";
import { modelled } from "../database.js";
import { choice, dataTable, field, figure, fitting, h, meV, number, palette, plot, sqlNote } from "../dom.js";
import { termsOf } from "../terms.js";

const MATERIALS = "SELECT DISTINCT material_id AS material FROM hosts JOIN structures USING (host_id) ORDER BY ALL";
const FOUND = `SELECT s.structure_id, s.descriptor, s.defect_labels, s.n_defects FROM structures AS s JOIN hosts AS h USING (host_id)
WHERE h.material_id = ? AND s.n_defects > 0
  AND (contains(lower(s.structure_id), lower(?)) OR contains(lower(s.defect_labels), lower(?)) OR contains(lower(coalesce(s.descriptor, '')), lower(?)))
ORDER BY s.n_defects, s.structure_id LIMIT 200`;
const ONE = `SELECT s.structure_id, s.descriptor, s.defect_labels, s.n_defects, s.composition, s.charge, h.host_id, h.material_id, h.n_sites, h.supercell,
  h.a_x, h.a_y, h.b_x, h.b_y, d.name AS dataset, s.source_path
FROM structures AS s JOIN hosts AS h USING (host_id) JOIN datasets AS d USING (dataset_id) WHERE s.structure_id = ?`;
const DEFECTS = "SELECT idx, kind, label, element_from, element_to, site_index, layer, x, y, z FROM defects WHERE structure_id = ? ORDER BY idx";
const SITES = `SELECT t.site_index, t.element, t.frac_x * h.a_x + t.frac_y * h.b_x + t.frac_z * h.c_x AS x,
  t.frac_x * h.a_y + t.frac_y * h.b_y + t.frac_z * h.c_y AS y, t.frac_x * h.a_z + t.frac_y * h.b_z + t.frac_z * h.c_z AS z
FROM host_sites AS t JOIN hosts AS h USING (host_id) WHERE t.host_id = ? ORDER BY t.site_index`;
const VALUES = `SELECT t.target, t.value, t.unit, p.value AS predicted, p.extrapolated
FROM target_values AS t LEFT JOIN predictions AS p ON p.structure_id = t.structure_id AND p.target = t.target
WHERE t.structure_id = ? ORDER BY t.target`;

export async function structurePage(page, parameters, db, go) {
  const materials = (await db.rows(MATERIALS)).map((m) => m.material);
  if (materials.length === 0) {
    page.append(h("h1", {}, "Structures"), h("p", {}, "No structure is stored: ", h("code", {}, "defectdb ingest"), " loads some."));
    return;
  }
  let id = parameters.id;
  const [named] = id ? await db.rows(ONE, id) : [];
  const material = named?.material_id ?? (materials.includes(parameters.material) ? parameters.material : await modelled(db, materials));
  const find = parameters.find ?? "";
  const found = await db.rows(FOUND, material, find, find, find);
  id = named ? id : (found.filter((f) => f.n_defects <= 3).at(-1) ?? found.at(0))?.structure_id;
  const controls = h("div", { class: "controls" },
    choice("Material", materials, material, (m) => go({ material: m, id: "", find: "" })),
    field("Find: id, composition or descriptor", { type: "search", value: find }, (text) => go({ find: text, id: "", material })),
    found.length ? choice(`Structure (${found.length}${found.length === 200 ? ", the first" : ""})`, [...(found.some((f) => f.structure_id === id) ? [] : [{ value: id, text: id }]), ...found.map((f) => ({ value: f.structure_id, text: `${f.defect_labels} · ${f.structure_id}` }))], id, (s) => go({ id: s })) : null);
  if (!id) {
    page.append(h("h1", {}, "Structures"), controls, h("p", {}, `No structure of ${material} has "${find}" in its id, composition or descriptor.`));
    return;
  }
  const [[one], defects, values] = await Promise.all([db.rows(ONE, id), db.rows(DEFECTS, id), db.rows(VALUES, id)]);
  const [sites, model] = await Promise.all([db.rows(SITES, one.host_id), termsOf(db, one, defects)]);
  page.append(
    h("h1", {}, h("span", { class: "nowrap" }, one.defect_labels), ` in ${one.material_id}`),
    controls,
    h("p", {}, `${one.structure_id}, ${one.composition}, ${one.n_sites} sites, from ${one.dataset}${one.charge ? `, charge ${one.charge}` : ""}.`),
    h("div", { class: "two" }, viewer(sites, defects), plan(one, sites, defects)),
    model ? h("div", {}, waterfall(model, values, one), beyond(model, values, one)) : h("p", {}, "No active model of the formation energy predicts this structure."),
    ...(model ? [dataTable("Pairs", [
      { title: "pair", value: (p) => p.label, link: (p) => `#/kernel?${new URLSearchParams({ material: one.material_id, label: p.label })}` },
      { title: "defects", value: (p) => `${p.defect_i}, ${p.defect_j}` },
      { title: "distance (Å)", value: (p) => p.r.toFixed(3), numeric: true }, { title: "|Δz| (Å)", value: (p) => p.dz.toFixed(2), numeric: true },
      { title: "V (meV)", value: (p) => meV(p.value, 2), numeric: true },
    ], model.pairs)] : []),
    dataTable("Values", [
      { title: "target", value: (v) => v.target }, { title: "calculated", value: (v) => number(v.value, 6), numeric: true },
      { title: "predicted", value: (v) => number(v.predicted, 6), numeric: true }, { title: "unit", value: (v) => v.unit },
      { title: "extrapolated", value: (v) => (v.extrapolated ? "yes" : "") },
    ], values),
    dataTable("Defects", ["idx", "kind", "label", "layer", "x", "y", "z"].map((name) => ({ title: "xyz".includes(name) ? `${name} (Å)` : name, value: (d) => ("xyz".includes(name) ? d[name]?.toFixed(3) : d[name]), numeric: "xyz".includes(name) })), defects),
    sqlNote([[DEFECTS, id], [VALUES, id], ...(model?.queries ?? [])]),
  );
}

/** The host with its defects, to be turned; a sentence where the browser draws no 3D. */
function viewer(sites, defects) {
  const colours = palette();
  const gone = new Set(defects.map((d) => d.site_index));
  const box = h("div", { class: "viewer", tabindex: 0, role: "application", "aria-label": "Structure in 3D: arrow keys turn it, + and - change its size" });
  const element = h("section", { class: "card" }, h("h2", {}, "In 3D"), box, h("p", { class: "small" }, `${defects.map((d) => `${d.idx} ${d.label}`).join(", ")}. See-through spheres are vacancies. Drag or use the arrow keys to turn it.`));
  const draw = () => {
    try {
      const card = getComputedStyle(document.documentElement).getPropertyValue("--card").trim();
      const view = createViewer(box, { backgroundColor: card, antialias: true }); // on a clear canvas see-through spheres vanish
      const atoms = sites.filter((s) => !gone.has(s.site_index)).map((s) => `${s.element} ${s.x} ${s.y} ${s.z}`);
      view.addModel(`${atoms.length}\n\n${atoms.join("\n")}\n`, "xyz");
      view.setStyle({}, { sphere: { scale: 0.2, colorscheme: "Jmol" }, stick: { radius: 0.08, color: "#999999" } });
      const kinds = [...new Set(defects.map((d) => d.label))];
      for (const d of defects) {
        const color = colours[kinds.indexOf(d.label) % colours.length];
        const centre = { x: d.x, y: d.y, z: d.z };
        view.addSphere({ center: centre, radius: d.kind === "vacancy" ? 1.0 : 0.8, color, alpha: d.kind === "vacancy" ? 0.7 : 1 });
        view.addLabel(String(d.idx), { position: { ...centre, z: d.z + 1.2 }, alignment: "bottomCenter", fontSize: 16, fontColor: "white", backgroundColor: "black", backgroundOpacity: 0.8, inFront: true });
      }
      view.rotate(-50, "x");
      view.zoomTo();
      view.zoom(Math.min(1.25, box.clientWidth / 350)); // a narrow page shows the whole layer
      view.render();
      box.addEventListener("keydown", (event) => turn(view, event));
      box.dataset.drawn = "yes";
    } catch (error) {
      box.replaceWith(h("p", {}, `This browser draws no 3D (${error?.message ?? error}); the plan beside it shows the same.`));
    }
  };
  whenShown(box, draw);
  return element;
}

function turn(view, event) {
  const moves = { ArrowLeft: [-10, "y"], ArrowRight: [10, "y"], ArrowUp: [-10, "x"], ArrowDown: [10, "x"] };
  if (event.key in moves) view.rotate(...moves[event.key]);
  else if (event.key === "+" || event.key === "-") view.zoom(event.key === "+" ? 1.15 : 0.87);
  else return;
  event.preventDefault();
  view.render();
}

function whenShown(element, then) {
  new ResizeObserver(([entry], observer) => {
    if (entry.contentRect.width > 0) {
      observer.disconnect();
      then();
    }
  }).observe(element);
}

/** The layer from above: sites in grey, defects in colour. */
function plan(one, sites, defects) {
  const colours = palette();
  const kinds = [...new Set(defects.map((d) => d.label))];
  const corners = [[0, 0], [one.a_x, one.a_y], [one.a_x + one.b_x, one.a_y + one.b_y], [one.b_x, one.b_y], [0, 0]];
  return figure({ title: "From above", name: `plan-${one.structure_id}`, queries: [[SITES, one.host_id], [DEFECTS, one.structure_id]],
    legend: kinds.map((text, i) => ({ text, colour: colours[i % colours.length] })),
    draw: (width) => plot(width, { height: Math.min(420, width), aspectRatio: 1, grid: false, x: { label: "x (Å)" }, y: { label: "y (Å)" }, marks: [
      Plot.line(corners, { strokeOpacity: 0.4 }),
      Plot.dot(sites, { x: "x", y: "y", r: 2, fill: "currentColor", fillOpacity: 0.35 }),
      Plot.dot(defects, { x: "x", y: "y", r: 7, fill: (d) => colours[kinds.indexOf(d.label) % colours.length], stroke: "currentColor" }),
      Plot.text(defects, { x: "x", y: "y", text: (d) => String(d.idx), dy: -14, fontWeight: "bold" }),
    ] }) });
}

const side = (width) => Math.min(200, width * 0.42);

/** From nothing to the prediction: every term of the sum as a step, and the calculated value beside it. */
function waterfall(model, values, one) {
  const colours = palette();
  let total = 0;
  const steps = model.terms.map((term, i) => ({ ...term, i, from: total, to: (total += term.value) }));
  const dft = values.find((v) => v.target === "formation_energy");
  const end = { i: steps.length, name: "prediction", from: 0, to: total, value: total, whole: true };
  const all = [...steps, end];
  const low = Math.min(...all.map((s) => Math.min(s.from, s.to)), 0);
  const fill = (s) => (s.whole ? "currentColor" : s.value < 0 ? colours[0] : colours[1]);
  const chart = figure({ title: `Formation energy, term by term: ${total.toFixed(4)} eV${dft ? ` (calculated ${dft.value.toFixed(4)} eV)` : ""}`, name: `terms-${one.structure_id}`, queries: model.queries,
    legend: [{ text: "raises the energy", colour: colours[1] }, { text: "lowers it", colour: colours[0] }, ...(dft ? [{ text: "calculated", colour: colours[2], line: true }] : [])],
    draw: (width) => plot(width, { height: 70 + 24 * all.length, marginLeft: side(width), marginRight: 60, grid: false, x: { label: "eV", domain: [low, Math.max(...all.map((s) => Math.max(s.from, s.to)), dft?.value ?? 0)], nice: true, grid: true },
      y: { label: null, type: "band", domain: all.map((s) => s.i), tickFormat: (i) => fitting(all[i].name, side(width) - 14) }, marks: [
        Plot.barX(all, { y: "i", x1: "from", x2: "to", fill, fillOpacity: (s) => (s.whole ? 0.5 : 0.9), insetTop: 2, insetBottom: 2 }),
        dft ? Plot.ruleX([dft.value], { stroke: colours[2], strokeWidth: 2, strokeDasharray: "4 2" }) : null,
        Plot.text(all, { y: "i", x: (s) => Math.max(s.from, s.to), text: (s) => (Math.abs(s.value) < 0.5 ? `${meV(s.value)} meV` : `${s.value.toFixed(3)} eV`), dx: 4, textAnchor: "start", stroke: "var(--card)", strokeWidth: 4, fill: "currentColor" }),
      ] }) });
  chart.dataset.total = String(total);
  return chart;
}

/** The same in meV from the sum of the one-defect values on: what the defects are worth to each other. */
function beyond(model, values, one) {
  const colours = palette();
  const single = model.terms.filter((t) => t.single).reduce((sum, t) => sum + t.value, 0);
  const dft = values.find((v) => v.target === "formation_energy");
  let total = 0;
  const steps = model.terms.filter((t) => !t.single).map((t, i) => ({ ...t, i, from: total, to: (total += 1000 * t.value) }));
  if (steps.length === 0) return null;
  const found = dft ? 1000 * (dft.value - single) : null;
  const reach = [0, total, found ?? 0, ...steps.flatMap((s) => [s.from, s.to])];
  return figure({ title: `Beyond the single defects' ${single.toFixed(3)} eV: ${total.toFixed(1)} meV${dft ? ` (calculated ${found.toFixed(1)} meV)` : ""}`, name: `interaction-${one.structure_id}`, queries: model.queries,
    draw: (width) => plot(width, { height: 70 + 24 * steps.length, marginLeft: side(width), marginRight: 60, grid: false, x: { label: "meV", domain: [Math.min(...reach), Math.max(...reach)], nice: true, grid: true },
      y: { label: null, type: "band", domain: steps.map((s) => s.i), tickFormat: (i) => fitting(steps[i].name, side(width) - 14) }, marks: [
        Plot.barX(steps, { y: "i", x1: "from", x2: "to", fill: (s) => (s.value < 0 ? colours[0] : colours[1]), insetTop: 2, insetBottom: 2 }),
        Plot.ruleX([0]), dft ? Plot.ruleX([found], { stroke: colours[2], strokeWidth: 2, strokeDasharray: "4 2" }) : null,
        Plot.text(steps, { y: "i", x: (s) => Math.max(s.from, s.to), text: (s) => meV(s.value), dx: 4, textAnchor: "start", stroke: "var(--card)", strokeWidth: 4, fill: "currentColor" }),
      ] }) });
}

// A prediction taken apart: one-defect values, host offset, pairs, triangles and composition of one structure.
import { compiled } from "./formula.js";

const MODEL = `SELECT model_id, aggregator FROM models WHERE status = 'active' AND material_id = ? AND target = 'formation_energy'
  AND aggregator = 'sum' AND ? BETWEEN n_defects_min AND n_defects_max`;
const TERMS = `SELECT t."order" AS n, t.label, t.value, f.formula_id, CAST(f.ast AS VARCHAR) AS ast, f.constants, f.cutoff, f.images,
  f.dz_min, f.dz_max FROM model_terms AS t LEFT JOIN formulas AS f USING (formula_id) WHERE t.model_id = ? ORDER BY ALL`;
const PAIRS = `SELECT pair_id, defect_i, defect_j, label, distance AS r, dz FROM pairs WHERE structure_id = ? ORDER BY defect_i, defect_j`;
const IMAGES = "SELECT pair_id, distance AS r, dz FROM distances WHERE structure_id = ?";
const TRIPLES = "SELECT * FROM triples WHERE structure_id = ?";
const SELF = `SELECT sqrt(pow(o.image_a * h.a_x + o.image_b * h.b_x, 2) + pow(o.image_a * h.a_y + o.image_b * h.b_y, 2)) AS r
FROM structures AS s JOIN hosts AS h USING (host_id) JOIN datasets AS d USING (dataset_id) CROSS JOIN image_offsets AS o
WHERE s.structure_id = ? AND (o.image_a <> 0 OR o.image_b <> 0) AND r <= d.cutoff`;

/** Terms of the active model's sum {name, value} and the pairs with their values, eV; null where no model fits. */
export async function termsOf(db, one, defects) {
  const [model] = await db.rows(MODEL, one.material_id, one.n_defects);
  if (!model || one.charge) return null;
  const all = await db.rows(TERMS, model.model_id);
  const formulas = all.filter((t) => t.formula_id !== null).map((t) => ({ ...t, evaluate: compiled(t) }));
  const summed = formulas.some((f) => f.n === 2 && f.images === "sum");
  const id = one.structure_id;
  const [pairs, triples, images, self] = await Promise.all([
    db.rows(PAIRS, id),
    formulas.some((f) => f.n === 3) ? db.rows(TRIPLES, id) : [],
    summed ? db.rows(IMAGES, id) : [],
    summed ? db.rows(SELF, id) : [],
  ]);
  const valued = pairs.map((p) => ({ ...p, value: ofPair(p, all, formulas, images) }));
  const terms = [
    ...defects.map((d) => ({ name: d.label, single: true, value: ofDefect(d.label, all, formulas, self) })),
    ...offset(all, one.n_defects),
    ...valued.map((p) => ({ name: `${p.label} ${p.r.toFixed(2)} Å`, value: p.value })),
    ...triples.map((t) => ({ name: `${t.label}`, value: formulas.filter((f) => f.n === 3 && f.label === t.label).reduce((s, f) => s + f.evaluate(t), 0) })).filter((t) => t.value !== 0),
  ];
  const base = terms.reduce((sum, t) => sum + t.value, 0);
  const composed = formulas.filter((f) => f.n === 0);
  if (composed.length) terms.push({ name: "composition", value: ofComposition(composed, one, defects, base, valued, all) });
  if (terms.some((t) => !Number.isFinite(t.value))) return null;
  return { terms, pairs: valued, queries: [[MODEL, one.material_id, one.n_defects], [TERMS, model.model_id], [PAIRS, id]] };
}

function ofDefect(label, all, formulas, self) {
  const term = all.find((t) => t.n === 1 && t.label === label);
  if (!term) return NaN;
  const own = formulas.filter((f) => f.n === 2 && f.images === "sum" && f.label === `${label}-${label}` && f.dz_min <= 0);
  return term.value + own.reduce((sum, f) => sum + self.reduce((s, { r }) => s + f.evaluate({ r, dz: 0 }), 0) / 2, 0);
}

/** (n - 1) d: the error of the pristine energy, which n one-defect values carry n times and the structure once. */
function offset(all, n) {
  const d = all.filter((t) => t.n === 0 && t.value !== null).reduce((sum, t) => sum + t.value, 0);
  return n > 1 && d !== 0 ? [{ name: `host offset × ${n - 1}`, value: (n - 1) * d }] : [];
}

function ofPair(pair, all, formulas, images) {
  const mine = all.filter((t) => t.n === 2 && t.label === pair.label && pair.dz >= (t.dz_min ?? 0) && pair.dz < (t.dz_max ?? Infinity));
  if (mine.length === 0) return NaN;
  return mine.reduce((sum, term) => {
    if (term.formula_id === null) return sum + term.value;
    const { evaluate } = formulas.find((f) => f.formula_id === term.formula_id);
    const places = term.images === "sum" ? images.filter((i) => i.pair_id === pair.pair_id) : [pair];
    return sum + places.reduce((s, place) => s + evaluate(place), 0);
  }, 0);
}

function ofComposition(composed, one, defects, base, pairs, all) {
  const counts = Object.fromEntries(all.filter((t) => t.n === 1).map((t) => [`n_${t.label.toLowerCase()}`, 0]));
  for (const d of defects) counts[`n_${d.label.toLowerCase()}`] = (counts[`n_${d.label.toLowerCase()}`] ?? 0) + 1;
  const ones = defects.map((d) => all.find((t) => t.n === 1 && t.label === d.label)?.value);
  const every = [...ones, ...pairs.map((p) => p.value)];
  const env = new Proxy({ n: one.n_defects, sites: one.n_sites, v: base, least: Math.min(...every), most: Math.max(...every), ...counts }, { get: (o, k) => o[k] ?? (String(k).startsWith("n_") ? 0 : undefined), has: () => false });
  return composed.reduce((sum, f) => sum + f.evaluate(env), 0);
}

// Formulas: values from stored trees (nothing is evaluated as code), and mathematics on the page.
import katex from "katex";

const OPERATORS = {
  add: (x, y) => x + y,
  sub: (x, y) => x - y,
  mul: (x, y) => x * y,
  div: (x, y) => x / y,
  pow: (x, y) => Math.pow(x, y),
  neg: (x) => -x,
  inv: (x) => 1 / x,
  square: (x) => x * x,
  cube: (x) => x * x * x,
  sqrt: (x) => (x >= 0 ? Math.sqrt(x) : NaN),
  exp: Math.exp,
  log: (x) => (x > 0 ? Math.log(x) : NaN),
  sin: Math.sin,
  cos: Math.cos,
  tanh: Math.tanh,
  abs: Math.abs,
  damped: (x, y) => Math.exp(-x) * Math.cos(y),
};

/** A row of table formulas as a function of an object of variables; zero from its cutoff on. */
export function compiled(row) {
  const tree = node(JSON.parse(row.ast), Array.from(row.constants ?? []));
  if (row.cutoff === null || row.cutoff === undefined) return tree;
  return (env) => (reach(env) >= row.cutoff ? 0 : tree(env));
}

/** What a cutoff is compared with: a pair's distance, or the middle edge of a triangle. */
function reach(env) {
  return "r" in env ? env.r : [env.r12, env.r13, env.r23].sort((a, b) => a - b)[1];
}

function node(item, constants) {
  if (Array.isArray(item)) {
    const [name, ...args] = item;
    if (!Object.hasOwn(OPERATORS, name)) throw new Error(`unknown operator ${name}`);
    const apply = OPERATORS[name];
    const [x, y] = args.map((arg) => node(arg, constants));
    return y ? (env) => apply(x(env), y(env)) : (env) => apply(x(env));
  }
  if ("var" in item) return (env) => env[item.var] ?? NaN;
  if ("const" in item) return () => constants[item.const];
  if ("num" in item) return () => item.num;
  throw new Error(`no part of a formula: ${JSON.stringify(item)}`);
}

/** The formulas that nothing shorter is as accurate as, shortest first. */
export function front(rows) {
  const best = [];
  for (const row of [...rows].sort((a, b) => a.complexity - b.complexity || a.mae_train - b.mae_train)) {
    if (best.length === 0 || row.mae_train < best.at(-1).mae_train) best.push(row);
  }
  return best;
}

/** Show LaTeX mathematics in an element; texts of a database get no commands that reach out. */
export function typeset(element, latex) {
  // not as a display, which does not break lines
  katex.render(`\\displaystyle ${latex}`, element, { throwOnError: false, trust: false, maxExpand: 200 });
}

/** Laws of the field fitted to points {r, value} by least squares: name, function, mean absolute error (eV). */
export function fittedLaws(points) {
  const linear = (name, shape) => {
    const x = points.map((p) => shape(p.r));
    const a = sum(x.map((v, i) => v * points[i].value)) / sum(x.map((v) => v * v));
    const value = (r) => a * shape(r);
    const squares = sum(points.map((p) => (p.value - value(p.r)) ** 2));
    return { name, value, squares, mae: sum(points.map((p) => Math.abs(p.value - value(p.r)))) / points.length };
  };
  const screened = logspace(0.2, 20, 120).map((l) => linear(`A exp(−r/${l.toFixed(2)} Å)/r`, (r) => Math.exp(-r / l) / r));
  const decaying = logspace(0.2, 20, 120).map((l) => linear(`A exp(−r/${l.toFixed(2)} Å)`, (r) => Math.exp(-r / l)));
  const best = (laws) => laws.reduce((a, b) => (b.squares < a.squares ? b : a));
  return [linear("A/r", (r) => 1 / r), linear("A/r³", (r) => r ** -3), linear("A/r⁶", (r) => r ** -6), best(decaying), best(screened)];
}

const sum = (values) => values.reduce((a, b) => a + b, 0);
const logspace = (low, high, n) => Array.from({ length: n }, (_, i) => low * (high / low) ** (i / (n - 1)));

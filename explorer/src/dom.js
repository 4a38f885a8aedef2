// Elements, choices, tables and figures of the pages. All texts are set as text, never as HTML.
import * as Plot from "@observablehq/plot";
import { readable } from "./database.js";

/** An element with attributes (`on…` are listeners) and children. */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A labelled choice; `change` is called with the new value. */
export function choice(label, options, value, change) {
  const pairs = options.map((o) => (typeof o === "object" ? o : { value: o, text: String(o) }));
  const select = h("select", { onchange: (event) => change(event.target.value) });
  for (const o of pairs) select.append(h("option", { value: o.value, selected: String(o.value) === String(value) }, o.text));
  return h("label", { class: "choice" }, h("span", {}, label), select);
}

/** A labelled number or text field. */
export function field(label, attributes, change) {
  return h("label", { class: "choice" }, h("span", {}, label), h("input", { ...attributes, onchange: (e) => change(e.target.value) }));
}

/** An energy in meV; beyond 100 eV, as errors of formulas that break down are, no digits. */
export function meV(value, digits = 1) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "";
  return Math.abs(value) > 100 ? `${value < 0 ? "< −" : "> "}100 eV` : (1000 * value || 0).toFixed(digits).replace(/^-(0(\.0+)?)$/, "$1");
}

const WIDE = 8.4; // pixels of a character in a figure, at the most

/** A name cut to the characters that fit into a margin of so many pixels. */
export const fitting = (name, pixels) => (name.length > pixels / WIDE ? `${name.slice(0, Math.floor(pixels / WIDE) - 1)}…` : name);

export function number(value, digits = 4) {
  if (value === null || value === undefined) return "";
  return typeof value === "number" ? (Number.isInteger(value) ? String(value) : value.toPrecision(digits)) : String(value);
}

const LONG = 30; // characters of a text from which it may take several lines

/** A table that scrolls sideways by itself; columns are {title, value, link?}. */
export function dataTable(caption, columns, rows, shown = rows.length) {
  const body = rows.slice(0, shown).map((row) =>
    h("tr", {}, ...columns.map((c) => {
      const value = c.value(row);
      const cell = c.link ? h("a", { href: c.link(row) }, String(value ?? "")) : String(value ?? "");
      const kind = typeof value === "number" || c.numeric ? "number" : String(value ?? "").length > LONG ? "long" : null;
      return h("td", { class: kind }, cell);
    })),
  );
  if (rows.length === 0) body.push(h("tr", {}, h("td", { colspan: columns.length }, "none")));
  const numeric = (c) => c.numeric || (rows.length > 0 && typeof c.value(rows[0]) === "number");
  const head = h("tr", {}, ...columns.map((c) => h("th", { scope: "col", class: numeric(c) ? "number" : null }, c.title)));
  const table = h("table", {}, h("caption", {}, caption), h("thead", {}, head), h("tbody", {}, ...body));
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, table);
}

/** The SQL behind something, folded away, with a way to run it. */
export function sqlNote(queries) {
  const texts = queries.map(([sql, ...values]) => readable(sql, values).trim());
  return h("details", { class: "sql" }, h("summary", {}, "SQL"),
    ...texts.map((text) => h("div", {}, h("pre", { tabindex: 0 }, text), h("a", { href: `#/sql?q=${encodeURIComponent(text)}` }, "Run it"))));
}

/** A figure that follows the width of the page: `options(width)` for Observable Plot, or an SVG element. */
export function figure({ title, name, draw, queries, legend = [] }) {
  const place = h("div", { class: "plot" });
  const entries = legend.map((e) => h("span", {}, h("i", { style: `--c:${e.colour}`, class: e.line ? "line" : "dot" }), e.text));
  const element = h("figure", { class: "card", "data-figure": name },
    h("figcaption", {}, h("h2", {}, title), h("button", { type: "button", onclick: () => download(`${name}.svg`, svgText(place, title, legend), "image/svg+xml") }, "SVG")),
    legend.length ? h("div", { class: "legend" }, ...entries) : null, place, sqlNote(queries));
  let width = 0;
  const redraw = () => {
    const drawn = draw(width);
    drawn.setAttribute("role", "img");
    drawn.setAttribute("aria-label", title);
    place.replaceChildren(drawn);
  };
  new ResizeObserver(([entry]) => {
    const now = Math.floor(entry.contentRect.width);
    if (now > 0 && now !== width) {
      width = now;
      redraw();
    }
  }).observe(place);
  return element;
}

/** Observable Plot in the page's colours. */
export function plot(width, options) {
  return Plot.plot({
    width, height: Math.max(220, Math.min(420, width * 0.6)), marginTop: options.y?.label === null ? 12 : 34, marginLeft: 56, marginBottom: 40, grid: true,
    style: { background: "transparent", color: "inherit", fontSize: "13px", overflow: "visible" }, ...options,
  });
}

function svgText(place, title, legend) {
  const svg = place.querySelector("svg").cloneNode(true);
  const [width, height] = [Number(svg.getAttribute("width")), Number(svg.getAttribute("height"))];
  const space = 22 + 18 * legend.length;
  svg.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  svg.setAttribute("viewBox", `0 ${-space} ${width} ${height + space}`);
  svg.setAttribute("height", height + space);
  svg.setAttribute("style", "background:#fff;color:#111;--card:#fff;font:13px system-ui,sans-serif");
  const text = (content, x, y, weight = "normal") => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", "text");
    Object.entries({ x, y, fill: "#111", "font-size": 13, "font-weight": weight }).forEach(([k, v]) => element.setAttribute(k, v));
    element.textContent = content;
    svg.append(element);
  };
  text(title, 8, 14 - space, "bold");
  legend.forEach((entry, i) => {
    const dot = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    Object.entries({ x: 8, y: 24 - space + 18 * i, width: 10, height: 10, fill: entry.colour }).forEach(([k, v]) => dot.setAttribute(k, v));
    svg.append(dot);
    text(entry.text, 24, 33 - space + 18 * i);
  });
  return new XMLSerializer().serializeToString(svg);
}

export function download(name, text, type) {
  const link = h("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** Rows (arrays) as CSV; texts that a spreadsheet would run as a formula are marked as text. */
export function csv(columns, rows) {
  const cell = (value) => {
    if (value === null || value === undefined) return "";
    const raw = value instanceof Date ? value.toISOString() : String(value);
    const text = typeof value !== "number" && /^[=+\-@\t\r]/.test(raw) ? `'${raw}` : raw;
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [columns, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n";
}

/** The palette of Okabe and Ito, told apart with any colour vision, lighter on a dark page. */
export function palette() {
  const dark = getComputedStyle(document.documentElement).getPropertyValue("--dark").trim() === "1";
  return dark ? ["#56B4E9", "#E69F00", "#2BC79A", "#E29BC4", "#F0E442", "#D55E00"] : ["#0072B2", "#D55E00", "#007E5C", "#B5548F", "#8A6100", "#2F7FA8"];
}

export const SYMBOLS = ["circle", "square", "triangle", "diamond", "star", "wye"];

// Any query on the file: an editor, the documentation's examples, a table, and its download.
import { sql, PostgreSQL } from "@codemirror/lang-sql";
import { syntaxHighlighting } from "@codemirror/language";
import { Prec } from "@codemirror/state";
import { keymap } from "@codemirror/view";
import { classHighlighter } from "@lezer/highlight";
import { basicSetup, EditorView } from "codemirror";
import { csv, dataTable, download, h } from "../dom.js";

const EXAMPLES = __EXAMPLES__; // made of docs/sql.md when the explorer is built
const FIRST = "SELECT pair_label, target, infix, round(1000 * mae_cv, 2) AS mev\nFROM formulas WHERE status = 'active' ORDER BY ALL";
const MOST = 500;
const NAMES = "SELECT table_name AS name, list(column_name) AS columns FROM information_schema.columns WHERE table_schema = 'main' GROUP BY ALL";

export async function sqlPage(page, parameters, db) {
  const schema = Object.fromEntries((await db.rows(NAMES)).map((t) => [t.name, t.columns]));
  const result = h("div", { "aria-live": "polite" });
  const place = h("div", { class: "editor" });
  const run = () => show(result, db, editor.state.doc.toString());
  const editor = new EditorView({
    doc: parameters.q ?? FIRST, parent: place,
    extensions: [
      Prec.highest(keymap.of([{ key: "Mod-Enter", run: () => (run(), true) }])), basicSetup, sql({ dialect: PostgreSQL, schema }),
      syntaxHighlighting(classHighlighter), EditorView.lineWrapping, EditorView.contentAttributes.of({ "aria-label": "SQL query" }),
    ],
  });
  const write = (text) => editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: text } });
  const examples = h("select", { onchange: (event) => { if (event.target.value !== "") { write(EXAMPLES[event.target.value].sql); run(); } } },
    h("option", { value: "" }, "choose one"), ...EXAMPLES.map((e, i) => h("option", { value: i }, e.title)));
  page.append(
    h("h1", {}, "SQL"),
    h("p", {}, "DuckDB, in your browser, for reading. ", h("kbd", {}, "Ctrl"), "+", h("kbd", {}, "Enter"), " runs the query; ", h("kbd", {}, "Tab"), " leaves the editor."),
    h("div", { class: "controls" }, h("label", { class: "choice wide" }, h("span", {}, "Questions and their answers"), examples)),
    place, h("p", {}, h("button", { type: "button", id: "run", onclick: run }, "Run")), result,
  );
  await show(result, db, editor.state.doc.toString());
}

async function show(result, db, text) {
  const started = performance.now();
  try {
    const { columns, rows, count } = await db.table(text.trim().replace(/;\s*$/, ""), 100_000);
    const seconds = ((performance.now() - started) / 1000).toFixed(2);
    const about = `${count} ${count === 1 ? "row" : "rows"}, ${seconds} s${count > MOST ? `; the first ${MOST} are shown` : ""}`;
    const cell = (value) => (value instanceof Date ? value.toISOString() : typeof value === "number" ? Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(7))) : value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value));
    result.replaceChildren(
      dataTable(about, columns.map((title, i) => ({ title, value: (row) => cell(row[i]), numeric: typeof rows[0]?.[i] === "number" })), rows, MOST),
      h("button", { type: "button", onclick: () => download("result.csv", csv(columns, rows), "text/csv") }, "Download CSV"),
    );
  } catch (error) {
    result.replaceChildren(h("p", { class: "error", role: "alert" }, error.message));
  }
}

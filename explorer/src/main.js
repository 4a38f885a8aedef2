// The explorer: opens the database, knows the pages, and shows the one that the address names.
import "katex/dist/katex.css";
import "./style.css";
import { openDatabase } from "./database.js";
import { h } from "./dom.js";
import { kernelPage } from "./pages/kernel.js";
import { modelPage } from "./pages/model.js";
import { overviewPage } from "./pages/overview.js";
import { screeningPage } from "./pages/screening.js";

const PAGES = {
  overview: { title: "Overview", show: async () => overviewPage },
  kernel: { title: "Kernel", show: async () => kernelPage },
  model: { title: "Model", show: async () => modelPage },
  structure: { title: "Structure", show: async () => (await import("./pages/structure.js")).structurePage },
  screening: { title: "Screening", show: async () => screeningPage },
  sql: { title: "SQL", show: async () => (await import("./pages/sql.js")).sqlPage },
};

const main = document.getElementById("main");
let shown = 0;

/** The page and its parameters from an address such as #/kernel?label=Vac_Mo-Vac_S. */
function address() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  return { name: Object.hasOwn(PAGES, path) ? path : "overview", parameters: Object.fromEntries(new URLSearchParams(query)) };
}

async function show(db) {
  const turn = ++shown;
  const { name, parameters } = address();
  main.setAttribute("aria-busy", "true");
  document.title = `${PAGES[name].title} – defectdb`;
  for (const link of document.querySelectorAll("#pages a")) {
    link.toggleAttribute("aria-current", link.dataset.page === name);
    if (link.dataset.page === name) link.setAttribute("aria-current", "page");
  }
  const page = h("div", { class: "page", "data-page": name });
  const go = (changes) => {
    const next = new URLSearchParams({ ...parameters, ...changes });
    history.replaceState(null, "", `#/${name}?${next}`);
    show(db);
  };
  try {
    await (await PAGES[name].show())(page, parameters, db, go);
    page.dataset.ready = "yes";
  } catch (error) {
    page.replaceChildren(h("p", { class: "error", role: "alert" }, `This page could not be made: ${error.message}`));
    page.dataset.ready = "failed";
  }
  if (turn === shown) {
    const focus = focused();
    main.replaceChildren(page);
    page.dataset.address = location.hash;
    main.removeAttribute("aria-busy");
    refocus(focus);
  }
}

/** Which control had the keyboard before the page was drawn anew, by its label. */
const focused = () => document.activeElement?.closest?.("label")?.querySelector("span")?.textContent;

function refocus(label) {
  if (!label) return;
  for (const span of main.querySelectorAll("label > span")) {
    if (span.textContent === label) span.parentElement.querySelector("select, input")?.focus();
  }
}

function themeButton(db) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  document.getElementById("theme").addEventListener("click", () => {
    const now = document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
    document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
    show(db);
  });
  dark.addEventListener("change", () => show(db));
}

async function start() {
  const nav = document.getElementById("pages");
  nav.append(...Object.entries(PAGES).map(([name, page]) => h("a", { href: `#/${name}`, "data-page": name }, page.title)));
  const waiting = document.getElementById("waiting");
  const say = (text) => (waiting.textContent = text);
  try {
    const db = await openDatabase("defects.duckdb", say);
    const [about] = await db.rows("SELECT max(version) AS schema FROM schema_migrations");
    const foot = document.getElementById("foot");
    foot.append(`Schema ${about.schema}. Energies in eV, lengths in Å. `, h("a", { href: "defects.duckdb", download: true }, "Download the database"), " · ", h("a", { href: "LICENCES.txt" }, "Licences"));
    themeButton(db);
    window.addEventListener("hashchange", () => show(db).then(() => main.focus({ preventScroll: true })));
    await show(db);
  } catch (error) {
    waiting.className = "error";
    say(`The database could not be opened: ${error.message}`);
  }
}

start();

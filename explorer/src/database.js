// The DuckDB file, opened for reading in the browser: queries to plain objects, each asked once.
import * as duckdb from "@duckdb/duckdb-wasm";

const WHOLE = 64e6; // bytes up to which the file is fetched whole; larger ones are read in parts

/** Fetch and open the file at `url`; `say` hears what is going on. */
export async function openDatabase(url, say) {
  const address = (name) => new URL(name, document.baseURI).href;
  const db = new duckdb.AsyncDuckDB(new duckdb.VoidLogger(), new Worker(address("duckdb-browser-eh.worker.js")));
  say("Loading DuckDB …");
  const [, bytes] = await Promise.all([db.instantiate(address("duckdb-eh.wasm")), fetchFile(address(url))]);
  if (bytes === null) {
    await db.registerFileURL("site.duckdb", address(url), duckdb.DuckDBDataProtocol.HTTP, false);
  } else {
    await db.registerFileBuffer("site.duckdb", bytes);
  }
  await db.open({
    path: "site.duckdb",
    accessMode: duckdb.DuckDBAccessMode.READ_ONLY,
    query: { castBigIntToDouble: true, castDecimalToDouble: true, castTimestampToDate: true },
  });
  const connection = await db.connect();
  await connection.query("SET autoinstall_known_extensions = false");
  await connection.query("SET autoload_known_extensions = false");
  return new Reader(connection);
}

/** The file's bytes, or null where it is so large that parts of it are better. */
async function fetchFile(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${answer.statusText}`);
  if (Number(answer.headers.get("content-length")) > WHOLE && answer.headers.get("accept-ranges") === "bytes") {
    await answer.body.cancel();
    return null;
  }
  return new Uint8Array(await answer.arrayBuffer());
}

class Reader {
  #connection;
  #known = new Map();

  constructor(connection) {
    this.#connection = connection;
  }

  /** Rows of a query as objects; values are bound to `?`. The file does not change, so answers are kept. */
  rows(sql, ...values) {
    const key = JSON.stringify([sql, values]);
    if (!this.#known.has(key)) {
      const asked = this.#ask(sql, values).then((table) => table.toArray().map(plainRow));
      asked.catch(() => this.#known.delete(key));
      this.#known.set(key, asked);
    }
    return this.#known.get(key);
  }

  /** Columns and at most `limit` rows of any query. */
  async table(sql, limit) {
    const table = await this.#ask(sql, []);
    return {
      columns: table.schema.fields.map((field) => field.name),
      rows: table.slice(0, limit).toArray().map((row) => table.schema.fields.map((_, i) => plain(row.toArray()[i]))),
      count: table.numRows,
    };
  }

  async #ask(sql, values) {
    if (values.length === 0) return this.#connection.query(sql);
    const statement = await this.#connection.prepare(sql);
    try {
      return await statement.query(...values);
    } finally {
      await statement.close();
    }
  }
}

function plainRow(row) {
  return Object.fromEntries(Object.entries(row.toJSON()).map(([name, value]) => [name, plain(value)]));
}

/** Arrow's values as JavaScript's. */
function plain(value) {
  if (typeof value === "bigint") return Number(value);
  if (value === null || typeof value !== "object" || value instanceof Date) return value;
  if (typeof value.toArray === "function") return Array.from(value.toArray(), plain);
  if (typeof value.toJSON === "function") return value.toJSON();
  return ArrayBuffer.isView(value) ? Array.from(value, plain) : value;
}

/** The query with its values written into it, to be read and to be run elsewhere. */
export function readable(sql, values) {
  let next = 0;
  return sql.replace(/\?/g, () => literal(values[next++]));
}

function literal(value) {
  return typeof value === "number" ? String(value) : value === null ? "NULL" : `'${String(value).replaceAll("'", "''")}'`;
}

const MODELLED = "SELECT material_id AS material FROM formulas WHERE status = 'active' GROUP BY ALL ORDER BY count(*) DESC, 1";

/** The material to begin with: of these the one with most formulas in use, else the first. */
export async function modelled(db, materials) {
  const known = (await db.rows(MODELLED)).map((m) => m.material);
  return known.find((material) => materials.includes(material)) ?? materials[0];
}

"""Beyond one machine: readers during a learn, merging, parts of enumerations, views over many pairs, executors, ingest.

Sizes are multiplied by $DEFECTDB_CLUSTER_SCALE (default 1); $DEFECTDB_CLUSTER names the parts to run, joined by commas
(readers, merge, enumerate, views, executor, ingest, kills; default: all). Processor times do not hang
on what else runs. $DEFECTDB_FAULTS_SECONDS limits the kills.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.fault_jobs import ended, forked
from defectdb.cli import run

QUICK = ("--generations", "0", "--population", "64", "--max-tokens", "5", "--time-limit", "20")
SCALE = float(os.environ.get("DEFECTDB_CLUSTER_SCALE", "1"))


def main() -> None:
    """Print a line for every figure."""
    parts: dict[str, Callable[[Path], None]] = {
        "readers": readers, "merge": merging, "enumerate": placements, "views": views, "executor": executors,
        "ingest": ingesting, "kills": killing,
    }  # fmt: skip
    chosen = os.environ.get("DEFECTDB_CLUSTER", ",".join(parts)).split(",")
    with tempfile.TemporaryDirectory(prefix="cluster") as folder:
        base = Path(folder)
        _checked(lambda: _prepare(base), base / "log")
        for name in chosen:
            parts[name](base)


def _checked(action: Callable[[], object], log: Path) -> None:
    """Run in a process of its own. Raises RuntimeError with its last words where it fails."""
    if ended(forked(action, log)):
        raise RuntimeError(log.read_text()[-2000:])


def _measured(action: Callable[[], object], log: Path) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and the largest memory (MiB) of an action in a process of its own."""
    report = log.with_suffix(".measured")

    def measured() -> int:
        begin = time.monotonic()
        code = int(action() or 0)  # type: ignore[call-overload]
        own = resource.getrusage(resource.RUSAGE_SELF)
        seconds = own.ru_utime + own.ru_stime
        report.write_text(f"{time.monotonic() - begin} {seconds} {own.ru_maxrss / 1024}")
        return code

    _checked(measured, log)
    wall, processor, memory = map(float, report.read_text().split())
    return wall, processor, memory


def _prepare(base: Path) -> int:
    from defectdb.demo.archive import write_archive

    write_archive(base / "first.zip", cell=4, triples=60)
    code = run(["--db", str(base / "one.duckdb"), "ingest", str(base / "first.zip")])
    return code or run(["--db", str(base / "one.duckdb"), "learn", "--all-pairs", "--workers", "1", *QUICK])


def multiplied(source: Path, path: Path, structures: int, name: str) -> None:
    """A database with so many structures more, copies under other ids of those in ``source``, as data set ``name``."""
    import shutil

    from defectdb.db import open_database

    shutil.copyfile(source, path)
    with open_database(path) as db, db.transaction():
        n = db.value("SELECT count(*) FROM structures")
        times = max(1, round(structures / n))
        db.execute(
            "CREATE TEMP TABLE copies AS SELECT CAST(range + 1 AS INTEGER) AS k FROM range(?)", [times]
        )
        db.execute(
            "INSERT INTO datasets SELECT * REPLACE (? AS dataset_id, ? AS name, ? AS n_structures) "
            "FROM datasets LIMIT 1",
            [name, name, n * times],
        )
        numbered = {"structure_key": "structures", "defect_id": "defects", "pair_id": "pairs"}
        most = {column: db.value(f"SELECT max({column}) FROM {table}") for column, table in numbered.items()}
        for table in ("structures", "defects", "pairs", "targets"):
            columns = db.columns(table)
            new = [f"'{name}-' || k || '-' || t.structure_id AS structure_id"]
            new += ["'" + name + "' AS dataset_id"] if "dataset_id" in columns else []
            new += [
                f"CAST(t.{column} + k * {number} AS {_kind(db, table, column)}) AS {column}"
                for column, number in most.items()
                if column in columns
            ]
            db.execute(f"INSERT INTO {table} SELECT t.* REPLACE ({', '.join(new)}) FROM {table} AS t, copies")
        db.execute("DROP TABLE copies")


def _kind(db: object, table: str, column: str) -> str:
    return str(db.value("SELECT type FROM pragma_table_info(?) WHERE name = ?", [table, column]))  # type: ignore[attr-defined]


def readers(base: Path) -> None:
    """A hundred reads while kernels are searched."""
    from defectdb.db import open_database
    from defectdb.errors import DatabaseError

    command = ["--db", str(base / "one.duckdb"), "learn", "--all-pairs", "--workers", "1", "--generations", "2",
               "--population", "256", "--max-tokens", "9", "--time-limit", "20"]  # fmt: skip
    learner = forked(lambda: run(command), base / "learner.log")
    tried = refused = 0
    slowest = 0.0
    while tried < 100 and os.waitpid(learner, os.WNOHANG) == (0, 0):
        begin = time.monotonic()
        try:
            with open_database(base / "one.duckdb", read_only=True) as db:
                db.value("SELECT count(*) FROM predictions")
        except DatabaseError:
            refused += 1
        slowest = max(slowest, time.monotonic() - begin)
        tried += 1
        time.sleep(0.05)
    if tried == 100:
        os.kill(learner, 15)
        ended(learner)
    print(
        f"readers during a learn: {tried - refused} of {tried} succeeded, the slowest waited {slowest:.2f} s",
        flush=True,
    )


def merging(base: Path) -> None:
    """Twenty files of 5,000 structures joined."""
    size = round(5000 * SCALE)
    files = [base / f"part-{k}.duckdb" for k in range(20)]
    for k, file in enumerate(files):
        _checked(lambda file=file, k=k: multiplied(base / "one.duckdb", file, size, f"set{k}"), base / "log")  # type: ignore[misc]
    command = ["merge", *map(str, files), "-o", str(base / "merged.duckdb")]
    wall, processor, memory = _measured(lambda: run(command), base / "merge")
    print(
        f"merge 20 files of {size} structures: {wall:.1f} s ({processor:.1f} s of processor), {memory:.0f} MiB",
        flush=True,
    )


def placements(base: Path) -> None:
    """One part of many of a list of 1.28e9 (4.5e6 where sizes are smaller)."""
    part, cell, vacancies = ("17/50", "8x8", (4, 2)) if SCALE >= 1 else ("3/8", "6x6", (3, 2))
    boron, nitrogen = vacancies
    defects = ",".join(["Vac_B"] * boron + ["Vac_N"] * nitrogen)
    command = ["--db", str(base / "one.duckdb"), "enumerate", "--material", "BN_tb", "--defects", defects,
               "--target", "formation_energy", "--every", "--part", part, "--supercell", cell,
               "-o", str(base / "part.parquet")]  # fmt: skip
    wall, processor, memory = _measured(lambda: run(command), base / "enumerate")
    import pyarrow.parquet as pq

    rows = pq.read_metadata(base / "part.parquet").num_rows
    (base / "part.parquet").unlink()
    print(
        f"enumerate part {part}: {rows} placements in {wall:.1f} s, {rows / processor:.3g} per second of processor, "
        f"{memory:.0f} MiB",
        flush=True,
    )


def views(base: Path) -> None:
    """View predictions over more and more pairs."""
    from defectdb.db import open_database

    for millions in (1, 3, 10):
        path = base / f"pairs-{millions}.duckdb"
        with open_database(base / "one.duckdb", read_only=True) as db:
            per_structure = db.value(
                "SELECT (SELECT count(*) FROM pairs) / (SELECT count(*) FROM structures)"
            )
        wanted = round(millions * 1e6 * SCALE / per_structure)
        _checked(lambda p=path, w=wanted: multiplied(base / "one.duckdb", p, w, "many"), base / "log")  # type: ignore[misc]
        query = ["--db", str(path), "sql", "SELECT count(*), sum(value) FROM predictions", "--json"]
        wall, processor, memory = _measured(lambda q=query: run(q), base / "views")  # type: ignore[misc]
        with open_database(path, read_only=True) as db:
            pairs = db.value("SELECT count(*) FROM pairs")
        print(
            f"predictions over {pairs} pairs: {wall:.2f} s ({processor:.2f} s of processor), {memory:.0f} MiB",
            flush=True,
        )
        path.unlink()


def executors(base: Path) -> None:
    """Kernels of ten seconds in the plain pool and in jobs of this machine."""
    times = {}
    common = ["--db", str(base / "one.duckdb"), "learn", "--all-pairs", "--workers", "2", "--generations", "100000",
              "--time-limit", "10", "--islands", "4"]  # fmt: skip
    for name, more in (("pool", ()), ("jobs", ("--executor", "local"))):
        times[name] = _measured(lambda m=more: run([*common, *m]), base / name)[0]  # type: ignore[misc]
    share = times["jobs"] / times["pool"] - 1
    print(
        f"kernels of 10 s: pool {times['pool']:.1f} s, jobs {times['jobs']:.1f} s: {share:+.1%}", flush=True
    )


def ingesting(base: Path) -> None:
    """Folders of more and more generated MoS2 structures."""
    from benchmarks.bench_ingest import DATA, write_folder

    if not (DATA / "elements.csv").exists():
        print(f"ingest skipped: the shared data are absent ({DATA})", flush=True)
        return
    each = []
    for structures in (round(20_000 * SCALE), round(200_000 * SCALE)):
        source = base / f"many-{structures}"
        _checked(lambda s=source, n=structures: write_folder(s, n), base / "log")  # type: ignore[misc]
        command = ["--db", str(base / f"many-{structures}.duckdb"), "ingest", str(source)]
        wall, processor, memory = _measured(lambda c=command: run(c), base / "ingest")  # type: ignore[misc]
        each.append(processor / structures)
        print(
            f"ingest of {structures} structures: {wall:.1f} s, {1e6 * processor / structures:.0f} us of processor "
            f"each, {memory:.0f} MiB",
            flush=True,
        )
    print(f"of the larger each costs {each[1] / each[0]:.2f} times one of the smaller", flush=True)


def killing(base: Path) -> None:
    """Tasks and submitting processes ended by chance, disks that fill up, wrong versions and clocks.

    In a process whose sets have the order that algebra is given, since it is forked here.
    """
    source = base / "ingested.duckdb"
    _checked(lambda: run(["--db", str(source), "ingest", str(base / "first.zip")]), base / "log")
    rounds, seconds = max(1, round(5 * SCALE)), os.environ.get("DEFECTDB_FAULTS_SECONDS", "inf")
    command = [sys.executable, "-m", "benchmarks.cluster_kills", str(base), str(rounds), seconds]
    subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "0"}, check=True)

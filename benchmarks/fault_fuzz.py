"""Nonsense for the grammars that people write in: labels, filters of `select`, predicates of --where."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.fault_jobs import ended, forked

PIECES = ("Vac_B", "Vac_N", "V_B", "C_N", "-", "^-1", "^", "+2", "_", "Int_", "Ad_Li", " ", "=", "<", ">", "<=", ",",
          "gap", "n_defects", "1e9", "2.5", "(", ")", "'", '"', ";", "--", "/*", "\\", "\0", "é", "\udcff", "AND",
          "distance", "dz", "SELECT", "NULL", "x" * 50, "[", "]", "{", "$v0", "?", "%", "1")  # fmt: skip


def fuzz(database: Path, count: int) -> None:
    """One line per grammar, each in a process of its own."""
    print(
        f"\n{'grammar':<32} {'texts':>9} {'accepted':>9} {'foreign':>9} {'over 10 s':>9} {'MiB':>9}",
        flush=True,
    )
    for name in ("labels", "select", "--where"):
        report = database.parent / "fuzz.txt"
        code = ended(
            forked(
                lambda name=name, report=report: _fuzz(database, name, count, report),
                database.parent / "fuzz.log",
            )
        )  # type: ignore[misc]
        print(report.read_text() if code == 0 else f"{name}: the process ended with {code}", flush=True)


def _fuzz(database: Path, name: str, count: int, report: Path) -> None:
    import resource

    from defectdb.db import open_database
    from defectdb.errors import DefectDBError

    source = random.Random(name)
    accepted = slow = 0
    foreign: list[str] = []
    with open_database(database, read_only=True) as db:
        ask = _asked(db, name)
        for _ in range(count):
            text = "".join(source.choices(PIECES, k=source.randint(1, 8)))
            started = time.monotonic()
            try:
                ask(text)
                accepted += 1
            except DefectDBError:
                pass
            except Exception as error:
                foreign.append(f"{text!a}: {type(error).__name__}")
            slow += time.monotonic() - started > 10
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    line = f"{name:<32} {count:>9} {accepted:>9} {len(foreign):>9} {slow:>9} {memory:>9}"
    report.write_text("\n".join([line, *foreign[:3]]))


def _asked(db: object, name: str) -> Callable[[str], object]:
    from defectdb.db import Database
    from defectdb.db.read import read_label
    from defectdb.learn.select import rows_where
    from defectdb.query.select import select

    assert isinstance(db, Database)
    if name == "labels":
        return lambda text: read_label(db, text)
    if name == "select":
        return lambda text: select(db, text)
    sql = "SELECT count(*) FROM pair_energies WHERE (\n{}\n)"
    return lambda text: rows_where(db, sql.format(text), text, "pair_energies")

"""The tight-binding model's speed, and what formulas learned in one supercell are worth in a larger one."""

from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from defectdb.db import open_database
from defectdb.demo.archive import BASE, write_archive
from defectdb.demo.dataset import compute
from defectdb.ingest import load
from defectdb.learn import LearnConfig, learn_pairs

GENERATIONS = int(os.environ.get("DEFECTDB_BENCH_GENERATIONS", "3"))
"""Rounds of the search; $DEFECTDB_BENCH_GENERATIONS."""

ERRORS = """
    SELECT 1000 * avg(abs(error)) FILTER (n_defects = 2) AS two,
        1000 * avg(abs(error)) FILTER (n_defects = 3) AS three,
        1000 * avg(abs(error)) FILTER (descriptor = 'CC') AS donors,
        1000 * max(abs(error)) FILTER (descriptor = 'CC') AS worst
    FROM prediction_errors WHERE target = 'formation_energy_per_site' AND host_id = ?
"""


def speed() -> None:
    """Print structures per second for two supercells."""
    print(f"{'supercell':>10} {'orbitals':>9} {'structures':>11} {'seconds':>8} {'per second':>11}")
    for cell in (6, 8):
        started = time.perf_counter()
        count = sum(len(structures.sites) for structures in compute(cell=cell, triples=40, seed=0))
        seconds = time.perf_counter() - started
        print(
            f"{f'{cell}x{cell}x1':>10} {2 * cell**2:>9} {count:>11} {seconds:>8.2f} {count / seconds:>11.0f}"
        )


def transfer(small: int, large: int, images: str, folder: Path) -> None:
    """Print the errors per site [meV] in both cells of kernels that saw the small one alone."""
    config = LearnConfig(images=images, generations=GENERATIONS, exhaustive_size=7)  # type: ignore[arg-type]
    with open_database(folder / f"{small}-{large}-{images}.duckdb", create=True) as db:
        load(db, [folder / f"{small}.zip"])
        started = time.perf_counter()
        learn_pairs(db, config)
        seconds = time.perf_counter() - started
        load(db, [folder / f"{large}.zip"])
        for cell in (small, large):
            row = db.frame(ERRORS, [f"{BASE}-{cell}x{cell}x1"]).row(0)
            print(
                f"{small:>8} {cell:>8} {images:>8} "
                + " ".join(f"{x:>9.3f}" for x in row)
                + f" {seconds:>8.1f}"
            )


def main() -> None:
    """Print both tables."""
    speed()
    print(f"\nerrors per site [meV], {GENERATIONS} generations; C_B pairs: mean and worst")
    print(
        f"{'learned':>8} {'tested':>8} {'images':>8} {'2 defects':>9} {'3 defects':>9} {'C_B-C_B':>9} {'worst':>9} "
        f"{'seconds':>8}"
    )
    with TemporaryDirectory() as name:
        folder = Path(name)
        for cell in (6, 8, 10):
            write_archive(folder / f"{cell}.zip", cell=cell)
        for small, large in ((6, 8), (8, 10)):
            for images in ("nearest", "sum"):
                transfer(small, large, images, folder)


if __name__ == "__main__":
    main()

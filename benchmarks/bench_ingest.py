"""How fast archives become committed rows, pairs included, and how memory and file grow with their size."""

from __future__ import annotations

import gzip
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

DATA = Path(os.environ.get("DEFECTDB_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
REAL = DATA / "2dmd-train.zip"
SIZES = (5_000, 20_000, 100_000)
CELLS = 8
HEAD = """data_x
_cell_length_a 25.5225256
_cell_length_b 25.5225256
_cell_length_c 14.879004
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
loop_
_atom_site_type_symbol
_atom_site_label
_atom_site_symmetry_multiplicity
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""
UNIT_CELL = {"Mo": [(1 / 3, 2 / 3, 0.25)], "S": [(2 / 3, 1 / 3, 0.144826), (2 / 3, 1 / 3, 0.355174)]}
KINDS = {"Mo": (None, "W"), "S": (None, "Se")}
LOAD = """
import resource, sys, time
from pathlib import Path
from defectdb.db import open_database
from defectdb.ingest import load
began = time.perf_counter()
with open_database(sys.argv[2], create=True) as db:
    reports = load(db, [Path(sys.argv[1])])
    seconds, work = time.perf_counter() - began, time.process_time()
    pairs = db.value("SELECT count(*) FROM pairs")
    images = time.perf_counter()
    n_images = db.value("SELECT count(*) FROM (SELECT max(distance) FROM distances GROUP BY pair_id)")
    images = time.perf_counter() - images
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(sum(r.loaded for r in reports), sum(r.n_rejected for r in reports), pairs, seconds, work, memory, images)
"""


def sites() -> list[tuple[str, str]]:
    """Element and coordinate text of every site of the MoS2 supercell."""
    return [
        (element, f"{(x + i) / CELLS:.8f}  {(y + j) / CELLS:.8f}  {z:.8f}")
        for element, places in UNIT_CELL.items()
        for x, y, z in places
        for i in range(CELLS)
        for j in range(CELLS)
    ]


def structures(count: int) -> Iterator[tuple[str, str, bytes]]:
    """Id, composition and CIF of random structures with one to three defects."""
    draw, host = random.Random(1), sites()
    lines = [f"  {e}  {e}{k}  1  {place}  1.0\n" for k, (e, place) in enumerate(host)]
    for number in range(count):
        own, names = list(lines), []
        for site in draw.sample(range(len(host)), 1 + number % 3):
            element, place = host[site]
            after = draw.choice(KINDS[element])
            own[site] = f"  {after}  {after}{site}  1  {place}  1.0\n" if after else ""
            names.append(f"{element}:{after or ''}")
        yield f"{number:024x}", ",".join(sorted(names)), (HEAD + "".join(own)).encode()


def write_folder(folder: Path, count: int) -> None:
    """An unpacked dataset in the 2DMD layout."""
    root = folder / "low_density_defects" / "MoS2"
    (root / "unit_cells").mkdir(parents=True)
    for name in ("elements.csv", "initial_structures.csv"):
        (root / name).write_bytes((DATA / name).read_bytes())
    (root / "unit_cells" / "MoS2.cif").write_bytes((DATA / "unit_cells" / "MoS2.cif").read_bytes())
    rows, kinds = ["_id,descriptor_id,energy,homo,lumo\n"], {}
    with tarfile.open(root / "initial.tar.gz", "w:gz", compresslevel=1) as archive:
        for name, composition, text in structures(count):
            info = tarfile.TarInfo(f"{name}.cif")
            info.size = len(text)
            archive.addfile(info, BytesIO(text))
            rows.append(f"{name},{kinds.setdefault(composition, len(kinds))},-1390.5,-0.5,0.75\n")
    (root / "defects.csv.gz").write_bytes(gzip.compress("".join(rows).encode(), compresslevel=1))
    entries = [f'{k},d{k},MoS2,"[8, 8, 1]",x,"{_literal(c)}"\n' for c, k in kinds.items()]
    (root / "descriptors.csv").write_text("_id,description,base,cell,pbc,defects\n" + "".join(entries))


def _literal(composition: str) -> str:
    changes = [change.split(":") for change in composition.split(",")]
    return str([{"type": "substitution", "from": b, "to": a} if a else {"type": "vacancy", "element": b}
                for b, a in changes])  # fmt: skip


def measure(source: Path, folder: Path) -> str:
    """One row of the table: a fresh process loads the source into a new file."""
    database = folder / f"{source.stem}.duckdb"
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(source), str(database)], capture_output=True, text=True, check=True
    )
    loaded, rejected, pairs, seconds, work, memory, images = (float(word) for word in done.stdout.split())
    size = database.stat().st_size / loaded
    return (
        f"{source.stem:>24} {loaded:>10.0f} {rejected:>8.0f} {pairs:>9.0f} {seconds:>8.2f} {work:>7.2f} "
        f"{loaded / seconds:>9.0f} {memory:>7.2f} {size:>11.0f} {images:>8.3f}"
    )


def main() -> None:
    """Print seconds, rate, peak memory and file size for the real archive and for generated ones."""
    if not REAL.exists():
        print(f"skipped: the shared data are absent ({DATA})")
        return
    print(f"{'source':>24} {'structures':>10} {'rejects':>8} {'pairs':>9} {'seconds':>8} {'cpu s':>7} {'per s':>9} "
          f"{'GiB':>7} {'bytes/struct':>11} {'images s':>8}")  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(measure(REAL, folder), flush=True)
        for count in SIZES:
            began = time.perf_counter()
            source = folder / f"generated-{count}"
            write_folder(source, count)
            made = time.perf_counter() - began
            print(f"{measure(source, folder)}   (made in {made:.0f} s)", flush=True)


if __name__ == "__main__":
    main()

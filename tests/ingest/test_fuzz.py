"""Over 2,000 mutated inputs to all readers: success or an error of ours, and never half a dataset."""

from __future__ import annotations

import gzip
import json
import zipfile

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.builders import cif, crystal, make_archive, tarred
from support.mutations import KINDS, TOKENS, mutate
from support.vasp_files import outcar, poscar, vasprun

from defectdb.db import MEMORY, open_database
from defectdb.db.write import remove_dataset
from defectdb.errors import DefectDBError
from defectdb.ingest import Options, load
from defectdb.ingest.forces.load_configurations import frame_of_file
from defectdb.ingest.readers import ase as ase_files
from defectdb.ingest.readers import mapped, pymatgen_json, structures, vasp
from defectdb.ingest.readers.entries import Entry
from defectdb.ingest.records import Reject
from defectdb.ingest.references import read_references

QUIET = {
    "deadline": None,
    "suppress_health_check": [
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
}


@st.composite
def mutations(draw):
    """A few edits, each a place (0 to 1), a length, and what to do there."""
    kinds = st.sampled_from(KINDS)
    edit = st.tuples(
        kinds, st.floats(0, 1), st.integers(1, 40), st.sampled_from(TOKENS), st.binary(max_size=8)
    )
    return draw(st.lists(edit, min_size=1, max_size=4))


@pytest.fixture(scope="module")
def small():
    host = crystal("BN", (2, 2, 1))
    return ["C", *host.elements[1:-1]], host.frac[:-1], host.lattice


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def nothing(result: object) -> list[Entry]:
    """No entries: the reader has returned."""
    return []


def takes(entries) -> None:
    """Everything a reader gives is an entry or a reject, or it raises an error of ours."""
    try:
        found = list(entries())
    except DefectDBError:
        return
    assert all(isinstance(item, Entry | Reject) for item in found)
    for item in found:
        if isinstance(item, Entry):
            assert np.isfinite(item.atoms.frac).all()
            assert np.isfinite(item.atoms.lattice).all()
            assert len(item.atoms.numbers) == len(item.atoms.frac)


@given(edits=mutations())
@settings(max_examples=800, **QUIET)
def test_cif_files(edits, small, place):
    host = crystal("BN", (2, 2, 1))
    path = place / "x.cif"
    path.write_bytes(mutate(cif(host, [(0, "B", "C")]), edits))
    takes(lambda: structures.read([path]))


@given(edits=mutations())
@settings(max_examples=400, **QUIET)
def test_poscar_files(edits, small, place):
    _, frac, lattice = small
    rows = "\n".join(" ".join(f"{x:.6f}" for x in row) for row in frac)
    vectors = "\n".join(" ".join(f"{x:.6f}" for x in row) for row in lattice)
    text = f"x\n1.0\n{vectors}\nC B N\n1 3 3\nSelective dynamics\nDirect\n{rows}\n"
    path = place / "x.vasp"
    path.write_bytes(mutate(text.encode(), edits))
    takes(lambda: structures.read([path]))


@given(edits=mutations())
@settings(max_examples=400, **QUIET)
def test_json_files(edits, place, small):
    elements, frac, lattice = small
    sites = [
        {"species": [{"element": e, "occu": 1}], "abc": list(f)} for e, f in zip(elements, frac, strict=True)
    ]
    entry = {
        "entry_id": "a",
        "energy": -1.5,
        "structure": {"lattice": {"matrix": lattice.tolist()}, "sites": sites},
    }
    path = place / "x.json"
    path.write_bytes(mutate(json.dumps([entry, entry]).encode(), edits))
    takes(lambda: pymatgen_json.read([path]))


@given(edits=mutations(), parquet=st.booleans())
@settings(max_examples=250, **QUIET)
def test_mapped_tables(edits, parquet, place):
    import io

    import polars as pl

    text = cif(crystal("BN", (1, 1, 1)), []).decode()
    frame = pl.DataFrame({"id": ["a", "b"], "text": [text, text], "E": [-1.0, -2.0]})
    out = io.BytesIO()
    frame.write_parquet(out) if parquet else frame.write_csv(out)
    path = place / ("x.parquet" if parquet else "x.csv")
    path.write_bytes(mutate(out.getvalue(), edits))
    mapping = mapped.Mapping(targets={"energy": "E"}, id="id", cif="text")
    takes(lambda: mapped.read([path], mapping))


@given(edits=mutations())
@settings(max_examples=120, **QUIET)
def test_toml_files(edits, place):
    text = b'id = "a"\nfile = "b"\n[targets]\nenergy = "E"\n'
    path = place / "x.toml"
    path.write_bytes(mutate(text, edits))
    takes(lambda: nothing(mapped.read_mapping(path)))
    energies = b'[potentials]\nMo = -1.0\n[[pristine]]\nmaterial = "BN"\nsupercell = "5x5x1"\nenergy = -4.5\n'
    path.write_bytes(mutate(energies, edits))
    takes(lambda: nothing(read_references([], path)))


@given(edits=mutations())
@settings(max_examples=100, **QUIET)
def test_extended_xyz_files(edits, place, small):
    elements, frac, lattice = small
    path = place / "x.extxyz"
    ase.io.write(path, [Atoms(elements, scaled_positions=frac, cell=lattice, info={"energy": -1.0})] * 2)
    path.write_bytes(mutate(path.read_bytes(), edits))
    takes(lambda: ase_files.read([path]))


@given(edits=mutations())
@settings(max_examples=100, **QUIET)
def test_configurations_with_forces(edits, place, small):
    elements, frac, lattice = small
    path = place / "f.extxyz"
    atoms = Atoms(elements, scaled_positions=frac, cell=lattice, pbc=True, info={"energy": -1.0})
    atoms.arrays["forces"] = np.full((len(elements), 3), 0.125)
    ase.io.write(path, [atoms] * 2, format="extxyz")
    path.write_bytes(mutate(path.read_bytes(), edits))
    takes(lambda: nothing(frame_of_file(path)))


@pytest.fixture(scope="module")
def database_bytes(place, small):
    elements, frac, lattice = small
    with ase.db.connect(place / "seed.db") as connection:
        for _ in range(3):
            connection.write(Atoms(elements, scaled_positions=frac, cell=lattice), homo=-1.0)
    return (place / "seed.db").read_bytes()


@given(edits=mutations())
@settings(max_examples=80, **QUIET)
def test_ase_databases(edits, place, database_bytes):
    path = place / "x.db"
    path.write_bytes(mutate(database_bytes, edits))
    takes(lambda: ase_files.read([path]))


@given(edits=mutations())
@settings(max_examples=120, **QUIET)
def test_vasp_runs(edits, place, small):
    elements, frac, lattice = small
    text = vasprun(elements, frac, lattice, energy=-3.0, spins=[[(-1.0, 1.0), (1.0, 0.0)]])
    path = place / "vasprun.xml"
    path.write_bytes(mutate(text.encode(), edits))
    takes(lambda: vasp.read([path]))


@given(edits=mutations(), structure=st.booleans())
@settings(max_examples=100, **QUIET)
def test_vasp_runs_without_vasprun(edits, structure, place, small):
    folder = place / "outcar"
    folder.mkdir(exist_ok=True)
    texts = {
        "OUTCAR": outcar([-3.0], [[(-1.0, 2.0), (1.0, 0.0)]]).encode(),
        "POSCAR": poscar(*small).encode(),
    }
    mutated = "POSCAR" if structure else "OUTCAR"
    for name, text in texts.items():
        (folder / name).write_bytes(mutate(text, edits) if name == mutated else text)
    takes(lambda: vasp.read([folder]))


@pytest.fixture(scope="module")
def db():
    with open_database(MEMORY) as database:
        yield database


@pytest.fixture(scope="module")
def seed():
    return make_archive("BN", structures=4, size=(4, 4, 1))


@given(edits=mutations(), member=st.integers(0, 5), compressed=st.booleans())
@settings(max_examples=70, **QUIET)
def test_members_of_archives_load_wholly_or_not_at_all(edits, member, compressed, place, seed, db):
    """The mutation hits one member, before or after its own compression."""
    members = dict(seed.members)
    name = sorted(members)[member % len(members)]
    data = members[name]
    if name.endswith(".gz") and not compressed:
        members[name] = gzip.compress(mutate(gzip.decompress(data), edits), mtime=0)
    else:
        members[name] = mutate(data, edits)
    path = place / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for key, value in (members | {"initial.tar.gz": tarred(seed.cifs)}).items():
            archive.writestr(f"{seed.root}/{key}", value)
    loads_wholly_or_not_at_all(db, path)


@given(edits=mutations())
@settings(max_examples=40, **QUIET)
def test_zip_files_load_wholly_or_not_at_all(edits, place, seed, db):
    path = seed.write(place / "y.zip")
    path.write_bytes(mutate(path.read_bytes(), edits))
    loads_wholly_or_not_at_all(db, path)


@given(edits=mutations())
@settings(max_examples=40, **QUIET)
def test_tar_members_load_wholly_or_not_at_all(edits, place, seed, db):
    path = place / "z.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for key, value in seed.members.items():
            archive.writestr(f"{seed.root}/{key}", value)
        tar = gzip.decompress(tarred(seed.cifs))
        archive.writestr(f"{seed.root}/initial.tar.gz", gzip.compress(mutate(tar, edits), compresslevel=1))
    loads_wholly_or_not_at_all(db, path)


def loads_wholly_or_not_at_all(db, path) -> None:
    """What the reports say is what the tables hold; then all of it is removed again."""
    reports = []
    try:
        reports = load(db, [path], options=Options())
    except DefectDBError:
        assert db.value("SELECT count(*) FROM datasets") == 0
    assert db.value("SELECT count(*) FROM structures") == sum(r.loaded for r in reports)
    assert db.value("SELECT count(*) FROM rejects") == sum(r.n_rejected for r in reports)
    for report in reports:
        remove_dataset(db, report.dataset_id)

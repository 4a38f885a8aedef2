"""Damaged, hostile and inconsistent sources: a clear error and the database as before, or a reject."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile

import pytest
from support.builders import build_archive, cif, make_archive, tarred

from defectdb.cli import run
from defectdb.db import MEMORY, open_database
from defectdb.errors import InputDataError, UnknownNameError
from defectdb.ingest import load

TABLES = ("datasets", "structures", "defects", "pairs", "targets", "rejects", "hosts", "materials")


@pytest.fixture
def db():
    with open_database(MEMORY) as database:
        yield database


def refuses(db, path, match):
    """Loading raises this, and no table holds anything."""
    with pytest.raises(InputDataError, match=match):
        load(db, [path])
    assert {table: db.value(f"SELECT count(*) FROM {table}") for table in TABLES} == dict.fromkeys(TABLES, 0)


def reasons(db, path, **options):
    """Rejects by reason, and how many structures went in."""
    [report] = load(db, [path], **options)
    assert db.value("SELECT count(*) FROM structures") == report.loaded
    assert db.value("SELECT count(*) FROM rejects") == report.n_rejected
    return report.rejected, report.loaded


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95, 0.999])
def test_a_truncated_zip_is_refused(db, tmp_path, share):
    path = tmp_path / "a.zip"
    build_archive(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refuses(db, path, r"a\.zip: damaged or truncated|a\.zip: is in no format")


def test_a_truncated_tar_within_the_zip_names_file_and_member(db, tmp_path):
    archive = make_archive(structures=6)
    path = archive.write(tmp_path / "folder")
    tar = path / archive.root / "initial.tar.gz"
    tar.write_bytes(tar.read_bytes()[:-4000])
    refuses(db, path, r"low_density_defects/MoS2/initial\.tar\.gz: damaged or truncated")


def test_a_damaged_csv_names_file_and_member(db, tmp_path):
    archive = make_archive()
    archive.members["targets.csv.gz"] = archive.members["targets.csv.gz"][:60]
    refuses(
        db, archive.write(tmp_path / "a.zip"), r"a\.zip: low_density_defects/MoS2/targets\.csv\.gz: damaged"
    )


@pytest.mark.parametrize("name", ["../evil.cif", "/etc/evil.cif", "a/../../evil.cif", "C:\\evil.cif"])
def test_a_zip_member_that_leads_out_of_the_archive_is_refused(db, tmp_path, name):
    path = make_archive().write(tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    refuses(db, path, "leads out of the archive")


@pytest.mark.parametrize("name", ["../evil.cif", "/etc/evil.cif"])
def test_a_tar_member_that_leads_out_of_the_archive_is_refused(db, tmp_path, name):
    archive = make_archive()
    archive.cifs[name] = b"data_x"
    refuses(db, archive.write(tmp_path / "a.zip"), r"initial|evil")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_special_files_in_the_tar_are_refused(db, tmp_path, kind):
    archive = make_archive()
    path = archive.write(tmp_path / "folder")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        info = tarfile.TarInfo("x.cif")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    (path / archive.root / "initial.tar.gz").write_bytes(out.getvalue())
    refuses(db, path, "is a link or a special file")


def test_a_link_in_the_zip_is_refused(db, tmp_path):
    path = make_archive().write(tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    refuses(db, path, "link: is a link or a special file")


def test_a_link_out_of_a_folder_is_refused(db, tmp_path):
    archive = make_archive()
    path = archive.write(tmp_path / "folder")
    secret = tmp_path / "secret.csv"
    secret.write_text("x")
    (path / "evil.csv").symlink_to(secret)
    refuses(db, path, "leads out of the folder")


def test_a_bomb_in_a_table_is_refused_before_it_fills_the_memory(db, tmp_path):
    archive = make_archive()
    archive.members["targets.csv.gz"] = gzip.compress(b"0" * (300 << 20), compresslevel=9)
    refuses(
        db, archive.write(tmp_path / "folder"), "expands more than .*-fold; refused as a decompression bomb"
    )


def test_a_bomb_among_the_structures_is_refused(db, tmp_path):
    archive = make_archive()
    archive.cifs["big.cif"] = b" " * (17 << 20)
    refuses(db, archive.write(tmp_path / "a.zip"), r"big\.cif: expands beyond 16,777,216 bytes")


@pytest.mark.parametrize(
    ("member", "column"),
    [
        ("defects.csv.gz", "_id"),
        ("targets.csv.gz", "descriptor_id"),
        ("descriptors.csv", "base"),
        ("descriptors.csv", "defects"),
        ("elements.csv", "chemical_potential"),
        ("initial_structures.csv", "energy"),
    ],
)
def test_a_missing_column_is_named_with_file_and_member(db, tmp_path, member, column):
    archive = make_archive()
    packed = member.endswith(".gz")
    text = gzip.decompress(archive.members[member]) if packed else archive.members[member]
    head, _, rest = text.partition(b"\n")
    renamed = b",".join(b"other" if c.decode() == column else c for c in head.split(b",")) + b"\n" + rest
    archive.members[member] = gzip.compress(renamed) if packed else renamed
    refuses(db, archive.write(tmp_path / "a.zip"), rf"a\.zip: .*{member}: lacks the column {column}; it has ")


def test_code_in_the_descriptors_is_not_run(db, tmp_path):
    archive = make_archive()
    trap = tmp_path / "trap"
    head = b"_id,description,base,cell,pbc,defects\n"
    code = f"__import__('pathlib').Path('{trap}').touch()"
    archive.members["descriptors.csv"] = head + f'd0000,V1,MoS2,"[8, 8, 1]",x,"{code}"\n'.encode()
    refuses(
        db,
        archive.write(tmp_path / "a.zip"),
        r"descriptors\.csv line 2: column 'defects' is no list of defects",
    )
    assert not trap.exists()


def test_structures_of_an_unknown_host_are_rejects(db, tmp_path):
    archive = make_archive(structures=5)
    archive.members.pop("unit_cells/MoS2.cif")
    rejected, loaded = reasons(db, archive.write(tmp_path / "a.zip"))
    assert (rejected, loaded) == ({"unknown host": 5}, 0)


def test_a_broken_structure_file_is_a_reject_and_the_rest_loads(db, tmp_path):
    archive = make_archive(structures=8)
    names = list(archive.cifs)
    archive.cifs[names[1]] = b"this is no CIF"
    archive.cifs[names[2]] = archive.cifs[names[2]].replace(b" 0.", b" zero.", 1)
    archive.cifs[names[3]] = (
        archive.cifs[names[3]].replace(b"Mo Mo0", b"Xx Mo0").replace(b"_cell_length_a", b"_cell")
    )
    archive.cifs[names[4]] = b""
    assert reasons(db, archive.write(tmp_path / "a.zip")) == ({"broken structure file": 4}, 4)
    row = db.frame("SELECT source_path, detail FROM rejects WHERE source_path LIKE ?", [f"%{names[1]}"])
    assert row.height == 1
    assert "no CIF" in row["detail"][0]


def test_two_rows_or_files_of_the_same_id_keep_the_first(db, tmp_path):
    archive = make_archive(structures=6)
    for member in ("targets.csv.gz", "defects.csv.gz"):
        text = gzip.decompress(archive.members[member])
        archive.members[member] = gzip.compress(text + text.strip().split(b"\n")[-1] + b"\n")
    rejected, loaded = reasons(db, archive.write(tmp_path / "a.zip"))
    assert (rejected, loaded) == ({"duplicate id": 2}, 6)


def test_two_files_of_the_same_id_keep_the_first(db, tmp_path):
    archive = make_archive(structures=4)
    archive.cifs |= {f"again/{name}": data for name, data in list(archive.cifs.items())[:1]}
    assert reasons(db, archive.write(tmp_path / "a.zip")) == ({"duplicate id": 1}, 4)


def test_a_row_without_a_file_and_a_file_without_a_row_are_rejects(db, tmp_path):
    archive = make_archive(structures=6)
    first = next(iter(archive.cifs))
    archive.cifs["stranger.cif"] = archive.cifs.pop(first)
    assert reasons(db, archive.write(tmp_path / "a.zip")) == ({"no row": 1, "no structure file": 1}, 5)


def test_a_value_that_is_no_number_is_a_reject_with_its_line(db, tmp_path):
    archive = make_archive(structures=6)
    lines = gzip.decompress(archive.members["targets.csv.gz"]).split(b"\n")
    cells = lines[3].split(b",")
    cells[2] = b"-13.9.8"
    lines[3] = b",".join(cells)
    archive.members["targets.csv.gz"] = gzip.compress(b"\n".join(lines))
    assert reasons(db, archive.write(tmp_path / "a.zip")) == ({"bad number": 1}, 5)
    assert db.value('SELECT "row" FROM rejects') == 4


def test_a_value_that_is_nan_is_left_out_with_a_note(db, tmp_path):
    archive = make_archive(structures=6)
    lines = gzip.decompress(archive.members["targets.csv.gz"]).split(b"\n")
    column = lines[0].split(b",").index(b"energy")
    cells = lines[3].split(b",")
    cells[column] = b"NaN"
    lines[3] = b",".join(cells)
    archive.members["targets.csv.gz"] = gzip.compress(b"\n".join(lines))
    [report] = load(db, [archive.write(tmp_path / "a.zip")])
    assert report.loaded == 6
    assert [(note.structure_id.encode(), note.text) for note in report.notes] == [
        (cells[0], "numbers left out: energy is NaN")
    ]


def test_another_composition_than_the_descriptor_declares_is_a_reject(db, tmp_path):
    archive = make_archive(structures=6)
    names = list(archive.cifs)
    archive.cifs[names[0]], archive.cifs[names[1]] = archive.cifs[names[1]], archive.cifs[names[0]]
    assert reasons(db, archive.write(tmp_path / "a.zip")) == ({"other composition than declared": 2}, 4)


def test_a_cell_that_is_not_the_host_s_is_a_reject(db, tmp_path):
    archive = make_archive(structures=4)
    name = next(iter(archive.cifs))
    archive.cifs[name] = archive.cifs[name].replace(b"_cell_length_a 25", b"_cell_length_a 27")
    assert reasons(db, archive.write(tmp_path / "a.zip")) == ({"does not fit the host": 1}, 3)


def test_atoms_far_off_the_sites_are_a_reject(db, tmp_path):
    archive = make_archive(structures=4)
    name, text = next(iter(archive.cifs.items()))
    line = next(row for row in text.split(b"\n") if row.startswith(b"Mo "))
    moved = line.split()
    moved[3] = b"%.8f" % (float(moved[3]) + 1.2 / 25.52)
    archive.cifs[name] = text.replace(line, b" ".join(moved))
    assert reasons(db, archive.write(tmp_path / "a.zip")) == ({"displaced too far": 1}, 3)


def test_an_id_of_another_dataset_with_other_content_is_a_reject(db, tmp_path):
    first = make_archive(structures=5, seed=1)
    second = make_archive(structures=5, seed=1)
    text = gzip.decompress(second.members["targets.csv.gz"]).replace(b"-13", b"-14", 1)
    second.members["targets.csv.gz"] = gzip.compress(text)
    load(db, [first.write(tmp_path / "a.zip")], name="first")
    [report] = load(db, [second.write(tmp_path / "b.zip")], name="second")
    assert report.rejected["id in another dataset"] >= 1
    assert db.value("SELECT count(*) FROM structures") == 5


def test_strict_turns_any_reject_into_an_error_and_loads_nothing(db, tmp_path):
    archive = make_archive(structures=6)
    archive.cifs[next(iter(archive.cifs))] = b"broken"
    path = archive.write(tmp_path / "a.zip")
    with pytest.raises(
        InputDataError, match=r"1 reject; nothing was loaded\. The first: broken structure file"
    ):
        load(db, [path], strict=True)
    assert db.value("SELECT count(*) FROM structures") == 0


@pytest.fixture
def two(tmp_path):
    """A sound dataset, and one with a broken structure."""
    broken = make_archive("P", structures=3, prefix="p")
    broken.cifs[next(iter(broken.cifs))] = b"broken"
    paths = [tmp_path / "sound.zip", tmp_path / "broken.zip"]
    make_archive(structures=3).write(paths[0])
    broken.write(paths[1])
    return paths


def test_strict_loads_no_dataset_if_another_has_a_reject(db, two):
    with pytest.raises(InputDataError, match="1 reject; nothing was loaded"):
        load(db, two, strict=True)
    assert db.value("SELECT count(*) FROM datasets") == 0


def test_an_error_says_which_datasets_were_stored_before_it(db, two):
    two[1].write_bytes(two[1].read_bytes()[:-400])
    with pytest.raises(InputDataError, match=r"damaged or truncated.*stored before it: 2dmd-low-MoS2"):
        load(db, two)
    assert db.value("SELECT count(*) FROM structures") == 3


def test_a_dry_run_knows_the_hosts_of_the_sources_before(db, tmp_path):
    archive = make_archive(structures=3)
    archive.write(tmp_path / "a.zip")
    name, text = next(iter(archive.cifs.items()))
    (tmp_path / f"own_{name}").write_bytes(text)
    reports = load(db, [tmp_path / "a.zip", tmp_path / f"own_{name}"], dry_run=True)
    assert [(r.loaded, r.n_rejected) for r in reports] == [(3, 0), (1, 0)]


def test_an_unknown_format_lists_the_known_ones(db, tmp_path):
    with pytest.raises(UnknownNameError, match=r"unknown format 'yaml'.*2dmd"):
        load(db, [tmp_path], format="yaml")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", b"\x00" * 1000])
def test_files_that_are_nothing_are_refused(db, tmp_path, content):
    path = tmp_path / "thing.zip"
    path.write_bytes(content)
    refuses(db, path, r"thing\.zip")
    refuses(db, tmp_path / "absent.zip", "there is no such file or folder")
    refuses(db, tmp_path, r"holds thing\.zip: such files are read where they are given by name")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "notes.txt").write_bytes(content)
    refuses(db, tmp_path / "more", "is in no format that is known")


def test_the_command_line_returns_3_for_bad_data_and_leaves_the_database_as_it_was(tmp_path, capfd):
    path, database = tmp_path / "a.zip", tmp_path / "d.duckdb"
    archive = build_archive(path, structures=5)
    assert run(["--db", str(database), "ingest", str(path)]) == 0
    path.write_bytes(path.read_bytes()[:-300])
    assert run(["--db", str(database), "ingest", str(path)]) == 3
    assert "damaged or truncated" in capfd.readouterr().err
    with open_database(database, read_only=True) as db:
        assert db.value("SELECT count(*) FROM structures") == len(archive.structures)


def test_partial_occupancy_is_a_reject(db, tmp_path):
    archive = make_archive(structures=3)
    name, text = next(iter(archive.cifs.items()))
    first = next(line for line in text.split(b"\n") if line.startswith(b"Mo "))
    archive.cifs[name] = text.replace(first, first[:-1] + b"0.5")
    assert reasons(db, archive.write(tmp_path / "a.zip")) == ({"broken structure file": 1}, 2)


def test_an_empty_tar_loads_nothing_and_rejects_every_row(db, tmp_path):
    archive = make_archive(structures=3)
    archive.cifs = {}
    assert reasons(db, archive.write(tmp_path / "a.zip")) == ({"no structure file": 3}, 0)
    assert tarred({}) != b""
    assert cif(archive.crystal, []).startswith(b"# built")

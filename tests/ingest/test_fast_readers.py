"""The quick readers of CIF rows and tar members against gemmi and tarfile, on sound and on mutated files."""

from __future__ import annotations

import gzip
import io
import tarfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.builders import cif, crystal

from defectdb.errors import InputDataError
from defectdb.ingest.archives.containers import ZipContainer
from defectdb.ingest.archives.tars import tar_members
from defectdb.ingest.readers.cif import Atoms, StructureFileError, parse_cif
from defectdb.ingest.readers.cif_lines import CifReader

HOST = crystal("BN", (3, 3, 1))
TOKENS = [b"loop_\n", b"data_x\n", b"?", b"'", b'"', b"#", b";", b"\n;", b"\r\n", b"\n", b" ", b"\t", b"\x0b", b"_x",
          b"(2)", b"nan", b"1e9", b"\xc3\xa9", b" C ", b"-", b"_atom_site_", b"x,y,-z"]  # fmt: skip


def outcome(read, text) -> Atoms | str:
    try:
        return read(text)
    except StructureFileError as cause:
        return str(cause)


def alike(one, other) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return all(np.array_equal(getattr(one, k), getattr(other, k)) for k in ("lattice", "numbers", "frac"))


@given(
    defects=st.lists(
        st.lists(st.tuples(st.integers(0, 17), st.sampled_from([None, "C", "O"])), max_size=3),
        min_size=1,
        max_size=6,
    ),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), st.sampled_from(TOKENS)), max_size=2),
)
@settings(max_examples=300, deadline=None)
def test_rows_read_once_give_the_atoms_that_gemmi_gives(defects, edits):
    reader = CifReader()
    for sites in defects:
        text = cif(HOST, [(site, "", after) for site, after in sites])
        assert alike(reader.parse(text), parse_cif(text))
        for where, length, token in edits:
            at = int(where * len(text))
            text = text[:at] + token + text[at + length :]
        assert alike(outcome(reader.parse, text), outcome(parse_cif, text))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"x, y, z'\n", b"x, y, z'\n2 '-x, -y, -z'\n"),
        (b"_atom_site_occupancy\n", b"_atom_site_occupancy\n_atom_site_calc_flag\n"),
        (b"_atom_site_fract_x\n", b"_atom_site_fract_y\n"),
        (b" 1\nB B1", b"\n1 B B1"),
        (b" 1\nB B1", b" 0.5\nB B1"),
        (b"\n", b"\r\n"),
        (b"_atom_site_type_symbol\n", b"_my_tag\n _atom_site_type_symbol\n"),
        (b"data_", b"data_other\n_cell_length_a 3\ndata_"),
        (b"_cell_length_a", b"_cell_length_q"),
    ],
)
def test_heads_and_columns_of_all_kinds_are_told_apart(old, new):
    text, reader = cif(HOST, [(0, "B", None)]), CifReader()
    assert alike(reader.parse(text), parse_cif(text))
    other = text.replace(old, new)
    for changed in (other, text, other):
        assert alike(outcome(reader.parse, changed), outcome(parse_cif, changed))


def test_rows_that_never_come_again_are_not_remembered():
    reader, draw = CifReader(), np.random.default_rng(0)
    for _ in range(600):
        text = cif(HOST, [], shift=tuple(draw.uniform(0, 0.1, 3)))
        assert alike(reader.parse(text), parse_cif(text))
    [rows] = reader._rows.values()
    assert len(rows.index) < 5000


def archive(folder, members) -> ZipContainer:
    """A container with one tar of (name, content) or TarInfos."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            tar.addfile(info, io.BytesIO(content))
    return packed(folder, out.getvalue())


def packed(folder, data: bytes) -> ZipContainer:
    import zipfile

    with zipfile.ZipFile(folder / "x.zip", "w") as target:
        target.writestr("a.tar.gz", gzip.compress(data, compresslevel=1))
    return ZipContainer(folder / "x.zip")


def test_members_behind_long_names_folders_and_odd_sizes_are_all_read(tmp_path):
    members = [("a.cif", b"1"), ("d/", b""), ("d/b.cif", b"x" * 512), ("l" * 150 + ".cif", b"y" * 513), ("é.cif", b""),
               ("z.cif", b"z" * 1000)]  # fmt: skip
    found = list(tar_members(archive(tmp_path, members), "a.tar.gz"))
    assert found == [(name, content) for name, content in members if not name.endswith("/")]


@given(where=st.floats(0, 1), noise=st.binary(min_size=1, max_size=12), cut=st.booleans())
@settings(max_examples=150, deadline=None)
def test_damaged_archives_give_what_tarfile_gives(tmp_path_factory, where, noise, cut):
    folder = tmp_path_factory.mktemp("tar")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for k in range(3):
            info = tarfile.TarInfo(f"{k}.cif")
            info.size = 700
            tar.addfile(info, io.BytesIO(bytes([65 + k]) * 700))
    data = out.getvalue()[:6144]
    at = int(where * len(data))
    data = data[:at] if cut else data[:at] + noise + data[at + len(noise) :]
    try:
        found = list(tar_members(packed(folder, data), "a.tar.gz"))
    except InputDataError:
        found = None
    assert found == by_tarfile(data)


def by_tarfile(data: bytes):
    """All plain files; None for an archive that is damaged or holds a link, a long way up or too much."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r|") as tar:
            entries = [(e, tar.extractfile(e).read() if e.isreg() else None) for e in tar if not e.isdir()]
    except tarfile.TarError:
        return None
    names = [e.name for e, _ in entries]
    if any(content is None for _, content in entries) or any(n.startswith("/") or ".." in n for n in names):
        return None
    return [(e.name, content) for e, content in entries]

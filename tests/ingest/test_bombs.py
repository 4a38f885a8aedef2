"""Archives that unpack to far more than they hold are refused before memory is spent on them."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from defectdb.errors import InputDataError
from defectdb.ingest.archives.containers import FREE_BYTES, ZipContainer, read_member
from defectdb.ingest.archives.tars import tar_members

BIG = FREE_BYTES + (8 << 20)


def zeros_packed_twice(total: int) -> bytes:
    """A gzip file of zeros, packed so well that packing it again makes next to nothing of it."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as stream:
        for _ in range(total >> 20):
            stream.write(bytes(1 << 20))
    return out.getvalue()


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_member_that_declares_more_than_its_archive_can_hold_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("t.csv", "w") as member:
        for _ in range(BIG >> 20):
            member.write(bytes(1 << 20))
    with pytest.raises(InputDataError, match="100 times its size; refused as a decompression bomb"):
        ZipContainer(path)


def test_gzip_within_zip_is_measured_against_what_the_zip_holds(tmp_path: Path) -> None:
    path = zipped(tmp_path / "bomb.zip", **{"t.csv.gz": zeros_packed_twice(BIG)})
    container = ZipContainer(path)
    with pytest.raises(InputDataError, match=r"t.csv.gz: expands more than 100-fold"):
        read_member(container, "t.csv.gz")
    container.close()


def test_a_tar_of_many_small_files_is_measured_as_a_whole(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=9) as archive:
        for number in range(20):
            info = tarfile.TarInfo(f"{number}.cif")
            info.size = 4 << 20
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    container = ZipContainer(zipped(tmp_path / "bomb.zip", **{"initial.tar.gz": out.getvalue()}))
    with pytest.raises(InputDataError, match=r"initial.tar.gz: expands more than 100-fold"):
        for _ in tar_members(container, "initial.tar.gz"):
            pass
    container.close()


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "overlap.zip", a=b"x" * 100)
    with zipfile.ZipFile(path, "a") as archive:
        [info] = archive.infolist()
        for number in range(50):
            again = zipfile.ZipInfo(f"copy{number}")
            again.header_offset, again.CRC = info.header_offset, info.CRC
            again.compress_size, again.file_size, again.compress_type = 1000, 100, info.compress_type
            archive.filelist.append(again)
            archive.NameToInfo[again.filename] = again
        archive._didModify = True
    with pytest.raises(InputDataError, match="its members overlap"):
        ZipContainer(path)


def test_an_ordinary_archive_of_repetitive_text_is_read(tmp_path: Path) -> None:
    text = b"".join(f"{n},{n * 7919 % 1000003},some text\n".encode() for n in range(100_000))
    container = ZipContainer(zipped(tmp_path / "a.zip", **{"t.csv.gz": gzip.compress(text), "u.csv": text}))
    assert read_member(container, "t.csv.gz") == read_member(container, "u.csv") == text
    container.close()

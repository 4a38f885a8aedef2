"""Read the files of a tar archive as a stream: nothing is unpacked to disk."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import IO, cast

from defectdb.errors import InputDataError
from defectdb.ingest.archives.containers import (
    MAX_MEMBERS,
    MAX_STRUCTURE_BYTES,
    MAX_TOTAL_BYTES,
    Container,
    check_growth,
    check_name,
    reading,
)

_BLOCK = tarfile.BLOCKSIZE
_BLANKS = b" " * 8  # stand for the checksum while it is formed


def tar_members(container: Container, name: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every plain file in a tar(.gz) member.

    Raises InputDataError for a damaged archive, a name that leads out of it, a link, or a member too big.
    """
    for count, (inner, content) in enumerate(_plain_files(container, name)):
        if content is None:
            yield from islice(_any_files(container, name), count, None)
            return
        yield inner, content


@contextmanager
def _stream(container: Container, name: str) -> Iterator[IO[bytes]]:
    """The archive's bytes, unpacked."""
    with reading(container.uri, name), container.open(name) as raw:
        yield cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if name.endswith("gz") else raw


class _Bounds:
    """What has come out of an archive so far, held against what may."""

    def __init__(self, container: Container, name: str) -> None:
        self._path, self._name, self._packed = container.uri, name, container.size(name)
        self._count = self._total = 0

    def check(self, inner: str, size: int) -> None:
        """Take one more file of this name and size into account. Raises InputDataError."""
        member = f"{self._name}/{inner}"
        check_name(inner, self._path)
        self._count += 1
        self._total += size + _BLOCK
        check_growth(size, size, MAX_STRUCTURE_BYTES, self._path, member)
        check_growth(self._total, self._packed, MAX_TOTAL_BYTES, self._path, self._name)
        if self._count > MAX_MEMBERS:
            raise InputDataError(f"is one of more than {MAX_MEMBERS}", path=self._path, member=member)


def _plain_files(container: Container, name: str) -> Iterator[tuple[str, bytes | None]]:
    """The files as long as their headers are plain, a third of tarfile's time; then None for the rest."""
    bounds = _Bounds(container, name)
    with _stream(container, name) as stream:
        while (header := stream.read(_BLOCK)) != bytes(_BLOCK):
            plain = _plain_header(header)
            if plain is None:
                break
            inner, size = plain
            bounds.check(inner, size)
            content = stream.read(size + -size % _BLOCK)
            if len(content) < size:
                break
            yield inner, content[:size]
        else:
            return
    yield "", None


def _plain_header(header: bytes) -> tuple[str, int] | None:
    """Name and size of a file whose header says nothing else; None for anything unusual or damaged."""
    name, size, total = (
        header[:100].rstrip(b"\0"),
        header[124:136].strip(b" \0"),
        header[148:156].strip(b" \0"),
    )
    usual = len(header) == _BLOCK and header[156:157] in (b"0", b"\0") and not header[345:500].strip(b"\0")
    if not (usual and size.isdigit() and total.isdigit() and name.isascii() and b"\0" not in name):
        return None
    try:
        wanted, length = int(total, 8), int(size, 8)
    except ValueError:
        return None
    if name[-1:] in (b"", b"/") or sum(header[:148] + _BLANKS + header[156:]) != wanted:
        return None
    return name.decode(), length


def _any_files(container: Container, name: str) -> Iterator[tuple[str, bytes]]:
    """All files, by tarfile."""
    bounds = _Bounds(container, name)
    with _stream(container, name) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for entry in archive:
            archive.members = []  # type: ignore[attr-defined]  # a stream need not remember what has passed
            check_name(entry.name, container.uri)
            if entry.isdir():
                continue
            bounds.check(entry.name, entry.size)
            content = archive.extractfile(entry) if entry.isreg() else None
            if content is None:
                raise InputDataError(
                    "is a link or a special file", path=container.uri, member=f"{name}/{entry.name}"
                )
            yield entry.name, content.read()

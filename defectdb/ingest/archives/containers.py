"""Read members of a zip archive or a folder within bounds of size and ratio: archives count as hostile."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, cast

from defectdb.errors import InputDataError

MAX_TABLE_BYTES = 1 << 30  # one CSV member, unpacked
MAX_STRUCTURE_BYTES = 16 << 20  # one structure file, unpacked
MAX_TOTAL_BYTES = 64 << 30  # all structure files of one dataset, unpacked
MAX_MEMBERS = 5_000_000
MAX_RATIO = 100  # unpacked to packed, gzip within zip counted together; real structure archives reach 40
FREE_BYTES = 64 << 20  # ratios are not looked at before this much has come out
_CHUNK = 1 << 20
_HARMLESS = str.maketrans("", "", "._-")  # characters of plain file names beside letters and digits
_BROKEN = (zlib.error, lzma.LZMAError, EOFError, gzip.BadGzipFile, zipfile.BadZipFile, tarfile.TarError)


class Container(Protocol):
    """Named members of one source; ``size`` is what a member takes up on disk, bytes."""

    @property
    def uri(self) -> str: ...
    def names(self) -> list[str]: ...
    def size(self, name: str) -> int: ...
    def open(self, name: str) -> IO[bytes]: ...
    def sha256(self) -> str: ...
    def close(self) -> None: ...


@contextmanager
def reading(path: str, member: str | None = None) -> Iterator[None]:
    """Turn whatever a damaged or unreadable file raises into an InputDataError that names file and member."""
    try:
        yield
    except _BROKEN as cause:
        raise InputDataError(f"damaged or truncated ({cause})", path=path, member=member) from cause
    except (RuntimeError, NotImplementedError) as cause:  # zipfile: encrypted member, unknown compression
        raise InputDataError(f"cannot be unpacked ({cause})", path=path, member=member) from cause
    except OSError as cause:
        raise InputDataError(
            f"cannot be read ({cause.strerror or cause})", path=path, member=member
        ) from cause


def printable(text: str) -> str:
    """A name as it can be stored: bytes of a file name that are no UTF-8 as escapes, ``\\udcff``."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def check_name(name: str, path: str) -> None:
    """Refuse a member name that would leave the archive's folder. Raises InputDataError."""
    if name.isascii() and name.translate(_HARMLESS).isalnum():  # nearly all, a tenth of the time
        return
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or "\0" in name or (len(name) > 1 and name[1] == ":"):
        raise InputDataError(
            "member name leads out of the archive; nothing was loaded", path=path, member=name
        )


class ZipContainer:
    """A zip file, its directory checked when it is opened."""

    def __init__(self, path: Path) -> None:
        self.uri = printable(str(path))
        self._path = path
        with reading(self.uri):
            self._zip = zipfile.ZipFile(path)
        self._infos = {info.filename: info for info in self._zip.infolist() if not info.is_dir()}
        try:
            self._check()
        except InputDataError:
            self._zip.close()
            raise

    def _check(self) -> None:
        if len(self._zip.infolist()) > MAX_MEMBERS:
            raise InputDataError(f"holds more than {MAX_MEMBERS} members", path=self.uri)
        self._check_sizes()
        for name, info in self._infos.items():
            check_name(name, self.uri)
            mode = info.external_attr >> 16
            if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise InputDataError("is a link or a special file; archives may hold plain files only",
                                     path=self.uri, member=name)  # fmt: skip

    def _check_sizes(self) -> None:
        """Refuse members that lie on one another or that together unpack to more than the archive can hold."""
        archive = self._path.stat().st_size
        if sum(info.compress_size for info in self._infos.values()) > archive:
            raise InputDataError("its members overlap; refused as a decompression bomb", path=self.uri)
        total = sum(info.file_size for info in self._infos.values())
        if total > FREE_BYTES and total > MAX_RATIO * archive:
            raise InputDataError(
                f"unpacks to {total:,} bytes, more than {MAX_RATIO} times its size; refused as a decompression bomb",
                path=self.uri,
            )

    def names(self) -> list[str]:
        return list(self._infos)

    def size(self, name: str) -> int:
        return self._infos[name].compress_size

    def open(self, name: str) -> IO[bytes]:
        return self._zip.open(self._infos[name])

    def sha256(self) -> str:
        with self._path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def close(self) -> None:
        self._zip.close()


class FolderContainer:
    """A folder's files, named by their paths within it; links that lead out of it are refused."""

    def __init__(self, path: Path) -> None:
        self.uri = printable(str(path))
        self._root = path.resolve()
        self._files = {
            file.relative_to(self._root).as_posix(): file
            for file in sorted(self._root.rglob("*"))
            if file.is_file()
        }
        for name, file in self._files.items():
            if not file.resolve().is_relative_to(self._root):
                raise InputDataError("is a link that leads out of the folder", path=self.uri, member=name)

    def names(self) -> list[str]:
        return list(self._files)

    def size(self, name: str) -> int:
        return self._files[name].stat().st_size

    def open(self, name: str) -> IO[bytes]:
        return self._files[name].open("rb")

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for name in sorted(self._files):
            with self._files[name].open("rb") as stream:
                digest.update(name.encode() + b"\0" + hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()

    def close(self) -> None:
        return None


def read_member(container: Container, name: str, limit: int = MAX_TABLE_BYTES) -> bytes:
    """The bytes of one member, unpacked from gzip where its name ends in .gz. Raises InputDataError."""
    with reading(container.uri, name), container.open(name) as packed:
        stream = cast(IO[bytes], gzip.GzipFile(fileobj=packed)) if name.endswith(".gz") else packed
        return read_bounded(stream, limit, container.uri, name, container.size(name))


def read_bounded(stream: IO[bytes], limit: int, path: str, member: str, packed: int) -> bytes:
    """Everything in the stream; InputDataError beyond ``limit`` bytes or an incredible ratio."""
    parts = []
    total = 0
    while chunk := stream.read(_CHUNK):
        total += len(chunk)
        check_growth(total, packed, limit, path, member)
        parts.append(chunk)
    return b"".join(parts)


def check_growth(total: int, packed: int, limit: int, path: str, member: str) -> None:
    """Stop a member that expands beyond its bound. Raises InputDataError."""
    if total > limit:
        raise InputDataError(f"expands beyond {limit:,} bytes; refused", path=path, member=member)
    if total > FREE_BYTES and total > MAX_RATIO * max(packed, 1):
        raise InputDataError(f"expands more than {MAX_RATIO}-fold; refused as a decompression bomb",
                             path=path, member=member)  # fmt: skip

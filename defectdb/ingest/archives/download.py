"""Download the public 2DMD archive once, resume where a download broke off, check its SHA-256."""

from __future__ import annotations

import hashlib
import json
import shutil
import urllib.error
import urllib.request
import zipfile
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from defectdb.errors import InputDataError, UsageError
from defectdb.ingest.options import Download

if TYPE_CHECKING:
    import pooch

ARCHIVE = "2d-materials-point-defects-all.zip"
"""File name of the public archive (CC BY 4.0; see ``twodmd`` for licence and citation)."""

ADDRESS = (
    "https://research.constructor.tech/open/2d-materials-point-defects/attachments/"
    f"b62e17e599364a12941a9ae494a14736?name={ARCHIVE}"
)
"""Where the data platform of the archive's authors offers it."""

PAPER = "https://doi.org/10.1038/s41524-023-01062-z"
"""The paper whose data section leads to the archive's page."""

_BY_HAND = (
    f"get it by hand from the page that {PAPER} names and ingest the file, or give its address with --url"
)
MAX_BYTES = 1 << 30
TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 1 << 18
_RECORD = "checksums.json"
_PART = f"{ARCHIVE}.part"


def fetch(download: Download) -> Path:
    """The archive's path in the cache, downloaded if need be.

    Raises InputDataError for a download that fails, is no zip archive or has another checksum, UsageError
    where nothing may be downloaded.
    """
    import pooch

    folder = download.cache or Path(pooch.os_cache("defectdb"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise InputDataError(
            f"cannot keep downloads ({cause.strerror or cause})", path=str(folder)
        ) from cause
    path = folder / ARCHIVE
    expected = (download.sha256 or _recorded(folder) or "").lower() or None
    if not path.exists() and download.offline:
        raise UsageError(f"{ARCHIVE} is not in {folder}; run once without --offline, or {_BY_HAND}")
    if path.exists() and expected is not None and _digest(path) != expected:
        raise _wrong(path, _digest(path), expected)
    pooch.get_logger().setLevel("WARNING")
    shelf = pooch.create(folder, "", registry={ARCHIVE: expected}, urls={ARCHIVE: download.url or ADDRESS})
    try:
        shelf.fetch(ARCHIVE, downloader=_resume)
    except ValueError as cause:  # pooch: the checksum differs
        part = folder / _PART
        digest = _digest(part)
        part.unlink()
        raise _wrong(part, digest, str(expected)) from cause
    (folder / _PART).unlink(missing_ok=True)
    _record(folder, _digest(path))
    return path


def _wrong(path: Path, digest: str, expected: str) -> InputDataError:
    message = f"has SHA-256 {digest}, not {expected}: damaged, or not the archive meant"
    return InputDataError(message, path=str(path))


def _resume(url: str, output: str, shelf: pooch.Pooch) -> None:
    """Pooch's downloader: completes the part of an earlier attempt, then hands pooch a copy to check."""
    part = Path(shelf.abspath) / _PART
    _transfer(url, part)
    if not zipfile.is_zipfile(part):
        part.unlink()
        raise InputDataError(f"sends no zip archive but something else, a page perhaps; {_BY_HAND}", path=url)
    shutil.copyfile(part, output)


def _transfer(url: str, part: Path) -> None:
    """Append what is missing to ``part``; a server that cannot resume sends it all again."""
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"{url!r} is no http(s) address")
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310 - http(s) only, see above
            resumed = answer.status == 206
            expected = int(answer.headers.get("Content-Length") or 0) + (have if resumed else 0)
            with part.open("ab" if resumed else "wb") as out:
                while chunk := answer.read(_CHUNK):
                    out.write(chunk)
                    if out.tell() > MAX_BYTES:
                        raise InputDataError(f"sends more than {MAX_BYTES:,} bytes", path=url)
    except urllib.error.HTTPError as cause:
        if cause.code == 416 and have:  # nothing is missing
            return
        refusal = f"the server answers {cause.code} {cause.reason}; {_BY_HAND}"
        raise InputDataError(refusal, path=url) from cause
    except (urllib.error.URLError, HTTPException, OSError) as cause:
        raise InputDataError(
            f"the download broke off ({cause}); run again to resume, or {_BY_HAND}", path=url
        ) from cause
    if expected and part.stat().st_size < expected:
        got = f"{part.stat().st_size:,} of {expected:,} bytes came"
        raise InputDataError(f"the download broke off: {got}; run again to resume", path=url)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _recorded(folder: Path) -> str | None:
    """The checksum of the first download, None before it."""
    record = folder / _RECORD
    if not record.exists():
        return None
    try:
        found = json.loads(record.read_text()).get(ARCHIVE)
    except (ValueError, AttributeError) as cause:
        raise InputDataError("is no record of checksums; remove it", path=str(record)) from cause
    return found if isinstance(found, str) and len(found) == len(hashlib.sha256().hexdigest()) else None


def _record(folder: Path, digest: str) -> None:
    if _recorded(folder) is None:
        (folder / _RECORD).write_text(json.dumps({ARCHIVE: digest}) + "\n")

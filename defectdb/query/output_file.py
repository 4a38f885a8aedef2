"""Write output files whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from typing import Any

import polars as pl

from defectdb.db.access.locks import hold, is_alive, is_held
from defectdb.errors import InputDataError
from defectdb.query.parquet_notes import file_notes

_LOCK = ".lock"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file to write to in place of ``path``, which it becomes when the block ends without an error.

    A command that is killed, or a disk that is full, leaves an earlier file as it was; what a killed one had begun to
    write is removed by the next that writes the same file. Devices and pipes are written to directly. Raises
    InputDataError where the file cannot be written.
    """
    special = path.exists() and not path.is_file()
    target = path.resolve() if path.is_symlink() else path
    draft = path if special else target.with_name(f".{target.stem}.{os.getpid()}.draft{target.suffix}")
    held = None
    if not special:
        _remove_abandoned(target)
        held = hold(draft)
    try:
        yield draft
        if not special:
            _sync(draft)
            draft.replace(target)
    except (OSError, pl.exceptions.ComputeError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else None
        raise InputDataError(f"cannot be written: {reason or cause}", path=str(path)) from cause
    finally:
        if not special:
            draft.unlink(missing_ok=True)
        if held is not None:
            os.close(held)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to in place of ``folder``, whose files come there when the block ends without an error.

    All at once where there is no such folder yet; else one after another, each whole, beside files of other names,
    which stay. What a killed command had begun is removed by the next that writes the same folder. Raises
    InputDataError where it cannot be written.
    """
    target = folder.resolve()
    draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
    held = None
    try:
        _remove_abandoned(target)
        draft.mkdir(parents=True)
        held = hold(draft / _LOCK)
        yield draft
        (draft / _LOCK).unlink(missing_ok=True)
        if not target.exists():
            draft.rename(target)
            return
        for path in sorted(p for p in draft.rglob("*") if p.is_file()):
            place = target / path.relative_to(draft)
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)
    except OSError as cause:
        raise InputDataError(f"cannot be written: {cause.strerror or cause}", path=str(folder)) from cause
    finally:
        if held is not None:
            os.close(held)
        rmtree(draft, ignore_errors=True)


def _remove_abandoned(target: Path) -> None:
    """Remove the drafts of this file or folder whose processes have ended."""
    names = re.compile(rf"\.{re.escape(target.stem)}\.(\d+)\.draft{re.escape(target.suffix)}")
    folders = re.compile(rf"\.{re.escape(target.name)}\.(\d+)\.draft")
    with suppress(OSError):
        for draft in target.parent.iterdir():
            is_folder = draft.is_dir()
            found = (folders if is_folder else names).fullmatch(draft.name)
            if found is None or is_alive(int(found[1])) or is_held(draft / _LOCK if is_folder else draft):
                continue
            if is_folder:
                rmtree(draft, ignore_errors=True)
            else:
                draft.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Have the file's bytes on the disk: a rename may otherwise come first."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_whole(path: Path, text: str) -> None:
    """Write a text, lines ending in a newline on every system. Raises InputDataError."""
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="\n")


def write_frame(frame: pl.DataFrame, path: Path, about: Mapping[str, Any] | None = None) -> None:
    """Write a frame as Parquet where the name ends in .parquet, as CSV otherwise. Raises InputDataError.

    A Parquet file carries the units of its columns and what it is ``about`` in its metadata.
    """
    with whole_file(path) as draft:
        if path.suffix == ".parquet":
            frame.write_parquet(draft, metadata=file_notes(frame.columns, about))
        else:
            frame.write_csv(draft)

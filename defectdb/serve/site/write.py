"""A database to a folder that any web server can show: the explorer's pages and a copy of the database."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

from defectdb.db.copies import copy_database
from defectdb.errors import MissingPartError, UsageError

DATABASE = "defects.duckdb"
"""Name of the copy beside the pages, which they open."""

_PAGE = "index.html"
_SCRIPT = "explorer.js"


def write_site(database: str | Path, folder: Path) -> list[Path]:
    """Write the explorer of a database into a folder, which is made where it is missing; the files written.

    An explorer that is there is replaced, file by file. Raises UsageError for a folder that holds something else,
    MissingPartError where the pages are not installed, and DatabaseError.
    """
    assets = assets_folder()
    _demand_own(folder)
    folder.mkdir(parents=True, exist_ok=True)
    copy_database(database, folder / DATABASE)
    written = [folder / DATABASE]
    for stale in [path for path in folder.glob("chunk-*.js*") if not (assets / path.name).exists()]:
        stale.unlink()
    for asset in sorted(
        assets.iterdir(), key=lambda path: path.name == _PAGE
    ):  # the page last: it names the rest
        written.append(folder / asset.name)
        shutil.copyfile(asset, folder / asset.name)
    return written


def assets_folder() -> Path:
    """The folder of built pages and scripts. Raises MissingPartError where this installation has none."""
    folder = Path(str(resources.files("defectdb.serve.site"))) / "assets"
    if not (folder / _SCRIPT).is_file():
        raise MissingPartError(
            "the explorer's scripts are not part of this installation: install defectdb from a wheel of "
            "`make dist`, or run `make site-assets` in the source tree (it needs npm)"
        )
    return folder


def _demand_own(folder: Path) -> None:
    """Raises UsageError for a folder that holds files and no explorer."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is no folder; name one that the site may be written to")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _SCRIPT).is_file():
        raise UsageError(f"{folder} holds other files; name a new or an empty folder")

"""Shared fixtures: the real archive, where it is at hand, and a database that holds it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.builders import part_of, shared

from defectdb.db import Database, open_database


@pytest.fixture(scope="session", autouse=True)
def surroundings() -> Iterator[None]:
    """A file that another process has open is waited for a moment only; tables are as wide as in a pipe."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEFECTDB_WAIT", "0.5")
        patch.delenv("COLUMNS", raising=False)  # whose terminal the tests run in makes no difference
        yield


WITH_ALGEBRA = ("engine/finishing", "engine/search", "test_end_to_end")
"""Tests of these files shorten formulas by sympy as users' searches do."""


@pytest.fixture(autouse=True)
def _no_algebra(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches leave out the last shortening of their formulas: it would be half of the time of the short ones."""
    if not any(part in request.path.as_posix() for part in WITH_ALGEBRA):
        monkeypatch.setattr("defectdb.engine.finishing.sympy_process.TOTAL_SECONDS", 0.0)


@pytest.fixture(scope="session")
def whole_archive() -> Path:
    """The eight published sets, 11,220 structures; skips where they are absent."""
    return shared("2dmd-train.zip")


@pytest.fixture(scope="session")
def real_archive(whole_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 4,496 published MoS2 structures of low density, an archive of their own."""
    return part_of(whole_archive, tmp_path_factory.mktemp("archive") / "low.zip", "low_density_defects/MoS2/")


@pytest.fixture(scope="session")
def real_database_template(real_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the real archive ingested; never open it for writing."""
    from defectdb.ingest import load

    path = tmp_path_factory.mktemp("real") / "real.duckdb"
    with open_database(path, create=True) as db:
        load(db, [real_archive])
    return path


@pytest.fixture
def real_database(real_database_template: Path, tmp_path: Path) -> Path:
    """The path of this test's own copy of the ingested real archive."""
    path = tmp_path / "real.duckdb"
    shutil.copyfile(real_database_template, path)
    return path


@pytest.fixture
def empty_database(tmp_path: Path) -> Iterator[Database]:
    """A new database file, open for writing."""
    with open_database(tmp_path / "empty.duckdb", create=True) as db:
        yield db

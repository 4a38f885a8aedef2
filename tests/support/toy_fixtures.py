"""The toy database with its own kernels as models: a template file, copied for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import toy_database as toy

from defectdb.db import Database, open_database


@pytest.fixture(scope="session")
def toy_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the toy's structures and models; never open it for writing."""
    path = tmp_path_factory.mktemp("toy") / "toy.duckdb"
    with open_database(path, create=True) as db:
        toy.fill(db)
        toy.publish_energy_model(db)
        toy.publish_gap_model(db)
    return path


@pytest.fixture
def toy_path(toy_template: Path, tmp_path: Path) -> Path:
    """This test's own copy of the toy database."""
    path = tmp_path / "toy.duckdb"
    shutil.copyfile(toy_template, path)
    return path


@pytest.fixture
def db(toy_template: Path) -> Iterator[Database]:
    """The toy database, open for reading."""
    with open_database(toy_template, read_only=True) as opened:
        yield opened

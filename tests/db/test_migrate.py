"""A file of an older schema to one of today's: rows stay, columns get the meaning that they have now."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path

import duckdb
import pytest

from defectdb.db import open_database
from defectdb.db.migrate import migrate, pending, schema_version
from defectdb.errors import DatabaseError

FIRST = (resources.files("defectdb.schema") / "migrations" / "0001_initial.sql").read_text(encoding="utf-8")


def first_schema(path: Path) -> None:
    """A file as the first schema made it, with one generation in it."""
    with duckdb.connect(str(path)) as connection:
        connection.execute(FIRST)
        connection.execute("INSERT INTO schema_migrations VALUES (1, 'initial', now()::TIMESTAMP)")
        connection.execute(
            "INSERT INTO generations (run_id, task, generation, seconds, n_candidates, n_unique, n_in_domain, "
            "best_error) VALUES (1, 't', 0, 0.5, 9, 8, 7, 0.25)"
        )


def test_opening_an_older_file_to_write_brings_it_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "old.duckdb"
    first_schema(path)
    with open_database(path) as db:
        row = db.frame(
            "SELECT n_candidates, n_unique, n_new, n_in_domain, best_mse, island, reached FROM generations"
        )
        comment = db.value(
            "SELECT comment FROM duckdb_columns() WHERE table_name = 'generations' AND column_name = 'n_new'"
        )
    assert row.rows() == [(9, None, 8, 7, 0.25, None, None)]  # what was called unique were the new ones
    assert "first time" in comment
    with duckdb.connect(str(path)) as connection:
        assert pending(connection) == []
        assert migrate(connection) == []


def test_a_failing_migration_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "old.duckdb"
    first_schema(path)
    with duckdb.connect(str(path)) as connection:
        connection.execute("ALTER TABLE generations DROP COLUMN best_error")
        with pytest.raises(DatabaseError, match="none of defectdb's"):
            migrate(connection)
        assert schema_version(connection) == 1
        columns = [
            name
            for (name,) in connection.execute("SELECT column_name FROM (DESCRIBE generations)").fetchall()
        ]
    assert "n_new" not in columns


def test_a_file_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "new.duckdb"
    first_schema(path)
    with duckdb.connect(str(path)) as connection:
        connection.execute("INSERT INTO schema_migrations VALUES (9999, 'later', now()::TIMESTAMP)")
        with pytest.raises(DatabaseError, match="upgrade"):
            schema_version(connection)


RELEASED = {  # a migration joins with its release and is never edited afterwards: files hold what it made
    "0001_initial.sql": "02301d33a985e0b2afa943b7a125683c1d62d2e28e07d61f7461b1d6dc690c2a",
    "0002_generations.sql": "823ba3a44541ab8b0856e156566b8dd57ff3f3ca848fd7f71ef887e02193532a",
    "0003_levels_charges_notes.sql": "6d15e6ce4a7dd84eb9e0d9673fc7ebe845d22f0448587f34ab0bd69875786db5",
    "0004_composition.sql": "f3c892a24feb63549c710a71ce1eaf463e17a2b1526551df4093edbe78773e95",
    "0005_numbers_of_defects.sql": "af1765913b9a0e45cd68560769157ab0b8dbc58cb4959863fecef7f36dcab5f8",
    "0006_model_fronts.sql": "87acb031e3c01e9ac813e58ce6c01a681d1d4dac4f7e7945e188218906c740f1",
}


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_migration_is_never_edited(name: str) -> None:
    content = (resources.files("defectdb.schema") / "migrations" / name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == RELEASED[name], "write a new migration instead"


EARLY = {
    "before structures had numbers": (
        *(f"DROP VIEW {view}" for view in ("triples", "distances")),
        *(f"ALTER TABLE {table} DROP COLUMN structure_key" for table in ("structures", "defects", "pairs")),
        "ALTER TABLE structures DROP COLUMN defect_labels",
        "CREATE VIEW triples AS SELECT structure_id FROM pairs",
        "ALTER TABLE formulas DROP COLUMN description_length",
    ),
    "when generations had their columns already": (
        "ALTER TABLE generations RENAME COLUMN best_error TO best_mse",
        "ALTER TABLE generations ADD COLUMN n_new BIGINT",
        "UPDATE generations SET n_new = n_unique",
        "ALTER TABLE generations ADD COLUMN reached STRUCT(complexity INTEGER, mse DOUBLE)[]",
    ),
}


@pytest.mark.parametrize("when", EARLY)
def test_files_of_the_days_before_the_release_are_brought_to_it(tmp_path: Path, when: str) -> None:
    path = tmp_path / "early.duckdb"
    first_schema(path)
    with duckdb.connect(str(path)) as plain:
        plain.execute(
            "INSERT INTO structures SELECT 's', 'd', 'h', NULL, 2, '', NULL, FALSE, NULL, '', '', 7, 'Vac_S+W_Mo'"
        )
        for number, label in enumerate(("W_Mo", "Vac_S")):
            plain.execute(
                "INSERT INTO defects BY NAME SELECT ? AS defect_id, 's' AS structure_id, ? AS idx, 'vacancy' AS kind, "
                "? AS label, 0 AS frac_x, 0 AS frac_y, 0 AS frac_z, 0 AS x, 0 AS y, 0 AS z, 7 AS structure_key",
                [number, number, label],
            )
        for statement in EARLY[when]:
            plain.execute(statement)
    open_database(path).close()
    with open_database(path, read_only=True) as db:
        assert db.frame("SELECT defect_labels FROM structures JOIN defects USING (structure_key)").rows() == [
            ("Vac_S+W_Mo",), ("Vac_S+W_Mo",)
        ]  # fmt: skip
        assert "structure_key" in db.columns("triples")
        assert {"n_new", "best_mse", "island", "reached"} <= set(db.columns("generations"))
        assert "description_length" in db.columns("formulas")

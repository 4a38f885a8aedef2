"""The commands around ingest, and what becomes of formulas whose training rows change."""

from __future__ import annotations

import json

import pytest
from support.builders import Archive, make_archive

from defectdb.cli import run
from defectdb.db import open_database

FORMULA = (
    "INSERT INTO formulas BY NAME SELECT {id} AS formula_id, 1 AS run_id, '{material}' AS material_id, "
    "'{label}' AS pair_label, 'formation_energy' AS target, 1 AS version, '' AS ast, '' AS prefix, '' AS infix, "
    "'' AS latex, '' AS sql, [] AS constants, 1 AS complexity, 0 AS n_constants, 1 AS n_train, 0 AS mae_train, "
    "0 AS r_min, 1 AS r_max, 'nearest' AS images, 'active' AS status, now()::TIMESTAMP AS created_at"
)
MODEL = (
    "INSERT INTO models BY NAME SELECT {id} AS model_id, 1 AS run_id, '{material}' AS material_id, "
    "'formation_energy' AS target, 1 AS version, 'sum' AS aggregator, 'nearest' AS images, '' AS trained_on, "
    "1 AS n_train, 'active' AS status, now()::TIMESTAMP AS created_at"
)


@pytest.fixture
def archive() -> Archive:
    """Six structures: a pair of each kind, and one-defect structures."""
    return make_archive(structures=9, seed=2)


@pytest.fixture
def command(tmp_path, capfd):
    """Run a command on this test's database; exit code, stdout, stderr."""

    def go(*arguments):
        code = run(["--db", str(tmp_path / "d.duckdb"), *map(str, arguments)])
        printed = capfd.readouterr()
        return code, printed.out, printed.err

    return go


def test_ingest_prints_a_table_and_narrates_on_stderr(command, archive, tmp_path):
    path = archive.write(tmp_path / "a.zip")
    code, out, err = command("ingest", path)
    assert code == 0
    assert "2dmd-low-MoS2" in out
    assert "loaded" in out
    assert "9 formation energies recomputed: 0 differ" in err
    code, out, err = command("ingest", path, "--json")
    [report] = json.loads(out)
    assert (report["loaded"], report["unchanged"], report["rejected"]) == (0, 9, {})
    assert "nothing changed: all 9 structures are stored already" in err


def test_a_dry_run_makes_no_database_and_changes_none(command, archive, tmp_path):
    path = archive.write(tmp_path / "a.zip")
    code, out, _ = command("ingest", path, "--dry-run", "--json")
    assert code == 0
    assert json.loads(out)[0]["loaded"] == 9
    assert not (tmp_path / "d.duckdb").exists()


def test_strict_returns_3_and_loads_nothing(command, archive, tmp_path):
    archive.cifs[next(iter(archive.cifs))] = b"broken"
    code, _, err = command("ingest", archive.write(tmp_path / "a.zip"), "--strict")
    assert code == 3
    assert "1 reject; nothing was loaded" in err
    assert not (tmp_path / "d.duckdb").exists()


def test_rejects_lists_what_was_refused_and_why(command, archive, tmp_path):
    archive.cifs[next(iter(archive.cifs))] = b"broken"
    command("ingest", archive.write(tmp_path / "a.zip"))
    code, out, _ = command("rejects", "2dmd-low-MoS2", "--json")
    assert code == 0
    [row] = json.loads(out)
    assert row["reason"] == "broken structure file"
    code, _, err = command("rejects", "2dmd-low-MoS3")
    assert code == 2
    assert "did you mean '2dmd-low-MoS2'?" in err


def test_datasets_show_licence_and_citation_and_bibtex(command, archive, tmp_path):
    command("ingest", archive.write(tmp_path / "a.zip"))
    _, out, _ = command("datasets", "--json")
    [row] = json.loads(out)
    assert row["licence"] == "CC BY 4.0"
    assert row["doi"] == "10.1038/s41699-023-00369-1"
    _, out, _ = command("datasets", "--bibtex")
    assert out.startswith("@article{Huang2023")


def test_a_dataset_says_its_own_name_licence_and_citation(command, archive, tmp_path):
    about = 'name = "mine"\nlicence = "CC0"\ncitation = "me {and} you"\n'
    archive.members["dataset.toml"] = about.encode()
    command("ingest", archive.write(tmp_path / "a.zip"))
    _, out, _ = command("datasets", "--json")
    assert [(r["dataset_id"], r["licence"]) for r in json.loads(out)] == [("mine", "CC0")]
    _, out, _ = command("datasets", "--bibtex")
    assert "me and you" in out


def test_remove_takes_a_dataset_and_its_rows_and_no_other(command, archive, tmp_path):
    command("ingest", archive.write(tmp_path / "a.zip"), "--name", "a")
    command("ingest", make_archive("P", structures=3, prefix="p").write(tmp_path / "p.zip"), "--name", "p")
    code, _, err = command("remove", "a")
    assert code == 0
    assert "removed a with 9 structures" in err
    with open_database(tmp_path / "d.duckdb", read_only=True) as db:
        assert db.frame("SELECT dataset_id FROM datasets")["dataset_id"].to_list() == ["p"]
        for table in ("defects", "pairs", "targets"):
            owners = db.frame(f"SELECT DISTINCT dataset_id FROM {table} JOIN structures USING (structure_id)")
            assert owners["dataset_id"].to_list() == ["p"]
            assert db.value(f"SELECT count(*) FROM {table} WHERE structure_id NOT LIKE 'p%'") == 0
    assert command("remove", "a")[0] == 2


def statuses(db):
    return {
        "formulas": dict(db.frame("SELECT formula_id, status FROM formulas").rows()),
        "models": dict(db.frame("SELECT model_id, status FROM models").rows()),
    }


def test_formulas_and_models_that_learned_from_changed_rows_become_stale(archive, tmp_path):
    from defectdb.ingest import load

    with open_database(tmp_path / "d.duckdb", create=True) as db:
        load(db, [archive.write(tmp_path / "a.zip")])
        changed = next(s for s in archive.structures if len(s.defects) == 2)
        label = "-".join(changed.labels)
        others = ["Ad_Li-Vac_Mo", "Se_S-Se_S"]
        with db.transaction():
            for number, (material, text) in enumerate(
                [("MoS2", label), ("WSe2", label), *(("MoS2", other) for other in others)]
            ):
                db.execute(FORMULA.format(id=number, material=material, label=text))
            db.execute(MODEL.format(id=1, material="MoS2"))
            db.execute(MODEL.format(id=2, material="WSe2"))
        load(db, [tmp_path / "a.zip"])
        assert set(statuses(db)["formulas"].values()) == {"active"}
        name = f"{changed.structure_id}.cif"
        archive.cifs[name] = archive.cifs[name] + b"# corrected\n"
        [report] = load(db, [archive.write(tmp_path / "a.zip")])
        assert report.updated == 1
        assert statuses(db) == {
            "formulas": {0: "stale", 1: "active", 2: "active", 3: "active"},
            "models": {1: "stale", 2: "active"},
        }

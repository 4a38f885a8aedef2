"""The package: what a wheel carries, and what a plain install does without the extras."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

WITHOUT_EXTRAS = """
import sys
for name in ("torch", "pymatgen", "matplotlib", "ase"):
    sys.modules[name] = None  # as if it were not installed
from defectdb.cli import run
sys.exit(run(sys.argv[1:]))
"""


def without_extras(*arguments):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    from support import toy_database

    from defectdb.db import open_database

    path = tmp_path_factory.mktemp("plain") / "toy.duckdb"
    with open_database(path, create=True) as db:
        toy_database.fill(db)
        toy_database.publish_energy_model(db)
    return path


def test_a_plain_install_predicts_structure_files(toy, tmp_path):
    placements = ("enumerate", "--supercell", "8,8,1", "--defects", "Vac_S,W_Mo", "--top", "1", "--target",
                  "formation_energy", "--structures", tmp_path, "--format", "cif")  # fmt: skip
    finished = without_extras("--db", toy, *placements)
    assert finished.returncode == 0, finished.stderr
    [written] = tmp_path.glob("*.cif")
    finished = without_extras("--db", toy, "predict", written, "--target", "formation_energy", "--csv")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines()[1].split(",")[1] == "formation_energy"


@pytest.mark.parametrize(
    ("arguments", "library", "extra"),
    [
        (("learn", "--pair", "Vac_S-W_Mo"), "torch", "learn"),
        (("compare", "Vac_S-W_Mo"), "torch", "learn"),
        (("plot", "kernel", "Vac_S-W_Mo", "-o", "x.png"), "matplotlib", "plots"),
    ],
)
def test_a_missing_extra_is_named_in_one_sentence(toy, arguments, library, extra):
    finished = without_extras("--db", toy, *arguments)
    assert finished.returncode == 2
    assert library in finished.stderr
    assert f"pip install 'defectdb[{extra}]'" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_the_wheel_carries_sql_migrations_types_and_the_explorer(tmp_path, monkeypatch):
    backend = pytest.importorskip("hatchling.build", reason="hatchling is not installed")
    monkeypatch.chdir(ROOT)
    with zipfile.ZipFile(tmp_path / backend.build_wheel(str(tmp_path))) as wheel:
        names = wheel.namelist()
        [metadata] = [wheel.read(name).decode() for name in names if name.endswith("METADATA")]
    assert {
        "defectdb/py.typed",
        "defectdb/db/sql/predictions.sql",
        "defectdb/schema/migrations/0001_initial.sql",
    } <= set(names)
    built = (ROOT / "defectdb/serve/site/assets/explorer.js").is_file()
    assert ("defectdb/serve/site/assets/explorer.js" in names) == built
    assert not [name for name in names if name.startswith(("tests/", "explorer/"))]
    required = [
        line for line in metadata.splitlines() if line.startswith("Requires-Dist: ") and "extra" not in line
    ]
    assert not [line for line in required if "torch" in line or "pymatgen" in line]
    assert "Project-URL: " in metadata


def test_the_sdist_carries_what_the_explorer_is_built_from(tmp_path, monkeypatch):
    backend = pytest.importorskip("hatchling.build", reason="hatchling is not installed")
    monkeypatch.chdir(ROOT)
    with tarfile.open(tmp_path / backend.build_sdist(str(tmp_path))) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert {"explorer/package-lock.json", "explorer/src/main.js", "CITATION.cff"} <= set(names)
    assert not [name for name in names if "node_modules" in name]

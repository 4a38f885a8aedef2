"""Every command of the tutorials, run in order; the tables they show are the tables that are printed."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest
from support import doped_folder, own_runs
from support.doc_pages import Page, page, squeezed, write_files

from defectdb.cli import run
from defectdb.db import open_database
from defectdb.errors import ExitCode, MissingPartError
from defectdb.serve.site.write import assets_folder

QUICK = ["--generations", "0", "--population", "64", "--max-tokens", "6", "--workers", "1"]
LAW = "exp(-0.83333*r)"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the commands run in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEFECTDB_PATH", raising=False)
    return tmp_path


def explorer_is_built() -> bool:
    """Whether the explorer's scripts are there; a source tree has them after `make site-assets`, which needs npm."""
    try:
        assets_folder()
    except MissingPartError:
        return False
    return True


def run_all(found: Page, capsys: pytest.CaptureFixture[str], before: dict[str, object] | None = None) -> None:
    """Run the page's commands; ``before`` has what has to be done before the first command with these words."""
    steps = dict(before or {})
    for command in found.commands:
        for start in [start for start in steps if command.text.startswith(start)]:
            steps.pop(start)()  # type: ignore[operator]
        capsys.readouterr()
        wanted = ExitCode.DONE
        if command.text.startswith("site") and not explorer_is_built():
            wanted = MissingPartError.exit_code
        options = QUICK if command.text.startswith("learn") else []
        assert run([*command.words(), *options]) == wanted, command.text
        if command.shown:
            assert squeezed(capsys.readouterr().out) == squeezed(command.shown), command.text
    assert not steps


def test_own_data_lead_to_the_law_that_was_put_in(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = page("tutorials/own-data.md")
    own_runs.write_runs(folder)
    write_files(found, folder)
    run_all(found, capsys)
    with open_database(folder / "defects.duckdb", read_only=True) as db:
        formulas = db.frame("SELECT infix FROM formulas WHERE status = 'active' ORDER BY pair_label")["infix"]
        error = db.value("SELECT avg(abs(error)) FROM prediction_errors WHERE n_defects = 3")
    assert len(formulas) == 2
    assert all("exp(" in text for text in formulas)
    assert error < 0.01  # formulas of six tokens have no room for the host offset that the page speaks of
    predicted = pl.read_csv(folder / "predicted.csv")
    assert predicted.height == 10
    assert predicted["value"].null_count() == 0
    assert {"kernel.png", "paper", "next"} <= {path.name for path in folder.iterdir()}


def test_the_law_of_the_page_is_that_of_the_runs() -> None:
    text = Path(__file__).parents[2].joinpath("docs", "tutorials", "own-data.md").read_text(encoding="utf-8")
    assert f"`{LAW}`" in text
    assert own_runs.interaction("B", "N", 1.2) == pytest.approx(-4.0 / 2.718281828, rel=1e-6)
    assert page("tutorials/own-data.md").files["energies.toml"].count(str(own_runs.PRISTINE)) == 1


def test_a_doped_folder_leads_to_predictions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = page("tutorials/doped.md")
    doped_folder.write_defects(folder)
    write_files(found, folder)

    def calculate() -> None:
        doped_folder.write_pairs(folder / "runs", sorted((folder / "pairs").iterdir()))

    run_all(found, capsys, {"ingest runs/": calculate})
    with open_database(folder / "defects.duckdb", read_only=True) as db:
        charges = db.frame("SELECT charge FROM structures WHERE dataset_id = 'singles' ORDER BY charge")
        assert charges["charge"].to_list() == [-1, 0, 0, 0, 1]
        assert db.value("SELECT count(*) FROM formulas WHERE status = 'active'") == 2


def test_the_chemical_potentials_of_doped_are_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "MoS2_chempots.json").write_text('{"limits": {"MoS2-S": {"Mo": -12.5, "S": -4.1}}}')
    [code] = page("tutorials/doped.md").python
    exec(compile(code, "docs/tutorials/doped.md", "exec"), {})
    assert capsys.readouterr().out.splitlines() == ["['MoS2-S']", "Mo = -12.5", "S = -4.1"]


def test_the_archive_leads_to_a_prediction(
    folder: Path, real_archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the archive's part that the page learns from."""
    found = page("tutorials/archive.md")
    shutil.copy(real_archive, folder / "2d-materials-point-defects-all.zip")
    run_all(found, capsys)
    capsys.readouterr()
    [code] = found.python
    exec(compile(code, "docs/tutorials/archive.md", "exec"), {})
    assert "formation_energy" in capsys.readouterr().out
    assert pl.read_csv(folder / "predicted.csv").height == 5

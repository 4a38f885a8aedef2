"""The paper package: sources that hold together, constants that keep the stated errors, full provenance."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support import toy_database as toy

from defectdb.cli import run
from defectdb.db import Database, open_database
from defectdb.db.compile import compile_formulas
from defectdb.db.models.formulas import activate_model, append_formulas, append_model
from defectdb.db.scope import Scope
from defectdb.errors import UsageError
from defectdb.expressions.evaluation import evaluate_numpy
from defectdb.expressions.expression import from_ast
from defectdb.learn.judging.peers import PEERS
from defectdb.query.paper.accuracy import accuracy, coverage_sentences, own_errors
from defectdb.query.paper.digits_needed import digits_needed
from defectdb.query.paper.paper import write_paper
from defectdb.query.paper.published import published
from defectdb.query.paper.tables import formulas
from defectdb.schema.records import ModelRecord, TermRecord

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A database whose only kernel is the one of Vac_S and W_Mo, and its paper."""
    place = tmp_path_factory.mktemp("paper")
    with open_database(place / "p.duckdb", create=True) as db:
        toy.fill(db)
        with db.transaction():
            run_id = toy.run(db)
            constants = (0.51234567891, 2.00123456789)
            record = toy.formula(run_id, "Vac_S-W_Mo", "mul c0 exp div neg r c1", constants)
            [key] = append_formulas(db, [record])
            terms = [TermRecord(order=1, label=name, value=value) for name, value in toy.ENERGIES.items()]
            terms += [TermRecord(order=2, label=name, value=0) for name in toy.LABELS if name != "Vac_S-W_Mo"]
            terms.append(TermRecord(order=2, label="Vac_S-W_Mo", formula_id=key))
            model = ModelRecord(run_id=run_id, material_id="MoS2", target="formation_energy", aggregator="sum",
                                trained_on="pairs", n_train=9)  # fmt: skip
            activate_model(db, append_model(db, model, terms))
    assert run(["-q", "--db", str(place / "p.duckdb"), "export", "paper", str(place / "out")]) == 0
    return place / "p.duckdb", place / "out"


def test_every_file_that_the_source_names_is_there(paper) -> None:
    _, folder = paper
    source = (folder / "main.tex").read_text()
    for name in re.findall(r"\\input\{(.*?)\}", source):
        assert (folder / f"{name}.tex").exists()
    figures = re.findall(r"\\includegraphics\{(.*?)\}", source)
    assert sorted(figures) == sorted(f"figures/{path.name}" for path in (folder / "figures").iterdir())
    assert len(figures) == 4
    assert (folder / "references.bib").read_text().startswith("@misc{toy,")


def test_the_latex_is_balanced_and_escaped(paper) -> None:
    _, folder = paper
    for path in folder.glob("*.tex"):
        text = re.sub(r"(?<!\\)%.*", "", path.read_text())
        assert text.count("{") == text.count("}"), path
        assert re.findall(r"\\begin\{(\w+)\}", text).sort() == re.findall(r"\\end\{(\w+)\}", text).sort()
        outside = re.sub(r"(?<!\\)\$.*?(?<!\\)\$", "", text, flags=re.S)
        assert "$" not in outside.replace(r"\$", "")
        plain = re.sub(r"\\(includegraphics|input|bibliography)(\[.*?\])?\{.*?\}", "", outside)
        assert not re.search(r"(?<!\\)[_^#]", plain), path
    rows = (folder / "formulas.tex").read_text().split(r"\midrule")[1].split(r"\bottomrule")[0]
    columns = (folder / "formulas.csv").read_text().splitlines()[0].count(",") + 1
    for row in filter(None, rows.strip().split("\\\\\n")):
        assert len(re.findall(r"(?<!\\)&", row)) == columns - 1


def test_rounded_constants_move_no_error_by_more_than_a_hundredth(paper) -> None:
    path, _ = paper
    with open_database(path, read_only=True) as db:
        row = db.frame("SELECT * FROM formulas WHERE status = 'active'").row(0, named=True)
        tree, constants = from_ast(row["ast"]), tuple(row["constants"])
        digits = digits_needed(db, tree, constants, row)
        r = db.frame("SELECT distance FROM pairs WHERE label = 'Vac_S-W_Mo'")["distance"].to_numpy()
        latex = formulas(db, Scope("MoS2"))["latex"].item()
    rounded = [float(f"{c:.{digits}g}") for c in constants]
    moved = np.abs(evaluate_numpy(tree, {"r": r}, rounded) - evaluate_numpy(tree, {"r": r}, constants))
    assert moved.max() <= 0.01 * row["mae_train"]
    assert 3 <= digits <= 6
    assert f"{constants[0]:.{digits}g}" in latex


def test_the_accuracy_table_holds_ours_and_what_was_published_for_the_same_data(paper) -> None:
    path, folder = paper
    with open_database(path, read_only=True) as db:
        table = accuracy(own_errors(db))
        mean = db.value("SELECT 1000 * avg(abs(error)) FROM prediction_errors WHERE n_defects > 2 "
                        "AND target = 'formation_energy_per_site'")  # fmt: skip
    ours = table.filter(method="this work, from pairs")["formation energy per site [meV]"].item()
    assert ours == pytest.approx(mean, abs=0.01)
    theirs = dict(table.select("method", "formation energy per site [meV]").iter_rows())
    assert theirs["SchNet"] == 65
    assert theirs["Symbolic (SEGVAE)"] == 4
    assert pl.read_csv(folder / "accuracy.csv").height == 8
    every = published()
    assert every["set"].n_unique() == 8
    assert every.height == 2 * (4 * 7 + 4)


def test_the_table_and_its_caption_say_how_many_structures(paper) -> None:
    _, folder = paper
    rows = pl.read_csv(folder / "accuracy.csv")
    own = rows.filter(method="this work, from pairs")
    assert own["formation energy per site: structures"].to_list() == ["30 of 30 (100%)"]
    assert rows["formation energy per site: structures"].null_count() == rows.height - 1
    assert r"30 of 30 (100\%)" in (folder / "accuracy.tex").read_text()
    source = (folder / "main.tex").read_text()
    assert "Every structure with a stored value is predicted." in source
    assert "three or more defects" in source


def test_errors_of_a_part_of_the_structures_never_stand_beside_published_ones(
    paper, tmp_path, capsys
) -> None:
    copy = tmp_path / "part.duckdb"
    shutil.copyfile(paper[0], copy)
    with open_database(copy) as db, db.transaction():
        db.execute("DELETE FROM model_terms WHERE label = 'W_Mo'")  # what holds W has no prediction any more
        compile_formulas(db)
    with open_database(copy, read_only=True) as db:
        ours = own_errors(db)
        n, judged = ours.filter(target="formation_energy_per_site").select("n", "n_judged").row(0)
        table = accuracy(ours)
        sentences = coverage_sentences(ours)
    assert 0 < n < judged == 30
    assert table["method"].to_list() == ["this work, from pairs"]
    assert table["formation energy per site: structures"].item() == f"{n} of 30 ({100 * n // 30}%)"
    assert f"MoS2 low, formation energy per site (from pairs): {n} of 30" in sentences[0]
    assert "no published error stands beside ours" in sentences[1]
    assert run(["--db", str(copy), "export", "paper", str(tmp_path / "out")]) == 0
    assert "no published error stands beside ours" in capsys.readouterr().err
    source = (tmp_path / "out" / "main.tex").read_text()
    assert f"MoS$_{{2}}$ low, formation energy per site (from pairs): {n} of 30" in source


def test_the_command_prints_our_errors_beside_published_ones(paper, capsys) -> None:
    assert run(["--db", str(paper[0]), "evaluate", "--published", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len({row["set"] for row in rows}) == 8
    own = [row for row in rows if row["set"] == "MoS2 low" and row["target"] == "formation_energy_per_site"]
    assert [row["method"] for row in own if row["n"] is not None] == [*PEERS, "this work, from pairs"]
    assert own[-1]["n"] == own[-1]["n_judged"] == 30
    assert own[-1]["coverage"] == 1
    nothing = [row for row in rows if row["n"] == 0]
    assert {row["mae_mev"] for row in nothing} == {None}
    assert run(["--db", str(paper[0]), "evaluate", "--published"]) == 0
    out, err = capsys.readouterr()
    assert "hBN" in out
    assert "from pairs" in out
    assert "the share of structures predicted" in err


def test_the_provenance_names_hashes_versions_and_seeds(paper) -> None:
    found = json.loads((paper[1] / "provenance.json").read_text())
    assert found["datasets"][0]["sha256"] == "0" * 64
    assert found["runs"][0]["seed"] == 0
    assert found["formulas"][0]["constants"] == [0.51234567891, 2.00123456789]
    assert set(found["software"]) == {"defectdb", "python", "duckdb", "polars"}


def test_a_paper_without_formulas_is_refused(empty_database: Database, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a paper needs active formulas"):
        list(write_paper(empty_database, tmp_path / "paper"))


def test_paper_takes_a_folder_and_nothing_else(paper, capsys) -> None:
    assert run(["--db", str(paper[0]), "export", "paper"]) == 2
    assert "takes a folder, neither --to nor -o" in capsys.readouterr().err
    assert run(["--db", str(paper[0]), "export", "formulas", "x"]) == 2

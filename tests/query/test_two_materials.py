"""Two crystals with the same labels: nothing of one reaches into the other, and where both fit one must be named."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support import toy_database as toy
from support.two_materials import SECOND, SECOND_DATASET, add_second_material

import defectdb
from defectdb.cli import run
from defectdb.db import Database, open_database
from defectdb.db.scope import Scope
from defectdb.errors import UsageError
from defectdb.query.evaluate import evaluate
from defectdb.query.figures.draw import draw
from defectdb.query.figures.kernel_curves import draw_kernel, training_points
from defectdb.query.figures.parity import draw_parity
from defectdb.query.kernels import kernel
from defectdb.query.paper.paper import write_paper
from defectdb.query.placements.supercells import supercell
from defectdb.query.predict import predict
from defectdb.query.select import select

pytest.importorskip("matplotlib")
LABEL = "Vac_S-W_Mo"
NAMED = r"\(MoS2, MoS2-1T\); choose one with --material"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy and a copy of it as another material, whose energies are all 1 eV higher; never written to."""
    path = tmp_path_factory.mktemp("two") / "two.duckdb"
    with open_database(path, create=True) as db:
        toy.fill(db)
        toy.publish_energy_model(db)
        toy.publish_gap_model(db)
        add_second_material(db)
        with db.transaction():
            db.execute(
                "UPDATE targets SET value = value + 1 WHERE structure_id LIKE 't%' AND target = 'formation_energy'"
            )
    return path


@pytest.fixture
def db(path: Path) -> Iterator[Database]:
    with open_database(path, read_only=True) as opened:
        yield opened


def test_a_kernel_is_one_materials_and_its_points_are_those_of_that_material(db: Database) -> None:
    with pytest.raises(UsageError, match="several materials have kernels of Vac_S-W_Mo " + NAMED):
        kernel(db, LABEL, "formation_energy")
    for scope, material in ((Scope("MoS2"), "MoS2"), (Scope(datasets=(SECOND_DATASET,)), SECOND)):
        found = kernel(db, LABEL, "formation_energy", scope=scope)
        assert found.material == material
        points = training_points(db, found)
        assert points.height == 10
        wanted = db.frame(
            "SELECT interaction FROM pair_energies WHERE label = ? AND material_id = ? ORDER BY distance",
            [LABEL, material],
        )
        assert points.sort("distance")["value"].to_list() == wanted["interaction"].to_list()
    with pytest.raises(UsageError, match="formula 1002 is of MoS2-1T, not MoS2"):
        kernel(db, "Vac_Mo-Vac_S", "formation_energy", 1002, Scope("MoS2"))


@pytest.mark.parametrize(
    ("kind", "what"),
    [("kernel", "kernels"), ("map", "kernels"), ("front", "formulas"), ("parity", "predictions")],
)
def test_every_figure_asks_which_material_and_draws_the_one_named(
    db: Database, tmp_path: Path, kind: str, what: str
) -> None:
    options = {"label": LABEL, "target": "formation_energy"}
    with pytest.raises(UsageError, match=f"several materials have {what} of .* {NAMED}"):
        draw(db, kind, tmp_path / "x.png", **options)
    draw(db, kind, tmp_path / "x.png", **options, scope=Scope(SECOND))
    assert (tmp_path / "x.png").stat().st_size > 4000


def test_a_figure_of_one_material_shows_its_own_rows(db: Database) -> None:
    texts = [
        t.get_text() for t in draw_parity(db, "homo_lumo_gap", Scope("MoS2")).axes[0].get_legend().get_texts()
    ]
    assert texts[0] == "3 defects: MAE 0 meV (30)"
    lines = draw_kernel(db, LABEL, "formation_energy", scope=Scope("MoS2")).axes[0].lines
    assert len(next(line for line in lines if line.get_marker() == "o").get_xdata()) == 10


def test_dense_structures_are_drawn_together(db: Database, tmp_path: Path) -> None:
    with open_database(tmp_path / "dense.duckdb", create=True) as dense:
        toy.fill(dense)
        toy.publish_energy_model(dense)
        with dense.transaction():
            dense.execute("UPDATE structures SET n_defects = 4 + structure_key % 9 WHERE n_defects = 3")
        legend = draw_parity(dense, "formation_energy").axes[0].get_legend().get_texts()
    assert re.match(r"4 to 12 defects: MAE .* meV \(30\)", legend[0].get_text())
    assert len(legend) == 3


def test_predictions_selections_and_errors_keep_to_the_material_and_datasets(db: Database) -> None:
    assert predict(db, "formation_energy").height == 126
    assert predict(db, "formation_energy", scope=Scope(SECOND))["structure_id"].str.starts_with("t").all()
    assert predict(db, "formation_energy", 1, Scope(datasets=("toy",))).height == 63
    assert select(db, "n_defects=3", scope=Scope("MoS2")).height == 30
    assert select(db, "n_defects=3").height == 60
    rows = {row["group"]: row for row in evaluate(db, "dataset", "formation_energy").to_dicts()}
    assert rows["toy"]["mae"] == pytest.approx(0, abs=1e-12)
    assert rows[SECOND_DATASET]["mae"] == pytest.approx(1, abs=1e-9)
    assert {row["n"] for row in rows.values()} == {63}
    numbers = evaluate(db, "n_defects", "formation_energy")["group"].to_list()
    assert numbers == [f"{m} {n}" for m in ("MoS2", SECOND) for n in (1, 2, 3)]
    assert evaluate(db, scope=Scope("MoS2"))["by"].unique(maintain_order=True).to_list() == [
        "all",
        "n_defects",
    ]


def test_a_notebook_names_the_material(path: Path) -> None:
    with defectdb.connect(path) as connection:
        with pytest.raises(UsageError, match=NAMED):
            connection.kernel(LABEL)
        assert connection.kernel(LABEL, material=SECOND).material == SECOND
        assert connection.formula(1002).material == SECOND
        assert connection.pairs(LABEL, SECOND).height == 10
        assert connection.formulas(LABEL, material="MoS2")["material_id"].unique().to_list() == ["MoS2"]
        assert connection.labels(datasets=["toy"])["material_id"].unique().to_list() == ["MoS2"]
        assert connection.structures("n=2", material="MoS2").height == 30
        assert connection.evaluate("material", material=SECOND)["group"].unique().to_list() == [SECOND]
        assert connection.predict(target="homo_lumo_gap", datasets=["toy"]).height == 63


def test_a_paper_has_a_section_for_every_material(db: Database, tmp_path: Path) -> None:
    names = [str(path.relative_to(tmp_path)) for path in write_paper(db, tmp_path)]
    assert {"formulas-MoS2.tex", "formulas-MoS2-1T.csv", "accuracy.tex"} <= set(names)
    assert f"figures/kernel-formation_energy-{SECOND}-{LABEL}.pdf" in names
    source = (tmp_path / "main.tex").read_text()
    assert re.findall(r"\\section\*\{(.*?)\}\n", source) == [
        "Formulas for MoS$_{2}$", "Formulas for MoS$_{2}$-1T", "Accuracy", "Data",
    ]  # fmt: skip
    for name in re.findall(r"\\input\{(.*?)\}", source):
        assert (tmp_path / f"{name}.tex").exists()
    figures = re.findall(r"\\includegraphics\{(.*?)\}", source)
    assert sorted(figures) == sorted(name for name in names if name.startswith("figures/"))
    assert pl.read_csv(tmp_path / "formulas-MoS2.csv").height == 13
    assert "Caption" not in source
    assert source.count("caption{MoS$_{2}$-1T: ") == 14


def test_a_paper_of_one_material_names_no_other(db: Database, tmp_path: Path) -> None:
    list(write_paper(db, tmp_path, Scope(SECOND)))
    assert (tmp_path / "formulas.tex").exists()
    assert "toy-1T" in (tmp_path / "references.bib").read_text()
    found = json.loads((tmp_path / "provenance.json").read_text())
    assert [row["dataset_id"] for row in found["datasets"]] == [SECOND_DATASET]
    assert {row["material_id"] for row in found["formulas"]} == {SECOND}
    assert {row["material_id"] for row in found["models"]} == {SECOND}


def test_sites_are_numbered_as_in_the_host_of_low_density(tmp_path: Path) -> None:
    with open_database(tmp_path / "hosts.duckdb", create=True) as db:
        toy.fill(db)
        with db.transaction():
            row = "'a dense host' AS host_id, 30.0 AS c_z"
            db.append("hosts", db.frame(f"SELECT * REPLACE ({row}) FROM hosts"))
            shifted = "'a dense host' AS host_id, frac_x + 0.01 AS frac_x, 191 - site_index AS site_index"
            db.append("host_sites", db.frame(f"SELECT * REPLACE ({shifted}) FROM host_sites"))
            db.execute("UPDATE structures SET host_id = 'a dense host', density = 'high' WHERE n_defects = 3")
        usual = supercell(db, "MoS2", (8, 8))
        assert usual.host == "MoS2 8x8x1"
        assert usual.lattice[2, 2] == toy.C
        with db.transaction():
            db.execute("UPDATE structures SET dataset_id = 'dense' WHERE density = 'high'")
            db.append("datasets", db.frame("SELECT * REPLACE ('dense' AS dataset_id) FROM datasets"))
        dense = supercell(db, "MoS2", (8, 8), ["dense"])
    assert (dense.host, dense.lattice[2, 2]) == ("a dense host", 30.0)
    assert dense.permutations.shape == usual.permutations.shape
    elements = np.array(dense.elements)
    assert all((elements[p] == elements).all() for p in dense.permutations[::41])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plot", "kernel", LABEL, "-o", "k.png"], "choose one with --material"),
        (["enumerate", "--supercell", "8x8", "--defects", "Vac_S"], "choose one with --material"),
        (["evaluate", "--dataset", "tyo"], "Known: toy, toy-1T"),
        (
            ["pairs", "--material", "MoS2", "--dataset", SECOND_DATASET],
            "holds no structure of MoS2, only of MoS2-1T",
        ),
        (["predict", "x.cif", "--dataset", "toy"], "do not go with SOURCE"),
        (["export", "formulas", "--material", "MoS2"], "choose what `export paper` holds"),
        (["export", "paper", "p", "--material", "WSe2"], "unknown material"),
    ],
)
def test_the_commands_say_what_is_missing(
    path: Path, words: list[str], said: str, capsys, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["--db", str(path), *words]) == 2
    assert said in capsys.readouterr().err


def test_the_commands_take_material_and_datasets(path: Path, capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)

    def rows(*words: str):
        assert run(["--db", str(path), *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert len(rows("pairs", "--dataset", "toy")) == 6
    assert len(rows("predict", "--material", SECOND, "--target", "homo_lumo_gap")) == 63
    assert len(rows("select", "n=3", "--dataset", "toy", "--dataset", SECOND_DATASET)) == 60
    assert len(rows("formulas", LABEL, "--material", SECOND)) == 2
    assert len(rows("enumerate", "--dataset", "toy", "--supercell", "8x8", "--defects", "Vac_S,Vac_S")) == 19
    assert rows("evaluate", "--by", "material", "--dataset", "toy")[0]["coverage"] == 1
    assert run(["--db", str(path), "plot", "front", LABEL, "--material", SECOND, "-o", "f.png"]) == 0

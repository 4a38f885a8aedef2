"""Figures: what is drawn, in which units, into which files."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from support import toy_database as toy

from defectdb.cli import run
from defectdb.db import Database, open_database
from defectdb.db.models.formulas import append_formulas
from defectdb.errors import UnknownNameError, UsageError
from defectdb.query.figures.draw import draw
from defectdb.query.figures.fronts import draw_front
from defectdb.query.figures.kernel_curves import draw_kernel
from defectdb.query.figures.maps import draw_map
from defectdb.query.figures.parity import draw_parity
from defectdb.query.figures.style import pretty

pytest.importorskip("matplotlib")
SIGNS = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}


@pytest.mark.parametrize("suffix", SIGNS)
@pytest.mark.parametrize("kind", ["kernel", "front", "parity", "map"])
def test_every_figure_is_written_in_every_format(
    db: Database, tmp_path: Path, kind: str, suffix: str
) -> None:
    path = tmp_path / f"figure{suffix}"
    draw(db, kind, path, label="Vac_S-Vac_S", target="formation_energy")
    assert path.read_bytes().startswith(SIGNS[suffix])
    assert path.stat().st_size > 4000


def test_axes_say_what_they_show_and_in_which_unit(db: Database) -> None:
    figures = [
        draw_kernel(db, "Vac_S-W_Mo", "formation_energy", None),
        draw_front(db, "Vac_S-W_Mo", "homo_lumo_gap"),
        draw_parity(db, "homo_lumo_gap"),
        draw_map(db, "Vac_S-W_Mo", "homo_lumo_gap", None),
    ]
    labels = [[(a.get_xlabel(), a.get_ylabel()) for a in figure.axes] for figure in figures]
    assert labels[0] == [("", "interaction (meV)"), ("distance $r$ (Å)", "residual (meV)")]
    assert labels[1] == [("complexity (tokens)", "MAE in cross-validation (meV)")]
    assert labels[2] == [("DFT HOMO–LUMO gap (eV)", "predicted HOMO–LUMO gap (eV)")]
    assert labels[3][0] == ("x, zigzag (Å)", "y, armchair (Å)")
    assert labels[3][1][1] == "HOMO–LUMO gap (eV)"


def test_a_kernel_figure_shows_the_pair_energies_of_the_database(db: Database) -> None:
    top = draw_kernel(db, "Vac_S-W_Mo", "formation_energy", None).axes[0]
    drawn = next(line.get_xydata() for line in top.lines if line.get_marker() == "o")
    expected = db.frame("SELECT distance, 1000 * interaction FROM pair_energies WHERE label = 'Vac_S-W_Mo' "
                        "ORDER BY distance").to_numpy()  # fmt: skip
    np.testing.assert_allclose(drawn, expected, atol=1e-9)


def test_what_is_left_of_a_lattice_sum_counts_every_image(toy_path: Path) -> None:
    with open_database(toy_path) as db:
        with db.transaction():
            record = toy.formula(toy.run(db), "Vac_S-W_Mo", "mul c0 exp div neg r 3", (0.2,), images="sum")
            [key] = append_formulas(db, [record])
        bottom = draw_kernel(db, "Vac_S-W_Mo", "formation_energy", key).axes[1]
        expected = db.frame(
            "SELECT 1000 * (any_value(e.interaction) - sum(0.2 * exp(-d.distance / 3))) AS left_over "
            "FROM pair_energies AS e JOIN distances AS d USING (pair_id) WHERE e.label = 'Vac_S-W_Mo' "
            "GROUP BY e.pair_id ORDER BY left_over"
        )["left_over"].to_numpy()
    drawn = next(line.get_ydata() for line in bottom.lines if line.get_marker() == "o")
    np.testing.assert_allclose(np.sort(drawn), expected, atol=1e-9)


def test_the_parity_figure_states_the_error_of_each_group(db: Database) -> None:
    texts = [text.get_text() for text in draw_parity(db, "homo_lumo_gap").axes[0].get_legend().get_texts()]
    assert texts == [f"{n} defects: MAE 0 meV (30)" for n in (3, 2)] + ["1 defect: MAE 0 meV (3)"]


def test_labels_become_mathematics() -> None:
    assert pretty("Vac_Mo-W_Mo") == r"$\mathrm{V}_{\mathrm{Mo}}$ – $\mathrm{W}_{\mathrm{Mo}}$"


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({"kind": "kernels"}, UnknownNameError, "did you mean 'kernel'"),
        ({"path": Path("x.gif")}, UnknownNameError, "unknown figure format '.gif'"),
        ({"label": None}, UsageError, "needs a pair label"),
        ({"label": "Vac_S-W_Se"}, UnknownNameError, "did you mean 'Vac_S-W_Mo'"),
        ({"target": "lumo"}, UsageError, "has no active formula of lumo"),
        ({"formula_id": 2}, UsageError, "formula 2 is of Vac_Mo-Vac_S"),
    ],
)
def test_a_figure_that_cannot_be_drawn_says_why(
    db: Database, tmp_path: Path, given, error, match: str
) -> None:
    wanted = {
        "kind": "kernel",
        "path": tmp_path / "x.png",
        "label": "Vac_S-W_Mo",
        "target": "formation_energy",
    }
    wanted |= given
    with pytest.raises(error, match=match):
        draw(db, wanted.pop("kind"), wanted.pop("path"), **wanted)


def test_without_matplotlib_the_message_says_what_to_install(
    db: Database, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'defectdb\[plots\]'"):
        draw(db, "parity", tmp_path / "x.png", target="formation_energy")


def test_the_command_draws(toy_template: Path, tmp_path: Path) -> None:
    path = tmp_path / "k.svg"
    assert run(["--db", str(toy_template), "plot", "kernel", "v_S-W_Mo", "-o", str(path)]) == 0
    assert path.exists()

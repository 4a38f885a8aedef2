"""The figures of a paper: which kernels, fronts and parity plots stand side by side, and their captions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from defectdb.db import Database
from defectdb.db.scope import Scope
from defectdb.query.figures.draw import draw
from defectdb.query.figures.style import NAMES
from defectdb.query.paper.tables import pair_text


@dataclass(frozen=True, slots=True)
class Panel:
    """One drawing.

    ``kind``: kernel, front or parity.
    ``label``: pair label, None for a parity plot.
    ``target``: e.g. formation_energy.
    """

    kind: str
    label: str | None
    target: str


@dataclass(frozen=True, slots=True)
class PaperFigure:
    """Panels side by side, and their caption in LaTeX."""

    panels: tuple[Panel, ...]
    caption: str


def paper_figures(db: Database, scope: Scope) -> Iterator[PaperFigure]:
    """Every active pair kernel of one material beside its front, then the parity plots in twos."""
    kernels = db.frame(
        "SELECT f.pair_label, f.target, bool_or(m.trained_on <> 'pairs') AS wide FROM formulas AS f "
        "JOIN model_terms AS t USING (formula_id) JOIN models AS m USING (model_id) "
        "WHERE f.status = 'active' AND m.status = 'active' AND t.\"order\" = 2 AND f.material_id = ? "
        "GROUP BY ALL ORDER BY ALL",
        [scope.material],
    )
    for label, target, wide in kernels.iter_rows():
        caption = (_KERNEL + (_WIDE if wide else "")).format(pair=pair_text(label), name=NAMES[target])
        yield PaperFigure(
            (Panel("kernel", label, target), Panel("front", label, target)), caption.replace("–", "--")
        )
    targets = db.frame(
        "SELECT DISTINCT target FROM prediction_errors WHERE material_id = ? AND error IS NOT NULL ORDER BY ALL",
        [scope.material],
    )["target"].to_list()
    for start in range(0, len(targets), 2):
        beside = targets[start : start + 2]
        names = " and ".join(NAMES[target] for target in beside).replace("–", "--")
        yield PaperFigure(
            tuple(Panel("parity", None, target) for target in beside), f"Predicted against DFT {names}."
        )


_KERNEL = (
    "{pair}, {name}. Left: DFT values, formula and residuals. Right: error in cross-validation against complexity "
    "of all formulas; the stars are in use."
)
_WIDE = (
    " Their model was fitted to all structures: a star's error is that of five folds over all structures with "
    "the pair, the other points' over those with this pair alone."
)


def write_panels(
    db: Database, folder: Path, figure: PaperFigure, scope: Scope, prefix: str
) -> Iterator[Path]:
    """Draw the panels of a figure as PDF; yields their paths. ``prefix`` stands in the names after kind and target."""
    for panel in figure.panels:
        parts = [
            panel.kind,
            panel.target,
            *([prefix] if prefix else []),
            *([panel.label] if panel.label else []),
        ]
        path = folder / f"{re.sub(r'[^A-Za-z0-9_.-]+', '', '-'.join(parts))}.pdf"
        draw(db, panel.kind, path, label=panel.label, target=panel.target, scope=scope)
        yield path


def figure_tex(paths: list[Path], caption: str) -> str:
    """The LaTeX of a figure."""
    shown = "\\hfill\n  ".join(f"\\includegraphics{{figures/{path.name}}}" for path in paths)
    return f"\\begin{{figure}}[tbp]\n  \\centering\n  {shown}\n  \\caption{{{caption}}}\n\\end{{figure}}"

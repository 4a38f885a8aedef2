"""Everything that a paper needs in one folder: tables, figures, bibliography, provenance and the LaTeX around them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from string import Template

from defectdb.db import Database
from defectdb.db.scope import EVERYTHING, Scope, materials_of
from defectdb.errors import UsageError
from defectdb.query.export import render
from defectdb.query.output_file import whole_folder, write_whole
from defectdb.query.paper.accuracy import accuracy, coverage_sentences, own_errors
from defectdb.query.paper.figures import figure_tex, paper_figures, write_panels
from defectdb.query.paper.sources import bibliography, provenance
from defectdb.query.paper.tables import (
    accuracy_tex,
    datasets,
    formulas,
    formulas_tex,
    judged_text,
    material_text,
    with_materials,
    write_table,
)


def write_paper(db: Database, folder: Path, scope: Scope = EVERYTHING) -> Iterator[Path]:
    """Write everything into a folder, whole or not at all; yields every path when its text or figure is made.

    For every material with active formulas a table of them, figures of every active kernel, its front and every
    predicted target; then the tables of accuracy and data sets, references.bib, provenance.json, and main.tex,
    which holds them together with a section for each material. Where there are several materials, names of
    files carry the material. Other files of the folder stay. Raises UsageError where there is no active formula,
    InputDataError where a file cannot be written.
    """
    materials = _materials(db, scope)
    with whole_folder(folder) as draft:
        for path in _written(db, draft, scope, materials):
            yield folder / path.relative_to(draft)


def _written(db: Database, folder: Path, scope: Scope, materials: list[str]) -> Iterator[Path]:
    """Write everything file by file; yields the paths."""
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    sections: list[str] = []
    for material in materials:
        of_material = replace(scope, material=material)
        yield from _section(db, folder, of_material, sections, several=len(materials) > 1)
    ours, data = own_errors(db, scope), datasets(db, scope)
    table = accuracy(ours)
    whose, sentences = judged_text(ours), " ".join(coverage_sentences(ours))
    yield from write_table(folder, "accuracy", table, accuracy_tex(table))
    yield from write_table(folder, "datasets", data, render(data, "latex"))
    for name, text in (
        ("references.bib", bibliography(db, scope)),
        ("provenance.json", json.dumps(provenance(db, scope), indent=2) + "\n"),
        (
            "main.tex",
            _template("paper.tex").substitute(
                sections="\n\n".join(sections), judged=whose, coverage=with_materials(sentences)
            ),
        ),
    ):
        write_whole(folder / name, text)
        yield folder / name


def _materials(db: Database, scope: Scope) -> list[str]:
    """Materials in scope that have active formulas. Raises UsageError where there is none."""
    found = db.frame("SELECT DISTINCT material_id FROM formulas WHERE status = 'active' ORDER BY ALL")
    wanted = [scope.material] if scope.material else materials_of(db, scope.datasets)
    materials = [name for name in found["material_id"] if name in wanted]
    if not materials:
        where = f" of {scope.material}" if scope.material else ""
        raise UsageError(f"a paper needs active formulas{where}; `defectdb learn --all-pairs` finds some")
    return materials


def _section(
    db: Database, folder: Path, scope: Scope, sections: list[str], *, several: bool
) -> Iterator[Path]:
    """Write one material's formulas and figures; yields the paths and appends the LaTeX to ``sections``."""
    assert scope.material is not None
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", scope.material) if several else ""
    table, frame = f"formulas-{name}" if several else "formulas", formulas(db, scope)
    yield from write_table(folder, table, frame, formulas_tex(frame))
    figures = []
    for figure in paper_figures(db, scope):
        paths = []
        for path in write_panels(db, folder / "figures", figure, scope, name):
            paths.append(path)
            yield path
        of = f"{material_text(scope.material)}: " if several else ""
        figures.append(figure_tex(paths, of + figure.caption))
    heading = f"Formulas for {material_text(scope.material)}" if several else "Formulas"
    section = _template("section.tex").substitute(heading=heading, table=table, figures="\n".join(figures))
    sections.append(section.rstrip())


def _template(name: str) -> Template:
    return Template((files("defectdb.query.paper") / name).read_text(encoding="utf-8"))

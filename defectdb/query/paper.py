"""A database to the tables, figures and sources of a paper: LaTeX, CSV, PDF, BibTeX and provenance."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template

import polars as pl

from defectdb.db import Database
from defectdb.errors import InputDataError, UsageError
from defectdb.query.export import escape_latex, render
from defectdb.query.figures import NAMES, draw
from defectdb.query.published import accuracy
from defectdb.query.rounding import digits_needed
from defectdb.schema.engines import to_latex
from defectdb.schema.expression import from_ast


def write_paper(db: Database, folder: Path) -> Iterator[Path]:
    """Write everything into a folder, file by file; yields the paths.

    Tables (formulas, accuracy, data sets), figures of every active kernel, its front and every predicted
    target, references.bib, provenance.json, and main.tex that holds them together. Raises UsageError where
    there is no active formula, InputDataError where a file cannot be written.
    """
    if not db.value("SELECT count(*) FROM formulas WHERE status = 'active'"):
        raise UsageError("a paper needs active formulas; `defectdb learn --all-pairs` finds some")
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        yield from _tables(db, folder)
        figures = []
        for path, kind, label, target in _figures(db, folder / "figures"):
            draw(db, kind, path, label=label, target=target)
            figures.append((path, _caption(kind, label, target)))
            yield path
        for name, text in (
            ("references.bib", bibliography(db)),
            ("provenance.json", json.dumps(provenance(db), indent=2) + "\n"),
            ("main.tex", _main(figures)),
        ):
            (folder / name).write_text(text, encoding="utf-8")
            yield folder / name
    except OSError as cause:
        raise InputDataError(f"cannot be written: {cause.strerror or cause}", path=str(folder)) from cause


def _tables(db: Database, folder: Path) -> Iterator[Path]:
    for name, frame in (("formulas", formulas(db)), ("accuracy", accuracy(db)), ("datasets", datasets(db))):
        for suffix, style in ((".tex", "latex"), (".csv", "csv")):
            text = render(frame, style)
            if (
                name == "formulas" and style == "latex"
            ):  # formulas break over lines instead of leaving the page
                text = re.sub(r"\{tabular\}\{lll", r"{tabular}{llp{0.45\\linewidth}", text, count=1)
            (folder / f"{name}{suffix}").write_text(text, encoding="utf-8")
            yield folder / f"{name}{suffix}"


def formulas(db: Database) -> pl.DataFrame:
    """The active formulas, constants rounded as far as the stated errors allow."""
    rows = db.frame(
        "SELECT * FROM formulas WHERE status = 'active' ORDER BY target, pair_label, dz_min, formula_id"
    ).to_dicts()
    found = []
    for row in rows:
        tree, constants = from_ast(row["ast"]), tuple(row["constants"])
        digits = digits_needed(db, tree, constants, row)
        error = row["mae_cv"]
        found.append(
            {
                "pair": row["pair_label"],
                "property": NAMES[row["target"]],
                "latex": to_latex(tree, constants, digits),
                "|dz| [Å]": _window(row["dz_min"], row["dz_max"]),
                "r [Å]": f"{row['r_min']:.2f} to {row['r_max']:.2f}",
                "size": row["complexity"],
                "MAE [meV]": round(1000 * row["mae_train"], 3),
                "CV MAE [meV]": None if error is None else round(1000 * error, 3),
            }
        )
    return pl.DataFrame(found, infer_schema_length=None)


def _window(low: float, high: float) -> str:
    if low == 0 and high >= 1e8:
        return "all"
    return f"below {high:.2f}" if low == 0 else f"from {low:.2f}"


def datasets(db: Database) -> pl.DataFrame:
    """The data sets with their size, licence and reference."""
    return db.frame(
        "SELECT name, format, n_structures AS structures, licence, doi, left(sha256, 12) AS sha256 "
        "FROM datasets ORDER BY name"
    )


def bibliography(db: Database) -> str:
    """BibTeX of the data sets: one entry per DOI or citation."""
    rows = db.frame("SELECT dataset_id, name, citation, doi, source_uri FROM datasets ORDER BY dataset_id")
    entries = []
    for key, name, citation, doi, source in rows.iter_rows():
        fields = {"title": f"{{{escape_latex(name)}}}", "note": escape_latex(citation or Path(source).name)}
        if doi:
            fields["doi"] = doi
        body = ",\n".join(f"  {field} = {{{value}}}" for field, value in fields.items())
        entries.append(f"@misc{{{re.sub(r'[^A-Za-z0-9]+', '-', key)},\n{body}\n}}\n")
    return "\n".join(entries)


def provenance(db: Database) -> dict[str, object]:
    """Hashes, versions, seeds and settings behind every number."""

    def rows(sql: str) -> list[dict[str, object]]:
        frame = db.frame(sql)
        return frame.with_columns(pl.col(pl.Datetime).dt.to_string("iso")).to_dicts()

    return {
        "software": {
            "defectdb": version("defectdb"),
            "python": platform.python_version(),
            "duckdb": db.value("SELECT version()"),
            "polars": version("polars"),
        },
        "datasets": rows("SELECT dataset_id, source_uri, sha256, licence, ingested_at FROM datasets"),
        "models": rows("SELECT * FROM models WHERE status = 'active' ORDER BY model_id"),
        "formulas": rows(
            "SELECT formula_id, run_id, pair_label, target, version, prefix, constants FROM formulas "
            "WHERE status = 'active' ORDER BY formula_id"
        ),
        "runs": rows(
            "SELECT * FROM runs WHERE run_id IN (SELECT run_id FROM formulas WHERE status = 'active' "
            "UNION SELECT run_id FROM models WHERE status = 'active') ORDER BY run_id"
        ),
    }


def _figures(db: Database, folder: Path) -> Iterator[tuple[Path, str, str | None, str]]:
    kernels = db.frame(
        "SELECT DISTINCT pair_label, target FROM formulas WHERE status = 'active' "
        "AND pair_label NOT LIKE '%-%-%' ORDER BY ALL"
    )
    for label, target in kernels.iter_rows():
        for kind in ("kernel", "front"):
            yield folder / f"{kind}-{target}-{label}.pdf", kind, label, target
    for target in db.frame("SELECT DISTINCT target FROM prediction_errors ORDER BY ALL")["target"]:
        yield folder / f"parity-{target}.pdf", "parity", None, target


def _caption(kind: str, label: str | None, target: str) -> str:
    pair = escape_latex(label or "")
    return {
        "kernel": f"Kernel of {pair}: DFT values and formula ({NAMES[target]}), and what is left over.",
        "front": f"Error in cross-validation against complexity of all formulas of {pair} ({NAMES[target]}).",
        "parity": f"Predicted against DFT {NAMES[target]}.",
    }[kind].replace("–", "--")


def _main(figures: list[tuple[Path, str]]) -> str:
    template = (files("defectdb.query") / "paper.tex").read_text(encoding="utf-8")
    shown = "\n".join(
        "\\begin{figure}[tbp]\n  \\centering\n"
        f"  \\includegraphics{{figures/{path.name}}}\n  \\caption{{{caption}}}\n\\end{{figure}}"
        for path, caption in figures
    )
    return Template(template).substitute(figures=shown)

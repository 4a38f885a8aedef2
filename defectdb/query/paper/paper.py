"""A database to the tables, figures and sources of a paper: LaTeX, CSV, PDF, BibTeX and provenance."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template

import polars as pl

from defectdb.db import Database
from defectdb.errors import InputDataError, UsageError
from defectdb.expressions.evaluation import to_latex
from defectdb.expressions.expression import from_ast
from defectdb.query.export import escape_latex, render
from defectdb.query.figures.draw import draw
from defectdb.query.figures.style import NAMES, pretty
from defectdb.query.paper.digits_needed import digits_needed
from defectdb.query.paper.published import accuracy

_COLUMNS = r"\begin{tabular}{ll>{\raggedright\arraybackslash}p{0.5\linewidth}llrrr}"
_HEADS = {"|dz| [Å]": r"$|\Delta z|$ [Å]", "& r [Å]": "& $r$ [Å]"}


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
        for drawings, caption in _figures(db):
            paths = list(_drawn(db, folder / "figures", drawings))
            figures.append((paths, caption))
            yield from paths
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
    labels = db.frame("SELECT DISTINCT pair_label FROM formulas WHERE status = 'active'")[
        "pair_label"
    ].to_list()
    for name, frame in (("formulas", formulas(db)), ("accuracy", accuracy(db)), ("datasets", datasets(db))):
        for suffix, text in ((".tex", _typeset(name, frame, labels)), (".csv", render(frame, "csv"))):
            (folder / f"{name}{suffix}").write_text(text, encoding="utf-8")
            yield folder / f"{name}{suffix}"


def _typeset(name: str, frame: pl.DataFrame, labels: Sequence[str]) -> str:
    """A table as LaTeX: labels and materials as mathematics, errors to equal digits, formulas over several lines."""
    if name == "accuracy":
        return re.sub(
            r"^([A-Z]\w*\d)(?= &)",
            lambda m: re.sub(r"(\d+)", r"$_{\1}$", m[1]),
            render(frame, "latex"),
            flags=re.M,
        )
    if name != "formulas":
        return render(frame, "latex")
    errors = [c for c in frame.columns if c.endswith("[meV]")]
    rounded = [pl.col(c).map_elements(lambda x: f"{x:.2f}", return_dtype=pl.String) for c in errors]
    text = render(frame.with_columns(rounded), "latex")
    text = re.sub(r"\\begin\{tabular\}\{\w+\}", lambda _: _COLUMNS, text, count=1)
    for old, new in _HEADS.items():
        text = text.replace(old, new, 1)
    for label in sorted(labels, key=len, reverse=True):
        text = text.replace(f"\n{escape_latex(label)} &", f"\n{_pair(label)} &")
    return text


def _pair(label: str) -> str:
    return pretty(label).replace(" – ", "--")


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
                "latex": _breakable(to_latex(tree, constants, digits)),
                "|dz| [Å]": _window(row["dz_min"], row["dz_max"]),
                "r [Å]": f"{row['r_min']:.2f} to {row['r_max']:.2f}",
                "size": row["complexity"],
                "MAE [meV]": round(1000 * row["mae_train"], 3),
                "CV MAE [meV]": None if error is None else round(1000 * error, 3),
            }
        )
    return pl.DataFrame(found, infer_schema_length=None)


def _breakable(latex: str) -> str:
    """Mathematics that may go on in the next line: TeX never breaks between \\left and \\right."""
    plain = latex.replace(r"\left(", "(").replace(r"\right)", ")")
    return plain.replace(") (", r")\allowbreak (")


def _window(low: float, high: float) -> str:
    if low == 0 and high >= 1e8:
        return "all"
    return f"below {high:.2f}" if low == 0 else f"from {low:.2f}"


def datasets(db: Database) -> pl.DataFrame:
    """The data sets with their size, licence and reference."""
    return db.frame(
        "SELECT name, format, n_structures AS structures, licence, doi, left(sha256, 12) AS sha256 "
        "FROM datasets WHERE n_structures > 0 ORDER BY name"
    )


def bibliography(db: Database) -> str:
    """BibTeX of the data sets: one entry per DOI or citation."""
    rows = db.frame(
        "SELECT dataset_id, name, citation, doi, source_uri FROM datasets "
        "WHERE n_structures > 0 ORDER BY dataset_id"
    )
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


Drawing = tuple[str, str | None, str]  # kind, pair label, target


def _figures(db: Database) -> Iterator[tuple[list[Drawing], str]]:
    """What is drawn side by side in one figure, and its caption."""
    kernels = db.frame(
        "SELECT DISTINCT pair_label, target, bool_or(m.trained_on <> 'pairs') AS wide FROM formulas AS f "
        "JOIN model_terms AS t USING (formula_id) JOIN models AS m USING (model_id, target) "
        "WHERE f.status = 'active' AND m.status = 'active' AND pair_label NOT LIKE '%-%-%' GROUP BY ALL ORDER BY ALL"
    )
    for label, target, wide in kernels.iter_rows():
        caption = _KERNEL + (_WIDE if wide else "")
        yield (
            [("kernel", label, target), ("front", label, target)],
            caption.format(pair=_pair(label), name=NAMES[target]).replace("–", "--"),
        )
    targets = db.frame("SELECT DISTINCT target FROM prediction_errors ORDER BY ALL")["target"].to_list()
    for start in range(0, len(targets), 2):
        beside = targets[start : start + 2]
        names = " and ".join(NAMES[target] for target in beside).replace("–", "--")
        yield [("parity", None, target) for target in beside], f"Predicted against DFT {names}."


_KERNEL = (
    "{pair}, {name}. Left: DFT values, formula and what is left over. Right: error in cross-validation against "
    "complexity of all formulas; the stars are in use."
)
_WIDE = (
    " Their model was fitted to all structures: a star's error is that of five folds over all structures with "
    "the pair, the other points' over those with this pair alone."
)


def _drawn(db: Database, folder: Path, drawings: Sequence[Drawing]) -> Iterator[Path]:
    for kind, label, target in drawings:
        path = folder / f"{kind}-{target}{'' if label is None else '-' + label}.pdf"
        draw(db, kind, path, label=label, target=target)
        yield path


def _main(figures: list[tuple[list[Path], str]]) -> str:
    template = (files("defectdb.query.paper") / "paper.tex").read_text(encoding="utf-8")
    shown = "\n".join(
        "\\begin{figure}[tbp]\n  \\centering\n  "
        + "\\hfill\n  ".join(f"\\includegraphics{{figures/{path.name}}}" for path in paths)
        + f"\n  \\caption{{{caption}}}\n\\end{{figure}}"
        for paths, caption in figures
    )
    return Template(template).substitute(figures=shown)

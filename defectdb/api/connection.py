"""A database for notebooks: frames in and out, formulas in every notation, predictions for any structure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Any

import polars as pl

from defectdb.api.formula import Formula
from defectdb.api.front import Front
from defectdb.api.learning import learn_run
from defectdb.api.structures import Structures, as_ase, as_pymatgen, files_of, ids_of
from defectdb.db import Database, open_database
from defectdb.db.models.formulas import activate_formula
from defectdb.db.read import formula, formulas, pair_label, pair_summary, status
from defectdb.db.scope import IN_SCOPE, make_scope
from defectdb.db.scratch import scratch
from defectdb.errors import DatabaseError, InputDataError, missing_parts_named
from defectdb.expressions.expression import from_ast
from defectdb.query.evaluate import evaluate
from defectdb.query.kernels import Kernel, kernel
from defectdb.query.notations import notations
from defectdb.query.predict import COLUMNS, demand_model, predict
from defectdb.query.select import select

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from defectdb.ingest.report import LoadReport


class Connection:
    """An open database. Frames are polars frames; energies are in eV, lengths in angstrom.

    Errors are DefectDBErrors: UnknownNameError for names that do not exist, QueryError for refused SQL.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def sql(self, query: str, **values: Any) -> pl.DataFrame:
        """The rows of a query; ``values`` are bound to ``$name``."""
        return self._db.frame(query, values or None)

    def status(self) -> dict[str, Any]:
        """Counts of everything, and the active models."""
        return status(self._db)

    def labels(self, material: str | None = None, datasets: Sequence[str] = ()) -> pl.DataFrame:
        """Pair labels with counts and distance ranges, of one material and of some datasets where they are named."""
        scope = make_scope(self._db, material, datasets)
        return pair_summary(self._db, scope.material, scope.datasets)

    def pairs(
        self, label: str | None = None, material: str | None = None, datasets: Sequence[str] = ()
    ) -> pl.DataFrame:
        """View ``pair_energies``: the 2-defect structures, of one pair label, material and datasets where named."""
        wanted = None if label is None else pair_label(self._db, label)
        scope = make_scope(self._db, material, datasets)
        return self._db.frame(
            f"SELECT * FROM pair_energies WHERE coalesce(label = $label, TRUE) AND {IN_SCOPE} "
            "ORDER BY material_id, label, distance",
            {"label": wanted, **scope.parameters()},
        )

    def structures(
        self, filters: str = "", columns: str = "", sort: str = "structure_id", *,
        material: str | None = None, datasets: Sequence[str] = (),
    ) -> pl.DataFrame:  # fmt: skip
        """Structures for which filters such as ``n_defects=3,2.2<gap<2.5`` hold."""
        scope = make_scope(self._db, material, datasets)
        return select(self._db, filters, columns=columns, sort=sort, scope=scope)

    def formulas(
        self, label: str | None = None, target: str | None = None, material: str | None = None, *,
        front: bool = False,
    ) -> pl.DataFrame:  # fmt: skip
        """The active formulas, or with ``front`` every stored version."""
        return formulas(self._db, label, target, material, front=front)

    def formula(self, formula_id: int) -> Formula:
        """One formula."""
        row = formula(self._db, formula_id)
        return Formula(
            formula_id, row["material_id"], row["pair_label"], row["target"], from_ast(row["ast"]),
            tuple(row["constants"]),
        )  # fmt: skip

    def notations(self, formula_id: int) -> dict[str, Any]:
        """One formula in every notation, with its provenance."""
        return notations(self._db, formula_id)

    def kernel(self, label: str, target: str = "formation_energy", material: str | None = None) -> Kernel:
        """The active kernel of a pair: a function of distance and |dz|.

        Raises UsageError where several materials have one and none is named.
        """
        return kernel(self._db, label, target, scope=make_scope(self._db, material))

    def predict(
        self,
        structures: Structures | None = None,
        target: str = "formation_energy_per_site",
        model: int | None = None,
        *,
        material: str | None = None,
        datasets: Sequence[str] = (),
    ) -> pl.DataFrame:
        """Predictions for the given structures (paths, pymatgen Structures, ASE Atoms) or all stored ones.

        ``material`` and ``datasets`` narrow the stored ones.

        Raises InputDataError for a structure that cannot be read or fits no stored host.
        """
        if structures is None:
            return predict(self._db, target, model, make_scope(self._db, material, datasets)).select(COLUMNS)
        from defectdb.ingest import load

        demand_model(self._db, target, model)
        with TemporaryDirectory() as folder, scratch(self._db, model) as copy:
            reports = load(copy, files_of(structures, Path(folder)))
            for reject in (reject for report in reports for reject in report.rejects):
                raise InputDataError(f"{reject.reason}: {reject.detail}", path=reject.source_path)
            return predict(copy, target, model).select(COLUMNS)

    def ingest(self, sources: Structures, **options: Any) -> list[LoadReport]:
        """Load files, folders, archives, ASE Atoms, pymatgen Structures or a table; a report per dataset.

        Options are those of ``defectdb ingest``: name, strict, dry_run, format, cutoff. Atoms keep the energy of their
        calculator; paths in a table are absolute. Needs ``connect(path, write=True)``. Raises InputDataError.
        """
        from defectdb.ingest import load

        self._demand_write()
        with TemporaryDirectory() as folder:
            return load(self._db, files_of(sources, Path(folder)), **options)

    def learn(self, *pairs: str, model: bool = False, progress: bool = True, **options: Any) -> Front:
        """Learn formulas of these pairs, of all pairs, or with ``model`` the whole model; its front, put to use.

        Options are those of ``LearnConfig``: target, material, time_limit (seconds), generations, seed ... Progress
        goes to stderr. Needs ``connect(path, write=True)``. Raises UsageError, SelectionError, and MissingPartError
        without torch.
        """
        self._demand_write()
        with missing_parts_named():
            run_id = learn_run(self._db, list(pairs), model=model, progress=progress, **options)
        return Front.of_run(self._db, run_id)

    def front(self, label: str, target: str = "formation_energy", material: str | None = None) -> Front:
        """The formulas of every length that the newest run about a pair found. Raises UsageError without one."""
        return Front.of_label(self._db, pair_label(self._db, label), target, make_scope(self._db, material))

    def enumerate(
        self, defects: str, supercell: str, material: str | None = None, **options: Any
    ) -> pl.LazyFrame:
        """Inequivalent placements of defects (``Vac_Mo,Vac_S,Vac_S``) in a supercell (``8,8,1``), as a lazy frame.

        Options are those of ``Request``: target, top, where, concentration, sample, seed. Values in eV.
        """
        from defectdb.db.scope import chosen_material
        from defectdb.query.placements.chosen import Request, candidates

        host = chosen_material(self._db, make_scope(self._db, material))
        return candidates(self._db, Request(host, supercell, defects, **options)).frame.lazy()

    def compare(
        self, label: str, target: str = "formation_energy", material: str | None = None
    ) -> pl.DataFrame:
        """A pair's formula beside known laws and tables fitted to the same rows, errors in eV."""
        with missing_parts_named():
            from defectdb.learn.judging.compare import as_frame, compare
        return as_frame(compare(self._db, label, target, material))

    def to_ase(self, structures: str | Sequence[str] | pl.DataFrame) -> list[Any]:
        """Stored structures (ids, or a frame with column structure_id) as ASE Atoms on the host's ideal sites."""
        return as_ase(self._db, ids_of(structures))

    def to_pymatgen(self, structures: str | Sequence[str] | pl.DataFrame) -> list[Any]:
        """Stored structures (ids, or a frame with column structure_id) as pymatgen Structures on ideal sites."""
        return as_pymatgen(self._db, ids_of(structures))

    def plot(
        self,
        kind: str,
        label: str | None = None,
        target: str = "formation_energy",
        material: str | None = None,
    ) -> Figure:
        """A matplotlib Figure: ``kernel``, ``front``, ``parity`` or ``map``. Raises UnknownNameError."""
        from defectdb.query.figures.draw import figure

        return figure(self._db, kind, label=label, target=target, scope=make_scope(self._db, material))

    def plot_kernel(
        self, label: str, target: str = "formation_energy", material: str | None = None
    ) -> Figure:
        """Calculated values of a pair, its formula and the residuals."""
        return self.plot("kernel", label, target, material)

    def plot_front(self, label: str, target: str = "formation_energy", material: str | None = None) -> Figure:
        """Error against length of a pair's formulas."""
        return self.plot("front", label, target, material)

    def plot_parity(self, target: str = "formation_energy_per_site", material: str | None = None) -> Figure:
        """Predicted against calculated values."""
        return self.plot("parity", None, target, material)

    def plot_map(self, label: str, target: str = "formation_energy", material: str | None = None) -> Figure:
        """A pair's kernel on the sites around the first defect."""
        return self.plot("map", label, target, material)

    def export(self, query_or_table: str, path: str | Path) -> Path:
        """Write a table or query to a .tex, .csv, .md, .html or .parquet file; its path."""
        from defectdb.query.export import select as rows
        from defectdb.query.export import style_of, write

        style = style_of(Path(path))
        write(rows(self._db, query_or_table, style), style, Path(path))
        return Path(path)

    def evaluate(
        self, by: str | None = None, target: str | None = None, *,
        material: str | None = None, datasets: Sequence[str] = (),
    ) -> pl.DataFrame:  # fmt: skip
        """Errors of the active models against the stored targets, in eV."""
        return evaluate(self._db, by, target, make_scope(self._db, material, datasets))

    def activate(self, formula_id: int) -> int:
        """Put a formula to use, as a new model version; its id. Needs ``connect(path, write=True)``."""
        self._demand_write()
        with self._db.transaction():
            return activate_formula(self._db, formula_id)

    def _demand_write(self) -> None:
        if self._db.read_only:
            raise DatabaseError(f"{self._db.path} is open for reading only; connect with write=True")

    def __repr__(self) -> str:
        found = self.status()
        return f"<defectdb {found['database']}: {found['structures']} structures, {found['pairs']} pairs>"

    def _repr_html_(self) -> str:
        from defectdb.query.export import render

        frame = pl.DataFrame({"what": list(self.status()), "count": [str(v) for v in self.status().values()]})
        return render(frame, "html")


def connect(path: str | Path = "defects.duckdb", *, write: bool = False) -> Connection:
    """Open a database, for reading unless ``write``, which makes it where it is missing. Raises DatabaseError."""
    return Connection(open_database(path, read_only=not write, create=write, shared=write))

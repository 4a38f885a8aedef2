"""A database for notebooks: frames in and out, formulas in every notation, predictions for any structure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Any

import polars as pl

from defectdb.db import Database, open_database
from defectdb.db.formulas import activate_formula
from defectdb.db.read import formula, formulas, pair_label, pair_summary, status
from defectdb.db.scope import IN_SCOPE, make_scope
from defectdb.db.scratch import scratch
from defectdb.errors import DatabaseError, InputDataError, UsageError
from defectdb.expressions.evaluation import evaluate_numpy, to_latex, to_sympy
from defectdb.expressions.expression import Expression, from_ast
from defectdb.expressions.texts import to_c_function, to_infix, to_python
from defectdb.query.evaluate import evaluate
from defectdb.query.kernels import Kernel, kernel
from defectdb.query.notations import notations
from defectdb.query.polars_math import to_polars
from defectdb.query.predict import COLUMNS, demand_model, predict
from defectdb.query.select import select

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Structures = Any
"""Paths, pymatgen Structures or ASE Atoms: one of them or several."""


@dataclass(frozen=True, slots=True)
class Formula:
    """One stored formula: call it with its variables (angstrom) for values in eV.

    ``formula_id``: its row of table formulas.
    ``material``, ``pair_label``, ``target``: what it was learned for.
    ``expression``, ``constants``: the formula.
    """

    formula_id: int
    material: str
    pair_label: str
    target: str
    expression: Expression
    constants: tuple[float, ...]

    def __call__(self, **variables: ArrayLike) -> NDArray[Any]:
        """Values in eV: ``formula(r=3.19, dz=0)``; NaN outside the formula's domain."""
        return evaluate_numpy(self.expression, variables, self.constants)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return to_infix(self.expression, self.constants, digits=5)

    @property
    def latex(self) -> str:
        """LaTeX mathematics, the constants rounded to five digits."""
        return to_latex(self.expression, self.constants)

    @property
    def sympy(self) -> Any:
        """A sympy expression."""
        return to_sympy(self.expression, self.constants)

    @property
    def polars(self) -> pl.Expr:
        """A polars expression over columns named like the variables."""
        return to_polars(self.expression, self.constants)

    @property
    def python(self) -> str:
        """Source of a plain Python function."""
        return to_python(self.expression, self.constants)

    @property
    def c(self) -> str:
        """Source of a C99 function."""
        return to_c_function(self.expression, self.constants)

    def _repr_latex_(self) -> str:
        return f"${self.latex}$"


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
            reports = load(copy, _files(structures, Path(folder)))
            for reject in (reject for report in reports for reject in report.rejects):
                raise InputDataError(f"{reject.reason}: {reject.detail}", path=reject.source_path)
            return predict(copy, target, model).select(COLUMNS)

    def evaluate(
        self, by: str | None = None, target: str | None = None, *,
        material: str | None = None, datasets: Sequence[str] = (),
    ) -> pl.DataFrame:  # fmt: skip
        """Errors of the active models against the stored targets, in eV."""
        return evaluate(self._db, by, target, make_scope(self._db, material, datasets))

    def activate(self, formula_id: int) -> int:
        """Put a formula to use, as a new model version; its id. Needs ``connect(path, write=True)``."""
        if self._db.read_only:
            raise DatabaseError(f"{self._db.path} is open for reading only; connect with write=True")
        with self._db.transaction():
            return activate_formula(self._db, formula_id)

    def __repr__(self) -> str:
        found = self.status()
        return f"<defectdb {found['database']}: {found['structures']} structures, {found['pairs']} pairs>"

    def _repr_html_(self) -> str:
        from defectdb.query.export import render

        frame = pl.DataFrame({"what": list(self.status()), "count": [str(v) for v in self.status().values()]})
        return render(frame, "html")


def connect(path: str | Path = "defects.duckdb", *, write: bool = False) -> Connection:
    """Open a database, for reading unless ``write``. Raises DatabaseError."""
    return Connection(open_database(path, read_only=not write))


def _files(structures: Structures, folder: Path) -> list[Path]:
    """Paths as they are; structures in memory as POSCAR files in a folder that goes away."""
    several = (
        isinstance(structures, Iterable) and not isinstance(structures, str) and not _is_structure(structures)
    )
    paths = []
    for number, item in enumerate(structures if several else [structures]):
        if isinstance(item, str | Path):
            paths.append(Path(item))
        elif _is_structure(item):
            paths.append(folder / f"structure-{number:05}.vasp")
            paths[-1].write_text(_poscar(item), encoding="utf-8")
        else:
            raise UsageError(
                f"{type(item).__name__} is no structure; give paths, pymatgen Structures or ASE Atoms"
            )
    return paths


def _is_structure(item: Any) -> bool:
    return hasattr(item, "get_scaled_positions") or (
        hasattr(item, "frac_coords") and hasattr(item, "lattice")
    )


def _poscar(item: Any) -> str:
    if hasattr(item, "get_scaled_positions"):  # ASE Atoms
        lattice, symbols, frac = item.cell[:], item.get_chemical_symbols(), item.get_scaled_positions()
    else:
        lattice, symbols, frac = item.lattice.matrix, [site.specie.symbol for site in item], item.frac_coords
    atoms = sorted(range(len(symbols)), key=lambda i: symbols[i])
    kinds = sorted(set(symbols))
    counts = " ".join(str(symbols.count(kind)) for kind in kinds)
    rows = [*lattice, None, *(frac[i] for i in atoms)]
    lines = [
        f"{' '.join(kinds)}\n{counts}\nDirect" if r is None else " ".join(f"{x:.12f}" for x in r)
        for r in rows
    ]
    return "\n".join(["structure", "1.0", *lines, ""])

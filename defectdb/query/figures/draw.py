"""Draw a figure of publication size (PNG, PDF, SVG): a kernel, a front, a parity plot or a map."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from defectdb.db import Database
from defectdb.db.read import known
from defectdb.db.scope import EVERYTHING, Scope
from defectdb.errors import UsageError
from defectdb.query.figures.kernel_curves import draw_kernel
from defectdb.query.figures.parity import draw_parity
from defectdb.query.figures.style import SUFFIXES, save_styled, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(
    db: Database,
    kind: str,
    path: Path,
    *,
    label: str | None = None,
    target: str,
    formula_id: int | None = None,
    scope: Scope = EVERYTHING,
) -> None:
    """Draw one figure into a file: ``kernel``, ``front``, ``model-front``, ``parity`` or ``map``.

    Raises UnknownNameError and UsageError; InputDataError where the file cannot be written.
    """
    make = _maker(db, kind, label, target, formula_id, scope)
    known("figure format", path.suffix, SUFFIXES)
    save_styled(make, path)


def figure(
    db: Database, kind: str, *, label: str | None = None, target: str, scope: Scope = EVERYTHING
) -> Figure:
    """The same as a matplotlib Figure. Raises UnknownNameError, UsageError and MissingPartError."""
    return styled(_maker(db, kind, label, target, None, scope))


def _maker(
    db: Database, kind: str, label: str | None, target: str, formula_id: int | None, scope: Scope
) -> Callable[[], Figure]:
    """What draws a kind of figure. Raises UnknownNameError."""
    from defectdb.query.figures.fronts import draw_front, draw_model_front
    from defectdb.query.figures.maps import draw_map

    kinds: dict[str, Callable[[], Figure]] = {
        "kernel": lambda: draw_kernel(db, _needed(label, kind), target, formula_id, scope),
        "front": lambda: draw_front(db, _needed(label, kind), target, scope),
        "model-front": lambda: draw_model_front(db, target, scope),
        "parity": lambda: draw_parity(db, target, scope),
        "map": lambda: draw_map(db, _needed(label, kind), target, formula_id, scope),
    }
    return kinds[known("figure", kind, list(kinds))]


def _needed(label: str | None, kind: str) -> str:
    if label is None:
        raise UsageError(f"`plot {kind}` needs a pair label, such as Vac_Mo-Vac_S")
    return label

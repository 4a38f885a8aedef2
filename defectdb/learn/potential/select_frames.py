"""Read configurations of one element from the database, and refuse what no potential can be learned from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.db.potentials.configurations import configurations_of
from defectdb.errors import SelectionError, UnknownNameError
from defectdb.learn.potential.physics.frames import Frames
from defectdb.learn.potential.physics.neighbours import Neighbours

LONGEST_CUTOFF = 12.0
"""Cutoffs beyond it ask for thousands of neighbours of every atom, angstrom."""


def select_frames(
    db: Database, material: str, *, where: str | None = None, datasets: Sequence[str] = ()
) -> Frames:
    """The configurations of an element that fulfil the SQL condition ``where`` on columns of ``configurations``.

    Raises UnknownNameError for an element without any, SelectionError where none is left.
    """
    known = db.frame("SELECT DISTINCT material_id FROM configurations ORDER BY ALL")["material_id"].to_list()
    if material not in known:
        raise UnknownNameError("element with configurations", material, known)
    rows = configurations_of(db, material, where=where, datasets=datasets)
    if not rows.height:
        raise SelectionError(f"no configuration of {material} is left by {where or 'these datasets'}")
    return frames_of(rows)


def frames_of(rows: pl.DataFrame) -> Frames:
    """Rows of ``configurations_of`` as flat arrays."""
    counts = rows["n_atoms"].to_numpy().astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    sources = tuple(rows["dataset_id"].unique(maintain_order=True).to_list())
    number = {name: i for i, name in enumerate(sources)}
    zero = dict(zip(rows["dataset_id"], rows["energy_zero"], strict=True))
    none = [[float("nan")] * (3 * count) for count in counts]
    forces = [
        own if own is not None else empty for own, empty in zip(rows["forces"].to_list(), none, strict=True)
    ]
    stress = rows["stress"].explode().cast(pl.Float64).fill_null(float("nan")).to_numpy().reshape(-1, 6)
    return Frames(
        ids=rows["structure_id"].to_list(),
        cells=np.array(rows["cell"].to_list(), dtype=np.float64).reshape(-1, 3, 3),
        positions=rows["positions"].explode().to_numpy().reshape(-1, 3).astype(np.float64),
        offsets=offsets,
        energies=rows["energy"].to_numpy().astype(np.float64),
        forces=np.concatenate([np.asarray(f, dtype=np.float64) for f in forces]).reshape(-1, 3),
        stresses=stress,
        source=np.array([number[name] for name in rows["dataset_id"]], dtype=np.int64),
        sources=sources,
        atoms_zero=tuple(zero[name] == "atoms" for name in sources),
        config_type=rows["config_type"].to_list(),
        split=rows["split"].to_list(),
    )


def demand_learnable(train: Frames, test: Frames, cutoff: float) -> list[str]:
    """Sentences about what is odd, before anything is learned.

    Raises SelectionError for a cutoff without neighbours or beyond all reason, for configurations that are in training
    and test, and for energies that cannot count from where their sources say.
    """
    if not 0.0 < cutoff <= LONGEST_CUTOFF:
        raise SelectionError(f"the cutoff must lie between 0 and {LONGEST_CUTOFF:g} angstrom, not {cutoff:g}")
    shared = _geometries(train) & _geometries(test)
    if shared:
        first = next(name for name, key in zip(test.ids, _keys(test), strict=True) if key in shared)
        raise SelectionError(
            f"{len(shared)} configurations are in training and test, {first} is one; an error on them is no test"
        )
    _demand_one_zero(train)
    without = [name for i, name in enumerate(train.sources) if _forceless(train, i)]
    return [f"{name} has no forces: it is learned from its energies alone" for name in without]


def demand_shells(train: Frames, near: Neighbours) -> None:
    """Raise SelectionError where the cutoff ends before the first shell of neighbours of most atoms."""
    n = len(train.positions)
    neighbours = np.bincount(near.first, minlength=n) + np.bincount(near.second, minlength=n)
    large = train.counts[train.frame_of_atom] > 1
    if np.median(neighbours) < 6 or (large.any() and np.median(neighbours[large]) < 6):
        raise SelectionError(
            f"within {near.cutoff:g} angstrom half of the atoms have fewer than 6 neighbours; "
            "take a cutoff beyond the first shells"
        )


def _forceless(frames: Frames, source: int) -> bool:
    own = frames.source[frames.frame_of_atom] == source
    return bool(own.any()) and not bool(np.isfinite(frames.forces[own]).any())


def _keys(frames: Frames) -> list[bytes]:
    return [
        np.round(np.concatenate([frames.cells[k].ravel(), frames.positions[a:b].ravel()]), 5).tobytes()
        for k, (a, b) in enumerate(zip(frames.offsets[:-1], frames.offsets[1:], strict=True))
    ]


def _geometries(frames: Frames) -> set[bytes]:
    return set(_keys(frames))


_DEEPEST = -12.0
"""No element is bound by more than 9 eV per atom (tungsten): energies below count from elsewhere, eV per atom."""


def _demand_one_zero(frames: Frames) -> None:
    for i, name in enumerate(frames.sources):
        per_atom = (frames.energies / frames.counts)[frames.source == i]
        if frames.atoms_zero[i] and len(per_atom) and not _DEEPEST < float(np.median(per_atom)) < 0.0:
            raise SelectionError(
                f"{name} is said to count energies from free atoms, but its median is {np.median(per_atom):.2f} eV per "
                "atom; ingest it with --energy-zero own"
            )

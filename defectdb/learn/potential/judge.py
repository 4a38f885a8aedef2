"""Errors of a potential against energies, forces and stresses, by dataset, split and config_type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from defectdb.expressions.arrays import Flags, Floats
from defectdb.learn.potential.physics.energies import Predicted, predict
from defectdb.learn.potential.physics.frames import Frames
from defectdb.learn.potential.physics.neighbours import Neighbours
from defectdb.learn.potential.physics.potential import Model

ERRORS = ("energy_mae", "energy_rmse", "force_mae", "force_rmse", "stress_mae", "stress_rmse")


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A potential's predictions beside the sources' numbers.

    ``frames``: the configurations. ``predicted``: of them.
    ``shifts``: energy of a free atom by dataset (eV).
    """

    frames: Frames
    predicted: Predicted
    shifts: Mapping[str, float]

    @property
    def energy_errors(self) -> Floats:
        """Errors of the energies per atom (eV), [m]."""
        shift = np.array([self.shifts[name] for name in self.frames.sources])[self.frames.source]
        errors: Floats = (self.predicted.energies - self.frames.energies) / self.frames.counts + shift
        return errors

    def errors(self, chosen: Flags) -> dict[str, float | None]:
        """Mean absolute and root mean squared errors over some configurations; None for what the source has not."""
        atoms = chosen[self.frames.frame_of_atom]
        blocks = {
            "energy": self.energy_errors[chosen],
            "force": (self.predicted.forces - self.frames.forces)[atoms].ravel(),
            "stress": (self.predicted.stresses - self.frames.stresses)[chosen].ravel(),
        }
        found: dict[str, float | None] = {}
        for name, block in blocks.items():
            known = block[np.isfinite(block)]
            found[f"{name}_mae"] = float(np.abs(known).mean()) if len(known) else None
            found[f"{name}_rmse"] = float(np.sqrt((known**2).mean())) if len(known) else None
        return found


def judge(
    model: Model, frames: Frames, near: Neighbours, shifts: Mapping[str, float] | None = None
) -> Judged:
    """Predict configurations; where a dataset has no shift yet, the one that fits its own energies is taken."""
    predicted = predict(model, frames, near)
    own = fitted_shifts(predicted, frames)
    return Judged(frames, predicted, own | dict(shifts or {}))


def fitted_shifts(predicted: Predicted, frames: Frames, weight: Floats | None = None) -> dict[str, float]:
    """Energy of a free atom by dataset (eV): 0 where energies count from atoms, else the mean difference per atom.

    Datasets without configurations here have none.
    """
    difference = (frames.energies - predicted.energies) / frames.counts
    shifts = {}
    for i, name in enumerate(frames.sources):
        own = frames.source == i
        if frames.atoms_zero[i]:
            shifts[name] = 0.0
        elif own.any():
            shifts[name] = float(np.average(difference[own], weights=None if weight is None else weight[own]))
    return shifts


def errors_table(judged: Judged, by: str = "config_type") -> pl.DataFrame:
    """One row per dataset, split and ``by`` ("config_type", or "split" alone) with the six errors."""
    frames = judged.frames
    names = [frames.sources[s] for s in frames.source]
    kinds = frames.config_type if by == "config_type" else [""] * len(frames)
    keys = list(zip(names, frames.split, kinds, strict=True))
    rows = []
    for key in sorted(set(keys)):
        chosen = np.array([k == key for k in keys])
        rows.append({
            "dataset_id": key[0], "split": key[1], "config_type": key[2], "n_configurations": int(chosen.sum()),
            **judged.errors(chosen),
        })  # fmt: skip
    return pl.DataFrame(rows, schema_overrides=dict.fromkeys(ERRORS, pl.Float64))

"""Store trained networks with what they predict for the structures of their hosts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.db.models.networks import append_network
from defectdb.expressions.arrays import Flags, Floats
from defectdb.learn.network.config import NetworkConfig
from defectdb.learn.network.ensemble import Ensemble, baseline_json
from defectdb.learn.network.graph.graphs import Graphs, load_graphs
from defectdb.learn.network.prediction import output_rows, predictable
from defectdb.learn.network.residual_rows import model_ids
from defectdb.learn.network.selection import Rows
from defectdb.schema.records import NetworkRecord


@dataclass(frozen=True)
class Part:
    """The rows of one network, read before the training so that others may use the file meanwhile."""

    rows: Rows
    graphs: Graphs


@dataclass(frozen=True)
class Trained:
    """A network before it is stored."""

    part: Part
    ensemble: Ensemble
    weights: bytes
    trained: Flags
    errors: Floats
    seconds: float


@dataclass(frozen=True)
class TrainedNetwork:
    """What one network of a job became.

    Attributes:
        network_id, run_id: keys of the new rows
        materials, hosts: what it was trained on
        n_train, n_held: structures it saw, and that were left out
        n_parameters: numbers of all members
        mae_train, mae_held: mean absolute errors, eV (of an energy: per site); None without such rows
        seconds: time of the training
    """

    network_id: int
    run_id: int
    materials: tuple[str, ...]
    hosts: tuple[str, ...]
    n_train: int
    n_held: int
    n_parameters: int
    mae_train: float | None
    mae_held: float | None
    seconds: float


def store(db: Database, config: NetworkConfig, run_id: int, t: Trained) -> TrainedNetwork:
    """Append the network with its predictions for every stored structure of its materials."""
    frame, materials = t.part.rows.frame, t.ensemble.baseline.materials
    errors = np.abs(t.errors)
    mae_train = float(errors[t.trained].mean())
    held = errors[~t.trained]
    mae_held = float(held[np.isfinite(held)].mean()) if np.isfinite(held).any() else None
    hosts = tuple(sorted(set(frame["host_id"])))
    seen = frame.filter(pl.Series(t.trained))
    record = NetworkRecord(
        run_id=run_id, target=config.target, materials=materials, hosts=hosts,
        learned_on="residuals" if config.on_residuals else "values",
        model_ids=model_ids(db, config.target, materials) if config.on_residuals else (),
        recipe=config.recipe, architecture=config.architecture.model_dump_json(),
        baseline=baseline_json(t.ensemble.baseline), n_members=len(t.ensemble.members),
        n_parameters=t.ensemble.n_parameters, n_train=int(t.trained.sum()),
        n_defects_min=int(seen["n_defects"].min()), n_defects_max=int(seen["n_defects"].max()),  # type: ignore[arg-type]
        data_hash=t.part.rows.selection.sha256, seed=config.seed, seconds=t.seconds, mae_train=mae_train,
        mae_held=mae_held, weights=t.weights,
    )  # fmt: skip
    structures = predictable(db).filter(pl.col("host_id").is_in(hosts))
    graphs = load_graphs(db, structures["structure_id"], config.architecture.cutoff)
    found = output_rows(db, structures, graphs, t.ensemble, record.model_dump())
    rows = found.filter(pl.col("value").is_not_null()).with_columns(
        trained=pl.col("structure_id").is_in(seen["structure_id"].to_list())
    )
    columns = ("structure_id", "target", "value", "unit", "spread", "n_defects", "extrapolated", "trained")
    network_id = append_network(db, record, rows.select(columns), activate=config.activate)
    return TrainedNetwork(
        network_id, run_id, materials, hosts, record.n_train, frame.height - record.n_train, record.n_parameters,
        mae_train, mae_held, t.seconds,
    )  # fmt: skip

"""What networks predict for structures of a database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from defectdb.db import Database
from defectdb.db.models.networks import choose_networks, network_row, stored_networks
from defectdb.db.read import PREDICTED, known
from defectdb.db.scope import EVERYTHING, IN_SCOPE, Scope
from defectdb.learn.network.baseline import node_kinds
from defectdb.learn.network.ensemble import Ensemble, read_ensemble
from defectdb.learn.network.graph.graphs import Graphs, load_graphs
from defectdb.learn.network.residual_rows import formula_values

COLUMNS = ("structure_id", "target", "value", "unit", "network_id", "n_defects", "extrapolated", "spread")
"""Columns of a file of a network's predictions."""


def predict_networks(
    db: Database, target: str, network_id: int | None = None, scope: Scope = EVERYTHING, *,
    networks_of: Database | None = None, on_residuals: bool = False,
) -> pl.DataFrame:  # fmt: skip
    """Predictions for every neutral structure with defects in scope, by structure_id: COLUMNS and ``missing``.

    The networks in use predict, each the structures of its hosts, or the one named; they stand in ``networks_of``,
    else in ``db``. ``value`` is null where no network knows the material, or a kind of defect: ``missing`` names it.
    Raises UnknownNameError for an unknown target or network, UsageError where no network gives the target,
    InputDataError for stored weights that do not fit.
    """
    known("target", target, PREDICTED)
    source = networks_of or db
    networks = stored_networks(source, target, network_id, on_residuals=on_residuals)
    structures = predictable(db, scope)
    structures = structures.with_columns(network_id=choose_networks(structures, networks))
    parts = [_unknown(structures.filter(pl.col("network_id").is_null()), target)]
    for (chosen,), part in structures.drop_nulls("network_id").group_by(["network_id"], maintain_order=True):
        row = network_row(source, int(chosen))
        ensemble = read_ensemble(row)
        graphs = load_graphs(db, part["structure_id"], ensemble.architecture.cutoff)
        found = output_rows(db, part, graphs, ensemble, row)
        parts.append(found.filter(target=target).with_columns(network_id=pl.lit(chosen, dtype=pl.Int64)))
    return pl.concat([part.select(*COLUMNS, "missing") for part in parts]).sort("structure_id")


def predictable(db: Database, scope: Scope = EVERYTHING) -> pl.DataFrame:
    """The structures that a network may predict: structure_id, host_id, material_id, n_defects; by id."""
    return db.frame(
        "SELECT s.structure_id, s.host_id, h.material_id, s.n_defects FROM structures AS s JOIN hosts AS h "
        f"USING (host_id) WHERE {IN_SCOPE} AND s.n_defects > 0 AND s.charge = 0 ORDER BY s.structure_id",
        scope.parameters(),
    )


def output_rows(
    db: Database, structures: pl.DataFrame, graphs: Graphs, ensemble: Ensemble, network: Mapping[str, Any]
) -> pl.DataFrame:
    """Rows of predictions of every output of a network, for the structures of ``graphs`` in that order.

    Columns: structure_id, target, value (null where it is unknown), unit, spread, n_defects, extrapolated, missing.
    """
    value, spread = ensemble.predict(graphs)
    if network["learned_on"] == "residuals":
        value = value + formula_values(db, structures, network)
    n, low, high = graphs.n_nodes, network["n_defects_min"], network["n_defects_max"]
    strange = ~structures["host_id"].is_in(list(network["hosts"])).to_numpy()
    frame = pl.DataFrame(
        {
            "structure_id": structures["structure_id"], "unit": "eV", "n_defects": n.astype(np.int32),
            "extrapolated": strange | (n < low) | (n > high),
            "missing": _missing(graphs, ensemble),
        }
    )  # fmt: skip
    target = network["target"]
    outputs = {target: np.ones(len(n))}
    if target == "formation_energy":
        outputs = {target: n.astype(float), f"{target}_per_site": np.ones(len(n))}
    return pl.concat(
        frame.with_columns(
            target=pl.lit(name),
            value=pl.Series(value * factor).fill_nan(None),
            spread=pl.Series(spread * factor).fill_nan(None),
        )
        for name, factor in outputs.items()
    )


def _missing(graphs: Graphs, ensemble: Ensemble) -> pl.Series:
    """Labels of the defects that the network has not seen [structure]."""
    strange = ~pl.Series(node_kinds(graphs), dtype=pl.String).is_in(list(ensemble.baseline.kinds))
    row = np.repeat(np.arange(len(graphs)), graphs.n_nodes)[strange.to_numpy()]
    found = pl.DataFrame({"row": row, "label": graphs.labels.filter(strange)})
    listed = found.group_by("row").agg(pl.col("label").unique().sort())
    rows = pl.DataFrame({"row": np.arange(len(graphs))}).join(
        listed, on="row", how="left", maintain_order="left"
    )
    empty = pl.lit([], dtype=pl.List(pl.String))
    return rows.select(missing=pl.col("label").fill_null(empty))["missing"]


def _unknown(structures: pl.DataFrame, target: str) -> pl.DataFrame:
    """Rows without a value: no network knows the material."""
    return structures.select(
        "structure_id",
        target=pl.lit(target),
        value=pl.lit(None, dtype=pl.Float64),
        unit=pl.lit("eV"),
        network_id=pl.lit(None, dtype=pl.Int64),
        n_defects=pl.col("n_defects").cast(pl.Int32),
        extrapolated=pl.lit(value=True),
        spread=pl.lit(None, dtype=pl.Float64),
        missing=pl.concat_list("material_id"),
    )

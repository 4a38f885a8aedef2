"""Stored networks: append, activate, and find the one that predicts a structure."""

from __future__ import annotations

from typing import Any

import polars as pl

from defectdb.db.connection import Database
from defectdb.errors import UnknownNameError, UsageError
from defectdb.schema.records import NetworkRecord

_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "materials": pl.List(pl.String), "hosts": pl.List(pl.String), "model_ids": pl.List(pl.Int64),
    "mae_train": pl.Float64, "mae_held": pl.Float64, "weights": pl.Binary,
}  # fmt: skip

WITHOUT_WEIGHTS = "SELECT * EXCLUDE (weights) FROM networks"


def append_network(db: Database, network: NetworkRecord, predictions: pl.DataFrame, *, activate: bool) -> int:
    """Append a network with its predictions (columns of ``network_predictions`` but the id); its id.

    Versions count up per target and materials. Call inside a transaction.
    """
    network_id = db.next_id("networks", "network_id")
    version = 1 + db.value(
        "SELECT coalesce(max(version), 0) FROM networks WHERE target = ? AND materials = CAST(? AS VARCHAR[])",
        [network.target, list(network.materials)],
    )
    row = {"network_id": network_id, "version": version, **network.model_dump()}
    row |= {name: list(row[name]) for name in ("materials", "hosts", "model_ids")}
    db.append("networks", pl.DataFrame([row], schema_overrides=_SCHEMA))
    db.append("network_predictions", predictions.with_columns(network_id=pl.lit(network_id)))
    if activate:
        activate_network(db, network_id)
    return network_id


def activate_network(db: Database, network_id: int) -> None:
    """Put a network to use; those in use before retire whose target it has and whose hosts are all its own."""
    db.execute(
        "UPDATE networks SET status = 'retired' WHERE status = 'active' AND target = (SELECT target FROM networks "
        "WHERE network_id = $id) AND learned_on = (SELECT learned_on FROM networks WHERE network_id = $id) "
        "AND list_has_all((SELECT hosts FROM networks WHERE network_id = $id), hosts)",
        {"id": network_id},
    )
    db.execute("UPDATE networks SET status = 'active' WHERE network_id = ?", [network_id])


def stored_networks(
    db: Database, target: str, network_id: int | None = None, *, on_residuals: bool = False
) -> pl.DataFrame:
    """The networks that may predict a target, without their weights, newest first: those in use, or the one named.

    Raises UnknownNameError for an id that there is not, UsageError where no network gives the target.
    """
    learned = target.removesuffix("_per_site")
    frame = db.frame(f"{WITHOUT_WEIGHTS} ORDER BY network_id DESC")
    if network_id is not None:
        ids = [str(key) for key in sorted(frame["network_id"])]
        if str(network_id) not in ids:
            raise UnknownNameError("network", str(network_id), ids)
        named = frame.filter(network_id=network_id)
        if named["target"].item() != learned:
            raise UsageError(f"network {network_id} predicts {named['target'].item()}, not {target}")
        return named
    wanted = "residuals" if on_residuals else "values"
    found = frame.filter(target=learned, status="active", learned_on=wanted)
    if found.is_empty():
        option = " --on-residuals" if on_residuals else ""
        if not frame.filter(target=learned, status="stale", learned_on=wanted).is_empty():
            raise UsageError(
                f"the network of {learned} went stale because training rows changed or were removed: train it again "
                f"with `defectdb learn --network{option} --target {learned}`"
            )
        raise UsageError(
            f"no network predicts {target} yet; `defectdb learn --network{option} --target {learned}` trains one"
        )
    return found


def choose_networks(structures: pl.DataFrame, networks: pl.DataFrame) -> pl.Series:
    """Id of the network that predicts each structure (host_id, material_id, n_defects), null where none can.

    Of those that know its material the one trained on its host comes first, then one that saw as many defects, then
    the newest.
    """
    rows = structures.select("host_id", "material_id", "n_defects").with_row_index("row")
    known = networks.select("network_id", "materials", "hosts", "n_defects_min", "n_defects_max")
    ranked = (
        rows.join(known, how="cross")
        .filter(pl.col("materials").list.contains(pl.col("material_id")))
        .with_columns(
            of_host=pl.col("hosts").list.contains(pl.col("host_id")),
            of_number=pl.col("n_defects").is_between(pl.col("n_defects_min"), pl.col("n_defects_max")),
        )
        .sort("row", "of_host", "of_number", "network_id", descending=[False, True, True, True])
        .unique("row", keep="first", maintain_order=True)
    )
    return rows.join(ranked.select("row", "network_id"), on="row", how="left", maintain_order="left")[
        "network_id"
    ]


def network_row(db: Database, network_id: int) -> dict[str, Any]:
    """Everything stored of one network, weights included."""
    [row] = db.frame("SELECT * FROM networks WHERE network_id = ?", [network_id]).to_dicts()
    return row

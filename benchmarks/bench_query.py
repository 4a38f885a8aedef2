"""Predictions in SQL beside numpy, screening to Parquet, and structure files to predictions."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from defectdb.db import Database, open_database
from defectdb.db.models.formulas import activate_model, append_formulas, append_model, start_run
from defectdb.db.scratch import scratch
from defectdb.expressions.expression import from_prefix
from defectdb.ingest import load
from defectdb.query.placements.screen import screen
from defectdb.query.placements.streaming import every_placement, predicted, write_stream
from defectdb.query.placements.structure_files import write_structures
from defectdb.query.placements.supercells import supercell
from defectdb.query.predict import predict
from defectdb.schema.records import FormulaRecord, ModelRecord, RunRecord, TermRecord

A, C = 3.19, 15.0
ENERGIES = {"Vac_Mo": 7.1, "Vac_S": 2.66}
PAIRS = {"Vac_Mo-Vac_S": 2.6, "Vac_S-Vac_S": 0.4, "Vac_Mo-Vac_Mo": 0.3}
KERNEL = "mul c0 mul exp neg r cos mul 1.9378 r"
TRIPLES = 333_334  # a million pairs


def main() -> None:
    """Print one line per measurement."""
    with tempfile.TemporaryDirectory() as folder, open_database(Path(folder) / "x.duckdb", create=True) as db:
        _host(db)
        _model(db)
        _view_beside_numpy(db)
        _screening(db)
        for count in (1_000, 4_496):
            _files(db, count)


def _view_beside_numpy(db: Database) -> None:
    """The view, and numpy on what the view reads: from the same file as text and as keys, and from arrays."""
    structure, label, distance = _million_pairs(db)
    view = "SELECT sum(value) FROM predictions WHERE target = 'formation_energy'"
    _line("view predictions, summed up", lambda: db.value(view))
    _line(
        "kernel macro over all pairs",
        lambda: db.value("SELECT sum(v_Vac_Mo__Vac_S(distance, dz)) FROM pairs"),
    )
    _line("numpy, from the file by structure_id", lambda: _numpy_from_file(db, "structure_id"))
    _line("numpy, from the file by structure_key", lambda: _numpy_from_file(db, "structure_key"))
    _line("numpy, from arrays with labels as numbers", lambda: _numpy_predictions(structure, label, distance))
    numpy_total = _numpy_predictions(structure, label, distance).sum()
    print(f"{'relative difference of view and numpy':<44} {abs(db.value(view) / numpy_total - 1):.1e}")


def _line(name: str, action: Callable[[], object]) -> None:
    """Print the best of three runs in wall and processor seconds."""
    seconds, work = min(_timed(action) for _ in range(3))
    pairs = 3 * TRIPLES / seconds
    print(f"{name:<44} {seconds:7.3f} s {work:7.3f} cpu s {pairs:13,.0f} pairs/s")


def _timed(action: Callable[[], object]) -> tuple[float, float]:
    started, work = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - started, time.process_time() - work


def _numpy_from_file(db: Database, key: str) -> float:
    """The same sum by numpy, from the columns that the view reads."""
    frame = db.frame(f"SELECT {key}, label, distance FROM pairs")
    label = frame["label"].replace_strict({name: k for k, name in enumerate(PAIRS)}, return_dtype=pl.Int64)
    _, structure = np.unique(frame[key].to_numpy(), return_inverse=True)
    return float(_numpy_predictions(structure, label.to_numpy(), frame["distance"].to_numpy()).sum())


def _numpy_predictions(structure: np.ndarray, label: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Formation energies [structure] in eV by masks and bincount."""
    values = np.empty_like(distance)
    for number, name in enumerate(list(PAIRS)[:2]):
        mine = label == number
        r = distance[mine]
        values[mine] = PAIRS[name] * (np.exp(-r) * np.cos(1.9378 * r))
    singles = ENERGIES["Vac_Mo"] + 2 * ENERGIES["Vac_S"] + 2 * 0.0235
    return singles + np.bincount(structure, weights=values, minlength=TRIPLES)


def _million_pairs(db: Database) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Structures of one Vac_Mo and two Vac_S with random distances."""
    random = np.random.default_rng(0)
    ids = np.arange(TRIPLES)
    names = [f"s{i:07}" for i in ids]
    structure = np.repeat(ids, 3)
    label = np.tile([0, 0, 1], TRIPLES)
    distance = random.uniform(2.4, 14, 3 * TRIPLES)
    key = pl.Series(names).gather(structure)
    numbers = np.arange(3 * TRIPLES)
    with db.transaction():
        db.append("structures", pl.DataFrame({"structure_id": names, "structure_key": ids}).with_columns(
            dataset_id=pl.lit("bench"), host_id=pl.lit("h"), n_defects=3, composition=pl.lit(""),
            source_path=pl.lit(""), content_hash=pl.lit(""), defect_labels=pl.lit("Vac_Mo+Vac_S+Vac_S")))  # fmt: skip
        db.append("defects", pl.DataFrame({
            "defect_id": numbers, "structure_id": key, "structure_key": structure, "idx": np.tile([0, 1, 2], TRIPLES),
            "label": pl.Series(["Vac_Mo", "Vac_S"]).gather(np.tile([0, 1, 1], TRIPLES)),
        }).with_columns(kind=pl.lit("vacancy"), **{c: pl.lit(0.0) for c in
                        ("frac_x", "frac_y", "frac_z", "x", "y", "z")}))  # fmt: skip
        db.append("pairs", pl.DataFrame({
            "pair_id": numbers, "structure_id": key, "structure_key": structure,
            "defect_i": np.tile([0, 0, 1], TRIPLES), "defect_j": np.tile([1, 2, 2], TRIPLES),
            "label": pl.Series(list(PAIRS)).gather(label),
            "distance": distance, "distance_inplane": distance, "dx_min": distance,
        }).with_columns(dz=0.0, dy_min=0.0))  # fmt: skip
    return structure, label, distance


def _screening(db: Database) -> None:
    cell = supercell(db, "MoS2", (16, 16))
    labels = ["Vac_Mo", "Vac_S", "Vac_S"]
    found = screen(db, cell, "MoS2", labels, "formation_energy_per_site")
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        rows = write_stream(predicted(found, every_placement(cell, labels)), Path(folder) / "x.parquet")
        seconds = time.perf_counter() - started
    name = "3-defect candidates in 16x16x1 to Parquet"
    print(f"{name:<44} {seconds:7.3f} s  {rows / seconds:12,.0f} candidates/s ({rows:,})")


def _files(db: Database, n: int) -> None:
    """Structure files nobody has seen before to predictions, the making of the scratch database included."""
    cell = supercell(db, "MoS2", (8, 8))
    mo, s = cell.sites_of("Mo"), cell.sites_of("S")
    random = np.random.default_rng(1)
    placements = [[random.choice(mo), *sorted(random.choice(s, 2, replace=False))] for _ in range(n)]
    with tempfile.TemporaryDirectory() as folder:
        write_structures(cell, ["Vac_Mo", "Vac_S", "Vac_S"], placements, Path(folder), "cif")
        seconds, work = _timed(lambda: _predictions_of(db, Path(folder)))
    rate = f"{n / seconds:12,.0f} structures/s ({n:,})"
    print(f"{'CIF files to predictions':<44} {seconds:7.3f} s {work:7.3f} cpu s {rate}")


def _predictions_of(db: Database, folder: Path) -> int:
    with scratch(db) as copy:
        load(copy, [folder])
        return predict(copy, "formation_energy").height


def _host(db: Database) -> None:
    """MoS2 and its 8x8x1 supercell."""
    half = 3**0.5 / 2
    cell = {
        "a_x": A,
        "a_y": 0.0,
        "a_z": 0.0,
        "b_x": -A / 2,
        "b_y": A * half,
        "b_z": 0.0,
        "c_x": 0.0,
        "c_y": 0.0,
    }
    sites = [("Mo", "middle", 0, 0, 0.5), ("S", "bottom", 1 / 3, 2 / 3, 0.4), ("S", "top", 1 / 3, 2 / 3, 0.6)]
    names = ["element", "layer", "frac_x", "frac_y", "frac_z"]
    basis = pl.DataFrame(sites, schema=names, orient="row").with_row_index("sublattice")
    with db.transaction():
        db.append("materials", pl.DataFrame([{"material_id": "MoS2", "formula": "MoS2", **cell, "c_z": C,
            "zigzag_x": 1.0, "zigzag_y": 0.0, "angle_period": 60.0, "n_sites": 3}]))  # fmt: skip
        db.append("material_sites", basis.with_columns(material_id=pl.lit("MoS2")))
        big = {key: 8 * value for key, value in cell.items()}
        db.append("hosts", pl.DataFrame([{"host_id": "h", "material_id": "MoS2", "supercell": "8x8x1",
            "n_sites": 192, **big, "c_z": C}]))  # fmt: skip
        cells = pl.DataFrame({"i": np.repeat(np.arange(8), 8), "j": np.tile(np.arange(8), 8)})
        placed = basis.join(cells, how="cross").with_columns(
            (pl.col("frac_x") + pl.col("i")) / 8, (pl.col("frac_y") + pl.col("j")) / 8, host_id=pl.lit("h")
        )
        db.append("host_sites", placed.drop("i", "j").with_row_index("site_index"))


def _model(db: Database) -> None:
    with db.transaction():
        run_id = start_run(db, RunRecord(kind="bench", config="{}", selection_sql="", selection_hash="", n_rows=0,
            seed=0, device="cpu", version="0"))  # fmt: skip
        ids = append_formulas(db, [
            FormulaRecord(run_id=run_id, material_id="MoS2", pair_label=label, target="formation_energy",
                          expression=from_prefix(KERNEL.split()), constants=(depth,), n_train=1, mae_train=0,
                          r_min=0, r_max=100)
            for label, depth in PAIRS.items()])  # fmt: skip
        terms = [TermRecord(order=0, label="offset", value=0.0235)]
        terms += [TermRecord(order=1, label=label, value=value) for label, value in ENERGIES.items()]
        terms += [
            TermRecord(order=2, label=label, formula_id=key) for label, key in zip(PAIRS, ids, strict=True)
        ]
        model = append_model(db, ModelRecord(run_id=run_id, material_id="MoS2", target="formation_energy",
            aggregator="sum", trained_on="nothing", n_train=0), terms)  # fmt: skip
        activate_model(db, model)


if __name__ == "__main__":
    main()

"""How fast stored structures become graphs, and graphs predictions: the published low-density MoS2 set."""

from __future__ import annotations

import os
import time
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import torch

from defectdb.db import open_database
from defectdb.learn.network.baseline import fit_baseline
from defectdb.learn.network.config import recipe_settings
from defectdb.learn.network.ensemble import Ensemble
from defectdb.learn.network.graph.graphs import Graphs, load_graphs
from defectdb.learn.network.model import Network

DATA = Path(os.environ.get("DEFECTDB_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
PARTS = {"low density": "low_density_defects/MoS2/", "high density": "high_density_defects/MoS2_500/"}
ROUNDS = 3


def synthetic_graphs(n: int, n_defects: int, seed: int = 0) -> Graphs:
    """Random graphs of ``n_defects`` nodes, all joined, for timings without data."""
    draw = np.random.default_rng(seed)
    i, j = np.triu_indices(n_defects, 1)
    start = n_defects * np.arange(n)[:, None]
    n_nodes, n_edges = n * n_defects, n * len(i)
    return Graphs(
        structure_ids=pl.Series([f"s{k}" for k in range(n)]),
        hosts=pl.repeat("host", n, eager=True),
        materials=pl.repeat("MoS2", n, eager=True),
        area=np.full(n, 560.0),
        n_nodes=np.full(n, n_defects),
        n_edges=np.full(n, len(i)),
        labels=pl.Series(draw.choice(["Vac_Mo", "Vac_S"], n_nodes)),
        before=draw.choice([16, 42], n_nodes),
        now=np.zeros(n_nodes, dtype=np.int64),
        height=draw.choice([0.0, 1.56], n_nodes),
        first=(start + i).ravel(),
        second=(start + j).ravel(),
        distance=draw.uniform(3, 12, n_edges),
        dz=draw.choice([0.0, 1.56, 3.12], n_edges),
        shell=draw.integers(1, 10, n_edges),
    )


def untrained(graphs: Graphs, recipe: str) -> Ensemble:
    """A network with random weights: as fast as a trained one."""
    architecture, _ = recipe_settings(recipe, "formation_energy")  # type: ignore[arg-type]
    baseline = fit_baseline(graphs, np.zeros(len(graphs)), np.ones(len(graphs), dtype=bool))
    return Ensemble(architecture, baseline, [Network(architecture, len(baseline.materials)).eval()])


def timed(work: object, n: int) -> str:
    """Structures per second of wall and of processor time, the better of some rounds."""
    wall, cpu = [], []
    for _ in range(ROUNDS):
        begin, busy = time.perf_counter(), time.process_time()
        work()  # type: ignore[operator]
        wall.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - busy)
    return f"{n / min(wall):>12,.0f} {n / min(cpu):>12,.0f}"


def main() -> None:
    """Conversion and inference, structures per second."""
    from defectdb.ingest import load

    archive = DATA / "2dmd-train.zip"
    if not archive.exists():
        print(f"no {archive}: set $DEFECTDB_DATA to the folder that holds it")
        return
    print(f"threads: {torch.get_num_threads()}; structures per second of wall time, of processor time")
    for name, folder in PARTS.items():
        with TemporaryDirectory() as place, open_database(":memory:") as db:
            part = Path(place) / "part.zip"
            with zipfile.ZipFile(archive) as whole, zipfile.ZipFile(part, "w") as chosen:
                for member in whole.namelist():
                    if folder in member:
                        chosen.writestr(member, whole.read(member))
            load(db, [part])
            ids = db.frame("SELECT structure_id FROM structures WHERE n_defects > 0 ORDER BY ALL")[
                "structure_id"
            ]
            graphs = load_graphs(db, ids, 12.0)
            print(f"{name}: {len(ids)} structures, {len(graphs.distance) / len(ids):.1f} edges each")
            print(f"  to graphs       {timed(lambda: load_graphs(db, ids, 12.0), len(ids))}")  # noqa: B023
            for recipe in ("fast", "published"):
                ensemble = untrained(graphs, recipe)
                print(f"  {recipe:15} {timed(lambda: ensemble.predict(graphs), len(ids))}", flush=True)  # noqa: B023


if __name__ == "__main__":
    main()

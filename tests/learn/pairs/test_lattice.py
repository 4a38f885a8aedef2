"""Lattice sums in two cell sizes: a known kernel comes back, and what one cell teaches holds in the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from defectdb.db import Database, open_database
from defectdb.demo.archive import write_archive
from defectdb.errors import UsageError
from defectdb.ingest import load
from defectdb.learn import LearnConfig, learn_pairs
from defectdb.learn.job import settle
from defectdb.learn.pairs.distance_classes import class_folds, nearest
from defectdb.learn.pairs.host_offsets import offsets_left
from defectdb.learn.pairs.kernel_task import LatticeTask
from defectdb.learn.pairs.tasks import domain_of, kernel_tasks
from defectdb.learn.select import select_pairs

QUICK = LearnConfig(generations=0, population=64, exhaustive_size=4, workers=1, max_tokens=12, images="sum")
ALONE = {"Vac_B": 3.0, "Vac_N": 2.5, "C_B": 0.5}
DEPTHS = {
    "C_B-C_B": -0.8,
    "C_B-Vac_B": 0.3,
    "C_B-Vac_N": -0.5,
    "Vac_B-Vac_B": 0.6,
    "Vac_B-Vac_N": -0.9,
    "Vac_N-Vac_N": 0.4,
}
ERROR = 0.0213
"""What every formation energy carries once: the error of the pristine cell's energy, eV."""
CUTOFF = 30.0


def kernel(label: str, r: np.ndarray) -> np.ndarray:
    return DEPTHS[label] * np.exp(-r / 2.5)


def true_energy(lattice: np.ndarray, labels: list[str], places: np.ndarray) -> float:
    """By hand: every pair over all images within the cutoff, every defect with half of its own images."""
    steps = np.stack(np.meshgrid(*[np.arange(-9, 10)] * 2), axis=-1).reshape(-1, 2)
    images = steps @ lattice
    total = ERROR
    for i, a in enumerate(labels):
        total += ALONE[a]
        for j, b in enumerate(labels):
            r = np.linalg.norm(places[j] - places[i] + images, axis=1)
            r = r[(r > 1e-6) & (r <= CUTOFF)]
            total += 0.5 * float(kernel("-".join(sorted((a, b))), r).sum())
    return total


def fill(db: Database, archive: Path) -> None:
    """Load an archive and put the known energies in the place of its own."""
    load(db, [archive])
    rows = db.frame(
        "SELECT d.structure_id, h.a_x, h.a_y, h.b_x, h.b_y, list(d.label ORDER BY d.idx) AS labels, "
        "list(d.x ORDER BY d.idx) AS x, list(d.y ORDER BY d.idx) AS y FROM defects AS d "
        "JOIN structures USING (structure_id) JOIN hosts AS h USING (host_id) GROUP BY ALL"
    )
    values = pl.DataFrame(
        [
            {
                "structure_id": row["structure_id"],
                "value": true_energy(
                    np.array([[row["a_x"], row["a_y"]], [row["b_x"], row["b_y"]]]),
                    row["labels"],
                    np.array([row["x"], row["y"]]).T,
                ),
            }
            for row in rows.to_dicts()
        ]
    )
    with db.registered(known=values), db.transaction():
        db.execute(
            "UPDATE targets SET value = k.value FROM known AS k "
            "WHERE k.structure_id = targets.structure_id AND targets.target = 'formation_energy'"
        )
        db.execute("DELETE FROM targets WHERE target = 'formation_energy_per_site'")


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Structures of the demonstration in two supercells."""
    folder = tmp_path_factory.mktemp("cells")
    paths = {cell: folder / f"{cell}.zip" for cell in (6, 8)}
    for cell, path in paths.items():
        write_archive(path, cell=cell, triples=4)
    return paths


def transferred(path: Path, archives: dict[int, Path], config: LearnConfig) -> dict[str, float]:
    """Largest error (eV) by supercell of a model that saw the smaller one alone."""
    with open_database(path, create=True) as db:
        fill(db, archives[6])
        learn_pairs(db, config)
        fill(db, archives[8])
        worst = db.frame(
            "SELECT host_id, max(abs(error)) FROM prediction_errors WHERE target = 'formation_energy' "
            "GROUP BY ALL ORDER BY ALL"
        )
    return {host.rpartition("-")[2]: value for host, value in worst.iter_rows()}


def test_a_known_kernel_learned_in_a_small_cell_predicts_a_larger_one_exactly(
    tmp_path: Path, archives: dict[int, Path]
) -> None:
    worst = transferred(tmp_path / "sum.duckdb", archives, QUICK)
    assert worst["6x6x1"] < 1e-6
    assert worst["8x8x1"] < 1e-6


def test_nearest_images_cannot_carry_over(tmp_path: Path, archives: dict[int, Path]) -> None:
    worst = transferred(tmp_path / "nearest.duckdb", archives, QUICK.model_copy(update={"images": "nearest"}))
    assert worst["8x8x1"] > 0.05


def test_the_host_offset_is_found_although_no_pair_is_far(tmp_path: Path, archives: dict[int, Path]) -> None:
    with open_database(tmp_path / "offset.duckdb", create=True) as db:
        fill(db, archives[6])
        by_far_pairs = db.value("SELECT value FROM host_offsets")
        job = settle(db, QUICK)
        [left] = offsets_left(kernel_tasks(db, select_pairs(db, job), job)).values()
    assert abs(by_far_pairs + ERROR) > 0.01
    assert by_far_pairs + left == pytest.approx(-ERROR, abs=1e-7)


def sums(rows: int = 8) -> LatticeTask:
    """A task whose rows see one image nearby and six far ones."""
    close = np.linspace(2.5, 7.0, rows)
    r = np.concatenate([close, [15.0, 26.0]])
    mixing = np.hstack([np.eye(rows), np.full((rows, 2), 6.0)])
    y = mixing @ (0.4 * np.exp(-r / 2))
    return LatticeTask(
        label="A_X-B_X",
        x=r[None],
        y=y,
        weight=np.ones(rows),
        mixing=mixing,
        config=QUICK,
        device="cpu",
        offset=False,
    )


def test_rows_are_left_out_by_the_distance_of_their_nearest_image() -> None:
    task = sums()
    assert nearest(task) == pytest.approx(task.r[:8])
    assert class_folds(task).tolist() == list(range(8))


def test_a_tail_that_adds_up_to_an_offset_is_refused() -> None:
    task = sums()
    domain = domain_of(task)
    grid = domain.grid[0]
    quiet = 0.4 * torch.exp(-grid / 2)
    humming = quiet + 0.003 * torch.tanh((grid - 5) / 2).clamp(min=0) * (grid < 29.9)
    assert domain.holds(torch.stack([quiet, humming])).tolist() == [True, False]


def test_levels_do_not_add_up_over_images(tmp_path: Path, archives: dict[int, Path]) -> None:
    with open_database(tmp_path / "levels.duckdb", create=True) as db:
        load(db, [archives[6]])
        with pytest.raises(UsageError, match="--images nearest"):
            learn_pairs(db, QUICK.model_copy(update={"target": "homo_lumo_gap"}))


def test_values_near_the_sums_are_shared_among_equal_images() -> None:
    """A pair half-way between two images has two of them at the same distance: its kernel is half the sum."""
    task = sums()
    doubled = replace(task, y=2 * task.y, mixing=np.hstack([2 * task.mixing[:, :8], task.mixing[:, 8:]]))
    assert domain_of(doubled).high == pytest.approx(domain_of(task).high, rel=0.05)


def donors_error(path: Path, archives: dict[int, Path], images: str) -> float:
    """Mean error (eV) for pairs of carbon donors in the larger cell, tight binding, learned in the smaller one."""
    search = {"exhaustive_size": 6, "max_tokens": 15, "generations": 3, "population": 1000}
    config = QUICK.model_copy(update={"images": images, **search})
    with open_database(path, create=True) as db:
        load(db, [archives[6]])
        learn_pairs(db, config, ["C_B-C_B"])
        load(db, [archives[8]])
        error = db.value(
            "SELECT avg(abs(error)) FROM prediction_errors WHERE target = 'formation_energy' AND descriptor = 'CC' "
            "AND host_id LIKE '%8x8x1'"
        )
    return float(error)


def test_pairs_of_tight_binding_donors_carry_over_better_as_lattice_sums(
    tmp_path: Path, archives: dict[int, Path]
) -> None:
    """Two donors interact over 9 angstrom and more: in a cell of 15 several images count."""
    nearest_image = donors_error(tmp_path / "nearest.duckdb", archives, "nearest")
    assert donors_error(tmp_path / "sum.duckdb", archives, "sum") < 0.8 * nearest_image

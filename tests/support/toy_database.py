"""A small hand-made MoS2 database whose energies follow known kernels, and those kernels as a model."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass

import polars as pl

from defectdb.db import Database
from defectdb.db.models.formulas import activate_model, append_formulas, append_model, start_run
from defectdb.expressions.expression import from_prefix
from defectdb.schema.labels import join_labels
from defectdb.schema.records import FormulaRecord, ModelRecord, RunRecord, TermRecord

A, C, CELLS, OFFSET = 3.19, 20.0, 8, 0.0235
ENERGIES = {"Vac_Mo": 7.0, "Vac_S": 2.7, "W_Mo": 0.2}
GAPS = {"Vac_Mo": 0.4, "Vac_S": 1.2, "W_Mo": 1.8}
LABELS = [join_labels(pair) for pair in itertools.combinations_with_replacement(ENERGIES, 2)]
SPLIT = 1.5  # angstrom: |dz| below it is the same side for two S vacancies


@dataclass(frozen=True)
class Placed:
    """A defect on a site of the 8x8x1 cell."""

    label: str
    i: int
    j: int
    layer: int  # 0 is Mo, +1 and -1 are S

    @property
    def xyz(self) -> tuple[float, float, float]:
        u, v = (self.i, self.j) if self.layer == 0 else (self.i + 1 / 3, self.j + 2 / 3)
        return A * (u - v / 2), A * v * math.sqrt(3) / 2, 10 + 1.56 * self.layer


def vector(a: Placed, b: Placed) -> tuple[float, float, float]:
    """Shortest vector from a to b among the periodic images, angstrom."""
    (ax, ay, az), (bx, by, bz) = a.xyz, b.xyz
    images = (
        (bx - ax + CELLS * A * (m - n / 2), by - ay + CELLS * A * n * math.sqrt(3) / 2, bz - az)
        for m in range(-2, 3)
        for n in range(-2, 3)
    )
    return min(images, key=lambda d: math.hypot(*d))


def energy_kernel(label: str, r: float, dz: float) -> float:
    """The interaction in eV that the toy's formation energies follow."""
    depth = 0.1 * (LABELS.index(label) + 1)
    if label == "Vac_S-Vac_S" and dz >= SPLIT:
        depth = -depth
    return depth * math.exp(-r / 2)


def gap_kernel(label: str, r: float) -> float:
    """The pair's gap in eV."""
    low = min(GAPS[part] for part in label.split("-"))
    return low - 0.5 / r


def configurations(n: int, seed: int = 0) -> list[tuple[Placed, ...]]:
    """The 1-defect structures and ``n`` random ones of two and three defects."""
    rng = random.Random(seed)
    found: list[tuple[Placed, ...]] = [
        (Placed(label, 0, 0, 1 if label == "Vac_S" else 0),) for label in ENERGIES
    ]
    while len(found) < n + len(ENERGIES):
        placed = []
        for _ in range(2 + len(found) % 2):
            label = rng.choice(list(ENERGIES))
            layer = rng.choice([1, -1]) if label == "Vac_S" else 0
            placed.append(Placed(label, rng.randrange(CELLS), rng.randrange(CELLS), layer))
        if len({(p.i, p.j, p.layer) for p in placed}) == len(placed):
            found.append(tuple(placed))
    return found


def energy(defects: tuple[Placed, ...]) -> float:
    """Formation energy in eV, term by term."""
    total = sum(ENERGIES[d.label] for d in defects) + (len(defects) - 1) * OFFSET
    for a, b in itertools.combinations(defects, 2):
        d = vector(a, b)
        total += energy_kernel(join_labels((a.label, b.label)), math.hypot(*d), abs(d[2]))
    return total


def gap(defects: tuple[Placed, ...]) -> float:
    """Gap in eV: the smallest of the pairs'."""
    if len(defects) == 1:
        return GAPS[defects[0].label]
    return min(
        gap_kernel(join_labels((a.label, b.label)), math.hypot(*vector(a, b)))
        for a, b in itertools.combinations(defects, 2)
    )


def crowded(n: int, fewest: int, most: int, seed: int = 0) -> list[tuple[Placed, ...]]:
    """``n`` random structures with many defects and none with one or two."""
    rng = random.Random(seed)
    sites = [(i, j, layer) for i in range(CELLS) for j in range(CELLS) for layer in (0, 1, -1)]
    found = []
    for _ in range(n):
        chosen = rng.sample(sites, rng.randint(fewest, most))
        kinds = [rng.choice(["Vac_Mo", "W_Mo"]) if layer == 0 else "Vac_S" for *_, layer in chosen]
        found.append(tuple(Placed(kind, *site) for kind, site in zip(kinds, chosen, strict=True)))
    return found


def fill(
    db: Database, n: int = 60, seed: int = 0, prefix: str = "s", found: list[tuple[Placed, ...]] | None = None
) -> list[tuple[Placed, ...]]:
    """Load the toy's structures, or ``found``; what they are, in the order of their ids ``s0000``, ``s0001`` ..."""
    found = found or configurations(n, seed)
    half = math.sqrt(3) / 2
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
    with db.transaction():
        if not db.value("SELECT count(*) FROM materials"):
            _append(
                db,
                "datasets",
                [
                    {
                        "dataset_id": "toy",
                        "name": "toy",
                        "format": "table",
                        "source_uri": "memory",
                        "sha256": "0" * 64,
                        "licence": "CC0-1.0",
                        "cutoff": 20.0,
                        "n_structures": n,
                        "n_rejects": 0,
                    }
                ],
                stamp="ingested_at",
            )
            _append(
                db,
                "materials",
                [
                    {
                        "material_id": "MoS2",
                        "formula": "MoS2",
                        **cell,
                        "c_z": C,
                        "zigzag_x": 1.0,
                        "zigzag_y": 0.0,
                        "angle_period": 60.0,
                        "n_sites": 3,
                    }
                ],
            )
            super_cell = {key: value * CELLS for key, value in cell.items()}
            _append(
                db,
                "hosts",
                [
                    {
                        "host_id": "MoS2 8x8x1",
                        "material_id": "MoS2",
                        "supercell": "8x8x1",
                        "n_sites": 192,
                        **super_cell,
                        "c_z": C,
                        "energy": -1.0,
                    }
                ],
            )
            _fill_sites(db)
        _fill_structures(db, found, prefix)
    return found


def site_number(placed: Placed) -> int:
    """The host site of a defect: Mo first, then the lower and the upper S."""
    return {0: 0, -1: 1, 1: 2}[placed.layer] * CELLS**2 + placed.i * CELLS + placed.j


def _fill_sites(db: Database) -> None:
    material, host = [], []
    for sublattice, layer in enumerate((0, -1, 1)):
        x, y = (0.0, 0.0) if layer == 0 else (1 / 3, 2 / 3)
        common = {
            "sublattice": sublattice,
            "element": "S" if layer else "Mo",
            "layer": {0: "middle", -1: "bottom", 1: "top"}[layer],
            "frac_z": (10 + 1.56 * layer) / C,
        }
        material.append({"material_id": "MoS2", "frac_x": x, "frac_y": y, **common})
        host += [
            {
                "host_id": "MoS2 8x8x1",
                "site_index": site_number(Placed("", i, j, layer)),
                "frac_x": (i + x) / CELLS,
                "frac_y": (j + y) / CELLS,
                **common,
            }
            for i in range(CELLS)
            for j in range(CELLS)
        ]
    _append(db, "material_sites", material)
    _append(db, "host_sites", host)


def _fill_structures(db: Database, found: list[tuple[Placed, ...]], prefix: str) -> None:
    structures, defects, pairs, targets = [], [], [], []
    first_pair = db.next_id("pairs", "pair_id")
    first = db.next_id("structures", "structure_key")
    for number, members in enumerate(found):
        key = f"{prefix}{number:04}"
        structures.append(
            {
                "structure_id": key,
                "dataset_id": "toy",
                "host_id": "MoS2 8x8x1",
                "n_defects": len(members),
                "descriptor": "-".join(sorted(m.label for m in members)),
                "composition": "",
                "density": "low",
                "source_path": f"{key}.cif",
                "content_hash": key,
                "structure_key": first + number,
                "defect_labels": "+".join(sorted(m.label for m in members)),
            }
        )
        for idx, member in enumerate(members):
            x, y, z = member.xyz
            vacancy = member.label.startswith("Vac")
            defects.append(
                {
                    "defect_id": len(defects),
                    "structure_id": key,
                    "idx": idx,
                    "label": member.label,
                    "kind": "vacancy" if vacancy else "substitution",
                    "element_from": member.label.split("_")[1],
                    "element_to": None if vacancy else "W",
                    "site_index": site_number(member),
                    "frac_x": 0.0,
                    "frac_y": 0.0,
                    "frac_z": z / C,
                    "x": x,
                    "y": y,
                    "z": z,
                    "structure_key": first + number,
                }
            )
        for (i, a), (j, b) in itertools.combinations(enumerate(members), 2):
            dx, dy, dz = vector(a, b)
            pairs.append(
                {
                    "pair_id": first_pair + len(pairs),
                    "structure_id": key,
                    "defect_i": i,
                    "defect_j": j,
                    "label": join_labels((a.label, b.label)),
                    "distance": math.hypot(dx, dy, dz),
                    "dx_min": dx,
                    "distance_inplane": math.hypot(dx, dy),
                    "dz": abs(dz),
                    "dy_min": dy,
                    "angle": 0.0,
                    "shell": 1,
                    "structure_key": first + number,
                }
            )
        total = energy(members)
        values = {
            "formation_energy": total,
            "formation_energy_per_site": total / len(members),
            "homo_lumo_gap": gap(members),
        }
        targets += [
            {"structure_id": key, "target": name, "value": value, "unit": "eV", "spin": "", "source": "toy"}
            for name, value in values.items()
        ]
    for table, rows in (
        ("structures", structures),
        ("defects", defects),
        ("pairs", pairs),
        ("targets", targets),
    ):
        _append(db, table, rows)


def _append(db: Database, table: str, rows: list[dict[str, object]], stamp: str | None = None) -> None:
    frame = pl.DataFrame(rows)
    if stamp:
        frame = frame.with_columns(pl.lit("2026-01-01 00:00:00").str.to_datetime().alias(stamp))
    db.append(table, frame)


def run(db: Database) -> int:
    """A run that made nothing up."""
    return start_run(
        db,
        RunRecord(
            kind="test",
            config="{}",
            selection_sql="SELECT 1",
            selection_hash="0" * 64,
            n_rows=1,
            seed=0,
            device="cpu",
            version="0",
            status="done",
        ),
    )


def formula(
    run_id: int, label: str, tokens: str, constants: tuple[float, ...] = (), **other: object
) -> FormulaRecord:
    """A formula record with plain quality figures."""
    values: dict[str, object] = {
        "target": "formation_energy",
        "n_train": 9,
        "mae_train": 0.001,
        "mae_cv": 0.002,
        "r_min": 1.0,
        "r_max": 20.0,
        "material_id": "MoS2",
        **other,
    }
    return FormulaRecord.model_validate(
        {
            "run_id": run_id,
            "pair_label": label,
            "expression": from_prefix(tokens.split()),
            "constants": constants,
            **values,
        }
    )


def publish_energy_model(db: Database, skip: str = "", **other: object) -> int:
    """The toy's own energy kernels as an active model (without pair label ``skip``); its id."""
    with db.transaction():
        run_id = run(db)
        records = []
        for label in LABELS:
            depth = 0.1 * (LABELS.index(label) + 1)
            windows = (
                [(0.0, SPLIT, depth), (SPLIT, 1e9, -depth)] if label == "Vac_S-Vac_S" else [(0.0, 1e9, depth)]
            )
            records += [
                formula(run_id, label, "mul c0 exp div neg r 2", (value,), dz_min=low, dz_max=high, **other)
                for low, high, value in windows
            ]
        records = [record for record in records if record.pair_label != skip]
        ids = append_formulas(db, records)
        terms = [TermRecord(order=0, label="offset", value=OFFSET)]
        terms += [TermRecord(order=1, label=label, value=value) for label, value in ENERGIES.items()]
        terms += [
            TermRecord(order=2, label=r.pair_label, formula_id=i) for r, i in zip(records, ids, strict=True)
        ]
        model = ModelRecord(
            run_id=run_id,
            material_id="MoS2",
            target="formation_energy",
            aggregator="sum",
            trained_on="pairs",
            n_train=9,
        )
        model_id = append_model(db, model, terms)
        activate_model(db, model_id)
    return model_id


def publish_gap_model(db: Database) -> int:
    """The toy's own gap kernels as an active model; its id."""
    with db.transaction():
        run_id = run(db)
        records = [
            formula(
                run_id,
                label,
                "sub c0 div 0.5 r",
                (min(GAPS[x] for x in label.split("-")),),
                target="homo_lumo_gap",
            )
            for label in LABELS
        ]
        ids = append_formulas(db, records)
        terms = [TermRecord(order=1, label=label, value=value) for label, value in GAPS.items()]
        terms += [
            TermRecord(order=2, label=label, formula_id=i) for label, i in zip(LABELS, ids, strict=True)
        ]
        model = ModelRecord(
            run_id=run_id,
            material_id="MoS2",
            target="homo_lumo_gap",
            aggregator="min",
            trained_on="pairs",
            n_train=9,
        )
        model_id = append_model(db, model, terms)
        activate_model(db, model_id)
    return model_id

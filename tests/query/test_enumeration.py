"""Inequivalent placements against published counts and brute force; screened values against SQL."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support import toy_database as toy

from defectdb.cli import run
from defectdb.db import Database, open_database
from defectdb.db.models.formulas import activate_model, append_formulas, append_model
from defectdb.errors import InputDataError, LabelError, QueryError, UnknownNameError, UsageError
from defectdb.query.placements.chosen import Request, candidates, stream_to_file
from defectdb.query.placements.enumeration import count_placements, enumerate_placements, sample_placements
from defectdb.query.placements.screen import screen
from defectdb.query.placements.streaming import every_placement
from defectdb.query.placements.structure_files import occupied, write_structures
from defectdb.query.placements.supercells import Supercell, distances, parse_supercell, supercell
from defectdb.query.predict import predict
from defectdb.schema.labels import COMPOSITION
from defectdb.schema.records import ModelRecord, TermRecord

KNOWN = [("Vac_Mo,Vac_S", 15), ("Vac_S,Vac_S", 19), ("Vac_S,Se_S", 29), ("Vac_Mo,Vac_S,Vac_S", 743),
         ("Vac_Mo,Vac_S,Se_S", 1415), ("Vac_S", 1), ("W_Mo,W_Mo", 9)]  # fmt: skip


@pytest.fixture(scope="module")
def cell(toy_template: Path) -> Supercell:
    with open_database(toy_template, read_only=True) as db:
        return supercell(db, "MoS2", (8, 8))


@pytest.mark.parametrize(("defects", "n"), KNOWN)
def test_the_8x8_cell_has_the_known_number_of_inequivalent_placements(
    cell: Supercell, defects: str, n: int
) -> None:
    labels = defects.split(",")
    found = enumerate_placements(cell, labels)
    assert found.height == n
    assert found["multiplicity"].sum() == count_placements(cell, labels)


def test_orbits_are_those_of_brute_force_in_a_small_cell(toy_template: Path) -> None:
    with open_database(toy_template, read_only=True) as db:
        small = supercell(db, "MoS2", (3, 2))
    sites = small.sites_of("S")
    orbits: dict[tuple[int, ...], int] = {}
    for triple in itertools.combinations(sites.tolist(), 3):
        canonical = min(tuple(sorted(row)) for row in small.permutations[:, list(triple)].tolist())
        orbits[canonical] = orbits.get(canonical, 0) + 1
    found = enumerate_placements(small, ["Vac_S"] * 3)
    assert found.height == len(orbits)
    assert sorted(found["multiplicity"].to_list()) == sorted(orbits.values())


def test_every_operation_keeps_elements_and_distances(cell: Supercell) -> None:
    assert cell.permutations.shape == (768, 192)
    every = np.arange(192)
    r, dz = distances(cell, every, every)
    elements = np.array(cell.elements)
    for permutation in cell.permutations[::37]:
        assert sorted(permutation) == list(range(192))
        assert (elements[permutation] == elements).all()
        np.testing.assert_allclose(r[np.ix_(permutation, permutation)], r, atol=1e-9)
        np.testing.assert_allclose(dz[np.ix_(permutation, permutation)], dz, atol=1e-9)


def test_a_cell_longer_in_one_direction_keeps_fewer_operations(toy_template: Path) -> None:
    with open_database(toy_template, read_only=True) as db:
        long = supercell(db, "MoS2", (4, 2))
    assert len(long.permutations) % 8 == 0
    assert len(long.permutations) < 8 * 12
    found = enumerate_placements(long, ["Vac_Mo", "Vac_S"])
    assert found["multiplicity"].sum() == 8 * 16


def test_screened_values_are_those_of_the_sql_view(db: Database, cell: Supercell) -> None:
    for target in ("formation_energy", "formation_energy_per_site", "homo_lumo_gap"):
        expected = dict(predict(db, target).select("structure_id", "value").iter_rows())
        for number, members in enumerate(toy.configurations(60)):
            labels = sorted(m.label for m in members)
            ordered = sorted(members, key=lambda m: m.label)
            sites = np.array([[toy.site_number(m) for m in ordered]])
            values, _ = screen(db, cell, "MoS2", labels, target)(sites)
            assert values[0] == pytest.approx(expected[f"s{number:04}"], abs=1e-9)


def _extended_model(db: Database, images: str) -> None:
    """A model with lattice sums and a three-body term."""
    with db.transaction():
        run_id = toy.run(db)
        pairs = [
            toy.formula(run_id, label, "mul c0 exp div neg r 4", (0.3,), images=images)
            for label in toy.LABELS
        ]
        label = "Vac_Mo-Vac_S-Vac_S"
        tokens = "add exp neg add r12 mul 2 r13 add mul 0.5 r23 mul 3 dz12"
        triple = toy.formula(run_id, label, tokens, r_min=4.0, r_max=12.0)
        ids = append_formulas(db, [*pairs, triple])
        terms = [TermRecord(order=1, label=name, value=value) for name, value in toy.ENERGIES.items()]
        terms += [
            TermRecord(order=2, label=name, formula_id=key)
            for name, key in zip(toy.LABELS, ids, strict=False)
        ]
        terms.append(TermRecord(order=3, label=label, formula_id=ids[-1]))
        record = ModelRecord(run_id=run_id, material_id="MoS2", target="formation_energy", aggregator="sum",
                             trained_on="x", n_train=1)  # fmt: skip
        activate_model(db, append_model(db, record, terms))


@pytest.mark.parametrize("images", ["nearest", "sum"])
def test_lattice_sums_and_three_body_terms_agree_with_the_sql_view(
    toy_path: Path, cell: Supercell, images: str
) -> None:
    with open_database(toy_path) as db:
        _extended_model(db, images)
        rows = predict(db, "formation_energy").select("structure_id", "value", "extrapolated").iter_rows()
        expected = {key: (value, flag) for key, value, flag in rows}
        compared = 0
        for number, members in enumerate(toy.configurations(60)):
            labels = sorted(m.label for m in members)
            if len(members) == 3 and labels[:2] != ["Vac_Mo", "Vac_S"]:
                continue
            sites = np.array([[toy.site_number(m) for m in sorted(members, key=lambda m: m.label)]])
            values, outside = screen(db, cell, "MoS2", labels, "formation_energy")(sites)
            value, flag = expected[f"s{number:04}"]
            assert values[0] == pytest.approx(value, abs=1e-9)
            assert outside[0] == flag
            compared += 1
    assert compared > 30


@pytest.mark.parametrize("aggregator", ["shift_min", "shift_max"])
def test_shifts_of_the_deciding_defect_agree_with_the_sql_view(
    toy_path: Path, cell: Supercell, aggregator: str
) -> None:
    with open_database(toy_path) as db:
        with db.transaction():
            old = db.frame(
                'SELECT "order", label, formula_id, value FROM model_terms WHERE model_id = 2'
            ).to_dicts()
            record = ModelRecord(run_id=1, material_id="MoS2", target="homo_lumo_gap", aggregator=aggregator,
                                 trained_on="x", n_train=1)  # fmt: skip
            activate_model(db, append_model(db, record, [TermRecord.model_validate(row) for row in old]))
        expected = dict(predict(db, "homo_lumo_gap").select("structure_id", "value").iter_rows())
        for number, members in enumerate(toy.configurations(60)):
            ordered = sorted(members, key=lambda m: m.label)
            sites = np.array([[toy.site_number(m) for m in ordered]])
            values, _ = screen(db, cell, "MoS2", [m.label for m in ordered], "homo_lumo_gap")(sites)
            assert values[0] == pytest.approx(expected[f"s{number:04}"], abs=1e-9)


def test_all_placements_are_each_made_once(cell: Supercell) -> None:
    blocks = list(every_placement(cell, ["Vac_Mo", "Vac_S", "Vac_S"], block=50_000))
    assert len(blocks) > 5
    rows = np.concatenate(blocks)
    assert len(rows) == count_placements(cell, ["Vac_Mo", "Vac_S", "Vac_S"]) == 64 * math.comb(128, 2)
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_the_lowest_of_all_placements_is_the_lowest_of_the_inequivalent_ones(db: Database) -> None:
    request = {
        "material": "MoS2",
        "repeats": "8,8,1",
        "defects": "Vac_Mo,Vac_S,Vac_S",
        "target": "formation_energy",
    }
    inequivalent = candidates(db, Request(**request, top=4)).frame
    every = candidates(db, Request(**request, every=True, top=int(inequivalent["multiplicity"].sum()))).frame
    expected = np.repeat(inequivalent["value"].to_numpy(), inequivalent["multiplicity"].to_numpy())
    np.testing.assert_allclose(every["value"].to_numpy(), expected, atol=1e-9)


def test_a_streamed_file_holds_every_placement_that_the_predicate_keeps(db: Database, tmp_path: Path) -> None:
    request = Request("MoS2", "8x8", "Vac_S,Vac_S", "formation_energy", where="value < 5.4", every=True)
    rows = stream_to_file(db, request, tmp_path / "x.parquet")
    frame = pl.read_parquet(tmp_path / "x.parquet")
    assert frame.height == rows
    assert 0 < rows < math.comb(128, 2)
    assert frame["value"].max() < 5.4


def test_a_stream_that_fails_leaves_no_file(db: Database, tmp_path: Path) -> None:
    request = Request("MoS2", "8x8", "Vac_S,Vac_S", "formation_energy", where="valeu < 1", every=True)
    with pytest.raises(QueryError, match="valeu"):
        stream_to_file(db, request, tmp_path / "x.parquet")
    with pytest.raises(InputDataError, match="cannot be written"):
        stream_to_file(db, replace(request, where=None), tmp_path / "no" / "x.parquet")
    assert list(tmp_path.iterdir()) == []


def test_samples_repeat_with_the_seed_and_never_put_two_defects_on_one_site(cell: Supercell) -> None:
    labels, frame = sample_placements(cell, ["Vac_Mo", "W_Mo", "Vac_S"], 0.1, 50, seed=3)
    assert len(labels) == 19
    assert frame.equals(sample_placements(cell, ["Vac_Mo", "W_Mo", "Vac_S"], 0.1, 50, seed=3)[1])
    for row in frame.iter_rows():
        assert len(set(row)) == 19
        assert [cell.elements[site] for site in row] == [label.split("_")[1] for label in labels]
    with pytest.raises(UsageError, match="do not fit"):
        sample_placements(cell, ["W_Mo"], 0.5, 5, seed=0)


def test_structure_files_hold_the_host_with_the_defects(cell: Supercell, tmp_path: Path) -> None:
    gemmi = pytest.importorskip("gemmi")
    labels, sites = ["Vac_S", "W_Mo"], [70, 5]
    elements, frac = occupied(cell, labels, sites)
    assert (len(elements), elements.count("W"), elements.count("Mo"), elements.count("S")) == (
        191,
        1,
        63,
        127,
    )
    assert len(frac) == 191
    [path] = write_structures(cell, labels, [sites], tmp_path, "cif")
    read = gemmi.read_small_structure(str(path))
    assert len(read.sites) == 191
    assert read.cell.a == pytest.approx(8 * toy.A)
    assert read.cell.gamma == pytest.approx(120)
    [path] = write_structures(cell, labels, [sites], tmp_path, "poscar")
    lines = path.read_text().splitlines()
    assert lines[5:7] == ["Mo S W", "63 127 1"]
    assert len(lines) == 8 + 191
    with pytest.raises(UnknownNameError, match="unknown structure format 'xyz'"):
        write_structures(cell, labels, [sites], tmp_path, "xyz")


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"material": "MoSe2"}, UnknownNameError, "did you mean 'MoS2'"),
        ({"repeats": "8,8,2"}, UsageError, "is no supercell of a layer"),
        ({"defects": "Vac_Se"}, UsageError, "there is no Se site; sites: Mo, S"),
        ({"defects": "Int_S"}, UsageError, "stands on no host site"),
        ({"defects": "hole"}, LabelError, "not a defect label"),
        ({"defects": "Vac_S," * 6}, UsageError, "too many to enumerate"),
        ({"target": "gap"}, UnknownNameError, "unknown target 'gap'"),
        ({"target": "lumo"}, UsageError, "no active model of lumo for MoS2"),
        ({"where": "valeu < 1"}, QueryError, "columns: site_1"),
        ({"where": "value <"}, QueryError, "value <"),
        ({"every": True}, UsageError, "--top"),
        ({"concentration": 0.0001}, UsageError, "leaves no defect"),
    ],
)
def test_a_request_that_cannot_be_met_says_why(db: Database, change: dict, error: type, match: str) -> None:
    given = {"material": "MoS2", "repeats": "8,8,1", "defects": "Vac_S,Vac_S", **change}
    with pytest.raises(error, match=match):
        candidates(db, Request(**given))


def test_supercells_are_read_in_both_notations() -> None:
    assert parse_supercell("8,8,1") == parse_supercell("8x8") == (8, 8)


def test_the_command_prints_writes_and_predicts(toy_path: Path, tmp_path: Path, capsys) -> None:
    start = ["--db", str(toy_path), "enumerate", "--material", "MoS2", "--supercell", "8,8,1"]
    assert run([*start, "--defects", "v_S,Vac_S", "--target", "formation_energy", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 19
    assert rows[0]["value"] == min(row["value"] for row in rows)
    assert (
        run(
            [
                *start,
                "--defects",
                "Vac_S,Vac_S",
                "-o",
                str(tmp_path / "x.csv"),
                "--structures",
                str(tmp_path / "d"),
            ]
        )
        == 0
    )
    assert pl.read_csv(tmp_path / "x.csv")["multiplicity"].sum() == math.comb(128, 2)
    assert len(list((tmp_path / "d").glob("*.vasp"))) == 19
    assert run([*start, "--defects", "Vac_S,Vac_S", "--target", "formation_energy", "--every", "-o",
                str(tmp_path / "x.parquet")]) == 0  # fmt: skip
    assert pl.read_parquet(tmp_path / "x.parquet").height == math.comb(128, 2)


def test_cutoffs_and_composition_formulas_agree_with_the_sql_view(toy_path: Path, cell: Supercell) -> None:
    with open_database(toy_path) as db:
        with db.transaction():
            run_id = toy.run(db)
            pairs = [
                toy.formula(run_id, label, "mul c0 exp div neg r 4", (0.3,), cutoff=7.0, r_max=6.5)
                for label in toy.LABELS
            ]
            triple = toy.formula(run_id, "Vac_Mo-Vac_S-Vac_S", "exp neg add r12 r13", cutoff=9.0)
            tokens = "add mul 0.1 mul n_vac_s n_vac_s add mul 0.01 v add div n sites mul 0.5 sub least most"
            composition = toy.formula(run_id, COMPOSITION, tokens, r_min=1, r_max=2)
            ids = append_formulas(db, [*pairs, triple, composition])
            terms = [TermRecord(order=1, label=name, value=value) for name, value in toy.ENERGIES.items()]
            terms += [
                TermRecord(order=2, label=name, formula_id=key)
                for name, key in zip(toy.LABELS, ids, strict=False)
            ]
            terms.append(TermRecord(order=3, label="Vac_Mo-Vac_S-Vac_S", formula_id=ids[-2]))
            terms.append(TermRecord(order=0, label=COMPOSITION, formula_id=ids[-1]))
            record = ModelRecord(run_id=run_id, material_id="MoS2", target="formation_energy", aggregator="sum",
                                 trained_on="all", n_train=1)  # fmt: skip
            activate_model(db, append_model(db, record, terms))
        rows = predict(db, "formation_energy").select("structure_id", "value", "extrapolated").iter_rows()
        expected = {key: (value, flag) for key, value, flag in rows}
        for number, members in enumerate(toy.configurations(60)):
            ordered = sorted(members, key=lambda m: m.label)
            sites = np.array([[toy.site_number(m) for m in ordered]])
            values, outside = screen(db, cell, "MoS2", [m.label for m in ordered], "formation_energy")(sites)
            assert (values[0], outside[0]) == (pytest.approx(expected[f"s{number:04}"][0], abs=1e-9),
                                               expected[f"s{number:04}"][1])  # fmt: skip
    assert {flag for _, flag in expected.values()} == {True, False}

"""A tiny network on the toy's structures: what it must not see, how it is kept, and how it goes on."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from support import toy_database as toy

from defectdb.db import Database, open_database
from defectdb.db.models.networks import stored_networks
from defectdb.errors import InputDataError, SelectionError, UnknownNameError, UsageError
from defectdb.learn.network.config import Architecture, NetworkConfig, Schedule, recipe_settings
from defectdb.learn.network.ensemble import read_ensemble
from defectdb.learn.network.graph.graphs import load_graphs
from defectdb.learn.network.learning import Epoch, learn_networks
from defectdb.learn.network.model import Network
from defectdb.learn.network.prediction import predict_networks
from defectdb.learn.network.selection import held_out
from defectdb.learn.network.weights import from_bytes, to_bytes
from defectdb.query.predict import narrate_unknown

TINY = NetworkConfig(
    architecture=Architecture(width=8, hidden=8, centres_r=8, centres_z=4),
    schedule=Schedule(epochs=4, batch=16),
    device="cpu",
)

Members = tuple[toy.Placed, ...]


def fill(db: Database, found: list[Members] | None = None) -> list[Members]:
    """The toy with the sublattice of every defect."""
    members = toy.fill(db, found=found)
    with db.transaction():
        db.execute(f"UPDATE defects SET sublattice = site_index // {toy.CELLS**2}")
    return members


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """The toy with networks of two members for energy and gap."""
    with open_database(tmp_path_factory.mktemp("net") / "toy.duckdb", create=True) as db:
        fill(db)
        for target in ("formation_energy", "homo_lumo_gap"):
            learn_networks(db, TINY.model_copy(update={"target": target, "members": 2}))
        yield db


def predicted(trained: Database, found: list[Members]) -> np.ndarray:
    """Energies per site of these structures, in a database of their own."""
    with open_database(":memory:") as copy:
        fill(copy, found)
        return values(trained, copy)


def values(trained: Database, copy: Database) -> np.ndarray:
    frame = predict_networks(copy, "formation_energy_per_site", networks_of=trained)
    return frame["value"].to_numpy()


def shifted(p: toy.Placed) -> toy.Placed:
    return replace(p, i=(p.i + 3) % toy.CELLS, j=(p.j + 6) % toy.CELLS)


def turned_over(p: toy.Placed) -> toy.Placed:
    return replace(p, layer=-p.layer)


def mirrored(p: toy.Placed) -> toy.Placed:
    step = 1 if p.layer else 0  # (x, y) -> (-y, -x) leaves Mo on Mo and S on S
    return replace(p, i=(-p.j - step) % toy.CELLS, j=(-p.i - step) % toy.CELLS)


MOVES: dict[str, Callable[[Members], Members]] = {
    "nothing": lambda members: members,
    "translation": lambda members: tuple(shifted(p) for p in members),
    "the layer turned over": lambda members: tuple(turned_over(p) for p in members),
    "mirror": lambda members: tuple(mirrored(p) for p in members),
    "other order": lambda members: members[::-1],
}


@pytest.fixture(scope="module")
def moved(trained: Database) -> dict[str, np.ndarray]:
    """Energies per site of the toy's structures after every move."""
    found = toy.configurations(60)
    parts = np.split(predicted(trained, [move(m) for move in MOVES.values() for m in found]), len(MOVES))
    return dict(zip(MOVES, parts, strict=True))


@pytest.mark.parametrize("name", list(MOVES)[1:])
def test_neither_a_symmetry_of_the_crystal_nor_the_order_changes_anything(
    name: str, moved: dict[str, np.ndarray]
) -> None:
    assert moved[name] == pytest.approx(moved["nothing"], abs=2e-6)


def test_the_vacuum_and_the_choice_of_the_image_do_not_matter(trained: Database) -> None:
    before = predict_networks(trained, "formation_energy_per_site")["value"].to_numpy()
    with open_database(":memory:") as copy:
        fill(copy)
        a = toy.CELLS * toy.A
        with copy.transaction():
            for table in ("host_sites", "material_sites", "defects"):
                copy.execute(f"UPDATE {table} SET frac_z = frac_z / 2")
            copy.execute("UPDATE hosts SET c_z = 2 * c_z")
            copy.execute(
                "UPDATE pairs SET dx_min = dx_min + ?", [a]
            )  # the next image along a: one of many anyway
            copy.execute("UPDATE defects SET x = x + ?, frac_x = frac_x + 1", [a])
        assert values(trained, copy) == pytest.approx(before, abs=2e-6)


def test_different_configurations_get_different_values(trained: Database) -> None:
    near = (toy.Placed("Vac_S", 0, 0, 1), toy.Placed("Vac_S", 1, 0, 1))
    across = (near[0], replace(near[1], layer=-1))
    far = (near[0], replace(near[1], i=3))
    assert len(set(predicted(trained, [near, across, far]).round(5))) == 3


def test_edges_are_all_images_within_the_cutoff_and_none_through_the_vacuum() -> None:
    pair = (toy.Placed("Vac_Mo", 0, 0, 0), toy.Placed("Vac_S", 2, 3, 1))
    cutoff = 28.0  # longer than the cell
    with open_database(":memory:") as db:
        fill(db, [pair])
        with db.transaction():
            db.execute("UPDATE hosts SET c_z = 14")  # the next layer would be within the cutoff
            db.execute("UPDATE host_sites SET frac_z = frac_z * ? / 14", [toy.C])
        graphs = load_graphs(db, pl.Series(["s0000"]), cutoff)
    a = toy.A * np.array([[1, 0], [-0.5, 3**0.5 / 2]])
    steps = np.array([(i, j) for i in range(-4, 5) for j in range(-4, 5)])
    x, y = np.array(pair[0].xyz), np.array(pair[1].xyz)
    between = (y - x)[:2] + toy.CELLS * steps @ a
    lengths = np.hypot(np.hypot(*between.T), (y - x)[2])
    own = np.hypot(*(toy.CELLS * steps @ a).T)
    own = own[(own > 0) & (own <= cutoff)]
    expected = np.sort(np.concatenate([lengths[lengths <= cutoff], own]))  # each defect's own, halved, twice
    assert np.sort(graphs.distance) == pytest.approx(expected, abs=1e-6)
    assert list(graphs.before) == [42, 16]
    assert list(graphs.now) == [0, 0]
    assert graphs.height == pytest.approx([0.0, 1.56])


def test_shells_are_ranks_among_the_lattices_distances() -> None:
    found = [
        (toy.Placed("Vac_Mo", 0, 0, 0), toy.Placed("Vac_Mo", i, j, 0)) for i, j in [(1, 0), (2, 1), (2, 0)]
    ]
    with open_database(":memory:") as db:
        fill(db, found)
        graphs = load_graphs(db, pl.Series(["s0000", "s0001", "s0002"]), 12.0)
    nearest = np.cumsum(graphs.n_edges) - graphs.n_edges
    assert list(graphs.shell[nearest]) == [1, 2, 3]


def test_a_batch_is_the_same_as_its_structures_one_by_one(trained: Database) -> None:
    ids = trained.frame("SELECT structure_id FROM structures ORDER BY ALL")["structure_id"]
    row = trained.frame("SELECT * FROM networks WHERE network_id = 1").to_dicts()[0]
    ensemble = read_ensemble(row)
    whole, _ = ensemble.predict(load_graphs(trained, ids, 12.0))
    alone = [ensemble.predict(load_graphs(trained, ids[k : k + 1], 12.0))[0][0] for k in (0, 10, 40)]
    assert whole[[0, 10, 40]] == pytest.approx(alone, abs=2e-6)


def test_predictions_in_sql_are_those_of_python(trained: Database) -> None:
    for target in ("formation_energy", "formation_energy_per_site", "homo_lumo_gap"):
        python = predict_networks(trained, target)
        stored = trained.frame(
            "SELECT p.value, p.spread FROM network_predictions AS p JOIN networks AS n USING (network_id) "
            "WHERE n.status = 'active' AND p.target = ? ORDER BY structure_id",
            [target],
        )
        assert stored.height == python.height == 63
        assert stored["value"].to_numpy() == pytest.approx(python["value"].to_numpy(), abs=1e-9)
        assert stored["spread"].to_numpy() == pytest.approx(python["spread"].to_numpy(), abs=1e-9)
        assert (python["spread"] > 0).all()


def test_the_published_read_out_is_finite_without_edges_and_blind_to_order() -> None:
    for target, parameters in (("formation_energy", 400_000), ("homo_lumo_gap", 300_000)):
        architecture, schedule = recipe_settings("published", target)
        assert schedule.epochs == 400
        assert sum(p.numel() for p in Network(architecture, 8).parameters()) > parameters
    small, _ = recipe_settings("published", "formation_energy")
    config = TINY.model_copy(
        update={"architecture": small.model_copy(update={"width": 8, "hidden": 8}), "recipe": "published"}
    )
    with open_database(":memory:") as db, open_database(":memory:") as other:
        members = fill(db)
        learn_networks(db, config)
        fill(other, [m[::-1] for m in members])
        here, there = values(db, db), values(db, other)
    assert np.isfinite(here).all()
    assert here == pytest.approx(there, abs=2e-6)


class Killed(BaseException):
    """A training that ends from outside."""


def test_a_killed_training_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    config, file = TINY.model_copy(update={"members": 2}), tmp_path / "state"

    def kill(epoch: Epoch) -> None:
        if (epoch.member, epoch.epoch) == (2, 2):
            raise Killed

    with open_database(":memory:") as whole, open_database(":memory:") as parts:
        for db in (whole, parts):
            fill(db)
        learn_networks(whole, config)
        with pytest.raises(Killed):
            learn_networks(parts, config, kill, file)
        assert parts.value("SELECT count(*) FROM networks") == 0
        assert parts.value("SELECT status FROM runs") == "failed"
        with pytest.raises(UsageError, match="other options or data"):
            learn_networks(parts, config.model_copy(update={"seed": 1}), resume=file)
        epochs: list[tuple[int, int]] = []
        learn_networks(parts, config, lambda e: epochs.append((e.member, e.epoch)), file)
        assert epochs == [(2, 3), (2, 4)]
        assert not file.exists()
        weights = [db.value("SELECT weights FROM networks") for db in (whole, parts)]
    assert weights[0] == weights[1]


def test_left_out_structures_are_marked_and_measured() -> None:
    with open_database(":memory:") as db:
        fill(db)
        [network] = learn_networks(db, TINY.model_copy(update={"hold_out": True}))
        error = db.value(
            "SELECT avg(abs(p.value - t.value)) FROM network_predictions AS p "
            "JOIN target_values AS t USING (structure_id, target) "
            "WHERE NOT p.trained AND target = 'formation_energy_per_site'"
        )
        smallest = db.value(
            "SELECT min(n_defects) FROM network_predictions WHERE NOT trained"  # what nothing else tells of is learned
        )
    assert network.n_held > 5
    assert network.mae_held == pytest.approx(error)
    assert smallest == 3


def test_where_there_are_no_larger_structures_pairs_are_left_out() -> None:
    frame = pl.DataFrame({"n_defects": [1, 2, 2, 1], "fold": [0, 0, 1, 2]})
    assert held_out(frame).tolist() == [True, True, False, False]
    assert held_out(frame.with_columns(n_defects=pl.Series([1, 2, 3, 3]), fold=0)).tolist() == [
        False,
        False,
        True,
        True,
    ]


def test_a_newer_network_of_the_same_hosts_takes_over_and_changed_rows_make_it_stale() -> None:
    with open_database(":memory:") as db:
        fill(db)
        for seed in (0, 1):
            learn_networks(db, TINY.model_copy(update={"seed": seed}))
        states = db.frame("SELECT status, version FROM networks ORDER BY network_id").rows()
        assert states == [("retired", 1), ("active", 2)]
        from defectdb.db.write import remove_dataset

        remove_dataset(db, "toy")
        assert db.value("SELECT count(*) FROM network_predictions") == 0
        with pytest.raises(UsageError, match="went stale"):
            stored_networks(db, "formation_energy")


def test_what_no_network_has_seen_gets_no_value_and_a_sentence(trained: Database) -> None:
    with open_database(":memory:") as copy:
        fill(copy)
        with copy.transaction():
            copy.execute("UPDATE defects SET label = 'Re_Mo', element_to = 'Re' WHERE label = 'W_Mo'")
        frame = predict_networks(copy, "formation_energy", networks_of=trained)
        n = frame["value"].null_count()
        assert narrate_unknown(frame) == [
            f"{n} of 63 structures have no prediction: no network in use has seen Re_Mo in training"
        ]
        with copy.transaction():
            for table in ("materials", "material_sites"):
                copy.execute(f"INSERT INTO {table} SELECT * REPLACE ('WS2' AS material_id) FROM {table}")
            copy.execute("UPDATE hosts SET material_id = 'WS2'")
        unknown = predict_networks(copy, "homo_lumo_gap", networks_of=trained)
        assert "has seen WS2" in narrate_unknown(unknown)[0]
        with copy.transaction():
            copy.execute("UPDATE defects SET element_to = 'Xx' WHERE label = 'Re_Mo'")
        with pytest.raises(UsageError, match="'Xx' is no element from H to Pu"):
            load_graphs(copy, pl.Series(["s0000", "s0001", "s0002"]), 12.0)


def test_bad_requests_say_what_would_be_right(trained: Database, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no network predicts lumo yet"):
        predict_networks(trained, "lumo")
    with pytest.raises(UnknownNameError, match="unknown network '9'; known: 1, 2"):
        predict_networks(trained, "formation_energy", 9)
    with pytest.raises(UsageError, match="network 2 predicts homo_lumo_gap"):
        predict_networks(trained, "formation_energy", 2)
    with pytest.raises(UnknownNameError, match="unknown material with defects 'WSe2'"):
        learn_networks(trained, TINY.model_copy(update={"materials": ("WSe2",)}))
    with pytest.raises(SelectionError, match="no structure with defects of the database has lumo"):
        learn_networks(trained, TINY.model_copy(update={"target": "lumo"}))
    with pytest.raises(SelectionError, match="3 structures of MoS2 8x8x1 are too few"):
        learn_networks(trained, TINY.model_copy(update={"where": "structure_id < 's0003'"}))
    with pytest.raises(UsageError, match="there is no folder"):
        learn_networks(trained, TINY, resume=tmp_path / "absent" / "state")
    (tmp_path / "text").write_text("hello, this is no state of a training")
    with pytest.raises(InputDataError, match="no weights in the safetensors layout"):
        learn_networks(trained, TINY, resume=tmp_path / "text")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="no CUDA device"):
            learn_networks(trained, TINY.model_copy(update={"device": "cuda"}))
    assert trained.value("SELECT count(*) FROM networks") == 2


def test_weights_are_read_back_and_damaged_ones_refused(trained: Database) -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1.5])}
    data = to_bytes(arrays, {"note": "x"})
    back, notes = from_bytes(data, "here")
    assert notes == {"note": "x"}
    assert all(np.array_equal(back[k], arrays[k]) and back[k].dtype == arrays[k].dtype for k in arrays)
    header = json.dumps({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 8]}}).encode()
    damaged = [b"", data[:20], data[:-1], b"\xff" * 40, struct.pack("<Q", len(header)) + header + b"\0" * 8]
    for broken in damaged:
        with pytest.raises(InputDataError, match="here holds no weights"):
            from_bytes(broken, "here")
    row = trained.frame("SELECT * FROM networks WHERE network_id = 1").to_dicts()[0]
    wider = Architecture.model_validate_json(row["architecture"]).model_copy(update={"width": 16})
    with pytest.raises(InputDataError, match="network 1: its weights do not fit its architecture"):
        read_ensemble(row | {"architecture": wider.model_dump_json()})
    with pytest.raises(InputDataError, match="network 1: its architecture or baseline cannot be read"):
        read_ensemble(row | {"baseline": "[1]"})

"""Train networks on stored structures and store them with what they predict."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

from defectdb.db import Database
from defectdb.db.models.formulas import finish_run, start_run
from defectdb.errors import ChangedDataError, InputDataError, SelectionError, UsageError
from defectdb.expressions.arrays import Flags, Integers
from defectdb.learn.config import resolve_device
from defectdb.learn.network.baseline import fit_baseline, material_numbers
from defectdb.learn.network.batches import to_device
from defectdb.learn.network.checkpoint import Checkpoint, open_checkpoint
from defectdb.learn.network.config import NetworkConfig
from defectdb.learn.network.ensemble import (
    baseline_json,
    ensemble_bytes,
    network_arrays,
    read_ensemble,
)
from defectdb.learn.network.graph.graphs import load_graphs
from defectdb.learn.network.residual_rows import subtract_formulas
from defectdb.learn.network.selection import Rows, held_out, select_rows
from defectdb.learn.network.storing import Part, Trained, TrainedNetwork, store
from defectdb.learn.network.training import Lesson, State, load_state, new_state, state_arrays, train
from defectdb.learn.publish import fail_run
from defectdb.schema.records import RunRecord
from defectdb.version import __version__

_SAVE_EVERY = 20.0  # seconds


@dataclass(frozen=True)
class Epoch:
    """How far a job is.

    Attributes:
        network, n_networks: which network of the job, from 1
        member, n_members: which of its members, from 1
        epoch, n_epochs: epochs of that member done
        loss: mean loss of the latest epoch
        seconds: since the job began
    """

    network: int
    n_networks: int
    member: int
    n_members: int
    epoch: int
    n_epochs: int
    loss: float
    seconds: float


Watch = Callable[[Epoch], None]


def learn_networks(
    db: Database, config: NetworkConfig, watch: Watch | None = None, resume: Path | None = None
) -> list[TrainedNetwork]:
    """Train the networks of a job and put them to use, all in one transaction at the end.

    The state is kept in the file ``resume`` and gone on with from there. Raises as ``select_rows``, UsageError for a
    device that is not there or a file of another job.
    """
    device = resolve_device(config.device)
    parts = [
        Part(rows, load_graphs(db, rows.frame["structure_id"], config.architecture.cutoff))
        for rows in _select(db, config)
    ]
    checkpoint = open_checkpoint(resume, _identity(config, parts))
    run_id = _open_run(db, config, parts, device)
    begin = time.monotonic()
    try:
        trained = []
        for number, part in enumerate(parts):

            def tell(member: int, state: State, number: int = number) -> None:
                if watch is not None:
                    seconds, loss, n_epochs = (
                        time.monotonic() - begin,
                        state.losses[-1],
                        config.schedule.epochs,
                    )
                    watch(
                        Epoch(
                            number + 1,
                            len(parts),
                            member + 1,
                            config.members,
                            state.epoch,
                            n_epochs,
                            loss,
                            seconds,
                        )
                    )

            trained.append(_train(config, part, device, checkpoint, str(number), tell))
        stored = _publish(db, config, run_id, trained)
    except BaseException as error:
        checkpoint.save()
        raise fail_run(db, run_id, error) or error from error.__cause__
    checkpoint.remove()
    return stored


def _select(db: Database, config: NetworkConfig) -> list[Rows]:
    """The rows of every network, of residuals less what the formulas give."""
    parts = select_rows(db, config)
    return [subtract_formulas(db, part) for part in parts] if config.on_residuals else parts


def _hash(parts: Sequence[Rows]) -> str:
    """Hash of the rows of all networks of a job."""
    hashes = [part.selection.sha256 for part in parts]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _identity(config: NetworkConfig, parts: Sequence[Part]) -> str:
    """Hash of what must agree for a training to be gone on with."""
    text = config.model_copy(update={"activate": True}).model_dump_json()
    rows = _hash([part.rows for part in parts])
    return hashlib.sha256(f"{__version__} {text} {rows}".encode()).hexdigest()


def _open_run(db: Database, config: NetworkConfig, parts: Sequence[Part], device: str) -> int:
    """Append the run's row, and let others use the file while the training goes on; its id."""
    with db.transaction():
        run_id = start_run(
            db,
            RunRecord(
                kind="network",
                config=config.model_dump_json(),
                selection_sql=parts[0].rows.selection.sql,
                selection_hash=_hash([part.rows for part in parts]),
                n_rows=sum(part.rows.frame.height for part in parts),
                seed=config.seed,
                device=device,
                version=__version__,
            ),
        )
    db.release()
    return run_id


def _publish(
    db: Database, config: NetworkConfig, run_id: int, trained: Sequence[Trained]
) -> list[TrainedNetwork]:
    """Store all networks in one transaction. Raises ChangedDataError where their rows changed meanwhile."""
    with db.transaction():
        if db.is_file:
            try:
                now = _hash(_select(db, config))
            except (SelectionError, UsageError) as cause:
                raise ChangedDataError(f"its rows were removed while it was trained ({cause})") from cause
            if now != _hash([t.part.rows for t in trained]):
                raise ChangedDataError(
                    "the rows that it learned from changed while it was trained; learn again"
                )
        stored = [store(db, config, run_id, t) for t in trained]
        finish_run(db, run_id, "done")
    return stored


def _train(
    config: NetworkConfig, part: Part, device: str, checkpoint: Checkpoint, key: str,
    tell: Callable[[int, State], None],
) -> Trained:  # fmt: skip
    """Train all members of one network."""
    begin = time.monotonic()
    frame, graphs = part.rows.frame, part.graphs
    y = frame["value"].to_numpy()
    trained: Flags = ~held_out(frame) if config.hold_out else np.ones(len(y), dtype=bool)
    baseline = fit_baseline(graphs, y, trained)
    left = (y - baseline.predict(graphs) - baseline.mean) / baseline.scale
    lesson = Lesson(
        to_device(graphs, material_numbers(graphs, baseline.materials).clip(0), device),
        torch.as_tensor(np.nan_to_num(left), device=device).float(),
        _groups(frame["host_id"], trained),
        len(baseline.materials),
    )
    members = []
    for member in range(config.members):
        members.append(_train_member(config, lesson, device, checkpoint, f"{key}.{member}", member, tell))
    weights = ensemble_bytes(members)
    row = {
        "network_id": "in training", "architecture": config.architecture.model_dump_json(),
        "baseline": baseline_json(baseline), "weights": weights, "n_members": len(members),
    }  # fmt: skip
    ensemble = read_ensemble(row, device)  # what is stored is what predicts
    return Trained(
        part, ensemble, weights, trained, ensemble.predict(graphs, device)[0] - y, time.monotonic() - begin
    )


def _groups(hosts: pl.Series, trained: Flags) -> tuple[Integers, ...]:
    """Rows of the training of every host."""
    names = hosts.to_numpy()
    found = (np.flatnonzero((names == host) & trained) for host in sorted(set(hosts)))
    return tuple(group for group in found if len(group))


def _train_member(
    config: NetworkConfig, lesson: Lesson, device: str, checkpoint: Checkpoint, key: str, member: int,
    tell: Callable[[int, State], None],
) -> dict[str, np.ndarray]:  # fmt: skip
    """Weights of one member, from the checkpoint where it is done there."""
    if key in checkpoint.done:
        return checkpoint.done[key]
    seed = config.seed + member
    state = new_state(config.architecture, config.schedule, lesson.n_materials, seed % 2**63, device)
    if key in checkpoint.current:
        try:
            load_state(state, checkpoint.current[key])
        except (KeyError, ValueError, RuntimeError, IndexError) as error:
            raise InputDataError(
                f"{checkpoint.path}: its state does not fit the network; delete the file"
            ) from error
    saved = time.monotonic()

    def after_epoch(state: State) -> None:
        nonlocal saved
        checkpoint.current = {key: state_arrays(state)} if checkpoint.path is not None else {}
        if time.monotonic() - saved > _SAVE_EVERY:
            checkpoint.save()
            saved = time.monotonic()
        tell(member, state)

    network = train(lesson, config.schedule, state, seed, after_epoch)
    checkpoint.done[key], checkpoint.current = network_arrays(network), {}
    checkpoint.save()
    return checkpoint.done[key]

"""Settle once what a learner is asked: target, material, device and pair labels."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from defectdb.db import Database
from defectdb.db.read import read_label
from defectdb.db.scope import OF_DATASETS, Scope, make_scope, one_level
from defectdb.engine.grammar.grammar import Grammar
from defectdb.errors import SelectionError, UnknownNameError, UsageError
from defectdb.learn.config import LearnConfig, resolve_device
from defectdb.schema.fields import TARGETS


@dataclass(frozen=True)
class Job:
    """What is learned; a plain record without a database.

    Attributes:
        config: the options
        target: name of the target
        material: id of the material
        device: ``cpu`` or ``cuda``
        labels: pair labels, sorted
        grammar: the formulas of a pair kernel
        datasets: ids of the datasets to learn from; empty for all
        level: level of theory of their structures; None where none has the target
        executor: where searches run; None for processes of this machine
        resumes: id of the run that is taken up again; None for a new one
    """

    config: LearnConfig
    target: str
    material: str
    device: str
    labels: tuple[str, ...]
    grammar: Grammar
    datasets: tuple[str, ...] = ()
    level: str | None = None
    executor: Executor | None = None
    resumes: int | None = None


def settle(
    db: Database, config: LearnConfig, labels: Sequence[str] | None = None, source: str = "pair_energies"
) -> Job:
    """The job of these options for ``labels``, in either order; None: every pair label of the material.

    ``source`` is the view of the pairs to learn from: ``pair_energies`` (two defects) or ``pairs`` (all structures).

    Raises UnknownNameError for a target, material or label that there is not, UsageError where options contradict one
    another, several materials could be meant, the material's energies are of several levels of theory or the device is
    not there, SelectionError where nothing is stored.
    """
    check_target(config.target)
    grammar = config.grammar()
    device = resolve_device(config.device)
    datasets = make_scope(db, config.material, config.datasets).datasets
    material = choose_material(db, config.material, source, datasets)
    known = known_labels(db, material, source, datasets)
    wanted = known if labels is None else sorted({find_label(db, material, x, datasets) for x in labels})
    level = one_level(db, Scope(material, datasets), config.target)
    return Job(config, config.target, material, device, tuple(wanted), grammar, datasets, level)


def check_target(target: str) -> None:
    """Raises UnknownNameError unless the target can be learned."""
    if target not in TARGETS:
        raise UnknownNameError("target", target, list(TARGETS))


SOURCES = {
    "pair_energies": ("pair_energies", "2-defect structures"),
    "pairs": (
        "(SELECT p.label, h.material_id, s.dataset_id FROM pairs AS p JOIN structures AS s USING (structure_key) "
        "JOIN hosts AS h USING (host_id))",
        "structures with several defects",
    ),
}
"""Where pairs to learn from stand: of structures with two defects, or of all; the FROM clause and words for it."""


def choose_material(
    db: Database, material: str | None, source: str = "pair_energies", datasets: Sequence[str] = ()
) -> str:
    """The material to learn: the one named, or the only one with pairs in ``source``. Raises UsageError."""
    table, words = SOURCES[source]
    known = db.frame(
        f"SELECT DISTINCT material_id FROM {table} WHERE {OF_DATASETS} ORDER BY ALL",
        {"datasets": list(datasets) or None},
    )["material_id"].to_list()
    if material is not None:
        if material not in known:
            raise UnknownNameError(f"material with {words}", material, known)
        return material
    if not known:
        raise SelectionError(f"the database holds no {words} to learn from; ingest some first")
    if len(known) > 1:
        raise UsageError(f"several materials have pairs ({', '.join(known)}); choose one with --material")
    return str(known[0])


def known_labels(
    db: Database, material: str, source: str = "pair_energies", datasets: Sequence[str] = ()
) -> list[str]:
    """Pair labels of the material's structures, sorted."""
    return db.frame(
        f"SELECT DISTINCT label FROM {SOURCES[source][0]} WHERE material_id = $material AND {OF_DATASETS} ORDER BY ALL",
        {"material": material, "datasets": list(datasets) or None},
    )["label"].to_list()


def find_label(db: Database, material: str, text: str, datasets: Sequence[str] = ()) -> str:
    """The canonical label that the text means. Raises UnknownNameError naming the known ones, and LabelError."""
    known = known_labels(db, material, datasets=datasets)
    label = read_label(db, text, order=2)
    if label not in known:
        raise UnknownNameError("pair label", label, known)
    return label

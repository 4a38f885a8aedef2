"""Settle once what a learner is asked: target, material, device and pair labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from defectdb.db import Database
from defectdb.db.read import read_label
from defectdb.db.scope import Scope, one_level
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
    """

    config: LearnConfig
    target: str
    material: str
    device: str
    labels: tuple[str, ...]
    grammar: Grammar


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
    material = choose_material(db, config.material, source)
    known = known_labels(db, material, source)
    wanted = known if labels is None else sorted({find_label(db, material, label) for label in labels})
    one_level(db, Scope(material), config.target)
    return Job(config, config.target, material, device, tuple(wanted), grammar)


def check_target(target: str) -> None:
    """Raises UnknownNameError unless the target can be learned."""
    if target not in TARGETS:
        raise UnknownNameError("target", target, list(TARGETS))


SOURCES = {
    "pair_energies": ("pair_energies", "2-defect structures"),
    "pairs": (
        "(SELECT p.label, h.material_id FROM pairs AS p JOIN structures AS s USING (structure_key) "
        "JOIN hosts AS h USING (host_id))",
        "structures with several defects",
    ),
}
"""Where pairs to learn from stand: of structures with two defects, or of all; the FROM clause and words for it."""


def choose_material(db: Database, material: str | None, source: str = "pair_energies") -> str:
    """The material to learn: the one named, or the only one with pairs in ``source``. Raises UsageError."""
    table, words = SOURCES[source]
    known = db.frame(f"SELECT DISTINCT material_id FROM {table} ORDER BY ALL")["material_id"].to_list()
    if material is not None:
        if material not in known:
            raise UnknownNameError(f"material with {words}", material, known)
        return material
    if not known:
        raise SelectionError(f"the database holds no {words} to learn from; ingest some first")
    if len(known) > 1:
        raise UsageError(f"several materials have pairs ({', '.join(known)}); choose one with --material")
    return str(known[0])


def known_labels(db: Database, material: str, source: str = "pair_energies") -> list[str]:
    """Pair labels of the material's structures, sorted."""
    return db.frame(
        f"SELECT DISTINCT label FROM {SOURCES[source][0]} WHERE material_id = ? ORDER BY ALL", [material]
    )["label"].to_list()


def find_label(db: Database, material: str, text: str) -> str:
    """The canonical label that the text means. Raises UnknownNameError naming the known ones, and LabelError."""
    known = known_labels(db, material)
    label = read_label(db, text, order=2)
    if label not in known:
        raise UnknownNameError("pair label", label, known)
    return label

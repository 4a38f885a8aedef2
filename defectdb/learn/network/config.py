"""The options of a network with their defaults and recipes; importable without torch. Stored with every run."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from defectdb.learn.config import SEEDS

Recipe = Literal["fast", "published"]
Aggregation = Literal["max", "sum", "mean"]
ReadOut = Literal["set2set", "sum"]


class Architecture(BaseModel):
    """What the network is: everything that its weights' shapes and meaning depend on.

    ``cutoff`` in angstrom. ``width`` of the states of nodes, edges and structure, ``hidden`` of the layers between.
    ``aggregation``: how a node gathers its edges. ``centres_r``, ``centres_z``: Gaussians of distance and of |dz|.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cutoff: float = Field(default=12.0, gt=0, le=30)
    width: int = Field(default=64, ge=4, le=512)
    hidden: int = Field(default=64, ge=4, le=1024)
    blocks: int = Field(default=2, ge=1, le=8)
    aggregation: Aggregation = "sum"
    read_out: ReadOut = "sum"
    steps: int = Field(default=3, ge=1, le=8)
    centres_r: int = Field(default=48, ge=2, le=256)
    centres_z: int = Field(default=12, ge=2, le=64)


class Schedule(BaseModel):
    """How the network is trained.

    ``plateau``: the published schedule (the rate falls where the error on a tenth left out no longer does), else one
    cosine with a warm-up. ``averaged``: decay of the running mean of the weights, which predicts; 0 for none.
    ``huber``: standardised error from which on the loss grows linearly, 0 for squared errors. ``upsample``: hosts with
    fewer structures come up as often as the largest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=200, ge=1)
    batch: int = Field(default=64, ge=1)
    rate: float = Field(default=2e-3, gt=0)
    decay: float = Field(default=1e-4, ge=0)
    plateau: bool = False
    averaged: float = Field(default=0.998, ge=0, lt=1)
    huber: float = Field(default=0.05, ge=0)
    upsample: bool = True


class NetworkConfig(BaseModel):
    """Options of one ``learn --network``.

    ``joint``: one network for all hosts, not one for those with few and one for those with many defects.
    ``hold_out``: leave a fifth of the structures with three and more defects, chosen by a hash of their ids, out of
    the training and measure there.
    ``on_residuals``: learn what the models in use leave. ``seed`` is the first member's, the next ones count up.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str = "formation_energy"
    materials: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    where: str | None = None
    recipe: Recipe = "fast"
    architecture: Architecture = Architecture()
    schedule: Schedule = Schedule()
    members: int = Field(default=1, ge=1, le=64)
    seed: int = Field(default=0, ge=-SEEDS, lt=SEEDS)
    device: str = "auto"
    joint: bool = False
    hold_out: bool = False
    on_residuals: bool = False
    activate: bool = True


def recipe_settings(recipe: Recipe, target: str, epochs: int | None = None) -> tuple[Architecture, Schedule]:
    """Architecture and schedule of a recipe, with other ``epochs`` where they are given."""
    architecture, schedule = published(target) if recipe == "published" else (Architecture(), Schedule())
    return architecture, schedule if epochs is None else schedule.model_copy(update={"epochs": epochs})


def published(target: str) -> tuple[Architecture, Schedule]:
    """The settings of Kazeev et al. (2023) for an energy, or for a gap or level."""
    energy = target == "formation_energy"
    architecture = Architecture(
        cutoff=12.0 if energy else 13.0,
        hidden=128,
        blocks=3 if energy else 2,
        aggregation="max" if energy else "sum",
        read_out="set2set",
    )
    schedule = Schedule(
        epochs=400, batch=64 if energy else 128, rate=1e-3, decay=0.0, plateau=True, averaged=0.0, huber=0.0
    )
    return architecture, schedule
